"""What adb_shell sends and receives through: TCP and USB, every wait bounded, every packet header checked."""

from __future__ import annotations

import struct
from abc import abstractmethod

from adb_shell import constants
from adb_shell.transport.base_transport import BaseTransport

from akd_gym.device_lab.adb.links import Deadline, Link, SocketLink
from akd_gym.device_lab.adb.usb_link import UsbLink
from akd_gym.errors import BadOutputError, DeviceLostError, DeviceUnauthorizedError

MAX_PAYLOAD = constants.MAX_ADB_DATA
"""Bytes in a packet that this side announces it takes (1 MiB). A longer one is damage, and is not waited for."""
_PACKET_COST = 1024  # bytes of memory, at most, that an empty packet takes where adb_shell keeps it
_STLS = int.from_bytes(b"STLS", "little")


class DeadlineTransport(BaseTransport):
    """A transport that keeps a deadline over a whole operation, however many packets it takes.

    adb_shell looks at its own time limits only when data arrives, takes a short write for a whole one, and reads an
    ended stream for ever; so its limits are left unused. Here a read or write is whole or an error. And as adb_shell
    checks neither the magic nor the length in a header, they are checked here: a read is always one header or one
    payload, in turn.
    """

    def __init__(self) -> None:
        self._link: Link | None = None
        self._deadline = Deadline(0.0, "begin")
        self._budget = 0
        self._payload_due = 0

    def begin(self, deadline: Deadline, budget: int) -> None:
        """Sets the limits of the next operation.

        Args:
            deadline: For all of it.
            budget: Bytes that the device may send in it.
        """
        self._deadline, self._budget = deadline, budget

    def connect(self, transport_timeout_s: float | None = None) -> None:
        """Opens the link.

        Raises:
            DeviceLostError: The device is not there.
            DeviceTimeoutError: It does not answer.
        """
        self._payload_due = 0
        self._link = self._open_link(self._deadline)

    def close(self) -> None:
        """Ends the link, also while another thread reads; that one gets `DeviceLostError`."""
        if self._link is not None:
            self._link.close()

    def bulk_write(self, data: bytes, transport_timeout_s: float | None = None) -> int:
        """Sends all of `data`.

        Raises:
            DeviceLostError: The link broke.
            DeviceTimeoutError: The operation's deadline came first.
        """
        self._opened().send(bytes(data), self._deadline)
        return len(data)

    def bulk_read(self, numbytes: int, transport_timeout_s: float | None = None) -> bytes:
        """Exactly `numbytes` bytes: a header or its payload.

        Raises:
            BadOutputError: What arrived cannot be a header, or the device sends more than the operation allows.
            DeviceLostError: The link broke or ended.
            DeviceTimeoutError: The operation's deadline came first.
        """
        link = self._opened()
        data = bytearray()
        while len(data) < numbytes:
            part = link.receive(numbytes - len(data), self._deadline)
            if not part:
                raise DeviceLostError(f"The link to {link.peer} must stay up, but the device closed it.")
            data += part
        self._payload_due = 0 if self._payload_due else self._checked_payload_length(data)
        return bytes(data)

    @abstractmethod
    def _open_link(self, deadline: Deadline) -> Link: ...

    def _opened(self) -> Link:
        if self._link is None:
            raise DeviceLostError("The transport is not connected. Open another session.")
        return self._link

    def _checked_payload_length(self, header: bytearray) -> int:
        command, _, _, length, _, magic = struct.unpack("<6I", header)
        if magic != command ^ 0xFFFFFFFF:
            raise BadOutputError(f"A packet must start with a header of adb, but got {bytes(header)!r}.")
        if command == _STLS:
            raise DeviceUnauthorizedError(
                "The device must take the plain protocol, but wants TLS (wireless debugging). "
                "Pair it once with `adb pair`, then name it `server:SERIAL`."
            )
        if length > MAX_PAYLOAD:
            raise BadOutputError(f"A packet must hold at most {MAX_PAYLOAD} bytes, but announces {length}.")
        self._budget -= length + _PACKET_COST
        if self._budget < 0:
            raise BadOutputError(f"To {self._deadline.task}: the device sent far more than can be its answer.")
        return length


class TcpTransport(DeadlineTransport):
    """To a device that listens on a TCP port."""

    def __init__(self, host: str, port: int = 5555) -> None:
        super().__init__()
        self._host, self._port = host, port

    def _open_link(self, deadline: Deadline) -> Link:
        return SocketLink.connect(self._host, self._port, deadline)


class UsbTransport(DeadlineTransport):
    """To a device on a USB cable, without an adb server (extra `usb`)."""

    def __init__(self, serial: str) -> None:
        super().__init__()
        self._serial = serial

    def _open_link(self, deadline: Deadline) -> Link:
        return UsbLink.find(self._serial)
