"""Android's commands as the loopback phone has them: small shell scripts over small files of state.

Each reads and writes files below `$AKD_LOOPBACK_ROOT/state`; a shell starts in a millisecond where Python takes fifty.
"""

from __future__ import annotations

_HEAD = '#!/bin/sh\nstate=$AKD_LOOPBACK_ROOT/state\nread_state() { read -r value <"$state/$1"; printf %s "$value"; }\n'

GETPROP = r"""
if [ $# -eq 0 ]; then
    sed 's/^\([^=]*\)=\(.*\)$/[\1]: [\2]/' "$state/properties"
else
    while IFS='=' read -r name value; do
        if [ "$name" = "$1" ]; then printf '%s\n' "$value"; exit; fi
    done <"$state/properties"
    printf '%s\n' "$2"
fi
"""

DUMPSYS = r"""
case $1 in
thermalservice)
    status=$(read_state thermal_status)
    skin=$(read_state skin_temperature)
    temperatures="	Temperature{mValue=$skin, mType=3, mName=skin, mStatus=$status}
	Temperature{mValue=41.5, mType=0, mName=CPU0, mStatus=0}
	Temperature{mValue=27.1, mType=2, mName=battery, mStatus=0}"
    cat <<END
IsStatusOverride: false
ThermalEventListeners:
	callbacks: 2
	killed: false
	broadcasts count: -1
ThermalStatusListeners:
	callbacks: 1
	killed: false
	broadcasts count: -1
Thermal Status: $status
Cached temperatures:
$temperatures
HAL Ready: true
HAL connection:
	ThermalHAL 2.0 connected: yes
Current temperatures from HAL:
$temperatures
Current cooling devices from HAL:
	CoolingDevice{mValue=0, mType=2, mName=cpu0}
	CoolingDevice{mValue=0, mType=3, mName=gpu}
Temperature static thresholds from HAL:
	TemperatureThreshold{mType=3, mName=skin, mHotThrottlingThresholds=[NaN, 39.0, 43.0, 45.0, 46.5, 52.0, 55.0]}
END
    ;;
battery)
    cat <<END
Current Battery Service state:
  AC powered: false
  USB powered: true
  Wireless powered: false
  Max charging current: 500000
  Max charging voltage: 5000000
  Charge counter: 2700000
  status: 2
  health: 2
  present: true
  level: $(read_state battery_level)
  scale: 100
  voltage: 4214
  temperature: $(read_state battery_temperature)
  technology: Li-ion
END
    ;;
power)
    wakefulness=$(read_state wakefulness)
    display=OFF
    if [ "$wakefulness" = Awake ]; then display=ON; fi
    cat <<END
POWER MANAGER (dumpsys power)

Power Manager State:
  mDirty=0x0
  mWakefulness=$wakefulness
  mWakefulnessChanging=false
  mIsPowered=true
  mPlugType=2
  mBatteryLevel=$(read_state battery_level)
  mStayOn=false

Display Power: state=$display
END
    ;;
*)
    echo "Can't find service: $1" >&2
    exit 1
    ;;
esac
"""

CMD = r"""
case "$1 $2" in
"power set-fixed-performance-mode-enabled")
    case $3 in
    true) echo 1 >"$state/fixed_performance" ;;
    false) echo 0 >"$state/fixed_performance" ;;
    *) echo 'Error: expected true or false' >&2; exit 255 ;;
    esac
    ;;
"connectivity airplane-mode")
    case $3 in
    enable) echo 1 >"$state/settings/global/airplane_mode_on" ;;
    disable) echo 0 >"$state/settings/global/airplane_mode_on" ;;
    "") if [ "$(read_state settings/global/airplane_mode_on)" = 1 ]; then echo enabled; else echo disabled; fi ;;
    *) echo 'Error: expected enable or disable' >&2; exit 255 ;;
    esac
    ;;
*)
    echo "cmd: Can't find service: $1" >&2
    exit 20
    ;;
esac
"""

