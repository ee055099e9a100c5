"""What a fault does to bytes on their way to the peer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from akd_gym.device_lab.loopback.packets import WRTE, Packet
from akd_gym.device_lab.loopback.streams import Stream, StreamClosedError

if TYPE_CHECKING:
    from akd_gym.device_lab.loopback.faults import Fault
    from akd_gym.device_lab.loopback.link import Link

DRIP_S = 0.2


class Wire:
    """Passes bytes on, with what goes wrong with them.

    Args:
        stream: Where they go.
        link: Its link.
        fault: What goes wrong; None, or one that is nothing to the wire, for nothing.
    """

    def __init__(self, stream: Stream, link: Link, fault: Fault | None) -> None:
        self._stream, self._link, self._fault = stream, link, fault
        self._name = fault.name if fault else ""
        self._done = False

    async def pass_on(self, data: bytes, put: Callable[[bytes], Awaitable[None]]) -> None:
        """Has `put` send `data`, or what the fault makes of it.

        Raises:
            StreamClosedError: The fault ended the link, or the peer did.
        """
        half = len(data) // 2
        if self._name == "truncate":
            if not self._done:
                await put(data[:half])
        elif self._name == "garble" and not self._done:
            await put(garbled(data))
        elif self._name == "drip":
            for byte in data:
                await put(bytes([byte]))
                await asyncio.sleep(DRIP_S)
        elif self._name in ("cut", "mute", "reboot") and not self._done:
            await put(data[:half])
            await self._stream.flush()
            await self.strike(data[half:])
        else:
            if self._name == "bad_packet" and not self._done:
                self._link.spoil_next()
            await put(data)
        self._done = True

    async def strike(self, data: bytes = b"?") -> None:
        """Has the fault happen now, to a packet of `data`, if it did not yet."""
        if self._done:
            return
        self._done = True
        packet = Packet(WRTE, self._stream.local_id, self._stream.peer_id, data[: self._stream.max_payload])
        if self._name == "cut":
            await self._link.cut(packet)
            raise StreamClosedError
        if self._name == "mute":
            self._link.mute()
        if self._name == "reboot" and self._fault is not None:
            self._link.daemon.reboot(self._fault.reboot_s)
            await asyncio.Event().wait()  # until the link is ended: no word of farewell
        if self._name == "bad_packet":
            self._link.spoil_next()
            await self._link.send(packet)


def garbled(data: bytes) -> bytes:
    """`data` with every 64th byte, and so at least the first, changed."""
    damaged = bytearray(data)
    damaged[::64] = bytes(byte ^ 0x5A for byte in damaged[::64])
    return bytes(damaged)
