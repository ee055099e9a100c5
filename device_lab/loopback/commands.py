"""The services `shell:` (plain and v2) and `exec:`: a command of the phone, run on this machine.

A command outlives its stream, as on a phone: when the link breaks, adbd closes the command's standard streams, and
sends SIGHUP to the shell if it was started for shell v2, but ends nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from akd_gym.device_lab.loopback.streams import Stream, StreamClosedError
from akd_gym.device_lab.loopback.wire import Wire

if TYPE_CHECKING:
    from akd_gym.device_lab.loopback.faults import Fault
    from akd_gym.device_lab.loopback.link import Link
    from akd_gym.device_lab.loopback.processes import Program

_CHUNK_BYTES = 1 << 16
_MAX_V2_BYTES = 1 << 20  # of one packet within shell v2
_START_S = 0.25  # what "just after the start" means
_BENCHMARK = re.compile(rb"benchmark_model\S*\s+--graph")
_STDIN, _STDOUT, _STDERR, _EXIT, _CLOSE_STDIN = range(5)  # kinds of packets within shell v2
_V2_HEADER = struct.Struct("<BI")


@dataclass(frozen=True)
class ShellRequest:
    """What a client asked for.

    Attributes:
        command: Text for `sh -c`; empty for a shell that reads commands from its input.
        v2: Whether error stream and exit code travel apart, in packets of their own.
        terminal: Whether the program shall have a terminal.
    """

    command: bytes
    v2: bool
    terminal: bool


async def serve_command(stream: Stream, link: Link, request: ShellRequest) -> None:
    """Runs a command and passes its streams on until both are done."""
    daemon = link.daemon
    stage, fault = _meet_fault(link, request.command)
    if stage == "check" and fault is not None:
        if fault.name == "reboot":
            daemon.reboot(fault.reboot_s)
            await asyncio.Event().wait()  # until the link is ended: no word of farewell
        daemon.begin_trouble(fault)
    arguments, environment = daemon.system.command_line(request.command, stage, fault)
    if request.terminal:
        program = await daemon.processes.start_on_terminal(arguments, environment)
    else:
        program = await daemon.processes.start(arguments, environment, split_error=request.v2)
    finished = False
    try:
        await _Conversation(stream, link, request, program, stage, fault).hold()
        finished = True
    finally:
        program.detach()
        if request.v2 and not finished:
            program.hang_up()
        if fault is not None:
            daemon.end_trouble_later(fault)
        daemon.after_command()


def _meet_fault(link: Link, command: bytes) -> tuple[str, Fault | None]:
    """The stage that a command belongs to, and what goes wrong with it."""
    text = command.decode(errors="replace")
    stages = ("run", "report") if _BENCHMARK.search(command) else ("check",)
    for stage in stages:
        if (fault := link.daemon.faults.take(stage, text)) is not None:
            return stage, fault
    return stages[0], None


class _Conversation:
    """A program and the stream that it talks on."""

    def __init__(
        self, stream: Stream, link: Link, request: ShellRequest, program: Program, stage: str, fault: Fault | None
    ) -> None:
        self._stream, self._link, self._request, self._program = stream, link, request, program
        self._stage, self._fault = stage, fault
        # What the benchmark wrote is tampered with by the benchmark itself; the answer on the wire is then sound.
        by_program = stage == "report" and fault is not None and fault.name in ("garble", "truncate", "drip")
        self._wire = Wire(stream, link, None if by_program else fault)
        self._pending = bytearray()  # packets within shell v2 that have not arrived whole

    async def hold(self) -> None:
        """Passes everything on until the program is done.

        Raises:
            StreamClosedError: The stream closed first.
        """
        feeding = asyncio.create_task(self._feed())  # ends only when the stream does
        answering = asyncio.create_task(self._answer())
        try:
            await asyncio.wait({feeding, answering}, return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                feeding.result()
                raise StreamClosedError
            answering.result()
        finally:
            for task in (feeding, answering):
                task.cancel()
            await asyncio.gather(feeding, answering, return_exceptions=True)

    async def _answer(self) -> None:
        program, fault = self._program, self._fault
        if fault is not None and self._stage == "run":
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(program.wait(), _START_S)
            if not self._link.daemon.begin_trouble(fault) and fault.name in ("cut", "mute", "reboot", "bad_packet"):
                await self._wire.strike()
        readers = [(_STDOUT, program.output)] + ([(_STDERR, program.error)] if program.error else [])
        await asyncio.gather(*(self._pass_on(kind, reader) for kind, reader in readers))
        code = await program.wait()
        if fault is not None and self._stage == "report":
            self._link.daemon.begin_trouble(fault)
        await self._wire.strike()
        if self._request.v2:
            await self._stream.write(_V2_HEADER.pack(_EXIT, 1) + bytes([code & 0xFF]))
        await self._stream.flush()

    async def _pass_on(self, kind: int, reader: asyncio.StreamReader) -> None:
        async def put(data: bytes) -> None:
            await self._stream.write(_V2_HEADER.pack(kind, len(data)) + data if self._request.v2 else data)

        with contextlib.suppress(OSError):  # a terminal whose last program ended reads as an error
            while data := await reader.read(_CHUNK_BYTES):
                await self._wire.pass_on(data, put)

    async def _feed(self) -> None:
        while data := await self._stream.read():
            if self._request.v2:
                self._feed_v2(data)
            else:
                self._program.input.write(data)
            with contextlib.suppress(ConnectionError):
                await self._program.input.drain()

    def _feed_v2(self, data: bytes) -> None:
        self._pending += data
        while len(self._pending) >= _V2_HEADER.size:
            kind, length = _V2_HEADER.unpack_from(self._pending)
            end = _V2_HEADER.size + length
            if length > _MAX_V2_BYTES:
                raise StreamClosedError
            if len(self._pending) < end:
                return
            if kind == _STDIN:
                self._program.input.write(bytes(self._pending[_V2_HEADER.size : end]))
            elif kind == _CLOSE_STDIN and self._program.input.can_write_eof():
                self._program.input.write_eof()
            del self._pending[:end]
