from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from akd_gym.device_lab.adb.addresses import open_session
from akd_gym.device_lab.adb.session import CommandResult, Session
from akd_gym.device_lab.loopback.faults import Fault
from akd_gym.device_lab.loopback.phone import LoopbackPhone
from akd_gym.device_lab.loopback.system import PhoneState
from akd_gym.device_lab.phones.conditions import JOURNAL, MeasuringConditions, parse_journal, restore_leftovers
from akd_gym.errors import BadOutputError, CommandFailedError, DeviceLostError

pytestmark = pytest.mark.timeout(120)

MEASURING = {
    "global/stay_on_while_plugged_in": "7",
    "system/screen_brightness_mode": "0",
    "system/screen_brightness": "1",
}


class LostSession:
    """A session whose link breaks at the given use of it, before or after the phone has carried it out."""

    def __init__(self, session: Session, uses: int, *, carried_out: bool) -> None:
        self._session, self._uses, self._carried_out = session, uses, carried_out
        self.address = session.address

    def run(self, command: str, *, timeout_s: float = 30.0) -> CommandResult:
        return self._use(lambda: self._session.run(command, timeout_s=timeout_s))

    def push(self, content: bytes, path: str, *, mode: int = 0o644, timeout_s: float = 60.0) -> None:
        self._use(lambda: self._session.push(content, path, mode=mode, timeout_s=timeout_s))

    def _use(self, action):
        self._uses -= 1
        if self._uses < 0 and not self._carried_out:
            raise DeviceLostError("The link broke.")
        result = action()
        if self._uses < 0:
            raise DeviceLostError("The link broke.")
        return result


@pytest.fixture
def phone() -> Iterator[LoopbackPhone]:
    with LoopbackPhone() as phone:
        yield phone


@pytest.fixture
def session(phone) -> Iterator[Session]:
    session = open_session(phone.address)
    yield session
    session.close()


def journal_of(phone: LoopbackPhone) -> dict[str, str] | None:
    path = phone.path(JOURNAL)
    return parse_journal(path.read_text(encoding="utf-8")) if path.exists() else None


def settings_of(state: PhoneState) -> dict[str, str]:
    return {name: state.settings[name] for name in MEASURING if name in state.settings}


