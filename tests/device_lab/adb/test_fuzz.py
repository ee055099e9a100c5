"""Garbled packets, many, against the client: every call gives the right result or an error of ours."""

from __future__ import annotations

import collections
import hashlib
import random
import re
import resource
import struct

import pytest

from akd_gym.device_lab.adb.direct_session import DirectSession
from akd_gym.device_lab.adb.links import Link
from akd_gym.device_lab.adb.transports import DeadlineTransport
from akd_gym.errors import (
    BadOutputError,
    CommandFailedError,
    DeviceLostError,
    DeviceTimeoutError,
    DeviceUnauthorizedError,
)

GARBLED = 60_000
OURS = (BadOutputError, CommandFailedError, DeviceLostError, DeviceTimeoutError, DeviceUnauthorizedError)
COMMANDS = [b"CNXN", b"AUTH", b"OPEN", b"OKAY", b"WRTE", b"CLSE", b"SYNC"]


def packet(command: bytes, arg0: int, arg1: int, data: bytes = b"") -> bytes:
    number = int.from_bytes(command, "little")
    return struct.pack("<6I", number, arg0, arg1, len(data), sum(data), number ^ 0xFFFFFFFF) + data


class Device:
    """A well-behaved phone in memory: answers packets by packets; its hashes are those a shell would give."""

    def __init__(self, rng: random.Random) -> None:
        self.files: dict[str, bytes] = {}
        self._rng = rng
        self._wants_key = rng.random() < 0.02
        self._streams: dict[int, bytearray] = {}  # what arrived on a sync stream
        self._to_send: dict[int, collections.deque[bytes]] = {}

    def answer(self, command: bytes, arg0: int, arg1: int, data: bytes) -> list[bytes]:
        if command == b"CNXN" and self._wants_key:
            return [packet(b"AUTH", 1, 0, self._rng.randbytes(20))]
        if command in (b"CNXN", b"AUTH"):
            return [packet(b"CNXN", 0x01000000, 2**20, b"device::ro.product.name=x;\0")]
        if command == b"OPEN":
            return self._open(arg0, data.rstrip(b"\0").decode())
        if command == b"WRTE" and arg0 in self._streams:
            self._streams[arg0] += data
            return [packet(b"OKAY", arg0, arg0), *self._sync(arg0)]
        if command == b"OKAY" and self._to_send.get(arg0):
            return [self._to_send[arg0].popleft()]
        if command == b"CLSE" and self._streams.pop(arg0, None) is not None:
            return [packet(b"CLSE", arg0, arg0)]
        return []

    def _open(self, stream: int, service: str) -> list[bytes]:
        okay = packet(b"OKAY", stream, stream)
        if service == "sync:":
            self._streams[stream] = bytearray()
            return [okay]
        nonce = re.search(r"=%s\\n' ([0-9a-f]{16}) ", service)[1]
        output, code = self._shell(service)
        digest = hashlib.sha256(output + f"={code}".encode()).hexdigest()
        guarded = output + f"\n{nonce}={code}={digest}  -\n".encode()
        return [okay, *self._send(stream, guarded, ends=True)]

    def _shell(self, service: str) -> tuple[bytes, int]:
        if "echo" in service and "the output" in service:
            return b"the output", 0
        if "wc -c" in service:
            content = self.files.get("/data/in")
            return (b"no such file", 1) if content is None else (_described(content), 0)
        draft = next((path for path in self.files if ".partial-" in path), None)
        if "mv -f" in service and draft:
            content = self.files.pop(draft)
            if hashlib.sha256(content).hexdigest() not in service:
                return b"", 65
            self.files["/data/out"] = content
        return b"", 0

    def _sync(self, stream: int) -> list[bytes]:
        got = bytes(self._streams[stream])
        kind, length = struct.unpack("<4sI", got[:8])
        name = got[8 : 8 + length].decode()
        if kind == b"RECV":
            content = self.files["/data/in"]
            chunks = [content[i : i + 3000] for i in range(0, len(content), 3000)]
            body = b"".join(struct.pack("<4sI", b"DATA", len(chunk)) + chunk for chunk in chunks)
            return self._send(stream, body + struct.pack("<4sI", b"DONE", 0), ends=False)
        if len(got) < 8 or got[-8:-4] != b"DONE":
            return []
        content, place = b"", 8 + length
        while got[place : place + 4] == b"DATA":
            size = struct.unpack("<I", got[place + 4 : place + 8])[0]
            content += got[place + 8 : place + 8 + size]
            place += 8 + size
        self.files[name.rsplit(",", 1)[0]] = content
        return self._send(stream, struct.pack("<4sI", b"OKAY", 0), ends=False)

    def _send(self, stream: int, data: bytes, *, ends: bool) -> list[bytes]:
        size = self._rng.choice([40, 500, 4096])
        parts = [packet(b"WRTE", stream, stream, data[i : i + size]) for i in range(0, len(data), size)]
        self._to_send[stream] = collections.deque([*parts[1:], *([packet(b"CLSE", stream, stream)] if ends else [])])
        return parts[:1]


