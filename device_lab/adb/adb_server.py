"""The adb server of a host: its protocol, and how to find or start it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass

from akd_gym.device_lab.adb.links import Deadline, SocketLink
from akd_gym.errors import (
    BadOutputError,
    CommandFailedError,
    DeviceError,
    DeviceLostError,
    DeviceUnauthorizedError,
    InvalidSettingError,
)

_PORT = 5037
_THIS_HOST = ("127.0.0.1", "localhost", "::1")
LONGEST_REQUEST = 0xFFFF


@dataclass(frozen=True)
class AdbServer:
    """A server, running or not.

    adbutils' own connections start a server on the default port when theirs does not answer, take a short write for
    a whole one and wait without limit; so the few bytes of the protocol are spoken here. adbutils brings `adb`.
    """

    host: str = "127.0.0.1"
    port: int = _PORT

    @classmethod
    def of_environment(cls) -> AdbServer:
        """The server that `adb` would use: `ANDROID_ADB_SERVER_ADDRESS` and `ANDROID_ADB_SERVER_PORT` count.

        Raises:
            InvalidSettingError: The port is none.
        """
        port = os.environ.get("ANDROID_ADB_SERVER_PORT") or str(_PORT)
        if not port.isdecimal() or not 0 < int(port) < 2**16:
            raise InvalidSettingError(f"`ANDROID_ADB_SERVER_PORT` must be a port, but got {port!r}.")
        return cls(os.environ.get("ANDROID_ADB_SERVER_ADDRESS") or "127.0.0.1", int(port))

    def is_running(self, timeout_s: float = 2.0) -> bool:
        """Whether it answers."""
        try:
            self.ask("host:version", Deadline(timeout_s, "reach the adb server"))
        except DeviceError:
            return False
        return True

    def start(self, deadline: Deadline) -> None:
        """Starts it on this host, if it does not run.

        Raises:
            DeviceLostError: It does not run and cannot be started.
            InvalidSettingError: There is no `adb` to start it with.
        """
        if self.is_running(min(2.0, deadline.left_s())):
            return
        if self.host not in _THIS_HOST:
            raise DeviceLostError(f"An adb server must run on {self.host}:{self.port}, but none answers.")
        # Not a pipe: the server that stays behind would hold it open.
        with tempfile.TemporaryFile() as messages:
            try:
                code = subprocess.run(
                    [find_adb(), "-P", str(self.port), "start-server"],
                    stdin=subprocess.DEVNULL,
                    stdout=messages,
                    stderr=messages,
                    timeout=deadline.left_s(),
                ).returncode
            except subprocess.TimeoutExpired as error:
                raise deadline.error() from error
            except OSError as error:
                raise DeviceLostError(f"`adb start-server` must run, but: {error}.") from error
            messages.seek(0)
            if code:
                said = messages.read(2000).decode(errors="replace").strip()
                raise DeviceLostError(f"An adb server must start on port {self.port}, but `adb` says: {said}.")

    def ask(self, request: str, deadline: Deadline) -> str:
        """The answer to a request that has one text for an answer.

        Raises:
            DeviceError: See `request`.
        """
        link = self.request(request, deadline)
        try:
            return _text(link, deadline)
        finally:
            link.close()

    def request(self, request: str, deadline: Deadline) -> SocketLink:
        """An open link on which the server has accepted `request`.

        Raises:
            DeviceLostError: No server answers.
            DeviceTimeoutError: It does not answer in time.
            BadOutputError: Something else answers.
            CommandFailedError: It refuses.
        """
        link = SocketLink.connect(self.host, self.port, deadline)
        try:
            demand(link, request, deadline)
        except BaseException:
            link.close()
            raise
        return link

    def select(self, serial: str, deadline: Deadline) -> SocketLink:
        """A link to the device `serial`, for one service.

        Raises:
            DeviceLostError: It is not there.
            DeviceUnauthorizedError: It does not accept the server's key.
            DeviceError: See `request`.
        """
        try:
            return self.request(f"host:transport:{serial}", deadline)
        except CommandFailedError as error:
            if "unauthorized" in str(error) or "authorizing" in str(error):
                raise DeviceUnauthorizedError(
                    f"{serial!r} must accept the adb server's key, but has not. Look at its screen: allow USB "
                    "debugging from this computer (tick `always`), then try again."
                ) from error
            raise DeviceLostError(f"{serial!r} must be ready at the adb server, but: {error}") from error

    def devices(self, timeout_s: float = 5.0) -> dict[str, str]:
        """The state of each device by its serial, `"device"` for those that can be used.

        Raises:
            DeviceError: See `request`.
        """
        listing = self.ask("host:devices", Deadline(timeout_s, "list the adb server's devices"))
        return dict(line.split("\t", 1) for line in listing.splitlines() if "\t" in line)


def demand(link: SocketLink, request: str, deadline: Deadline) -> None:
    """Sends a request on a link to a server.

    Raises:
        CommandFailedError: It is refused.
        BadOutputError: The answer is none of the protocol.
    """
    encoded = request.encode()
    if len(encoded) > LONGEST_REQUEST:
        raise InvalidSettingError(f"A request must be at most {LONGEST_REQUEST} bytes, but got {len(encoded)}.")
    link.send(f"{len(encoded):04x}".encode() + encoded, deadline)
    status = read_exactly(link, 4, deadline)
    if status == b"FAIL":
        raise CommandFailedError(f"The adb server refuses `{request[:60]}`: {_text(link, deadline)}.")
    if status != b"OKAY":
        raise BadOutputError(f"An adb server must answer by OKAY or FAIL, but got {status!r}.")


def read_exactly(link: SocketLink, count: int, deadline: Deadline) -> bytes:
    """Exactly `count` bytes.

    Raises:
        DeviceLostError: The server closed before.
    """
    data = bytearray()
    while len(data) < count:
        part = link.receive(count - len(data), deadline)
        if not part:
            raise DeviceLostError(f"The adb server at {link.peer} must answer, but closed the connection.")
        data += part
    return bytes(data)


def find_adb() -> str:
    """The `adb` program: on the path, or the one that adbutils brings.

    Raises:
        InvalidSettingError: There is none.
    """
    on_path = shutil.which("adb")
    if on_path:
        return on_path
    try:
        import adbutils
    except ImportError as error:
        raise InvalidSettingError(
            "Phones at the adb server need a running server or an `adb` to start it with, but there is neither. "
            "Install adb, or `pip install 'akd-gym[adb-server]'`, which brings one."
        ) from error
    try:
        return adbutils.adb_path()
    except adbutils.AdbError as error:
        raise InvalidSettingError(
            f"Phones at the adb server need an `adb` that runs here, but: {error}. Install adb."
        ) from error


def _text(link: SocketLink, deadline: Deadline) -> str:
    length = read_exactly(link, 4, deadline)
    try:
        return read_exactly(link, int(length, 16), deadline).decode(errors="replace").strip()
    except ValueError as error:
        raise BadOutputError(f"An adb server must announce a length, but got {length!r}.") from error
