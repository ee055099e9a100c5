"""The service `sync:`: files of the phone, within its root only."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from akd_gym.device_lab.loopback.streams import Stream, StreamClosedError
from akd_gym.device_lab.loopback.wire import Wire, garbled

if TYPE_CHECKING:
    from akd_gym.device_lab.loopback.link import Link

_MAX_PATH_BYTES = 1024
_MAX_DATA_BYTES = 1 << 16
_REFUSALS = {
    "nonzero": "operation failed",
    "disk_full": "No space left on device",
    "no_permission": "Permission denied",
}
"""What the phone says when it does not do what it was asked."""


async def serve_sync(stream: Stream, link: Link) -> None:
    """Answers requests until QUIT, the end of the stream, or something that is no request."""
    await _Session(stream, link).serve()


class _Session:
    def __init__(self, stream: Stream, link: Link) -> None:
        self._stream, self._link = stream, link
        self._buffer = bytearray()

    async def serve(self) -> None:
        answers = {b"STAT": self._stat, b"LIST": self._list, b"SEND": self._send, b"RECV": self._receive}
        while True:
            request, length = struct.unpack("<4sI", await self._read(8))
            if request == b"QUIT":
                return
            if request not in answers or length > _MAX_PATH_BYTES:
                await self._fail(Wire(self._stream, self._link, None), f"unknown request {request!r} of {length} bytes")
                return
            await answers[request](os.fsdecode(await self._read(length)))

    async def _read(self, count: int) -> bytes:
        while len(self._buffer) < count:
            data = await self._stream.read()
            if not data:
                raise StreamClosedError
            self._buffer += data
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    async def _fail(self, wire: Wire, reason: str) -> None:
        text = reason.encode()
        await wire.pass_on(struct.pack("<4sI", b"FAIL", len(text)) + text, self._stream.write)

    async def _meet_fault(self, stage: str, path: str) -> tuple[str, Wire]:
        """The fault that a transfer meets, and the wire to send through; a transfer that hangs does not return."""
        fault = self._link.daemon.faults.take(stage, path)
        name = fault.name if fault else ""
        if fault is not None and self._link.daemon.begin_trouble(fault):
            self._link.daemon.end_trouble_later(fault)
        if name == "hang":
            await asyncio.Event().wait()
        # Files are damaged within their DATA, so that the protocol around them stays sound.
        return name, Wire(self._stream, self._link, None if name in ("garble", "truncate") else fault)

    async def _stat(self, path: str) -> None:
        mode = size = changed = 0
        with contextlib.suppress(OSError, ValueError):
            found = self._link.daemon.system.locate(path).lstat()
            mode, size, changed = found.st_mode, found.st_size & 0xFFFFFFFF, int(found.st_mtime) & 0xFFFFFFFF
        await self._stream.write(struct.pack("<4s3I", b"STAT", mode, size, changed))

    async def _list(self, path: str) -> None:
        entries: list[os.DirEntry[str]] = []
        with contextlib.suppress(OSError, ValueError), os.scandir(self._link.daemon.system.locate(path)) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                about = entry.stat(follow_symlinks=False)
                name = os.fsencode(entry.name)
                size, changed = about.st_size & 0xFFFFFFFF, int(about.st_mtime) & 0xFFFFFFFF
                await self._stream.write(struct.pack("<4s4I", b"DENT", about.st_mode, size, changed, len(name)) + name)
        await self._stream.write(struct.pack("<4s4I", b"DONE", 0, 0, 0, 0))

    # a file from the phone

    async def _receive(self, path: str) -> None:
        fault, wire = await self._meet_fault("pull", path)
        reason = _REFUSALS.get(fault, "")
        if not reason:
            try:
                for data in _damaged(_chunks(self._link.daemon.system.locate(path)), fault):
                    await wire.pass_on(struct.pack("<4sI", b"DATA", len(data)) + data, self._stream.write)
            except ConnectionError:
                raise
            except (OSError, ValueError) as error:
                reason = _reason(error)
        if reason:
            await self._fail(wire, reason)
        else:
            await wire.pass_on(struct.pack("<4sI", b"DONE", 0), self._stream.write)

    # a file to the phone

    async def _send(self, request: str) -> None:
        path, _, mode = request.rpartition(",")
        fault, wire = await self._meet_fault("push", path)
        target = _Target()
        try:
            target.create(self._link.daemon.system.locate(path, writing=True), int(mode))
        except (OSError, ValueError) as error:
            target.refuse(_reason(error))
        with target:
            first = True
            # What is refused is read to its end all the same: the client looks for the answer only then.
            while (data := await self._read_data()) is not None:
                if first and fault in ("cut", "mute", "reboot", "bad_packet"):
                    target.write(data[: len(data) // 2])
                    await wire.strike()
                    target.write(data[len(data) // 2 :])
                elif first or fault != "truncate":
                    target.write(next(_damaged(iter([data]), fault if first else "")))
                if fault in _REFUSALS:
                    target.refuse(_REFUSALS[fault])
                first = False
            if fault in _REFUSALS:  # of an empty file
                target.refuse(_REFUSALS[fault])
        target.finish(self._changed)
        if target.refusal:
            await self._fail(wire, target.refusal)
        else:
            await wire.pass_on(struct.pack("<4sI", b"OKAY", 0), self._stream.write)

    async def _read_data(self) -> bytes | None:
        """The next part of a file that is sent; None at its end, whose time of change is then known."""
        kind, length = struct.unpack("<4sI", await self._read(8))
        if kind == b"DONE":
            self._changed = length
            return None
        if kind != b"DATA" or length > _MAX_DATA_BYTES:
            raise StreamClosedError
        return await self._read(length)


class _Target:
    """A file that is being written, or the reason why it is not."""

    def __init__(self) -> None:
        self.refusal = ""
        self._path: Path | None = None
        self._file: io.BufferedWriter | None = None

    def create(self, path: Path, mode: int) -> None:
        """Makes a new file in place of an old one, whose program may still be running; missing folders are made."""
        if stat.S_ISLNK(mode):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        os.fchmod(descriptor, (mode & 0o777) | 0o600)
        self._path, self._file = path, os.fdopen(descriptor, "wb")

    def refuse(self, reason: str) -> None:
        """Gives up, for the first reason named."""
        self.refusal = self.refusal or reason

    def write(self, data: bytes) -> None:
        """Appends, unless it has been given up."""
        if self._file is not None and not self.refusal:
            try:
                self._file.write(data)
                self._file.flush()
            except OSError as error:
                self.refuse(_reason(error))

    def finish(self, changed: int) -> None:
        """Dates the file, or removes it if it has been given up."""
        if self._path is not None and self.refusal:
            self._path.unlink(missing_ok=True)
        elif self._path is not None:
            os.utime(self._path, (changed, changed))

    def __enter__(self) -> _Target:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while data := file.read(_MAX_DATA_BYTES):
            yield data


def _damaged(chunks: Iterator[bytes], fault: str) -> Iterator[bytes]:
    """The parts of a file, the first one damaged if that is the fault."""
    for data in chunks:
        if fault == "truncate":
            yield data[: len(data) // 2]
            return
        yield garbled(data) if fault == "garble" else data
        fault = ""


def _reason(error: OSError | ValueError) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else "Invalid argument"
