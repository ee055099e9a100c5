from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from adb_shell.auth.keygen import keygen
from adb_shell.auth.sign_cryptography import CryptographySigner

from akd_gym.device_lab.loopback import LoopbackPhone

PATIENCE_S = 60.0


@pytest.fixture(scope="session")
def key_file(tmp_path_factory) -> str:
    path = str(tmp_path_factory.mktemp("key") / "adbkey")
    keygen(path)
    return path


@pytest.fixture(scope="session")
def key(key_file) -> CryptographySigner:
    return CryptographySigner(key_file)


@pytest.fixture
def phone() -> Iterator[LoopbackPhone]:
    with LoopbackPhone() as phone:
        yield phone


class BadPacketError(Exception):
    """A packet whose magic or checksum is wrong."""


@dataclass
class RawClient:
    """The client side of the protocol, packet by packet, so that a test sees what a full client would hide."""

    port: int
    key: CryptographySigner
    version: int = 0x01000000
    asked: int = 0
    deadline: float | None = None
    """Time by the monotonic clock after which reading raises TimeoutError, even if a little arrives all the time."""

    def __post_init__(self) -> None:
        self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.last_id = 0

    def close(self) -> None:
        self.socket.close()

    def send(self, command: bytes, arg0: int, arg1: int, payload: bytes = b"") -> None:
        self.socket.sendall(encode(command, arg0, arg1, payload))

    def read_exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            if self.deadline is not None:
                self.socket.settimeout(max(self.deadline - time.monotonic(), 0.001))
            part = self.socket.recv(count - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def read(self) -> tuple[bytes, int, int, bytes]:
        header = self.read_exactly(24)
        word, arg0, arg1, length, check, magic = struct.unpack("<6I", header)
        if magic != word ^ 0xFFFFFFFF:
            raise BadPacketError
        payload = self.read_exactly(length)
        if self.version < 0x01000001 and check != sum(payload) & 0xFFFFFFFF:
            raise BadPacketError
        return header[:4], arg0, arg1, payload

    def hello(self) -> tuple[bytes, int, int, bytes]:
        self.send(b"CNXN", self.version, 1 << 20, b"host::test\0")
        return self.read()

    def connect(self) -> RawClient:
        command, _, _, payload = self.hello()
        while command == b"AUTH":
            self.asked += 1
            if self.asked <= 2:
                self.send(b"AUTH", 2, 0, self.key.Sign(payload))
            else:
                self.send(b"AUTH", 3, 0, self.key.GetPublicKey() + b"\0")
            command, _, _, payload = self.read()
        assert command == b"CNXN"
        assert payload.startswith(b"device::")
        return self

    def open(self, service: bytes) -> tuple[int, int]:
        self.last_id += 1
        self.send(b"OPEN", self.last_id, 0, service + b"\0")
        command, theirs, ours, _ = self.read()
        assert (command, ours) == (b"OKAY", self.last_id)
        return ours, theirs

    def write(self, ids: tuple[int, int], data: bytes) -> bytes:
        """Sends one WRTE; returns what arrives before its OKAY."""
        self.send(b"WRTE", *ids, data)
        early = b""
        while True:
            command, theirs, ours, payload = self.read()
            if command == b"OKAY":
                return early
            assert command == b"WRTE"
            early += payload
            self.send(b"OKAY", ours, theirs)

    def parts(self, ids: tuple[int, int]) -> Iterator[bytes]:
        """What arrives on a stream until it is closed."""
        while True:
            command, theirs, ours, payload = self.read()
            if command == b"CLSE":
                self.send(b"CLSE", ours, theirs)
                return
            assert (command, ours, theirs) == (b"WRTE", *ids)
            yield payload
            self.send(b"OKAY", ours, theirs)

    def exec(self, command: str | bytes) -> bytes:
        command = command if isinstance(command, bytes) else command.encode()
        return b"".join(self.parts(self.open(b"exec:" + command)))

    def shell(self, command: str) -> tuple[bytes, int]:
        """Both output streams together, and the exit code, by shell v2."""
        raw = b"".join(self.parts(self.open(b"shell,v2,raw:" + command.encode())))
        output = b""
        while raw:
            kind, length = struct.unpack_from("<BI", raw)
            data, raw = raw[5 : 5 + length], raw[5 + length :]
            if kind == 3:
                return output, data[0]
            output += data
        raise AssertionError("no exit code")

    def push(self, path: str, content: bytes, mode: int = 0o100644) -> bytes:
        """The answer: OKAY, or FAIL with its message."""
        ids = self.open(b"sync:")
        name = f"{path},{mode}".encode()
        request = struct.pack("<4sI", b"SEND", len(name)) + name
        for start in range(0, len(content), 1 << 16):
            part = content[start : start + (1 << 16)]
            request += struct.pack("<4sI", b"DATA", len(part)) + part
        request += struct.pack("<4sI", b"DONE", 1_700_000_000)
        answer = b""
        for start in range(0, len(request), 1 << 15):
            answer += self.write(ids, request[start : start + (1 << 15)])
        return self._answer(ids, answer)

    def pull(self, path: str) -> bytes:
        """The content, or FAIL with its message."""
        ids = self.open(b"sync:")
        answer = self.write(ids, struct.pack("<4sI", b"RECV", len(path.encode())) + path.encode())
        content = b""
        while True:
            answer = self._fill(answer, 8)
            kind, length = struct.unpack_from("<4sI", answer)
            if kind == b"DONE":
                return content
            if kind == b"FAIL":
                return self._answer(ids, answer)
            answer = self._fill(answer, 8 + length)
            content += answer[8 : 8 + length]
            answer = answer[8 + length :]

    def stat(self, path: str) -> tuple[int, int, int]:
        """Mode, size, time of change."""
        ids = self.open(b"sync:")
        answer = self._fill(self.write(ids, struct.pack("<4sI", b"STAT", len(path.encode())) + path.encode()), 16)
        return struct.unpack("<4x3I", answer)

    def _answer(self, ids: tuple[int, int], answer: bytes) -> bytes:
        answer = self._fill(answer, 8)
        kind, length = struct.unpack_from("<4sI", answer)
        if kind == b"OKAY":
            return kind
        answer = self._fill(answer, 8 + length)
        return kind + answer[8 : 8 + length]

    def _fill(self, data: bytes, count: int) -> bytes:
        while len(data) < count:
            command, theirs, ours, payload = self.read()
            assert command == b"WRTE"
            data += payload
            self.send(b"OKAY", ours, theirs)
        return data


def encode(command: bytes, arg0: int, arg1: int, payload: bytes = b"") -> bytes:
    (word,) = struct.unpack("<I", command)
    head = struct.pack("<6I", word, arg0, arg1, len(payload), sum(payload) & 0xFFFFFFFF, word ^ 0xFFFFFFFF)
    return head + payload


@pytest.fixture
def packet() -> Callable[..., bytes]:
    """Makes the bytes of a packet."""
    return encode


@pytest.fixture
def raw(key) -> Iterator[Callable[..., RawClient]]:
    """Makes raw clients, not yet connected, of a phone."""
    clients = []

    def make(phone: LoopbackPhone, **settings) -> RawClient:
        clients.append(RawClient(phone.port, key, **settings))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def client(phone, raw) -> RawClient:
    """Connected to `phone`."""
    return raw(phone).connect()
