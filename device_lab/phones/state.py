"""The state a phone is in: heat, clocks, battery, screen. And why a measurement between two is not to be trusted.

Formats: `dumpsys thermalservice` (Android 10 and later), `dumpsys battery`, and the one line of `dumpsys power` that
says whether the phone is awake.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from akd_gym.device_lab.adb.session import Session
from akd_gym.device_lab.phones.facts import CPU_FOLDER, parse_core_list, read_values

BATTERY_LIMIT_C = 45.0
"""Above this, chargers and governors of phones begin to hold back."""

WAKEFULNESS_COMMAND = "dumpsys power | grep -e mWakefulness -e 'Display Power: state='"
"""Prints what `parse_screen_on` reads."""

_THERMAL_NAMES = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
_NO_TEMPERATURES = (6, 7, 8)  # types of Android's thermal sensors that report volts, amperes and percent
_PLAUSIBLE_C = (-40.0, 200.0)  # vendors write -99.9 or the like for a sensor that is not there


@dataclass(frozen=True)
class PhoneState:
    """A phone at one moment; None for what it does not tell.

    Attributes:
        core: The core that measures.
        thermal_status: How hard the phone throttles, 0 (none) to 6 (shutdown). None before Android 10, and while
            somebody has it pretend one.
        temperatures_c: By name of the sensor.
        battery_temp_c: Temperature of the battery, in degrees Celsius.
        battery_level: In percent.
        battery_plugged: Whether it gets power.
        online: Cores that take work.
        cur_khz: Clock of the core.
        max_khz: Highest clock that is allowed to the core now; throttling lowers it.
        governor: Frequency governor of the core.
        screen_on: Whether the phone is awake.
        airplane: Whether its radios are off.
    """

    core: int
    thermal_status: int | None
    temperatures_c: dict[str, float]
    battery_temp_c: float | None
    battery_level: int | None
    battery_plugged: bool | None
    online: tuple[int, ...]
    cur_khz: int | None
    max_khz: int | None
    governor: str | None
    screen_on: bool | None
    airplane: bool | None


def read_state(session: Session, core: int) -> PhoneState:
    """Reads the state of a phone, with one command.

    Args:
        session: To the phone.
        core: The core that measures.

    Raises:
        BadOutputError: The answer is incomplete.
        DeviceError: See `Session`.
    """
    clock = f"{CPU_FOLDER}/cpu{core}/cpufreq"
    values = read_values(
        session,
        {
            "cur": f"cat {clock}/scaling_cur_freq",
            "max": f"cat {clock}/scaling_max_freq",
            "governor": f"cat {clock}/scaling_governor",
            "online": f"cat {CPU_FOLDER}/online",
            "thermal": "dumpsys thermalservice",
            "battery": "dumpsys battery",
            "power": WAKEFULNESS_COMMAND,
            "airplane": "settings get global airplane_mode_on",
        },
    )
    said = {name: value or "" for name, value in values.items()}
    battery_temp_c, battery_level, battery_plugged = parse_battery(said["battery"])
    return PhoneState(
        core=core,
        thermal_status=parse_thermal_status(said["thermal"]),
        temperatures_c=parse_temperatures(said["thermal"]),
        battery_temp_c=battery_temp_c,
        battery_level=battery_level,
        battery_plugged=battery_plugged,
        online=parse_core_list(said["online"]),
        cur_khz=_khz(said["cur"]),
        max_khz=_khz(said["max"]),
        governor=said["governor"].strip() or None,
        screen_on=parse_screen_on(said["power"]),
        airplane={"0": False, "1": True}.get(said["airplane"].strip()),
    )


def changes(before: PhoneState, after: PhoneState, *, battery_limit_c: float = BATTERY_LIMIT_C) -> list[str]:
    """Why a measurement between two states is not to be trusted, in words; empty if it is.

    Args:
        before: State at its beginning.
        after: State at its end.
        battery_limit_c: Highest temperature of the battery, in degrees Celsius.
    """
    reasons = []
    if after.core not in after.online or before.core not in before.online:
        reasons.append(f"core {after.core} went offline")
    if before.thermal_status != after.thermal_status:
        verb = "rose" if (before.thermal_status or 0) < (after.thermal_status or 0) else "changed"
        reasons.append(f"the thermal status {verb} from {_thermal(before)} to {_thermal(after)}")
    if before.max_khz != after.max_khz:
        verb = "dropped" if (before.max_khz or 0) > (after.max_khz or 0) else "rose"
        reasons.append(
            f"the clock allowed to core {after.core} {verb} from {_or_unknown(before.max_khz)} to "
            f"{_or_unknown(after.max_khz)} kHz"
        )
    if before.governor != after.governor:
        reasons.append(
            f"the governor of core {after.core} changed from {_or_unknown(before.governor)} to "
            f"{_or_unknown(after.governor)}"
        )
    hottest_c = max((s.battery_temp_c for s in (before, after) if s.battery_temp_c is not None), default=-math.inf)
    if hottest_c > battery_limit_c:
        reasons.append(
            f"the battery has {hottest_c:g} degrees Celsius, at most {battery_limit_c:g} are allowed while measuring"
        )
    if before.screen_on != after.screen_on:
        was, is_ = ({True: "on", False: "off", None: "unknown"}[s.screen_on] for s in (before, after))
        reasons.append(f"the screen changed from {was} to {is_}")
    return reasons


def parse_thermal_status(text: str) -> int | None:
    """The status in what `dumpsys thermalservice` prints; None if it has none or is made to pretend one."""
    if re.search(r"^IsStatusOverride: true\s*$", text, re.MULTILINE):
        return None
    found = re.search(r"^Thermal Status: ([0-6])\s*$", text, re.MULTILINE)
    return int(found[1]) if found else None


def parse_temperatures(text: str) -> dict[str, float]:
    """Degrees Celsius by sensor, in what `dumpsys thermalservice` prints.

    There are two lists: what the hardware says now, and what it said when it last reported a change, which may be long
    ago. The second counts only where the first is empty.
    """
    for heading in ("Current temperatures from HAL", "Cached temperatures"):
        section = re.search(rf"^{heading}:\s*\n((?:[ \t]+.*(?:\n|\Z))*)", text, re.MULTILINE)
        found = {}
        for value, kind, name in re.findall(
            r"\bTemperature\{mValue=(-?[0-9.]+(?:E-?[0-9]+)?), mType=(-?[0-9]+), mName=([^,}]*)",
            section[1] if section else "",
        ):
            if int(kind) not in _NO_TEMPERATURES and (value_c := _celsius(value)) is not None:
                found[name] = value_c
        if found:
            return found
    return {}


def parse_battery(text: str) -> tuple[float | None, int | None, bool | None]:
    """Degrees Celsius, percent, and whether it gets power, in what `dumpsys battery` prints.

    Nothing of it counts while somebody has the phone pretend a battery (`dumpsys battery set`).
    """
    if "UPDATES STOPPED" in text:
        return None, None, None
    fields: dict[str, str] = {}
    for name, value in re.findall(r"^\s*([A-Za-z][A-Za-z ]*): (\S+)\s*$", text, re.MULTILINE):
        fields.setdefault(name, value)
    temperature, level, scale = (_integer(fields.get(name, "")) for name in ("temperature", "level", "scale"))
    powered = [value == "true" for name, value in fields.items() if name.endswith(" powered")]
    return (
        None if temperature is None else temperature / 10,
        round(100 * level / scale) if level is not None and scale else None,
        any(powered) if powered else None,
    )


def parse_screen_on(text: str) -> bool | None:
    """Whether the phone is awake, in the lines of `dumpsys power` that tell."""
    if found := re.search(r"^\s*mWakefulness(?:Raw)?=([A-Za-z]+)\s*$", text, re.MULTILINE):
        return found[1] in ("Awake", "Dreaming")
    if found := re.search(r"^\s*Display Power: state=([A-Z]+)", text, re.MULTILINE):
        return found[1] == "ON"
    return None


def _celsius(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if _PLAUSIBLE_C[0] < value < _PLAUSIBLE_C[1] else None


def _integer(text: str) -> int | None:
    return int(text) if re.fullmatch("-?[0-9]{1,9}", text) else None


def _khz(text: str) -> int | None:
    value = _integer(text.strip())
    return value if value is not None and value > 0 else None


def _thermal(state: PhoneState) -> str:
    status = state.thermal_status
    return "unknown" if status is None else f"{status} ({_THERMAL_NAMES[status]})"


def _or_unknown(value: int | str | None) -> str:
    return "unknown" if value is None else str(value)
