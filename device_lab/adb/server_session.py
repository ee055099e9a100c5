"""A session through the host's adb server: shared USB, and paired wireless phones (extra `adb-server`)."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from akd_gym.device_lab.adb.adb_server import LONGEST_REQUEST, AdbServer, demand
from akd_gym.device_lab.adb.file_transfer import Stream
from akd_gym.device_lab.adb.links import Deadline, SocketLink
from akd_gym.device_lab.adb.stream_session import StreamSession
from akd_gym.errors import BadOutputError, DeviceError, DeviceLostError

_CHUNK = 2**16
_CHECK_S = 2.0


class ServerSession(StreamSession):
    """A `Session` with a device that an adb server holds. The constructor starts the server if none runs.

    Args:
        serial: As `adb devices` lists it.
        server: By default the one that `adb` would use.
        timeout_s: To find the device.

    Raises:
        DeviceLostError: The server or the device is not there.
        DeviceUnauthorizedError: The device does not accept the server's key.
        DeviceTimeoutError: The server does not answer.
        BadOutputError: Something else answers.
        InvalidSettingError: No server runs, and there is no `adb` to start one.
    """

    def __init__(self, serial: str, server: AdbServer | None = None, *, timeout_s: float = 10.0) -> None:
        super().__init__(f"server:{serial}")
        self._serial, self._server = serial, server or AdbServer.of_environment()
        self._link: SocketLink | None = None
        self._link_change = threading.Lock()
        with self._operation(timeout_s, "connect") as deadline:
            self._server.start(deadline)
            self._server.select(serial, deadline).close()

    @contextlib.contextmanager
    def _operation(self, timeout_s: float, task: str) -> Iterator[Deadline]:
        with super()._operation(timeout_s, task) as deadline:
            try:
                yield deadline
            except BadOutputError as error:
                # When a device is lost, the server ends the stream as if all had been said.
                if self._is_lost():
                    raise DeviceLostError(f"{self.address} was lost in the middle of an answer.") from error
                raise

    def _open(self, service: str, deadline: Deadline, budget: int) -> Stream:
        link = self._server.select(self._serial, deadline)
        with self._link_change:
            self._link = link
        if self._is_closed:  # by another thread, which may have missed this link
            link.close()
        try:
            demand(link, service, deadline)
        except DeviceError:
            link.close()
            raise
        return _ServerStream(link, deadline)

    def _disconnect(self) -> None:
        with self._link_change:
            if self._link is not None:
                self._link.close()

    @property
    def _longest_service(self) -> int:
        return LONGEST_REQUEST

    def _is_lost(self) -> bool:
        try:
            self._server.select(self._serial, Deadline(_CHECK_S, "see whether the device is there")).close()
        except DeviceError:
            return True
        return False


class _ServerStream:
    """One service of a device, over a connection of its own to the server."""

    def __init__(self, link: SocketLink, deadline: Deadline) -> None:
        self._link, self._deadline = link, deadline

    def write(self, data: bytes) -> None:
        try:
            self._link.send(data, self._deadline)
        except DeviceLostError:
            if not self._link.has_data():
                raise

    def answered(self) -> bool:
        return self._link.has_data()

    def read(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            part = self._link.receive(min(count - len(data), _CHUNK), self._deadline)
            if not part:
                raise BadOutputError(f"{count} bytes must follow, but the device closed after {len(data)}.")
            data += part
        return bytes(data)

    def read_to_end(self, limit: int) -> bytes:
        data = bytearray()
        while part := self._link.receive(_CHUNK, self._deadline):
            data += part
            if len(data) > limit:
                raise BadOutputError(f"The device must send at most {limit} bytes, but sent more.")
        return bytes(data)

    def close(self) -> None:
        self._link.close()
