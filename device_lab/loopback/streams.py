"""One stream of a link: bytes in both directions, one WRTE in flight each way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from akd_gym.device_lab.loopback.packets import CLSE, OKAY, WRTE, Packet, ProtocolError


class StreamClosedError(Exception):
    """The peer closed the stream, or its link ended."""


class Stream:
    """A stream that the peer opened.

    Args:
        send: Puts a packet on the link.
        local_id: This end's name of the stream.
        peer_id: The peer's name of it.
        max_payload: What the peer takes in one packet.
    """

    def __init__(
        self, send: Callable[[Packet], Awaitable[None]], local_id: int, peer_id: int, max_payload: int
    ) -> None:
        self._send = send
        self.local_id, self.peer_id, self.max_payload = local_id, peer_id, max_payload
        self._arrived: bytes | None = None
        self._news = asyncio.Event()  # something arrived, or the stream closed
        self._acknowledged = asyncio.Event()
        self._acknowledged.set()
        self._closed = False
        self._writing = asyncio.Lock()

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._closed

    async def read(self) -> bytes:
        """What the peer wrote next; empty once it closed the stream."""
        while True:
            while self._arrived is None and not self._closed:
                self._news.clear()
                await self._news.wait()
            data, self._arrived = self._arrived, None
            if data is None:
                return b""
            if not self._closed:
                await self._send(Packet(OKAY, self.local_id, self.peer_id))
            if data:
                return data

    async def write(self, data: bytes) -> None:
        """Sends all of `data`, a packet at a time as the peer acknowledges.

        Raises:
            StreamClosedError: Not all of it went.
        """
        async with self._writing:
            for start in range(0, len(data), self.max_payload):
                await self._acknowledged.wait()
                if self._closed:
                    raise StreamClosedError
                self._acknowledged.clear()
                await self._send(Packet(WRTE, self.local_id, self.peer_id, data[start : start + self.max_payload]))

    async def flush(self) -> None:
        """Waits until the peer has acknowledged all, or the stream closed."""
        await self._acknowledged.wait()

    async def close(self) -> None:
        """Sends CLSE, unless either end did."""
        if not self._closed:
            self.end()
            await self._send(Packet(CLSE, self.local_id, self.peer_id))

    def end(self) -> None:
        """Marks the stream closed and wakes whoever waits on it."""
        self._closed = True
        self._news.set()
        self._acknowledged.set()

    def on_data(self, data: bytes) -> None:
        """Takes a WRTE of the peer.

        Raises:
            ProtocolError: The one before was not acknowledged yet, so this end would have to store without limit.
        """
        if self._arrived is not None:
            raise ProtocolError("A peer must wait for OKAY before its next WRTE.")
        self._arrived = data
        self._news.set()

    def on_okay(self) -> None:
        """Takes an OKAY of the peer."""
        self._acknowledged.set()
