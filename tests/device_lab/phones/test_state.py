from __future__ import annotations

import dataclasses
import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from akd_gym.device_lab.adb.addresses import open_session
from akd_gym.device_lab.adb.session import CommandResult, guarded, unguarded
from akd_gym.device_lab.loopback.faults import Fault
from akd_gym.device_lab.loopback.phone import LoopbackPhone
from akd_gym.device_lab.phones.state import (
    PhoneState,
    changes,
    parse_battery,
    parse_screen_on,
    parse_temperatures,
    parse_thermal_status,
    read_state,
)

ASSETS = Path(__file__).parents[2] / "assets" / "phones"

COOL = PhoneState(
    core=7,
    thermal_status=0,
    temperatures_c={"VIRTUAL-SKIN": 30.464, "battery": 29.9, "BIG": 41.000004, "MID": 39.5},
    battery_temp_c=31.4,
    battery_level=87,
    battery_plugged=True,
    online=tuple(range(8)),
    cur_khz=1401600,
    max_khz=2841600,
    governor="schedutil",
    screen_on=False,
    airplane=True,
)


def asset(name: str) -> str:
    return (ASSETS / f"{name}.txt").read_text(encoding="utf-8")


class ShellSession:
    """Runs commands with this machine's `sh`; the phone's programs print the assets, its files are in a folder."""

    address = "phone"

    def __init__(self, folder: Path, programs: dict[str, str]) -> None:
        self.calls, self._path = 0, f"{folder}:{os.environ['PATH']}"
        for name, script in programs.items():
            (folder / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
            (folder / name).chmod(0o755)

    def run(self, command: str, *, timeout_s: float = 30.0) -> CommandResult:
        self.calls += 1
        line, nonce = guarded(command, timeout_s)
        env = {**os.environ, "PATH": self._path}
        raw = subprocess.run(["sh", "-c", line], env=env, capture_output=True, check=True, timeout=60).stdout
        return unguarded(raw, nonce, command, timeout_s)


def dumpsys(**services: str) -> str:
    cases = " ".join(
        f"{name}) exec /bin/cat {shlex.quote(str(ASSETS / f'{text}.txt'))};;" for name, text in services.items()
    )
    return f'case $1 in {cases} *) echo "Can\'t find service: $1" >&2; exit 20;; esac'


CAT = """case $1 in
*/cpu7/cpufreq/scaling_cur_freq) echo 1401600;; */cpu7/cpufreq/scaling_max_freq) echo 2841600;;
*/cpu7/cpufreq/scaling_governor) echo schedutil;; */online) echo 0-7;; *) exec /bin/cat "$@";; esac"""


def test_a_state_in_one_command(tmp_path):
    programs = {
        "cat": CAT,
        "dumpsys": dumpsys(
            thermalservice="thermalservice_android14", battery="battery_android14", power="power_android14"
        ),
        "settings": '[ "$*" = "get global airplane_mode_on" ] && echo 1',
    }
    session = ShellSession(tmp_path, programs)
    assert read_state(session, 7) == COOL
    assert session.calls == 1
    assert json.loads(json.dumps(dataclasses.asdict(COOL)))["battery_temp_c"] == 31.4


def test_android_9_has_no_thermal_service(tmp_path):
    programs = {"cat": CAT, "dumpsys": dumpsys(battery="battery_android9"), "settings": "echo null"}
    state = read_state(ShellSession(tmp_path, programs), 7)
    assert (state.thermal_status, state.temperatures_c) == (None, {})
    assert (state.battery_temp_c, state.battery_level, state.battery_plugged) == (-1.5, 44, False)
    assert (state.screen_on, state.airplane) == (None, None)


def test_a_device_that_tells_nothing_gives_nothing(tmp_path):
    programs = dict.fromkeys(("cat", "dumpsys", "settings"), "echo 'Permission denied' >&2; exit 1")
    state = read_state(ShellSession(tmp_path, programs), 7)
    assert state == PhoneState(7, None, {}, None, None, None, (), None, None, None, None, None)


def test_thermal_status():
    assert parse_thermal_status(asset("thermalservice_android14")) == 0
    assert parse_thermal_status(asset("thermalservice_android10")) == 2
    assert parse_thermal_status(asset("thermalservice_android10").replace("Override: false", "Override: true")) is None
    assert parse_thermal_status("Thermal Status: 7") is None
    assert parse_thermal_status("Can't find service: thermalservice") is None


def test_what_the_hardware_says_now_is_read_before_what_it_once_said():
    assert parse_temperatures(asset("thermalservice_android14")) == COOL.temperatures_c
    assert parse_temperatures(asset("thermalservice_android10")) == {"TYPE_SKIN": 41.3, "TYPE_CPU": 64.0}


@pytest.mark.parametrize("value", ["NaN", "-99.9", "1.2.3", "1E9", ""])
def test_values_that_are_no_temperature_are_left_out(value):
    text = f"Cached temperatures:\n\tTemperature{{mValue={value}, mType=0, mName=a, mStatus=0}}\n"
    assert parse_temperatures(text) == {}


def test_battery():
    assert parse_battery(asset("battery_android14")) == (31.4, 87, True)
    assert parse_battery(asset("battery_android9")) == (-1.5, 44, False)
    assert parse_battery("  level: 50\n  scale: 200\n") == (None, 25, None)
    assert parse_battery("  level: 50\n  scale: 0\n  temperature: warm\n") == (None, None, None)
    assert parse_battery(asset("battery_android14").replace("state:", "state:\n  (UPDATES STOPPED -- use 'reset'")) == (
        None,
        None,
        None,
    )


@pytest.mark.parametrize(
    ("text", "on"),
    [
        ("  mWakefulness=Awake\n  mWakefulnessChanging=false", True),
        ("  mWakefulness=Dreaming", True),
        ("  mWakefulness=Dozing", False),
        ("  mWakefulness=Asleep\nDisplay Power: state=ON", False),
        ("Display Power: state=ON", True),
        ("Display Power: state=OFF", False),
        ("Display Power: com.android.server.power.PowerManagerService$1@ec9ada9", None),
        ("", None),
    ],
)
def test_screen(text, on):
    assert parse_screen_on(text) is on


def test_screen_of_whole_dumps():
    assert parse_screen_on(asset("power_android14")) is False
    assert parse_screen_on(asset("power_android11")) is True


def test_the_same_state_is_no_change():
    assert changes(COOL, dataclasses.replace(COOL)) == []
    assert changes(COOL, dataclasses.replace(COOL, cur_khz=2841600, temperatures_c={}, battery_level=85)) == []
    assert changes(COOL, dataclasses.replace(COOL, online=(0, 1, 7))) == []  # idle little cores sleep on some phones


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ({}, {"thermal_status": 2}, "the thermal status rose from 0 (none) to 2 (moderate)"),
        ({"thermal_status": 1}, {}, "the thermal status changed from 1 (light) to 0 (none)"),
        ({}, {"thermal_status": None}, "the thermal status changed from 0 (none) to unknown"),
        ({}, {"max_khz": 1804800}, "the clock allowed to core 7 dropped from 2841600 to 1804800 kHz"),
        ({"max_khz": 1804800}, {}, "the clock allowed to core 7 rose from 1804800 to 2841600 kHz"),
        ({}, {"max_khz": None}, "the clock allowed to core 7 dropped from 2841600 to unknown kHz"),
        ({}, {"online": tuple(range(7))}, "core 7 went offline"),
        ({"online": ()}, {}, "core 7 went offline"),
        ({}, {"governor": "powersave"}, "the governor of core 7 changed from schedutil to powersave"),
        ({}, {"battery_temp_c": 45.1}, "the battery has 45.1 degrees Celsius, at most 45 are allowed while measuring"),
        ({}, {"screen_on": True}, "the screen changed from off to on"),
    ],
)
def test_each_change_is_named(before, after, reason):
    assert changes(dataclasses.replace(COOL, **before), dataclasses.replace(COOL, **after)) == [reason]


def test_all_changes_are_named_and_the_battery_limit_is_a_setting():
    hot = dataclasses.replace(COOL, thermal_status=3, max_khz=1, governor=None, battery_temp_c=39.0, online=())
    assert len(changes(COOL, hot)) == 4
    assert len(changes(COOL, hot, battery_limit_c=38.0)) == 5


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("throttle", "the thermal status rose from 0 (none) to 2 (moderate)"),
        ("clock_change", "dropped from 2841600 to 1704960 kHz"),
        ("core_offline", "went offline"),
    ],
)
def test_what_befalls_the_loopback_phone_is_seen(fault, reason):
    with LoopbackPhone() as phone:
        core = max(os.sched_getaffinity(0))
        session = open_session(phone.address)
        before = read_state(session, core)
        assert changes(before, read_state(session, core)) == []
        phone.inject(Fault(fault, "check", lasts_s=60))
        session.run("true")
        found = changes(before, read_state(session, core))
        session.close()
    assert len(found) == 1
    assert reason in found[0]