def _described(content: bytes) -> bytes:
    return f"{hashlib.sha256(content).hexdigest()}  -\n{len(content)}".encode()


class GarbledLink(Link):
    """A link to a `Device` whose answers are garbled now and then. Where it has no more to give, it is silent or ends.

    Silence is the deadline's error at once, so that no time passes.
    """

    def __init__(self, rng: random.Random, rate: float, counts: collections.Counter[str]) -> None:
        super().__init__("the fuzz")
        self.device = Device(rng)
        self._rng, self._rate, self._counts = rng, rate, counts
        self._sent, self._incoming = bytearray(), bytearray()
        self._ends = rng.random() < 0.5
        self._is_cut = False

    def _send(self, data, deadline):
        self._sent += data
        while len(self._sent) >= 24:
            command, arg0, arg1, length, _, _ = struct.unpack("<6I", self._sent[:24])
            if len(self._sent) < 24 + length:
                return
            payload = bytes(self._sent[24 : 24 + length])
            del self._sent[: 24 + length]
            answer = self.device.answer(command.to_bytes(4, "little"), arg0, arg1, payload)
            self._counts["packets"] += len(answer)
            for one in self._garbled(answer):
                if not self._is_cut:
                    self._incoming += one

    def _receive(self, limit, deadline):
        if not self._incoming:
            if self._ends or self._is_cut:
                return b""
            raise deadline.error()
        count = min(limit, len(self._incoming), self._rng.choice([1, 7, 24, 100, 5000, 2**20]))
        data = bytes(self._incoming[:count])
        del self._incoming[:count]
        return data

    def _break_off(self):
        pass

    def _release(self):
        pass

    def _garbled(self, packets: list[bytes]) -> list[bytes]:
        if self._rng.random() > self._rate or not packets:
            return packets
        self._counts["garbled"] += 1
        kind = self._rng.choice(MUTATIONS)
        self._counts[kind.__name__] += 1
        place = self._rng.randrange(len(packets))
        changed = kind(self._rng, packets[place])
        if kind is cut_off:
            self._is_cut = True
            self._incoming += changed
            return []
        packets = [*packets[:place], changed, *packets[place + 1 :]]
        if kind is unchanged:
            self._rng.shuffle(packets)
        return packets


def fields(one: bytes) -> list[int]:
    return list(struct.unpack("<6I", one[:24]))


def with_fields(values: list[int], data: bytes) -> bytes:
    return struct.pack("<6I", *(value & 0xFFFFFFFF for value in values)) + data


def any_number(rng: random.Random) -> int:
    return rng.choice([0, 1, 2, 24, 4096, 2**20, 2**20 + 1, 2**31, 2**32 - 1, rng.randrange(2**32)])


def flip_a_bit(rng, one):
    place = rng.randrange(len(one))
    return one[:place] + bytes([one[place] ^ 1 << rng.randrange(8)]) + one[place + 1 :]


def change_a_field(rng, one):
    values = fields(one)
    values[rng.randrange(6)] = any_number(rng)
    return with_fields(values, one[24:])


def change_the_ids(rng, one):
    values = fields(one)
    values[rng.choice([1, 2])] = any_number(rng)
    return with_fields(values, one[24:])


def change_the_length(rng, one):
    values = fields(one)
    values[3] = any_number(rng)
    return with_fields(values, one[24:])


def change_the_command(rng, one):
    values = fields(one)
    values[0] = int.from_bytes(rng.choice([*COMMANDS, b"STLS", b"\0\0\0\0", rng.randbytes(4)]), "little")
    values[5] = values[0] ^ 0xFFFFFFFF
    return with_fields(values, one[24:])


