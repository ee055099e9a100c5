"""The contract of `Session`, on every way to a phone."""

from __future__ import annotations

import random
import threading
import time

import pytest

from akd_gym.device_lab.adb import stream_session
from akd_gym.device_lab.adb.direct_session import DirectSession
from akd_gym.device_lab.adb.server_session import ServerSession
from akd_gym.device_lab.adb.transports import TcpTransport
from akd_gym.device_lab.loopback.faults import Fault
from akd_gym.device_lab.loopback.phone import LoopbackPhone
from akd_gym.errors import (
    BadOutputError,
    CommandFailedError,
    DeviceError,
    DeviceLostError,
    DeviceTimeoutError,
    InvalidSettingError,
)

FOLDER = "/data/local/tmp"
ODD_NAMES = [
    "with spaces  two",
    'it\'s "quoted"',
    "semi;echo gone;",
    "new\nline",
    "$(echo gone) `echo gone` ${HOME}",
    "back\\slash \\n",
    "-rf",
    "*?[a]",
    "comma,100644",
    "ünïcödé 模型",
    "# & | > < !",
]


def names(phone, folder: str) -> list[str]:
    return [path.name for path in phone.path(folder).iterdir()]


def wait_until(condition, seconds: float = 30.0) -> None:
    latest = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < latest
        time.sleep(0.02)


