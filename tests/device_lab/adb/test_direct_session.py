from __future__ import annotations

import socket
import struct
import threading

import pytest

from akd_gym.device_lab.adb import stream_session
from akd_gym.device_lab.adb.direct_session import DirectSession
from akd_gym.device_lab.adb.keys import load_keys
from akd_gym.device_lab.adb.transports import TcpTransport
from akd_gym.device_lab.loopback.faults import Fault
from akd_gym.device_lab.loopback.phone import LoopbackPhone
from akd_gym.errors import (
    BadOutputError,
    CommandFailedError,
    DeviceError,
    DeviceLostError,
    DeviceTimeoutError,
    DeviceUnauthorizedError,
)


def connected(port: int, keys, timeout_s: float = 10.0) -> DirectSession:
    return DirectSession(TcpTransport("127.0.0.1", port), keys, address=f"127.0.0.1:{port}", timeout_s=timeout_s)


def packet(command: bytes, arg0: int, arg1: int, data: bytes = b"") -> bytes:
    number = int.from_bytes(command, "little")
    return struct.pack("<6I", number, arg0, arg1, len(data), sum(data), number ^ 0xFFFFFFFF) + data


CONNECTED = packet(b"CNXN", 0x01000000, 4096, b"device::\0")


@pytest.fixture
def scripted():
    """Starts a server that answers each packet it gets by the next of the replies, and then says no more."""
    servers = []

    def start(*replies: bytes) -> int:
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)
        threading.Thread(target=_answer, args=(server, replies), daemon=True).start()
        return server.getsockname()[1]

    yield start
    for server in servers:
        server.close()


def _answer(server: socket.socket, replies) -> None:
    connection, _ = server.accept()
    with connection, connection.makefile("rb") as reader:
        for reply in replies:
            header = reader.read(24)
            if len(header) < 24:
                return
            reader.read(struct.unpack("<6I", header)[3])
            connection.sendall(reply)
        reader.read()


def test_a_phone_that_does_not_know_the_key_must_be_looked_at(keys):
    with (
        LoopbackPhone(accept_new_keys=False) as phone,
        pytest.raises(DeviceUnauthorizedError, match="Look at the device's screen"),
    ):
        connected(phone.port, keys, timeout_s=0.5)


def test_one_known_key_of_several_is_enough(keys, tmp_path):
    (other,) = load_keys(tmp_path)
    with LoopbackPhone(accept_new_keys=False, known_keys=[keys[0].GetPublicKey()]) as phone:
        session = connected(phone.port, [other, *keys])
        assert session.run("echo in").output == "in"
        session.close()


def test_without_any_key_a_phone_is_unauthorized(phone):
    with pytest.raises(DeviceUnauthorizedError):
        connected(phone.port, [])


@pytest.mark.parametrize(
    "name", ["cut", "mute", "hang", "drip", "garble", "bad_packet", "nonzero", "truncate", "reboot"]
)
def test_no_fault_while_connecting_outlasts_its_time(phone, keys, name, monkeypatch):
    monkeypatch.setattr(stream_session, "GRACE_S", 0.5)
    phone.inject(Fault(name, "connect", reboot_s=0.1))
    try:
        session = connected(phone.port, keys, timeout_s=0.5)
    except (DeviceLostError, DeviceTimeoutError, DeviceUnauthorizedError, BadOutputError):
        assert name != "garble"
    else:  # a signature of a wrong challenge is refused, but the key itself is accepted then
        assert name == "garble"
        assert session.run("echo well").output == "well"
        session.close()
    assert [fault.name for fault in phone.fired()] == [name]


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n", bytes(100), b"\xff" * 100],
)
def test_something_else_than_adb_is_bad_output(scripted, keys, answer):
    with pytest.raises(BadOutputError):
        connected(scripted(answer), keys)


def test_a_challenge_of_the_wrong_length_is_bad_output(scripted, keys):
    with pytest.raises(BadOutputError, match="must speak adb's protocol"):
        connected(scripted(packet(b"AUTH", 1, 0, b"short")), keys)


def test_a_wrong_checksum_is_bad_output(scripted, keys):
    wrong = bytearray(CONNECTED)
    wrong[-2] ^= 1
    with pytest.raises(BadOutputError, match="checksum"):
        connected(scripted(bytes(wrong)), keys)


def test_a_refused_service_fails_and_harms_nothing(scripted, keys):
    session = connected(scripted(CONNECTED, packet(b"CLSE", 0, 1), packet(b"CLSE", 0, 2)), keys)
    for _ in range(2):
        with pytest.raises(CommandFailedError, match="refuses it"):
            session.run("true")
    session.close()


def test_a_stream_that_is_closed_amid_a_push_is_bad_output(scripted, keys):
    session = connected(scripted(CONNECTED, packet(b"OKAY", 9, 1), packet(b"CLSE", 9, 1), b""), keys)
    with pytest.raises(BadOutputError, match="closed the stream before"):
        session.push(b"x", "/data/file")


def test_packets_of_other_streams_do_not_keep_a_session_waiting(scripted, keys, monkeypatch):
    """adb_shell sets them aside for ever; here the deadline and the budget hold."""
    monkeypatch.setattr(stream_session, "GRACE_S", 0.2)
    session = connected(scripted(CONNECTED, packet(b"WRTE", 77, 78, b"x") * 1000), keys)
    with pytest.raises(DeviceTimeoutError):
        session.run("true", timeout_s=0.2)


def test_a_flood_of_packets_of_other_streams_is_stopped(scripted, keys, monkeypatch):
    monkeypatch.setattr(stream_session, "_ANSWER_BYTES", 2**20)
    session = connected(scripted(CONNECTED, packet(b"OKAY", 77, 78) * 2000), keys)
    with pytest.raises(BadOutputError, match="far more"):
        session.run("true")


def test_a_device_of_the_first_generation_takes_small_packets(scripted, keys):
    """4096 bytes a packet: a command that does not fit is refused before anything is sent."""
    from akd_gym.errors import InvalidSettingError

    session = connected(scripted(CONNECTED), keys)
    with pytest.raises(InvalidSettingError, match="Push it as a script"):
        session.run("echo " + "x" * 4096)
    session.close()


def test_opening_does_not_leave_a_socket_behind(keys):
    server = socket.create_server(("127.0.0.1", 0))
    port, accepted = server.getsockname()[1], []

    def answer():
        connection, _ = server.accept()
        connection.sendall(b"\xff" * 24)
        connection.settimeout(10)
        while connection.recv(4096):
            pass
        accepted.append("closed")

    thread = threading.Thread(target=answer)
    thread.start()
    with pytest.raises(DeviceError):
        connected(port, keys)
    thread.join(10)
    assert accepted == ["closed"]
    server.close()
