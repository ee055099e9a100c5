from __future__ import annotations

import socket
import sys
import threading

import pytest

from akd_gym.device_lab.adb import stream_session
from akd_gym.device_lab.adb.adb_server import AdbServer, find_adb
from akd_gym.device_lab.adb.server_session import ServerSession
from akd_gym.device_lab.loopback.phone import LoopbackPhone
from akd_gym.errors import (
    BadOutputError,
    CommandFailedError,
    DeviceLostError,
    DeviceTimeoutError,
    DeviceUnauthorizedError,
    InvalidSettingError,
)


@pytest.fixture
def scripted():
    """Starts a server that sends the same answer to whoever connects, and keeps the connection open or not."""
    sockets = []

    def start(answer: bytes, *, stays: bool = False) -> AdbServer:
        listening = socket.create_server(("127.0.0.1", 0))
        sockets.append(listening)

        def serve():
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                connection.recv(4096)
                connection.sendall(answer)
                if stays:
                    sockets.append(connection)
                else:
                    connection.close()

        threading.Thread(target=serve, daemon=True).start()
        return AdbServer(port=listening.getsockname()[1])

    yield start
    for one in sockets:
        one.close()


def test_both_versions_of_adb_serve_files_and_commands(each_adb, make_adb_server, phone):
    own = make_adb_server(each_adb)
    own.start()
    own.connect(phone.address)
    session = ServerSession(phone.address, own.server)
    content = bytes(range(256)) * 10_000
    session.push(content, "/data/local/tmp/it's here")
    assert session.pull("/data/local/tmp/it's here") == content
    assert session.run("echo well; exit 7").exit_code == 7
    session.close()


def test_a_server_is_started_where_none_runs(make_adb_server, monkeypatch):
    own = make_adb_server(find_adb())
    for name, value in own.environment.items():
        monkeypatch.setenv(name, value)
    assert not own.server.is_running()
    with pytest.raises(DeviceLostError, match="'NONE' must be ready"):
        ServerSession("NONE")
    assert own.server.is_running()


def test_without_a_server_and_adb_the_extra_is_named(make_adb_server, tmp_path, monkeypatch):
    own = make_adb_server("adb")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "adbutils", None)
    with pytest.raises(InvalidSettingError, match=r"akd-gym\[adb-server\]"):
        ServerSession("ANY", own.server)


def test_without_adb_on_the_path_the_one_of_adbutils_is_found(tmp_path, monkeypatch):
    pytest.importorskip("adbutils")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "adbutils" in find_adb()


def test_no_server_is_started_on_another_host():
    with pytest.raises((DeviceLostError, DeviceTimeoutError)):
        ServerSession("ANY", AdbServer("127.0.0.2", 1), timeout_s=1)


def test_a_serial_number_may_be_anything(adb_server):
    with pytest.raises(DeviceLostError, match="must be ready at the adb server"):
        ServerSession('a b"; $(touch gone) `x`\nhost:kill')
    assert adb_server.server.is_running()


def test_a_phone_that_does_not_know_the_servers_key_must_be_looked_at(adb_server):
    with LoopbackPhone(accept_new_keys=False) as phone:
        adb_server.adb("connect", phone.address)
        with pytest.raises(DeviceUnauthorizedError, match="Look at its screen"):
            ServerSession(phone.address)


def test_a_server_that_dies_is_a_lost_device(adb_server, phone):
    adb_server.connect(phone.address)
    session = ServerSession(phone.address)
    threading.Timer(0.3, adb_server.stop).start()
    with pytest.raises(DeviceLostError):
        session.run("sleep 30")
    assert not adb_server.server.is_running()


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400\r\n\r\n", b"OKAYzzzz", b"FAILzzzz"])
def test_something_else_than_an_adb_server_is_bad_output(scripted, answer):
    with pytest.raises((BadOutputError, DeviceLostError)):
        scripted(answer).devices()


@pytest.mark.parametrize("answer", [b"", b"OK", b"OKAY", b"OKAY00", b"OKAY0100short"])
def test_a_server_that_closes_amid_its_answer_is_lost(scripted, answer):
    with pytest.raises(DeviceLostError, match="closed the connection"):
        scripted(answer).devices()


@pytest.mark.parametrize("answer", [b"", b"OKAY", b"OKAYffff"])
def test_a_server_that_says_no_more_ends_at_the_deadline(scripted, answer):
    with pytest.raises(DeviceTimeoutError):
        scripted(answer, stays=True).devices(timeout_s=0.2)


def test_a_refusal_is_passed_on(scripted):
    with pytest.raises(CommandFailedError, match="no such thing"):
        scripted(b"FAIL000dno such thing").devices()


def test_a_mute_server_does_not_keep_a_session_waiting(scripted, monkeypatch):
    monkeypatch.setattr(stream_session, "GRACE_S", 0.2)
    with pytest.raises((DeviceTimeoutError, DeviceLostError, InvalidSettingError)):
        ServerSession("ANY", scripted(b"", stays=True), timeout_s=0.3)


@pytest.mark.parametrize("port", ["x", "0", "65536", "-1", " "])
def test_a_port_that_is_none_is_refused(monkeypatch, port):
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", port)
    with pytest.raises(InvalidSettingError, match="ANDROID_ADB_SERVER_PORT"):
        AdbServer.of_environment()