class SessionContract:
    @pytest.fixture
    def connect(self, phone, keys):
        raise NotImplementedError

    @pytest.fixture
    def session(self, connect):
        session = connect()
        yield session
        session.close()

    # --- commands

    def test_output_and_exit_code(self, session):
        result = session.run("echo out; echo err >&2; exit 3")
        assert (result.exit_code, result.output) == (3, "out\nerr")
        with pytest.raises(CommandFailedError, match="exit code 3: out err"):
            result.checked()
        assert session.run("echo again").checked() == "again"

    @pytest.mark.parametrize("code", [0, 1, 126, 127, 255])
    def test_every_exit_code_arrives(self, session, code):
        assert session.run(f"exit {code}").exit_code == code

    def test_a_missing_program_is_127(self, session):
        result = session.run("no-such-program")
        assert result.exit_code == 127
        assert "not found" in result.output

    @pytest.mark.parametrize(
        "text",
        [*ODD_NAMES, "", "\n\n", " ", "a\nb\n\nc", "100 %s %d \\x41", "=0=\nabc=0=def", "x" * 3000, "\U0001f4f1 ☃"],
    )
    def test_text_arrives_as_it_is(self, session, text):
        """Only newlines at the end are dropped, as a shell does."""
        quoted = text.replace("'", "'\\''")
        assert session.run(f"printf %s '{quoted}'").output == text.rstrip("\n")

    def test_a_command_of_several_lines(self, session):
        assert session.run("a=1\nif true; then\n  echo $a; # a comment\nfi").output == "1"

    def test_standard_input_is_empty(self, session):
        assert session.run("cat; echo end").output == "end"

    def test_bytes_that_are_no_text(self, session):
        assert session.run(r"printf '\377ok\r\n\001'").output == "\ufffdok\r\n\x01"

    def test_a_megabyte_of_output(self, session):
        output = session.run("seq 150000").output
        assert output == "\n".join(str(i) for i in range(1, 150_001))

    def test_a_command_that_is_too_long_is_refused_and_harms_nothing(self, session):
        with pytest.raises(InvalidSettingError, match="Push it as a script"):
            session.run("echo " + "x" * 70_000)
        assert session.run("echo well").output == "well"

    @pytest.mark.parametrize("command", ["echo a\0b", "echo \ud800"])
    def test_a_command_that_cannot_be_sent_is_refused(self, session, command):
        with pytest.raises(InvalidSettingError):
            session.run(command)
        assert session.run("echo well").output == "well"

    @pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf")])
    def test_a_timeout_that_is_none_is_refused(self, session, timeout_s):
        for call in (session.run, session.pull):
            with pytest.raises(InvalidSettingError, match="timeout_s"):
                call("/data", timeout_s=timeout_s)

    # --- time

    @pytest.mark.parametrize("command", ["sleep 60", "sleep 60; true", "sleep 60 & wait", "trap '' TERM; sleep 60; :"])
    def test_time_that_is_up_kills_the_command_on_the_device(self, session, phone, command):
        with pytest.raises(DeviceTimeoutError, match=r"must end within 0\.3 s"):
            session.run(command, timeout_s=0.3)
        wait_until(lambda: not phone.children())

    def test_what_a_command_starts_ends_with_it(self, session, phone):
        assert session.run("sleep 60 & echo started").output == "started"
        wait_until(lambda: not phone.children())

    def test_after_a_timeout_the_session_is_closed(self, session):
        with pytest.raises(DeviceTimeoutError):
            session.run("sleep 60", timeout_s=0.2)
        for call in (lambda: session.run("true"), lambda: session.pull("/x"), lambda: session.push(b"", "/x")):
            with pytest.raises(DeviceLostError, match="Open another"):
                call()

    # --- files

    def test_20_mb_there_and_back(self, session, phone):
        content = random.Random(0).randbytes(20 * 2**20)
        session.push(content, f"{FOLDER}/model.tflite")
        assert phone.path(f"{FOLDER}/model.tflite").read_bytes() == content
        assert session.pull(f"{FOLDER}/model.tflite") == content

    @pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 200_000])
    def test_every_size_there_and_back(self, session, size):
        content = random.Random(size).randbytes(size)
        session.push(content, f"{FOLDER}/file")
        assert session.pull(f"{FOLDER}/file") == content

    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_odd_names_do_nothing_unexpected(self, session, phone, name):
        session.push(b"content", f"{FOLDER}/{name}")
        assert names(phone, FOLDER) == [name]
        assert session.pull(f"{FOLDER}/{name}") == b"content"

    @pytest.mark.parametrize("mode", [0o644, 0o755, 0o600])
    def test_the_mode_is_the_one_asked_for(self, session, phone, mode):
        session.push(b"x", f"{FOLDER}/file", mode=mode)
        assert phone.path(f"{FOLDER}/file").stat().st_mode & 0o777 == mode

    def test_a_pushed_program_runs(self, session):
        session.push(b"#!/bin/sh\necho ran $1\n", f"{FOLDER}/program", mode=0o755)
        assert session.run(f"{FOLDER}/program 'a  b'").output == "ran a b"

    def test_a_push_replaces_and_leaves_nothing_else(self, session, phone):
        session.push(b"old", f"{FOLDER}/file")
        session.push(b"new", f"{FOLDER}/file")
        assert names(phone, FOLDER) == ["file"]
        assert session.pull(f"{FOLDER}/file") == b"new"

    @pytest.mark.parametrize("path", ["relative", "", "/", "/folder/", "/nul\0", "/\ud800"])
    def test_a_path_that_cannot_be_is_refused(self, session, path):
        for call in (session.pull, lambda path: session.push(b"x", path)):
            with pytest.raises(InvalidSettingError, match="A path on a device"):
                call(path)
        assert session.run("echo well").output == "well"

    @pytest.mark.parametrize("path", [f"{FOLDER}/missing", FOLDER])
    def test_what_cannot_be_pulled_fails_and_harms_nothing(self, session, path):
        with pytest.raises(CommandFailedError):
            session.pull(path)
        assert session.run("echo well").output == "well"

    @pytest.mark.parametrize("size", [1, 5 * 2**20])
    def test_what_cannot_be_pushed_fails_and_harms_nothing(self, session, phone, size):
        session.run(f"mkdir {FOLDER}/folder").checked()
        for path in ("/proc/no/such", f"{FOLDER}/folder"):
            with pytest.raises(CommandFailedError):
                session.push(bytes(size), path)
        assert session.run("echo well").output == "well"
        assert names(phone, FOLDER) == ["folder"]
        assert names(phone, f"{FOLDER}/folder") == []

    @pytest.mark.parametrize("size", [1, 5 * 2**20])
    @pytest.mark.parametrize(("name", "said"), [("disk_full", "No space left"), ("no_permission", "Permission denied")])
    def test_a_refused_push_says_why(self, session, phone, name, said, size):
        phone.inject(Fault(name, "push"))
        with pytest.raises(CommandFailedError, match=said):
            session.push(bytes(size), f"{FOLDER}/file")
        assert names(phone, FOLDER) == []
        session.push(bytes(size), f"{FOLDER}/file")

    @pytest.mark.parametrize("name", ["garble", "truncate"])
    def test_a_push_that_arrives_damaged_never_gets_its_name(self, session, phone, name):
        session.push(b"old", f"{FOLDER}/file")
        phone.inject(Fault(name, "push"))
        with pytest.raises(BadOutputError, match="must arrive as it was sent"):
            session.push(bytes(100_000), f"{FOLDER}/file")
        assert phone.path(f"{FOLDER}/file").read_bytes() == b"old"
        assert names(phone, FOLDER) == ["file"]

    @pytest.mark.parametrize("name", ["nonzero", "no_permission"])
    def test_a_refused_pull_harms_nothing(self, session, phone, name):
        session.push(b"content", f"{FOLDER}/file")
        phone.inject(Fault(name, "pull"))
        with pytest.raises(CommandFailedError):
            session.pull(f"{FOLDER}/file")
        assert session.pull(f"{FOLDER}/file") == b"content"

    # --- faults of the link

    @pytest.mark.parametrize("stage", ["check", "push", "pull"])
    @pytest.mark.parametrize("name", ["cut", "mute", "hang", "drip", "garble", "bad_packet", "truncate", "reboot"])
    def test_no_fault_gives_a_wrong_result_or_outlasts_its_time(self, connect, phone, name, stage, monkeypatch):
        monkeypatch.setattr(stream_session, "GRACE_S", 0.5)
        content = random.Random(1).randbytes(300_000)
        session = connect()
        session.push(content, f"{FOLDER}/file")
        phone.inject(Fault(name, stage, reboot_s=0.1))
        try:
            if stage == "check":
                assert session.run("seq 20000; sleep 0.1", timeout_s=1).output.split() == [*map(str, range(1, 20001))]
            elif stage == "push":
                session.push(content, f"{FOLDER}/other", timeout_s=1)
                assert phone.path(f"{FOLDER}/other").read_bytes() == content
            else:
                assert session.pull(f"{FOLDER}/file", timeout_s=1) == content
        except (DeviceLostError, DeviceTimeoutError, BadOutputError):
            assert "other" not in names(phone, FOLDER)
            with pytest.raises(DeviceLostError, match="Open another"):
                session.run("true")
        else:  # a drip of an answer this short may end in time, and Google's server may survive a bad packet
            assert (name, stage) in [("drip", "push"), ("bad_packet", "push")]
        assert [fault.name for fault in phone.fired()] == [name]
        wait_until(lambda: not phone.children())

    def test_a_new_session_works_after_a_cut(self, connect, phone):
        phone.inject(Fault("cut", "check"))
        with pytest.raises(DeviceLostError):
            connect().run("echo one")

        def works() -> bool:
            try:
                session = connect()
            except DeviceError:
                return False
            assert session.run("echo two").output == "two"
            return True

        wait_until(works)

    def test_a_phone_that_goes_away_is_lost(self, connect):
        with LoopbackPhone() as other:
            session = connect(other)
            threading.Timer(0.3, other.close).start()
            with pytest.raises(DeviceLostError):
                session.run("sleep 30")

    # --- the session's own end

    def test_a_session_may_be_closed_twice(self, session):
        session.close()
        session.close()
        with pytest.raises(DeviceLostError, match="is closed"):
            session.run("true")

    def test_another_thread_can_break_off_a_command(self, session, phone):
        threading.Timer(0.2, session.close).start()
        with pytest.raises(DeviceLostError, match="closed"):
            session.run("sleep 1", timeout_s=60)
        wait_until(lambda: not phone.children())

    def test_a_reboot_closes_the_session_and_the_phone_comes_back(self, connect, phone):
        session = connect()
        session.reboot()
        with pytest.raises(DeviceLostError, match="is closed"):
            session.run("true")

        def is_back() -> bool:
            try:
                return connect().run("echo back").output == "back"
            except DeviceError:
                return False

        wait_until(is_back)

    def test_sessions_side_by_side_do_not_mix(self, connect):
        sessions, wrong = [connect() for _ in range(4)], []

        def use(number, session):
            for i in range(10):
                if session.run(f"echo {number}.{i}").output != f"{number}.{i}":
                    wrong.append((number, i))

        threads = [threading.Thread(target=use, args=pair) for pair in enumerate(sessions)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not wrong


class TestDirectSession(SessionContract):
    @pytest.fixture
    def connect(self, phone, keys):
        opened = []

        def connect(other=None):
            target = other or phone
            opened.append(DirectSession(TcpTransport("127.0.0.1", target.port), keys, address=target.address))
            return opened[-1]

        yield connect
        for session in opened:
            session.close()


class TestServerSession(SessionContract):
    @pytest.fixture
    def connect(self, phone, adb_server):
        opened = []

        def connect(other=None):
            target = other or phone
            if adb_server.server.devices().get(target.address) != "device":
                adb_server.connect(target.address)
            opened.append(ServerSession(target.address))
            return opened[-1]

        yield connect
        for session in opened:
            session.close()


def test_a_session_says_where_it_goes(phone, keys):
    session = DirectSession(TcpTransport("127.0.0.1", phone.port), keys, address=phone.address)
    assert session.address == phone.address
    session.close()
