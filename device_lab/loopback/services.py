"""Which service a stream is opened for."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

from akd_gym.device_lab.loopback.commands import ShellRequest, serve_command
from akd_gym.device_lab.loopback.streams import Stream
from akd_gym.device_lab.loopback.sync import serve_sync

if TYPE_CHECKING:
    from akd_gym.device_lab.loopback.link import Link

FEATURES = ("shell_v2", "cmd")
"""What the daemon announces that it can do beyond the first version of the protocol."""

Service: TypeAlias = "Callable[[Stream, Link, bytes], Awaitable[None]]"

_SHELL = re.compile(rb"shell((?:,[^:]*)?):(.*)", re.DOTALL)


def find_service(name: bytes) -> Service | None:
    """The service that a stream named `name` is opened for; None if there is none."""
    if b"\0" in name:
        return None
    if _SHELL.fullmatch(name):
        return _shell
    if name.startswith(b"exec:") and len(name) > len(b"exec:"):
        return _exec
    if name == b"sync:":
        return _sync
    if name.startswith(b"reboot:"):
        return _reboot
    return None


async def _shell(stream: Stream, link: Link, name: bytes) -> None:
    found = _SHELL.fullmatch(name)
    assert found is not None
    flags, command = found[1].split(b","), found[2]
    terminal = b"pty" in flags or (not command and b"raw" not in flags)
    await serve_command(stream, link, ShellRequest(command, b"v2" in flags, terminal))


async def _exec(stream: Stream, link: Link, name: bytes) -> None:
    await serve_command(stream, link, ShellRequest(name[len(b"exec:") :], v2=False, terminal=False))


async def _sync(stream: Stream, link: Link, name: bytes) -> None:
    await serve_sync(stream, link)


async def _reboot(stream: Stream, link: Link, name: bytes) -> None:
    await stream.close()
    link.daemon.reboot()
