"""Packets of the adb protocol: six little-endian words, from command to magic, and a payload."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass

HEADER_BYTES = 24
VERSION = 0x01000001
"""What this end announces; from here on the ends may leave checksums out, if both announce at least this."""
MAX_PAYLOAD = 1 << 20
"""Largest payload this end takes once connected."""
MAX_FIRST_PAYLOAD = 4096
"""Largest payload this end takes before that; also the least that a peer must take."""

CNXN, AUTH, OPEN, OKAY, WRTE, CLSE = b"CNXN", b"AUTH", b"OPEN", b"OKAY", b"WRTE", b"CLSE"
_COMMANDS = frozenset({CNXN, AUTH, OPEN, OKAY, WRTE, CLSE})


class ProtocolError(Exception):
    """The peer sent what the protocol does not allow; the link is closed."""


@dataclass(frozen=True)
class Packet:
    """One message; what the arguments mean depends on the command."""

    command: bytes
    arg0: int
    arg1: int
    payload: bytes = b""

    def encode(self, *, checked: bool) -> bytes:
        """The bytes on the wire; `checked` puts the checksum in."""
        (word,) = struct.unpack("<I", self.command)
        check = checksum(self.payload) if checked else 0
        header = struct.pack("<6I", word, self.arg0, self.arg1, len(self.payload), check, word ^ 0xFFFFFFFF)
        return header + self.payload


def checksum(payload: bytes) -> int:
    """The sum of all bytes (the protocol's documents call it a CRC)."""
    return sum(payload) & 0xFFFFFFFF


async def read_packet(reader: asyncio.StreamReader, max_payload: int, checked: bool) -> Packet:
    """The next packet.

    Args:
        reader: Where from.
        max_payload: A packet that announces more is refused before anything of it is stored.
        checked: Whether the checksum must be right. That of a CNXN need not be if the peer announces there that it
            leaves checksums out, as adb servers do when they come back.

    Raises:
        ProtocolError: It is no packet, too large or damaged.
        asyncio.IncompleteReadError: The link ended.
    """
    header = await reader.readexactly(HEADER_BYTES)
    word, arg0, arg1, length, check, magic = struct.unpack("<6I", header)
    command = header[:4]
    if magic != word ^ 0xFFFFFFFF or command not in _COMMANDS:
        raise ProtocolError(f"A packet must begin with a known command and its complement, but got {header.hex()}.")
    if length > max_payload:
        raise ProtocolError(f"A payload must hold at most {max_payload} bytes, but {length} were announced.")
    payload = await reader.readexactly(length)
    leaves_out = command == CNXN and arg0 >= VERSION
    if checked and not leaves_out and check != checksum(payload):
        raise ProtocolError(f"A payload's checksum must be {check:#x}, but is {checksum(payload):#x}.")
    return Packet(command, arg0, arg1, payload)