SETTINGS = r"""
case $2 in global | system | secure) ;; *) echo "Invalid namespace '$2'" >&2; exit 255 ;; esac
case $3 in "" | *[!A-Za-z0-9_.:-]* | .*) echo 'Bad arguments' >&2; exit 255 ;; esac
file=$state/settings/$2/$3
case $1 in
get) if [ -f "$file" ]; then cat "$file"; else echo null; fi ;;
put) printf '%s\n' "$4" >"$file" ;;
delete) if [ -f "$file" ]; then rm "$file"; echo 'Deleted 1 rows'; else echo 'Deleted 0 rows'; fi ;;
*) echo "Invalid command: $1" >&2; exit 255 ;;
esac
"""

INPUT = r"""
case "$1 $2" in
"keyevent KEYCODE_WAKEUP" | "keyevent 224") echo Awake >"$state/wakefulness" ;;
"keyevent KEYCODE_SLEEP" | "keyevent 223") echo Asleep >"$state/wakefulness" ;;
"keyevent KEYCODE_POWER" | "keyevent 26")
    if [ "$(read_state wakefulness)" = Awake ]; then echo Asleep; else echo Awake; fi >"$state/wakefulness.new"
    mv "$state/wakefulness.new" "$state/wakefulness"
    ;;
"keyevent "?*) ;;
*) echo 'Error: Unknown command' >&2; exit 255 ;;
esac
"""

SVC = r"""
case "$1 $2" in
"power stayon")
    case $3 in true) value=7 ;; ac) value=1 ;; usb) value=2 ;; wireless) value=4 ;; *) value=0 ;; esac
    echo $value >"$state/settings/global/stay_on_while_plugged_in"
    ;;
"power reboot") : >"$state/reboot" ;;
"wifi enable") echo 1 >"$state/settings/global/wifi_on" ;;
"wifi disable") echo 0 >"$state/settings/global/wifi_on" ;;
"data enable") echo 1 >"$state/settings/global/mobile_data" ;;
"data disable") echo 0 >"$state/settings/global/mobile_data" ;;
*) echo "Unknown: svc $*" >&2; exit 1 ;;
esac
"""

REBOOT = r""": >"$state/reboot"
"""

# The real one, on the cores that are both asked for and online; like the kernel, it refuses an empty set.
TASKSET = r"""
real=__TASKSET__
case $1 in -*) exec "$real" "$@" ;; esac
mask=$(read_state online_mask)
allowed=$(printf %x $((0x${1#0x} & 0x$mask))) || exit 1
shift
if [ "$allowed" = 0 ]; then
    echo "taskset: failed to set pid $$'s affinity: Invalid argument" >&2
    exit 1
fi
exec "$real" "$allowed" "$@"
"""

# In place of `sh` for a command that is to fail. The name of the fault must not reach what that command starts.
FAULTY_SH = r"""
fault=$AKD_LOOPBACK_FAULT
unset AKD_LOOPBACK_FAULT
PATH=$AKD_LOOPBACK_PATH
export PATH
case $fault in
hang) read -r _ <"$AKD_LOOPBACK_ROOT/never" ;; # a pipe that nobody writes to
nonzero) /bin/sh "$@"; exit 1 ;;
disk_full) echo 'sh: write error: No space left on device' >&2; exit 1 ;;
no_permission) echo 'sh: Permission denied' >&2; exit 126 ;;
esac
"""


def android_commands(taskset: str) -> dict[str, str]:
    """The scripts by name; `taskset` is the path of this machine's."""
    bodies = {
        "getprop": GETPROP,
        "dumpsys": DUMPSYS,
        "cmd": CMD,
        "settings": SETTINGS,
        "input": INPUT,
        "svc": SVC,
        "reboot": REBOOT,
        "taskset": TASKSET.replace("__TASKSET__", taskset),
    }
    return {name: _HEAD + body.lstrip("\n") for name, body in bodies.items()}


def faulty_shell() -> str:
    """The script that stands in for `sh` while a fault is at work."""
    return _HEAD + FAULTY_SH.lstrip("\n")