def change_the_payload(rng, one):
    """With a checksum that fits."""
    data = bytearray(one[24:]) or bytearray(rng.randbytes(rng.randrange(50)))
    for _ in range(rng.choice([1, 1, 5])):
        if data:
            data[rng.randrange(len(data))] = rng.randrange(256)
    values = fields(one)
    values[3:5] = [len(data), sum(data)]
    return with_fields(values, bytes(data))


def change_the_payloads_size(rng, one):
    data = rng.choice([one[24:] * 2, one[24 : 24 + len(one) // 2], b"", rng.randbytes(rng.randrange(9000))])
    values = fields(one)
    values[3:5] = [len(data), sum(data)]
    return with_fields(values, data)


def speak_of_a_huge_chunk(rng, one):
    data = struct.pack("<4sI", rng.choice([b"DATA", b"FAIL", b"DONE", b"OKAY", b"DENT"]), any_number(rng))
    values = fields(one)
    values[3:5] = [len(data), sum(data)]
    return with_fields(values, data)


def drop(rng, one):
    return b""


def double(rng, one):
    return one * rng.choice([2, 3, 50])


def unchanged(rng, one):
    """The packets change places."""
    return one


def cut_off(rng, one):
    return one[: rng.randrange(len(one))]


def put_noise_before(rng, one):
    return rng.randbytes(rng.choice([1, 23, 24, 25, 1000])) + one


def put_a_packet_before(rng, one):
    values = fields(one)
    data = rng.randbytes(rng.choice([0, 0, 10]))
    return packet(rng.choice(COMMANDS), rng.choice([values[1], any_number(rng)]), values[2], data) + one


MUTATIONS = [
    flip_a_bit,
    change_a_field,
    change_the_ids,
    change_the_length,
    change_the_command,
    change_the_payload,
    change_the_payloads_size,
    speak_of_a_huge_chunk,
    drop,
    double,
    unchanged,
    cut_off,
    put_noise_before,
    put_a_packet_before,
]


class GarbledTransport(DeadlineTransport):
    def __init__(self, link: GarbledLink) -> None:
        super().__init__()
        self._only_link = link

    def _open_link(self, deadline):
        return self._only_link


def use(session: DirectSession, device: Device, rng: random.Random, counts: collections.Counter[str]) -> None:
    """One call, which is right or an error of ours."""
    kind = rng.choice(["run", "push", "pull"])
    content = rng.randbytes(rng.choice([0, 10, 5000, 20_000]))
    try:
        if kind == "run":
            assert session.run("echo 'the output'").checked() == "the output"
        elif kind == "push":
            device.files.clear()
            session.push(content, "/data/out")
            assert device.files["/data/out"] == content
        else:
            device.files["/data/in"] = content
            assert session.pull("/data/in") == content
        counts[f"{kind} right"] += 1
    except CommandFailedError:
        counts["CommandFailedError"] += 1


def fuzz(seed: int, amount: int, of: str, keys, rate: float) -> collections.Counter[str]:
    """Uses sessions until there were `amount` packets, or `amount` garbled ones."""
    rng, counts = random.Random(seed), collections.Counter()
    while counts[of] < amount:
        link, session = GarbledLink(rng, rate, counts), None
        try:
            session = DirectSession(GarbledTransport(link), keys, address="fuzz")
            while counts[of] < amount:
                use(session, link.device, rng, counts)
        except OURS as error:
            counts[type(error).__name__] += 1
            if session is not None:
                with pytest.raises(DeviceLostError, match="Open another"):
                    session.run("true")
    return counts


def test_the_device_of_the_fuzz_is_a_right_one(keys):
    counts = fuzz(0, 10_000, "packets", keys, rate=-1)
    assert min(counts[f"{kind} right"] for kind in ("run", "push", "pull")) > 20
    assert not any(counts[error.__name__] for error in OURS)


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "rate"), [(1, 0.1), (2, 0.5), (3, 0.25)])
def test_garbled_packets_end_in_a_right_result_or_an_error_of_ours(keys, seed, rate):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    counts = fuzz(seed, GARBLED // 3, "garbled", keys, rate)
    print(dict(counts))  # shown where this fails
    assert all(counts[mutation.__name__] for mutation in MUTATIONS)
    assert all(counts[f"{kind} right"] for kind in ("run", "push", "pull"))
    assert counts["BadOutputError"]
    assert counts["DeviceLostError"]
    assert counts["DeviceTimeoutError"]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024  # KiB
