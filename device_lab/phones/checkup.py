"""What is missing on a phone before it can measure well, and how to put it right."""

from __future__ import annotations

from dataclasses import dataclass

from akd_gym.device_lab.adb.session import Session
from akd_gym.device_lab.phones.conditions import JOURNAL
from akd_gym.device_lab.phones.facts import PhoneFacts, read_facts
from akd_gym.device_lab.phones.protocol import PhoneProtocol
from akd_gym.device_lab.phones.runner import WORK_FOLDER
from akd_gym.device_lab.phones.state import PhoneState, read_state

_COMMANDS = ("timeout", "taskset", "sha256sum", "grep", "tr")
_LEAST_BATTERY = 20  # percent; below it many phones save power
_LEAST_FREE_KIB = 200 * 1024
_FIXED_PERFORMANCE_SINCE = 30  # API level of Android 11


@dataclass(frozen=True)
class CheckUp:
    """A phone as it was found.

    Attributes:
        facts: What it is.
        state: The state it is in.
        missing: What keeps it from measuring, each with the cure.
        advice: What would make its numbers better, each with the cure.
    """

    facts: PhoneFacts
    state: PhoneState
    missing: tuple[str, ...]
    advice: tuple[str, ...]


def check_up(session: Session, protocol: PhoneProtocol | None = None) -> CheckUp:
    """Looks at a phone and changes nothing.

    Raises:
        BadOutputError: It does not say what it is.
        DeviceError: See `Session`.
    """
    protocol = protocol or PhoneProtocol()
    facts = read_facts(session)
    state = read_state(session, facts.big_core)
    missing = [f"it has no command `{name}`: its Android is too old" for name in _absent_commands(session)]
    if facts.kind == "phone" and facts.abi != "arm64-v8a":
        missing.append(
            f"its programs must be for arm64-v8a, but it says {facts.abi or 'nothing'}: give a benchmark_model that is "
            "built for it to `akd phones setup --benchmark FILE`"
        )
    if (free := _free_kib(session)) is not None and free < _LEAST_FREE_KIB:
        missing.append(f"only {free // 1024} MiB are free on it: remove something")
    advice = []
    if session.run(f"[ -f {JOURNAL} ]").exit_code == 0:
        advice.append("a search that was lost left its settings: `akd phones restore` puts them back, or the next one")
    if state.thermal_status is not None and state.thermal_status > protocol.thermal_limit:
        advice.append(f"its thermal status is {state.thermal_status}: let it cool down")
    if state.battery_temp_c is not None and state.battery_temp_c > protocol.battery_limit_c:
        advice.append(f"its battery has {state.battery_temp_c:g} °C: let it cool down")
    if state.battery_level is not None and state.battery_level < _LEAST_BATTERY and not state.battery_plugged:
        advice.append(f"its battery is at {state.battery_level} %: plug it in")
    if (level := _api_level(facts)) is not None and level < _FIXED_PERFORMANCE_SINCE:
        advice.append("it has no fixed-performance mode (Android 11): its clock may vary more")
    if any(core.max_khz is None and core.capacity is None for core in facts.cores):
        advice.append("it does not say how fast its cores are: the last one is taken for the fastest")
    return CheckUp(facts, state, tuple(missing), tuple(advice))


def _absent_commands(session: Session) -> list[str]:
    names = " ".join(_COMMANDS)
    return session.run(f"for c in {names}; do command -v $c >/dev/null || echo $c; done").checked().split()


def _free_kib(session: Session) -> int | None:
    """Free space for the work folder; None if the phone does not tell."""
    lines = session.run(f"df -k {WORK_FOLDER.rpartition('/')[0]}").output.splitlines()
    fields = lines[-1].split() if lines else []
    return int(fields[3]) if len(fields) >= 4 and fields[3].isdigit() else None


def _api_level(facts: PhoneFacts) -> int | None:
    _, _, level = facts.os.rpartition("API ")
    return int(level.rstrip(")")) if level.rstrip(")").isdigit() else None
