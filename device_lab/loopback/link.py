"""One link to the daemon: the handshake with its authentication, then streams over one socket."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import TYPE_CHECKING

from akd_gym.device_lab.loopback import keys
from akd_gym.device_lab.loopback.packets import (
    AUTH,
    CLSE,
    CNXN,
    MAX_FIRST_PAYLOAD,
    MAX_PAYLOAD,
    OKAY,
    OPEN,
    VERSION,
    WRTE,
    Packet,
    ProtocolError,
    read_packet,
)
from akd_gym.device_lab.loopback.services import find_service
from akd_gym.device_lab.loopback.streams import Stream, StreamClosedError
from akd_gym.device_lab.loopback.wire import DRIP_S

if TYPE_CHECKING:
    from akd_gym.device_lab.loopback.daemon import Daemon
    from akd_gym.device_lab.loopback.faults import Fault

_TOKEN, _SIGNATURE, _PUBLIC_KEY = 1, 2, 3  # kinds of AUTH
_MAX_ATTEMPTS = 64  # of one peer to authenticate; an adb with that many keys does not exist
_MAX_STREAMS = 64


class Link:
    """Serves one connection until it ends.

    Args:
        reader: What the peer sends.
        writer: What goes to it.
        daemon: Whose link this is.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, daemon: Daemon) -> None:
        self._reader, self._writer, self.daemon = reader, writer, daemon
        self._sending = asyncio.Lock()
        self._streams: dict[int, Stream] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._last_id = 0
        self._online = False  # connected and authenticated
        self._checked = True  # whether checksums count
        self._peer_payload = MAX_FIRST_PAYLOAD
        self._token = b""
        self._attempts = 0
        self._met: Fault | None = None  # what goes wrong with this handshake
        self._muted = False
        self._spoil_next = False

    async def serve(self) -> None:
        """Answers packets until the link ends or the peer breaks the protocol."""
        try:
            while True:
                limit = MAX_PAYLOAD if self._online else MAX_FIRST_PAYLOAD
                await self._on_packet(await read_packet(self._reader, limit, self._checked))
        except (ProtocolError, asyncio.IncompleteReadError, ConnectionError):
            pass  # a daemon has nobody to tell
        finally:
            await self._end_streams()
            self._writer.transport.abort()

    # what a service may do to its link

    def close(self) -> None:
        """Ends the link after what has been sent."""
        self._writer.close()

    def mute(self) -> None:
        """From now on nothing is sent."""
        self._muted = True

    def spoil_next(self) -> None:
        """The next packet will have a wrong magic and checksum."""
        self._spoil_next = True

    async def cut(self, packet: Packet) -> None:
        """Sends the first half of a packet and ends the link."""
        raw = packet.encode(checked=True)
        await self._put(raw[: len(raw) // 2])
        self.close()

    async def send(self, packet: Packet) -> None:
        """Sends one packet; where the link has ended, does nothing."""
        raw = packet.encode(checked=self._checked)
        if self._spoil_next:
            self._spoil_next = False
            damaged = Packet(packet.command, packet.arg0, packet.arg1, packet.payload or b"?").encode(checked=True)
            raw = damaged[:16] + bytes(byte ^ 0x5A for byte in damaged[16:24]) + damaged[24:]
        await self._put(raw)

    async def _put(self, raw: bytes) -> None:
        async with self._sending:
            if self._muted or self._writer.is_closing():
                return
            with contextlib.suppress(ConnectionError):
                if self._met is not None and self._met.name == "drip":
                    for byte in raw:
                        self._writer.write(bytes([byte]))
                        await self._writer.drain()
                        await asyncio.sleep(DRIP_S)
                else:
                    self._writer.write(raw)
                    await self._writer.drain()

    # the handshake

    async def _on_packet(self, packet: Packet) -> None:
        if packet.command == CNXN:
            await self._on_connect(packet)
        elif packet.command == AUTH:
            await self._on_auth(packet)
        elif not self._online:
            raise ProtocolError("A peer must be connected and authenticated first.")
        elif packet.command == OPEN:
            await self._on_open(packet)
        else:
            await self._on_stream(packet)

    async def _on_connect(self, packet: Packet) -> None:
        await self._end_streams()
        self._online = False
        self._peer_payload = min(packet.arg1, MAX_PAYLOAD)
        if self._peer_payload < MAX_FIRST_PAYLOAD:
            raise ProtocolError(f"A peer must take payloads of {MAX_FIRST_PAYLOAD} bytes, but got {packet.arg1}.")
        self._checked = min(packet.arg0, VERSION) < VERSION
        self._met = fault = self.daemon.faults.take("connect")
        name = fault.name if fault else ""
        if fault is not None and self.daemon.begin_trouble(fault):
            self.daemon.end_trouble_later(fault)
        if name == "cut":
            raise ProtocolError("fault")
        if name == "reboot" and fault is not None:
            self.daemon.reboot(fault.reboot_s)
        elif name in ("mute", "hang"):
            self.mute()  # and go on reading, so as to see the peer give up
        else:
            await self._ask(garbled=name == "garble")

    async def _ask(self, *, garbled: bool = False) -> None:
        """Sends a token to sign."""
        name = self._met.name if self._met else ""
        self._token = secrets.token_bytes(keys.TOKEN_BYTES)
        sent = bytes(byte ^ 0x5A for byte in self._token) if garbled else self._token
        packet = Packet(AUTH, _TOKEN, 0, sent)
        if name == "truncate":
            await self.cut(packet)
            raise ProtocolError("fault")
        if name == "bad_packet" and self._attempts == 0:
            self.spoil_next()
        await self.send(packet)

    async def _on_auth(self, packet: Packet) -> None:
        self._attempts += 1
        if not self._token or self._online or self._attempts > _MAX_ATTEMPTS:
            raise ProtocolError("AUTH must answer a token, and not for ever.")
        name = self._met.name if self._met else ""
        if name == "nonzero":
            raise ProtocolError("fault")
        refusing = name in ("disk_full", "no_permission")
        if packet.arg0 == _SIGNATURE:
            if not refusing and self.daemon.knows_signature(self._token, packet.payload):
                await self._accept()
            else:
                await self._ask()
        elif packet.arg0 == _PUBLIC_KEY:
            # A phone that has not been told to trust the key says nothing: the question stands on its screen.
            if not refusing and self.daemon.accepts_key(packet.payload):
                await self._accept()
        else:
            raise ProtocolError(f"AUTH must bring a signature or a public key, but its kind is {packet.arg0}.")

    async def _accept(self) -> None:
        self._token = b""
        self._attempts = 0
        self._online = True
        await self.send(Packet(CNXN, VERSION, MAX_PAYLOAD, self.daemon.banner))
        self._met = None

    # streams

    async def _on_open(self, packet: Packet) -> None:
        name = packet.payload.rstrip(b"\0")
        service = find_service(name)
        if packet.arg0 == 0:
            raise ProtocolError("A stream must have a name other than 0.")
        if service is None or len(self._streams) >= _MAX_STREAMS:
            await self.send(Packet(CLSE, 0, packet.arg0))
            return
        self._last_id = self._last_id % 0xFFFFFFFF + 1
        stream = Stream(self.send, self._last_id, packet.arg0, self._peer_payload)
        self._streams[stream.local_id] = stream
        await self.send(Packet(OKAY, stream.local_id, stream.peer_id))

        async def run() -> None:
            try:
                await service(stream, self, name)
            except (StreamClosedError, OSError):
                pass  # OSError: the link's end, or a command that this machine cannot start, e.g. for its length
            finally:
                self._streams.pop(stream.local_id, None)
                await stream.close()

        task = asyncio.create_task(run(), name=f"loopback {name[:40]!r}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _on_stream(self, packet: Packet) -> None:
        stream = self._streams.get(packet.arg1)
        # Anything for a stream that this end has closed crossed our CLSE on its way: it is not answered, ever.
        if stream is None or stream.peer_id != packet.arg0:
            return
        if packet.command == WRTE:
            stream.on_data(packet.payload)
        elif packet.command == OKAY:
            stream.on_okay()
        else:
            self._streams.pop(stream.local_id)
            await stream.close()

    async def _end_streams(self) -> None:
        for stream in self._streams.values():
            stream.end()
        self._streams.clear()
        # Services that wait for something else than their stream must not outlive it.
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
