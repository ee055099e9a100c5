from __future__ import annotations

import socket
import struct

import pytest

from akd_gym.device_lab.adb.links import Deadline, SocketLink
from akd_gym.device_lab.adb.transports import MAX_PAYLOAD, DeadlineTransport, TcpTransport
from akd_gym.errors import BadOutputError, DeviceLostError, DeviceTimeoutError, DeviceUnauthorizedError


class PairTransport(DeadlineTransport):
    """Over one end of a socket pair."""

    def __init__(self) -> None:
        super().__init__()
        self._near, self.far = socket.socketpair()

    def _open_link(self, deadline):
        return SocketLink(self._near, "the other end")


@pytest.fixture
def transport():
    transport = PairTransport()
    transport.begin(Deadline(30, "test"), 2**20)
    transport.connect()
    yield transport
    transport.close()
    transport.far.close()


def header(command: bytes, length: int, magic: int | None = None) -> bytes:
    number = int.from_bytes(command, "little")
    return struct.pack("<6I", number, 1, 1, length, 0, number ^ 0xFFFFFFFF if magic is None else magic)


def test_a_read_is_whole_however_it_arrives(transport):
    packet = header(b"WRTE", 30) + bytes(range(30))
    for one in packet[:-1]:
        transport.far.send(bytes([one]))
    transport.far.send(packet[-1:])
    assert transport.bulk_read(24) + transport.bulk_read(30) == packet


def test_headers_and_payloads_take_turns(transport):
    """A payload of a header's length is not looked at as one."""
    packets = header(b"WRTE", 24) + bytes(24) + header(b"OKAY", 0) + header(b"CLSE", 0)
    transport.far.send(packets)
    assert b"".join(transport.bulk_read(24) for _ in range(4)) == packets


def test_the_end_of_the_stream_is_a_lost_device(transport):
    transport.far.send(header(b"OKAY", 0)[:10])
    transport.far.close()
    with pytest.raises(DeviceLostError, match="the device closed it"):
        transport.bulk_read(24)


def test_a_wrong_magic_is_bad_output(transport):
    transport.far.send(header(b"OKAY", 0, magic=7))
    with pytest.raises(BadOutputError, match="must start with a header of adb"):
        transport.bulk_read(24)


@pytest.mark.parametrize("length", [MAX_PAYLOAD + 1, 2**32 - 1])
def test_a_huge_payload_is_not_waited_for(transport, length):
    transport.far.send(header(b"WRTE", length))
    with pytest.raises(BadOutputError, match=f"announces {length}"):
        transport.bulk_read(24)


def test_tls_is_named_with_its_cure(transport):
    transport.far.send(header(b"STLS", 0))
    with pytest.raises(DeviceUnauthorizedError, match="server:SERIAL"):
        transport.bulk_read(24)


def test_a_device_that_sends_more_than_its_answer_can_be_is_stopped(transport):
    transport.begin(Deadline(30, "test"), 10_000)
    transport.far.send(header(b"OKAY", 0) * 100)
    with pytest.raises(BadOutputError, match="far more"):
        [transport.bulk_read(24) for _ in range(100)]


def test_a_new_operation_has_limits_of_its_own(transport):
    transport.begin(Deadline(-1, "test"), 0)
    transport.far.send(header(b"OKAY", 0))
    with pytest.raises(DeviceTimeoutError):
        transport.bulk_read(24)
    transport.begin(Deadline(30, "test"), 10_000)
    assert transport.bulk_read(24) == header(b"OKAY", 0)


def test_a_transport_that_is_not_connected_is_lost():
    transport = TcpTransport("127.0.0.1", 1)
    transport.close()
    with pytest.raises(DeviceLostError, match="not connected"):
        transport.bulk_read(24)
