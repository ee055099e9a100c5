"""The USB transport, with the real protocol through it. No USB is here: see `StandInHandle`."""

from __future__ import annotations

import random
import socket
import threading

import pytest

from akd_gym.device_lab.adb.direct_session import DirectSession
from akd_gym.device_lab.adb.links import Deadline
from akd_gym.device_lab.adb.transports import DeadlineTransport
from akd_gym.device_lab.adb.usb_link import UsbLink
from akd_gym.errors import DeviceLostError, DeviceTimeoutError

usb1 = pytest.importorskip("usb1")
from adb_shell.transport.usb_transport import UsbTransport as LibusbTransport  # noqa: E402

PACKET = 512
READ, WRITE = 0x81, 0x02


class StandInHandle:
    """Stands in for libusb's handle to a phone: carries bytes to and from a socket as bulk transfers.

    A read gives at most what was asked for and often less; a write takes only a part now and then; some slices of time
    run out with a part moved, as libusb reports it. Like the daemon on a phone, it passes on what it got only at a
    packet that is not full: a transfer of full packets that no empty one ends stays where it is.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket, self._random = connection, random.Random(0)
        self._taken = bytearray()
        self.empty_packets = 0
        self.lost = False
        self.released = False

    def kernelDriverActive(self, interface):
        return False

    def claimInterface(self, interface):
        assert interface == 1

    def releaseInterface(self, interface):
        self.released = True

    def close(self):
        self._socket.close()

    def bulkRead(self, endpoint, length, timeout=0):
        assert endpoint == READ
        assert length % PACKET == 0
        assert timeout > 0
        self._check()
        self._socket.settimeout(timeout / 1000)
        try:
            data = self._socket.recv(self._random.choice([length, max(1, length // 2), 100]))
        except TimeoutError:
            raise self._timeout(received=b"", transferred=0) from None
        if not data:
            raise usb1.USBErrorNoDevice(-4)
        if self._random.random() < 0.05:
            raise self._timeout(received=bytearray(data), transferred=len(data))
        return bytearray(data)

    def bulkWrite(self, endpoint, data, timeout=0):
        assert endpoint == WRITE
        assert timeout > 0
        self._check()
        self.empty_packets += not data
        chance = self._random.random()
        count = len(data) if chance < 0.7 else len(data) // 2 // PACKET * PACKET
        if chance > 0.9:
            self._take(data[:count], ends=False)
            raise self._timeout(transferred=count)
        count = count or len(data)
        self._take(data[:count], ends=count < len(data) or len(data) % PACKET != 0 or not data)
        return count

    def _take(self, data, ends):
        self._taken += data
        if ends:
            self._socket.sendall(self._taken)
            self._taken.clear()

    def _check(self):
        if self.lost:
            raise usb1.USBErrorNoDevice(-4)

    def _timeout(self, **moved):
        error = usb1.USBErrorTimeout(-7)
        for name, value in moved.items():
            setattr(error, name, value)
        return error


class StandInDevice:
    """What adb_shell's wrapper asks a libusb device, its setting and its endpoints."""

    def __init__(self, connection: socket.socket, error: Exception | None = None) -> None:
        self.handle, self._error = StandInHandle(connection), error

    def open(self):
        if self._error:
            raise self._error
        return self.handle

    def getSerialNumber(self):
        return "STANDIN"

    def getNumber(self):
        return 1

    def iterEndpoints(self):
        return iter([StandInEndpoint(READ), StandInEndpoint(WRITE)])


class StandInEndpoint:
    def __init__(self, address: int) -> None:
        self._address = address

    def getAddress(self):
        return self._address

    def getMaxPacketSize(self):
        return PACKET


class StandInTransport(DeadlineTransport):
    def __init__(self, device: StandInDevice) -> None:
        super().__init__()
        self._device = device

    def _open_link(self, deadline):
        return UsbLink.open(LibusbTransport(self._device, self._device), "usb:STANDIN")


