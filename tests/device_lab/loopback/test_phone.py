from __future__ import annotations

import contextlib
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from akd_gym.device_lab.loopback import LoopbackPhone
from akd_gym.errors import DeviceError

PATIENCE_S = 60.0


def test_the_root_is_private_and_removed_at_the_end(phone):
    assert stat.S_IMODE(phone.root.stat().st_mode) == 0o700
    phone.close()
    assert not phone.root.exists()
    phone.close()


def test_it_listens_on_the_loopback_interface_only(phone):
    lines = subprocess.run(["cat", "/proc/net/tcp"], capture_output=True, text=True, check=True).stdout.splitlines()
    local = [line.split()[1] for line in lines[1:] if line.split()[3] == "0A"]
    assert [one for one in local if int(one.split(":")[1], 16) == phone.port] == [f"0100007F:{phone.port:04X}"]


def test_a_port_that_is_taken_is_an_error_and_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(DeviceError, match=f"Port {port} of 127.0.0.1 must be free"):
            LoopbackPhone(port=port)
    assert not list(tmp_path.iterdir())


def test_two_phones_are_strangers(raw):
    with LoopbackPhone() as one, LoopbackPhone() as other:
        client, stranger = raw(one).connect(), raw(other).connect()
        client.exec("settings put global x 1; echo 1 > /data/local/tmp/x")
        assert stranger.exec("settings get global x; ls /data/local/tmp") == b"null\n"
        assert client.exec("getprop ro.serialno") != stranger.exec("getprop ro.serialno")
        next(client.parts(client.open(b"exec:echo; exec sleep 1000")))
        assert len(one.children()) == 1
        assert other.children() == []


def test_a_process_is_seen_also_while_it_becomes_another_program(phone, client):
    phone.path("/data/local/tmp/again").write_text('exec sh "$0"\n')
    next(client.parts(client.open(b"exec:echo; exec sh /data/local/tmp/again")))
    assert [len(phone.children()) for _ in range(300)] == [1] * 300


def test_closing_ends_also_what_hides_from_its_group(phone, client):
    client.exec(
        "setsid sh -c 'trap \"\" HUP TERM; while :; do sleep 1000; done' >/dev/null 2>&1 </dev/null & sleep 0.2"
    )
    next(client.parts(client.open(b"exec:echo; exec sleep 1000")))
    assert len(phone.children()) > 2
    phone.close()
    assert phone.children() == []
    ours = [pid for pid in Path("/proc/self/task").glob("*/children") if b"Z" in states_of(pid)]
    assert ours == []


@pytest.mark.parametrize("how", ["service", "command", "button"])
def test_a_reboot_forgets_what_no_phone_keeps_and_keeps_the_rest(raw, how):
    with LoopbackPhone(reboot_s=0.2) as phone:
        client = raw(phone).connect()
        client.exec("cmd power set-fixed-performance-mode-enabled true; input keyevent KEYCODE_SLEEP")
        client.exec("settings put global x 1; echo file > /data/local/tmp/x")
        next(client.parts(client.open(b"exec:echo; exec sleep 1000")))
        assert len(phone.children()) == 1
        if how == "service":
            client.send(b"OPEN", 99, 0, b"reboot:\0")
        elif how == "command":
            client.send(b"OPEN", 99, 0, b"exec:reboot\0")
        else:
            phone.reboot()
        with pytest.raises((EOFError, ConnectionError)):
            read_for_ever(client)
        again = reconnected(raw, phone)
        assert phone.children() == []
        state = phone.state()
        assert (state.fixed_performance, state.awake, state.settings["global/x"]) == (False, True, "1")
        assert again.exec("cat /data/local/tmp/x") == b"file\n"
        assert again.asked == 1


def states_of(children: Path) -> set[bytes]:
    """States of the child processes that one of our threads started."""
    found = set()
    for pid in children.read_text(encoding="ascii").split():
        with contextlib.suppress(OSError):
            found.add(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1])
    return found


def read_for_ever(client):
    while True:
        client.read()


def reconnected(raw, phone):
    latest = time.monotonic() + PATIENCE_S
    while True:
        try:
            return raw(phone).connect()
        except (EOFError, ConnectionError):
            if time.monotonic() > latest:
                raise
            time.sleep(0.05)


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
def test_serve_says_where_it_is_and_warns_and_ends_on_a_signal(raw, name):
    program = "from akd_gym.device_lab.loopback import *; serve(faults=[parse_fault('cut@push')])"
    with subprocess.Popen(
        [sys.executable, "-u", "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            where, warning, fault = (server.stdout.readline() for _ in range(3))
            assert "Loopback phone on 127.0.0.1:" in where
            assert "WARNING" in warning
            assert "run on this machine as this user" in warning
            assert "cut at push" in fault
            with socket.create_connection(("127.0.0.1", int(where.split("127.0.0.1:")[1].split()[0])), PATIENCE_S):
                server.send_signal(name)
                assert server.wait(PATIENCE_S) == 0
                assert server.stderr.read() == ""
        finally:
            server.kill()
