"""How phones are named, found, and reached by name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from akd_gym.device_lab.adb.adb_server import AdbServer
from akd_gym.device_lab.adb.direct_session import DirectSession
from akd_gym.device_lab.adb.keys import DeviceKey, load_keys
from akd_gym.device_lab.adb.server_session import ServerSession
from akd_gym.device_lab.adb.session import Session
from akd_gym.device_lab.adb.transports import DeadlineTransport, TcpTransport, UsbTransport
from akd_gym.device_lab.adb.usb_link import usb_phones
from akd_gym.errors import DeviceError, InvalidSettingError

DEFAULT_PORT = 5555
_FORMS = "`HOST:PORT`, `usb:SERIAL` or `server:SERIAL`"
_UNREADABLE = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Address:
    """Where a phone is.

    Attributes:
        kind: `"tcp"`, `"usb"` (a cable, no adb server) or `"server"` (through the host's adb server).
        name: The host, or the serial number.
        port: Of the host.
    """

    kind: Literal["tcp", "usb", "server"]
    name: str
    port: int = DEFAULT_PORT

    def __str__(self) -> str:
        if self.kind != "tcp":
            return f"{self.kind}:{self.name}"
        return f"[{self.name}]:{self.port}" if ":" in self.name else f"{self.name}:{self.port}"


@dataclass(frozen=True)
class FoundPhone:
    """A phone that was found, usable or not.

    Attributes:
        address: What to name it; None if it hides its serial number.
        problem: What keeps it from being used, and what to do; None if nothing is known to.
    """

    address: Address | None
    problem: str | None = None


@dataclass(frozen=True)
class Findings:
    """What a look around gave.

    Attributes:
        phones: Those found.
        not_searched: Where could not be looked, and why, one sentence each.
    """

    phones: tuple[FoundPhone, ...] = ()
    not_searched: tuple[str, ...] = ()

    def __add__(self, other: Findings) -> Findings:
        return Findings(self.phones + other.phones, self.not_searched + other.not_searched)


def parse_address(text: str) -> Address:
    """The address in `HOST:PORT` (or `HOST`, or `[IPv6]:PORT`), `usb:SERIAL` or `server:SERIAL`.

    Raises:
        InvalidSettingError: It is none of these.
    """
    text = text.strip()
    scheme, _, rest = text.partition(":")
    if _UNREADABLE.search(text) or not text:
        raise InvalidSettingError(f"The address of a phone must be {_FORMS}, but got {text!r}.")
    if scheme in ("usb", "server"):
        if not rest:
            raise InvalidSettingError(f"`{scheme}:` must be followed by a serial number, but got {text!r}.")
        return Address("usb" if scheme == "usb" else "server", rest)
    found = re.fullmatch(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+(?:%\w+)?)\]|(?P<host>[^\s:\[\]/]+))(?::(?P<port>\d{1,5}))?", text)
    port = int(found["port"] or DEFAULT_PORT) if found else 0
    if found is None or not 0 < port < 2**16:
        raise InvalidSettingError(
            f"The address of a phone must be {_FORMS}, with a port of 1 to 65535 and IPv6 as `[::1]:5555`, "
            f"but got {text!r}."
        )
    return Address("tcp", found["v6"] or found["host"], port)


def find_addresses() -> Findings:
    """Looks for phones at the adb server if one runs, else on USB cables. Starts no server and scans no network.

    An adb server holds the USB phones for itself; while it runs they are found there.
    """
    try:
        server = AdbServer.of_environment()
    except InvalidSettingError as error:
        return Findings(not_searched=(f"The adb server: {error}",)) + _on_usb()
    if not server.is_running():
        nothing = f"The adb server: none runs on port {server.port}. `adb start-server` starts one."
        return Findings(not_searched=(nothing,)) + _on_usb()
    return _at_server(server) + Findings(
        not_searched=("USB without the server: the running adb server holds the USB phones, and lists them itself.",)
    )


def open_session(
    address: Address | str, *, timeout_s: float = 10.0, keys: Sequence[DeviceKey] | None = None
) -> Session:
    """Connects to a phone.

    Args:
        address: Where it is.
        timeout_s: To connect, with the time to confirm this computer on the phone's screen.
        keys: This computer's (see `load_keys`), which the adb server does not need.

    Raises:
        InvalidSettingError: The address is none, or needs something that is not installed.
        DeviceLostError: The phone is not there.
        DeviceUnauthorizedError: The phone does not accept this computer yet.
        DeviceTimeoutError: The phone does not answer.
        BadOutputError: Something else answers.
    """
    if isinstance(address, str):
        address = parse_address(address)
    if address.kind == "server":
        return ServerSession(address.name, timeout_s=timeout_s)
    transport: DeadlineTransport
    transport = UsbTransport(address.name) if address.kind == "usb" else TcpTransport(address.name, address.port)
    keys = load_keys() if keys is None else keys
    return DirectSession(transport, keys, address=str(address), timeout_s=timeout_s)


def _on_usb() -> Findings:
    try:
        found = usb_phones()
    except InvalidSettingError as error:
        return Findings(not_searched=(f"USB: {error}",))
    return Findings(tuple(FoundPhone(_named("usb", one.serial), one.problem) for one in found))


def _at_server(server: AdbServer) -> Findings:
    try:
        states = server.devices()
    except DeviceError as error:
        return Findings(not_searched=(f"The adb server: {error}",))
    return Findings(tuple(FoundPhone(_named("server", serial), _problem(state)) for serial, state in states.items()))


def _named(kind: Literal["usb", "server"], serial: str | None) -> Address | None:
    return Address(kind, serial) if serial else None


def _problem(state: str) -> str | None:
    if state == "device":
        return None
    if state in ("unauthorized", "authorizing"):
        return f"{state}: allow USB debugging from this computer on its screen"
    if state == "offline":
        return "offline: wake it, or plug it in again"
    return state