@pytest.fixture
def device(phone):
    return StandInDevice(socket.create_connection(("127.0.0.1", phone.port)))


@pytest.fixture
def session(device, keys):
    session = DirectSession(StandInTransport(device), keys, address="usb:STANDIN")
    yield session
    session.close()


@pytest.fixture
def pair():
    near, far = socket.socketpair()
    device = StandInDevice(near)
    link = UsbLink.open(LibusbTransport(device, device), "usb:STANDIN")
    yield link, far, device.handle
    link.close()
    far.close()


def test_the_real_protocol_runs_over_short_and_split_transfers(session, device):
    content = random.Random(2).randbytes(2**20)
    session.push(content, "/data/local/tmp/model")
    assert session.pull("/data/local/tmp/model") == content
    assert [session.run(f"echo {i}").output for i in range(20)] == [str(i) for i in range(20)]
    assert device.handle.empty_packets > 0


@pytest.mark.parametrize("length", [1, 511, 512, 513, 1024, 5120, 100_000])
def test_every_length_reaches_the_phone(pair, length):
    """Also those that fill their packets: an empty packet ends them."""
    link, far, _ = pair
    data = random.Random(length).randbytes(length)
    link.send(data, Deadline(30, "test"))
    got = bytearray()
    far.settimeout(10)
    while len(got) < length:
        got += far.recv(length)
    assert got == data


def test_no_more_is_given_than_asked_for_and_nothing_is_lost(pair):
    link, far, _ = pair
    data = random.Random(3).randbytes(5000)
    far.sendall(data)
    got = [link.receive(7, Deadline(30, "test"))]
    while sum(map(len, got)) < len(data):
        got.append(link.receive(7, Deadline(30, "test")))
    assert b"".join(got) == data
    assert max(map(len, got)) <= 7


def test_silence_ends_at_the_deadline(pair):
    with pytest.raises(DeviceTimeoutError):
        pair[0].receive(24, Deadline(0.3, "test"))


def test_a_cable_pulled_out_is_a_lost_device(session, device):
    device.handle.lost = True
    with pytest.raises(DeviceLostError, match="usb:STANDIN must stay up"):
        session.run("true")
    assert device.handle.released


def test_a_write_to_a_phone_that_is_gone_is_lost(pair):
    link, _, handle = pair
    handle.lost = True
    with pytest.raises(DeviceLostError):
        link.send(b"x", Deadline(30, "test"))


def test_empty_transfers_are_no_data(pair):
    link, _, handle = pair
    handle.bulkRead = lambda *_, **__: bytearray()
    with pytest.raises(DeviceLostError, match="without any"):
        link.receive(24, Deadline(30, "test"))


def test_a_phone_that_takes_nothing_is_lost(pair):
    link, _, handle = pair
    handle.bulkWrite = lambda *_, **__: 0
    with pytest.raises(DeviceLostError, match="takes none"):
        link.send(b"x", Deadline(30, "test"))


def test_another_thread_can_break_off_a_read(pair):
    link, _, handle = pair
    closing = threading.Timer(0.1, link.close)
    closing.start()
    with pytest.raises(DeviceLostError, match="closed"):
        link.receive(24, Deadline(30, "test"))
    closing.join(10)
    assert handle.released


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (usb1.USBErrorAccess(-3), "udev rules"),
        (usb1.USBErrorBusy(-6), "An adb server is likely"),
        (usb1.USBErrorNoDevice(-4), "must be plugged in"),
    ],
)
def test_a_phone_that_cannot_be_opened_says_what_to_do(keys, error, said):
    near, far = socket.socketpair()
    with near, far, pytest.raises(DeviceLostError, match=said):
        DirectSession(StandInTransport(StandInDevice(near, error)), keys, address="usb:STANDIN")


def test_a_phone_that_is_not_plugged_in_is_named():
    with pytest.raises(DeviceLostError, match="usb:NONE must be plugged in"):
        UsbLink.find("NONE")