def replace_program(phone: LoopbackPhone, name: str, script: str) -> None:
    (phone.root / "bin" / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")


def test_conditions_hold_and_are_put_back(phone, session):
    session.run("input keyevent KEYCODE_SLEEP").checked()
    before = phone.state()
    conditions = MeasuringConditions(airplane=True)
    applied = conditions.apply(session)
    assert applied.refused == {}
    assert set(applied.held) == {
        "fixed performance",
        "global stay_on_while_plugged_in",
        "system screen_brightness_mode",
        "system screen_brightness",
        "screen",
        "airplane mode",
    }
    during = phone.state()
    assert settings_of(during) == MEASURING
    assert (during.fixed_performance, during.awake, during.airplane) == (True, True, True)
    assert journal_of(phone) == {
        "fixed performance": "false",
        "global stay_on_while_plugged_in": "0",
        "system screen_brightness_mode": "1",
        "system screen_brightness": "null",
        "screen": "asleep",
        "airplane mode": "off",
    }
    done = conditions.restore(session)
    assert phone.state() == before
    assert journal_of(phone) is None
    assert "system screen_brightness back to no value" in done
    assert done[0] == "airplane mode back to 'off'"
    assert conditions.restore(session) == []


def test_what_is_as_wanted_is_left_alone(phone, session):
    for name, value in MEASURING.items():
        session.run(f"settings put {name.replace('/', ' ')} {value}").checked()
    before = phone.state()
    conditions = MeasuringConditions()
    conditions.apply(session)
    assert journal_of(phone) == {"fixed performance": "false"}
    assert conditions.restore(session) == ["fixed performance back to 'false'"]
    assert phone.state() == before


def test_airplane_mode_is_not_touched_unless_asked(phone, session):
    MeasuringConditions().apply(session)
    assert not phone.state().airplane
    assert "airplane mode" not in journal_of(phone)


@pytest.mark.parametrize(
    "value", ["it's; touch broken", '$(touch broken) `touch broken` \\n "x"', "two\nlines", "-n", ""]
)
def test_values_are_put_back_unharmed_and_do_nothing(phone, session, value):
    path = phone.root / "state" / "settings" / "system" / "screen_brightness"
    path.write_text(f"{value}\n", encoding="utf-8")
    conditions = MeasuringConditions()
    conditions.apply(session)
    assert phone.state().settings["system/screen_brightness"] == "1"
    conditions.restore(session)
    assert path.read_text(encoding="utf-8") == f"{value}\n"
    assert not list(phone.root.rglob("broken"))


@pytest.mark.parametrize("carried_out", [False, True], ids=["before", "after"])
def test_a_link_lost_at_any_moment_leaves_nothing_changed_in_the_end(phone, session, carried_out):
    session.run("input keyevent KEYCODE_SLEEP").checked()
    before, uses, lost = phone.state(), 0, True
    while lost:
        conditions = MeasuringConditions(airplane=True)
        try:
            conditions.apply(LostSession(session, uses, carried_out=carried_out))
            lost = False
        except DeviceLostError:
            assert phone.state() == before or journal_of(phone)
        restore_leftovers(session)  # as another process does, which knows only the journal
        assert phone.state() == before, uses
        assert journal_of(phone) is None
        uses += 1
    assert uses > 8


@pytest.mark.parametrize("carried_out", [False, True], ids=["before", "after"])
def test_a_link_lost_at_any_moment_of_restoring_leaves_the_rest_to_the_next_session(phone, session, carried_out):
    session.run("input keyevent KEYCODE_SLEEP").checked()
    before, uses, lost = phone.state(), 0, True
    while lost:
        conditions = MeasuringConditions(airplane=True)
        conditions.apply(session)
        try:
            conditions.restore(LostSession(session, uses, carried_out=carried_out))
            lost = False
        except DeviceLostError:
            conditions.restore(session) if uses % 2 else restore_leftovers(session)
        assert phone.state() == before, uses
        assert journal_of(phone) is None
        uses += 1
    assert uses > 6


def test_a_later_session_keeps_the_originals_of_one_that_was_lost(phone, session):
    before = phone.state()
    MeasuringConditions().apply(session)  # and no more is heard of it
    later = MeasuringConditions(airplane=True)
    later.apply(session)
    assert journal_of(phone)["global stay_on_while_plugged_in"] == "0"
    assert journal_of(phone)["airplane mode"] == "off"
    later.restore(session)
    assert phone.state() == before


def test_the_same_conditions_in_a_new_session_keep_their_originals_without_a_journal(phone, session):
    before = phone.state()
    conditions = MeasuringConditions()
    conditions.apply(session)
    session.run(f"rm {JOURNAL}").checked()
    conditions.apply(session)
    assert journal_of(phone)["system screen_brightness"] == "null"
    conditions.restore(session)
    assert phone.state() == before


def test_settings_outlast_a_reboot_and_are_put_back_after_it(phone, session):
    before = phone.state()
    MeasuringConditions(airplane=True).apply(session)
    session.reboot()
    again = _reopened(phone)
    assert phone.state().airplane
    assert restore_leftovers(again)
    again.close()
    assert phone.state() == before


def _reopened(phone: LoopbackPhone) -> Session:
    for _ in range(100):
        try:
            return open_session(phone.address)
        except DeviceLostError:
            time.sleep(0.1)
    raise AssertionError("the phone did not come back")


def test_no_leftovers(session):
    assert restore_leftovers(session) == []
    assert MeasuringConditions().restore(session) == []


def test_an_old_phone_without_the_modes_measures_all_the_same(phone, session):
    before = phone.state()
    replace_program(phone, "cmd", "echo 'No shell command implementation.'")  # Android 9 exits with 0
    conditions = MeasuringConditions(airplane=True)
    applied = conditions.apply(session)
    assert applied.refused == dict.fromkeys(("fixed performance", "airplane mode"), "No shell command implementation.")
    conditions.restore(session)
    replace_program(phone, "cmd", "echo 'Unknown command: set-fixed-performance-mode-enabled'; exit 255")
    applied = conditions.apply(session)
    assert applied.refused["fixed performance"].startswith("Unknown command")
    conditions.restore(session)
    assert (phone.state(), journal_of(phone)) == (before, None)


def test_a_phone_that_lets_nobody_write_settings_measures_all_the_same(phone, session):
    before = phone.state()
    refusal = "Security exception: needs WRITE_SECURE_SETTINGS"
    replace_program(phone, "settings", f"[ $1 = get ] && echo 0 || {{ echo '{refusal}'; exit 255; }}")
    conditions = MeasuringConditions()
    assert conditions.apply(session).refused["global stay_on_while_plugged_in"] == refusal
    conditions.restore(session)
    assert (phone.state(), journal_of(phone)) == (before, None)


def test_what_cannot_be_read_is_left_alone(phone, session):
    before = phone.state()
    replace_program(phone, "settings", "exit 1")
    replace_program(phone, "dumpsys", "exit 1")
    conditions = MeasuringConditions(airplane=True)
    applied = conditions.apply(session)
    assert applied.held == ("fixed performance",)
    assert set(applied.refused.values()) == {"it does not tell its value"}
    conditions.restore(session)
    assert phone.state() == before


def test_failures_to_put_back_do_not_stop_the_rest_and_are_reported_together(phone, session):
    conditions = MeasuringConditions(airplane=True)
    conditions.apply(session)
    working = (phone.root / "bin" / "settings").read_text(encoding="utf-8")
    refusing = "case $* in *brightness*) [ $1 = get ] || { echo 'Permission denied'; exit 255; };; esac\n"
    replace_program(phone, "settings", refusing + working)
    with pytest.raises(
        CommandFailedError, match=r"All settings.*screen_brightness to no value \(Permission denied\); .*_mode to '1'"
    ) as caught:
        conditions.restore(session)
    assert "stay_on" not in str(caught.value)
    state = phone.state()
    assert (state.fixed_performance, state.airplane) == (False, False)
    assert state.settings["global/stay_on_while_plugged_in"] == "0"
    assert set(journal_of(phone)) == {"system screen_brightness", "system screen_brightness_mode"}
    replace_program(phone, "settings", working)
    assert len(restore_leftovers(session)) == 2
    assert settings_of(phone.state()) == {"global/stay_on_while_plugged_in": "0", "system/screen_brightness_mode": "1"}
    assert journal_of(phone) is None


def test_a_mode_that_could_not_be_ended_is_kept_for_the_next_session(phone, session):
    before = phone.state()
    conditions = MeasuringConditions()
    conditions.apply(session)
    phone.inject(Fault("no_permission", "check", match="set-fixed-performance-mode-enabled"))
    with pytest.raises(CommandFailedError, match=r"fixed performance to 'false' \(sh: Permission denied\)"):
        conditions.restore(session)
    assert phone.state().fixed_performance
    assert restore_leftovers(session) == ["fixed performance back to 'false'"]
    assert phone.state() == before


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"schema_version": 2, "originals": {}}',
        '{"schema_version": 1, "originals": {"global adb_enabled": "0"}}',
        '{"schema_version": 1, "originals": {"screen": 3}}',
        '{"originals": {}}',
    ],
)
def test_a_damaged_journal_is_named_and_nothing_is_changed(phone, session, text):
    before = phone.state()
    session.run(f"mkdir -p {JOURNAL.rpartition('/')[0]}").checked()
    session.push(text.encode(), JOURNAL)
    for use in (MeasuringConditions().apply, restore_leftovers, MeasuringConditions().restore):
        with pytest.raises(BadOutputError, match=r"settings.json on the device must be a journal .* remove that file"):
            use(session)
    assert phone.state() == before


def test_a_journal_that_may_not_be_read_stops_everything(phone, session):
    before = phone.state()
    session.run(f"mkdir -p {JOURNAL}").checked()  # a folder in its place: `cat` fails, and not for want of a file
    with pytest.raises(CommandFailedError, match="Is a directory"):
        MeasuringConditions().apply(session)
    assert phone.state() == before


def test_the_journal_is_plain_json(phone, session):
    MeasuringConditions().apply(session)
    assert json.loads(session.pull(JOURNAL))["schema_version"] == 1
