"""The file part of adb's protocol (`sync:`), over any stream to a device."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from typing import Protocol

from akd_gym.errors import BadOutputError, CommandFailedError

_CHUNK = 64 * 1024  # the most that a daemon takes in one DATA
_LONGEST_CHUNK = 1024 * 1024
_LONGEST_MESSAGE = 64 * 1024
_REGULAR_FILE = 0o100000


class Stream(Protocol):
    """An open service of a device, as bytes."""

    def write(self, data: bytes) -> None:
        """Sends all of `data`, or returns early because the device answered or closed: what it said can be read."""
        ...

    def answered(self) -> bool:
        """Whether the device sent something not read yet, or closed."""
        ...

    def read(self, count: int) -> bytes:
        """Exactly `count` bytes.

        Raises:
            BadOutputError: The device closed the stream before.
        """
        ...

    def read_to_end(self, limit: int) -> bytes:
        """All until the device closes the stream.

        Raises:
            BadOutputError: It is more than `limit` bytes.
        """
        ...

    def close(self) -> None:
        """Ends the stream."""
        ...


def send_file(stream: Stream, path: str, content: bytes, mode: int) -> None:
    """Writes a file on the device. What the device then has is up to the caller to verify.

    Raises:
        CommandFailedError: The device refused.
        BadOutputError: Its answer is none of the protocol.
    """
    for part in _upload(path, content, mode):
        # The device says at once why it takes no more, e.g. that it is full, and may not read on.
        if stream.answered():
            break
        stream.write(part)
    kind, number = struct.unpack("<4sI", stream.read(8))
    if kind == b"FAIL":
        raise CommandFailedError(f"The device must take the file {path!r}, but says: {_message(stream, number)}.")
    if kind != b"OKAY":
        raise BadOutputError(f"The device must answer a push by OKAY or FAIL, but got {kind!r}.")


def receive_file(stream: Stream, path: str, limit: int) -> bytes:
    """Reads a file of the device.

    Args:
        stream: To its `sync:` service.
        path: On the device.
        limit: The most bytes it may have.

    Raises:
        CommandFailedError: The device refused.
        BadOutputError: Its answer is none of the protocol, or longer than `limit`.
    """
    encoded = path.encode()
    stream.write(struct.pack("<4sI", b"RECV", len(encoded)) + encoded)
    content = bytearray()
    while True:
        kind, number = struct.unpack("<4sI", stream.read(8))
        if kind == b"DONE":
            return bytes(content)
        if kind == b"FAIL":
            raise CommandFailedError(f"The device must give the file {path!r}, but says: {_message(stream, number)}.")
        if kind != b"DATA" or number > _LONGEST_CHUNK:
            raise BadOutputError(
                f"The device must answer a pull by DATA of at most {_LONGEST_CHUNK} bytes, DONE or "
                f"FAIL, but got {kind!r} of {number}."
            )
        content += stream.read(number)
        if len(content) > limit:
            raise BadOutputError(f"{path!r} must have {limit} bytes, but the device sent more.")


def _upload(path: str, content: bytes, mode: int) -> Iterator[bytes]:
    target = f"{path},{_REGULAR_FILE | mode}".encode()
    yield struct.pack("<4sI", b"SEND", len(target)) + target
    for start in range(0, len(content), _CHUNK):
        chunk = content[start : start + _CHUNK]
        yield struct.pack("<4sI", b"DATA", len(chunk)) + chunk
    yield struct.pack("<4sI", b"DONE", int(time.time()))


def _message(stream: Stream, length: int) -> str:
    if length > _LONGEST_MESSAGE:
        raise BadOutputError(f"The device must give a reason of at most {_LONGEST_MESSAGE} bytes, but got {length}.")
    return stream.read(length).decode(errors="replace").strip() or "nothing"
