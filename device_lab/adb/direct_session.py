"""A session straight to a device, over adb-shell: TCP, or USB where no adb server runs."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Sequence
from typing import Any

from adb_shell import constants, exceptions
from adb_shell.adb_device import AdbDevice
from adb_shell.adb_message import AdbMessage
from adb_shell.hidden_helpers import _AdbTransactionInfo

from akd_gym.device_lab.adb.file_transfer import Stream
from akd_gym.device_lab.adb.keys import DeviceKey
from akd_gym.device_lab.adb.links import Deadline
from akd_gym.device_lab.adb.stream_session import StreamSession
from akd_gym.device_lab.adb.transports import DeadlineTransport
from akd_gym.errors import (
    BadOutputError,
    CommandFailedError,
    DeviceError,
    DeviceLostError,
    DeviceTimeoutError,
    DeviceUnauthorizedError,
)

_UNLIMITED = float("inf")  # adb_shell's own time limits; the transport's deadline is the one that holds
_HANDSHAKE_BYTES = 2**20
_BAD_OUTPUT = (
    exceptions.InvalidChecksumError,
    exceptions.InvalidCommandError,
    exceptions.InvalidResponseError,
    ValueError,
    struct.error,
)


class DirectSession(StreamSession):
    """A `Session` over adb's own protocol. The constructor connects and authenticates.

    Args:
        transport: To the device, not connected yet.
        keys: This computer's keys, tried in turn. The first is offered for confirmation on the device's screen.
        address: As in `parse_address`, for messages.
        timeout_s: To connect, the time that a user takes to confirm included.

    Raises:
        DeviceLostError: The device is not there, or the link broke.
        DeviceUnauthorizedError: It knows none of the keys, and nobody confirmed one on its screen.
        DeviceTimeoutError: It does not answer.
        BadOutputError: Something else than adb answers.
    """

    def __init__(
        self, transport: DeadlineTransport, keys: Sequence[DeviceKey], *, address: str, timeout_s: float = 10.0
    ) -> None:
        super().__init__(address)
        self._transport = transport
        self._device = AdbDevice(transport, banner="akd_gym")
        self._stream_ids = itertools.count(1)
        self._confirmation_asked = False
        with self._operation(timeout_s, "connect") as deadline:
            transport.begin(deadline, _HANDSHAKE_BYTES)
            try:
                self._device.connect(keys, _UNLIMITED, _UNLIMITED, _UNLIMITED, self._note_confirmation)
            except (DeviceTimeoutError, DeviceLostError) as error:
                if self._confirmation_asked:
                    raise self._unauthorized() from error
                raise
            if self._device.max_chunk_size < constants.MAX_PUSH_DATA:
                raise BadOutputError(
                    f"{address} must take packets of {constants.MAX_LEGACY_ADB_DATA} bytes, but announces fewer."
                )

    def _open(self, service: str, deadline: Deadline, budget: int) -> Stream:
        self._transport.begin(deadline, budget)
        return _PacketStream(self._device, next(self._stream_ids), service)

    def _disconnect(self) -> None:
        self._transport.close()  # not the device's `close`, which waits until nobody reads

    @property
    def _longest_service(self) -> int:
        return int(self._device.max_chunk_size)

    def _translated(self, error: Exception) -> DeviceError | None:
        if isinstance(error, exceptions.DeviceAuthError):
            return self._unauthorized()
        if isinstance(error, _BAD_OUTPUT):
            return BadOutputError(f"{self.address} must speak adb's protocol, but: {error}.")
        return None

    def _note_confirmation(self, device: Any) -> None:
        self._confirmation_asked = True

    def _unauthorized(self) -> DeviceUnauthorizedError:
        return DeviceUnauthorizedError(
            f"{self.address} must accept this computer's key, but does not know it and nobody confirmed it. "
            "Look at the device's screen: allow USB debugging from this computer (tick `always`), then try again."
        )


class _PacketStream:
    """One service, over packets that each wait for their answer.

    adb_shell's own loops wait for ever for an answer when a device refuses a service or a file, because they skip the
    packet that says so. This one looks at every packet of its stream.
    """

    def __init__(self, device: AdbDevice, stream_id: int, service: str) -> None:
        self._io = device._io_manager
        self._chunk = device.max_chunk_size
        self._info = _AdbTransactionInfo(stream_id, None, _UNLIMITED, _UNLIMITED)
        self._received = bytearray()
        self._is_closed = False
        self._io.send(AdbMessage(constants.OPEN, stream_id, 0, service.encode() + b"\0"), self._info)
        command, self._info.remote_id, _, _ = self._io.read([constants.OKAY, constants.CLSE], self._info)
        if command == constants.CLSE:
            raise CommandFailedError(f"The device must have the service `{service[:40]}`, but refuses it.")

    def write(self, data: bytes) -> None:
        for start in range(0, len(data), self._chunk):
            self._send(constants.WRTE, data[start : start + self._chunk])
            while not self._is_closed and self._next() != constants.OKAY:
                pass
            if self.answered():
                return

    def answered(self) -> bool:
        return bool(self._received) or self._is_closed

    def read(self, count: int) -> bytes:
        while len(self._received) < count:
            if self._is_closed:
                raise BadOutputError(f"{count} bytes must follow, but the device closed the stream before.")
            self._next()
        part = bytes(self._received[:count])
        del self._received[:count]
        return part

    def read_to_end(self, limit: int) -> bytes:
        while not self._is_closed:
            self._next()
            if len(self._received) > limit:
                raise BadOutputError(f"The device must send at most {limit} bytes, but sent more.")
        return bytes(self._received)

    def close(self) -> None:
        if not self._is_closed:
            self._send(constants.CLSE)
            self._is_closed = True
            self._io.read([constants.CLSE], self._info, allow_zeros=True)

    def _next(self) -> bytes:
        """Takes in the next packet of this stream; its command."""
        expected = [constants.OKAY, constants.WRTE, constants.CLSE]
        command, _, _, data = self._io.read(expected, self._info, allow_zeros=True)
        if command == constants.WRTE:
            self._send(constants.OKAY)
            self._received += data
        elif command == constants.CLSE:
            self._send(constants.CLSE)
            self._is_closed = True
        return command

    def _send(self, command: bytes, data: bytes = b"") -> None:
        self._io.send(AdbMessage(command, self._info.local_id, self._info.remote_id, data), self._info)
