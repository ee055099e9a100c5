"""The settings of a phone that hold while it measures, and how each is put back, also by a later session.

Before the first setting is changed, a journal on the phone holds what they were. A session that finds a journal takes
the originals from there: what it reads from the phone then is what the lost session had set.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from akd_gym.device_lab.adb.session import CommandResult, Session
from akd_gym.device_lab.phones.facts import read_values
from akd_gym.device_lab.phones.runner import WORK_FOLDER
from akd_gym.device_lab.phones.state import WAKEFULNESS_COMMAND, parse_screen_on
from akd_gym.errors import BadOutputError, CommandFailedError

JOURNAL = f"{WORK_FOLDER}/settings.json"
_SCHEMA_VERSION = 1
_UNSET = "null"  # how `settings get` says that a key has no value
_ABSENT = re.compile(r"unknown command|no shell command|not implemented|not found|can't find|exception", re.IGNORECASE)
"""How phones without a command answer it, some of them with exit code 0."""


@dataclass(frozen=True)
class _Condition:
    """One thing that is set while measuring.

    Attributes:
        name: In the journal.
        read: Command that prints its value; None where a phone does not tell, and `original` is assumed.
        parse: The value in what that prints; None if it cannot be told, and then the setting is left alone.
        measuring: Value while measuring.
        put: The command that sets a value.
        original: What a phone that does not tell has.
    """

    name: str
    read: str | None
    parse: Callable[[str], str | None]
    measuring: str
    put: Callable[[str], str]
    original: str = ""


def _as_printed(text: str) -> str | None:
    return text


def _switch(text: str) -> str | None:
    """On or off; a switch never touched is off."""
    return {"0": "off", "1": "on", _UNSET: "off"}.get(text.strip())


def _screen(text: str) -> str | None:
    return {True: "awake", False: "asleep", None: None}[parse_screen_on(text)]


def _setting(namespace: str, key: str, measuring: str) -> _Condition:
    def put(value: str) -> str:
        if value == _UNSET:
            return f"settings delete {namespace} {key}"
        return f"settings put {namespace} {key} {shlex.quote(value)}"

    return _Condition(f"{namespace} {key}", f"settings get {namespace} {key}", _as_printed, measuring, put)


_CONDITIONS = (
    _Condition(
        name="fixed performance",  # Android 11 and later, and there only where the maker built it in
        read=None,
        parse=_as_printed,
        measuring="true",
        put=lambda value: f"cmd power set-fixed-performance-mode-enabled {shlex.quote(value)}",
        original="false",
    ),
    _setting("global", "stay_on_while_plugged_in", "7"),  # on a charger, on USB, or wireless
    _setting("system", "screen_brightness_mode", "0"),
    _setting("system", "screen_brightness", "1"),
    _Condition(
        name="screen",
        read=WAKEFULNESS_COMMAND,
        parse=_screen,
        measuring="awake",
        put=lambda value: f"input keyevent KEYCODE_{'WAKEUP' if value == 'awake' else 'SLEEP'}",
    ),
)
_AIRPLANE = _Condition(
    name="airplane mode",  # Android 11 and later
    read="settings get global airplane_mode_on",
    parse=_switch,
    measuring="on",
    put=lambda value: f"cmd connectivity airplane-mode {'enable' if value == 'on' else 'disable'}",
)
_ALL = {condition.name: condition for condition in (*_CONDITIONS, _AIRPLANE)}


@dataclass(frozen=True)
class AppliedConditions:
    """What came of setting the conditions; a phone may refuse any of them and still measure.

    Attributes:
        held: Conditions that hold, by name.
        refused: What the phone said to the others, by name.
    """

    held: tuple[str, ...]
    refused: dict[str, str]


class MeasuringConditions:
    """The conditions of one phone, over all its sessions: `apply` in each of them, `restore` in the last.

    Fixed performance where the phone has it, no sleep while plugged in, the screen awake at its lowest brightness, and
    if asked airplane mode. Only one process at a time may do this to a phone: hold its lock.

    Args:
        airplane: Whether radios are switched off too; only where the link survives that, which is on USB.
    """

    def __init__(self, *, airplane: bool = False) -> None:
        self._wanted = (*_CONDITIONS, _AIRPLANE) if airplane else _CONDITIONS
        self._originals: dict[str, str] = {}

    def apply(self, session: Session) -> AppliedConditions:
        """Sets what is not as wanted, after it has written to the journal how it was.

        Returns:
            What holds now, and what the phone refused.

        Raises:
            BadOutputError: The phone's journal is damaged.
            DeviceError: The link broke; see `Session`. Apply again in a new session.
        """
        current = _read(session, self._wanted)
        originals = {name: value for name, value in current.items() if value is not None}
        todo = [c for c in self._wanted if c.name in originals and originals[c.name] != c.measuring]
        journal = _read_journal(session)
        # what the journal or an earlier session of this object knows is older, so it is the truth
        known = {c.name: originals[c.name] for c in todo} | journal | self._originals
        self._originals = {name: known[name] for name in _ALL if name in known}
        if self._originals != journal:
            _write_journal(session, self._originals)
        refused = {c.name: "it does not tell its value" for c in self._wanted if c.name not in originals}
        for condition in todo:
            if why := _refusal(session.run(condition.put(condition.measuring))):
                refused[condition.name] = why
        return AppliedConditions(tuple(c.name for c in self._wanted if c.name not in refused), refused)

    def restore(self, session: Session) -> list[str]:
        """Puts everything back that `apply` changed, last first, and removes the journal; harmless if repeated.

        Returns:
            What was put back, in words.

        Raises:
            CommandFailedError: Some could not be put back; the message has all of them, and the journal keeps them for
                the next session.
            DeviceError: The link broke; see `Session`. The journal is still there.
        """
        done = _restore(session, self._originals or _read_journal(session))
        self._originals = {}
        return done


def restore_leftovers(session: Session) -> list[str]:
    """Puts back what a session that was lost had set; nobody may be measuring on the phone.

    Returns:
        What was put back, in words; empty if there was nothing.

    Raises:
        BadOutputError: The phone's journal is damaged.
        CommandFailedError: Some could not be put back.
        DeviceError: See `Session`.
    """
    return _restore(session, _read_journal(session))


def parse_journal(text: str) -> dict[str, str]:
    """The originals in a journal, by name of the condition, in the order in which they were changed.

    Raises:
        BadOutputError: It is damaged, or a newer version of this package wrote it.
    """
    try:
        plain = json.loads(text)
        version, originals = plain["schema_version"], plain["originals"]
        sound = isinstance(originals, dict) and all(isinstance(v, str) for v in originals.values())
        if version != _SCHEMA_VERSION or not sound or not set(originals) <= set(_ALL):
            raise ValueError(f"version {version} of {originals!r}")
    except (ValueError, TypeError, KeyError) as error:
        raise BadOutputError(
            f"{JOURNAL} on the device must be a journal of settings of version {_SCHEMA_VERSION}, but got {error}. "
            "Look at the phone's brightness, airplane mode and `Stay awake`, and then remove that file."
        ) from error
    return originals


def _read(session: Session, conditions: tuple[_Condition, ...]) -> dict[str, str | None]:
    """Values now, by name; None where the phone does not tell."""
    numbered = {f"c{number}": condition for number, condition in enumerate(conditions) if condition.read}
    values = read_values(session, {label: condition.read or "" for label, condition in numbered.items()})
    current: dict[str, str | None] = {c.name: c.original for c in conditions if not c.read}
    for label, condition in numbered.items():
        text = values[label]
        current[condition.name] = None if text is None else condition.parse(text)
    return current


def _refusal(result: CommandResult) -> str | None:
    """What a device said against a command, if it did."""
    return _said(result) if result.exit_code or _ABSENT.search(result.output) else None


def _said(result: CommandResult) -> str:
    return result.output.strip().partition("\n")[0][:200] or f"exit code {result.exit_code}"


def _shown(value: str) -> str:
    return "no value" if value == _UNSET else repr(value)


def _read_journal(session: Session) -> dict[str, str]:
    result = session.run(f"cat {JOURNAL}")
    if result.exit_code and "No such file" in result.output:
        return {}
    return parse_journal(result.checked())


def _write_journal(session: Session, originals: Mapping[str, str]) -> None:
    """Leaves the old journal or the new one, whole."""
    content = json.dumps({"schema_version": _SCHEMA_VERSION, "originals": originals})
    session.run(f"mkdir -p {WORK_FOLDER}").checked()
    session.push(content.encode(), f"{JOURNAL}.new")
    session.run(f"mv -f {JOURNAL}.new {JOURNAL}").checked()


def _restore(session: Session, originals: Mapping[str, str]) -> list[str]:
    if not originals:
        return []
    conditions = tuple(_ALL[name] for name in originals)
    current = _read(session, conditions)
    done, failed = [], {}
    for condition in reversed(conditions):
        original = originals[condition.name]
        if condition.read and current[condition.name] == original:
            continue
        result = session.run(condition.put(original))
        if not result.exit_code:
            done.append(f"{condition.name} back to {_shown(original)}")
        elif condition.read or not _ABSENT.search(result.output):  # what a phone does not have never began
            failed[condition.name] = _said(result)
    if failed:
        _write_journal(session, {name: originals[name] for name in originals if name in failed})
        said = "; ".join(f"{name} to {_shown(originals[name])} ({why})" for name, why in failed.items())
        raise CommandFailedError(
            f"All settings of the phone must be put back, but it refused {said}. Put them back by hand, or allow "
            "'USB debugging (Security settings)' in its developer options and run `akd phones` again."
        )
    session.run(f"rm -f {JOURNAL} {JOURNAL}.new").checked()
    return done
