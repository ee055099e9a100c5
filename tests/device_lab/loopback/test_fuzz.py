"""Packets that no client sends. What they spell must never run: every command of this phone is `true`."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import socket
import struct
from pathlib import Path

import pytest

from akd_gym.device_lab.loopback import LoopbackPhone
from akd_gym.device_lab.loopback.packets import MAX_FIRST_PAYLOAD, MAX_PAYLOAD, ProtocolError, read_packet
from akd_gym.device_lab.loopback.system import System

SEED = 20_240
PACKETS_PARSED, PACKETS_TAKEN, PACKETS_A_LINK = 60_000, 70_000, 200
PATIENCE_S = 60.0
SERVICES = [b"sync:", b"sync:", b"sync:", b"sync:", b"shell:true", b"exec:true", b"shell,v2,raw:true", b"jdwp:", b""]
SYNC = [
    struct.pack("<4sI", b"STAT", 17) + b"/data/local/tmp/x",
    struct.pack("<4sI", b"LIST", 15) + b"/data/local/tmp",
    struct.pack("<4sI", b"RECV", 17) + b"/data/local/tmp/x",
    struct.pack("<4sI", b"SEND", 23) + b"/data/local/tmp/x,33188" + struct.pack("<4sI", b"DATA", 5) + b"12345",
    struct.pack("<4sI", b"DATA", 3) + b"abc",
    struct.pack("<4sI", b"DONE", 1),
    struct.pack("<4sI", b"QUIT", 0),
]


@pytest.fixture
def harmless_phone(monkeypatch, key):
    """A phone on which no text becomes a command, and `reboot:` cannot be opened."""

    def only_true(self, command, stage, fault):
        return ["/bin/true"], {}

    monkeypatch.setattr(System, "command_line", only_true)
    monkeypatch.setattr("akd_gym.device_lab.loopback.services._reboot", None)
    with LoopbackPhone(accept_new_keys=False, known_keys=[key.GetPublicKey()]) as phone:
        yield phone


def valid_packet(rng: random.Random, packet) -> bytes:
    """A packet as clients send them, for streams that may or may not be there, seldom one of the handshake."""
    mine, theirs = rng.randint(1, 12), rng.randint(1, 40)
    kind = rng.choices(["OPEN", "WRTE", "OKAY", "CLSE", "AUTH", "CNXN"], [20, 40, 30, 8, 1, 1])[0]
    if kind == "OPEN":
        return packet(b"OPEN", mine, 0, rng.choice(SERVICES) + b"\0")
    if kind == "WRTE":
        return packet(b"WRTE", mine, theirs, rng.choice(SYNC))
    if kind == "AUTH":
        return packet(b"AUTH", rng.randint(0, 4), 0, rng.randbytes(rng.choice([0, 20, 256, 700])))
    if kind == "CNXN":
        return packet(b"CNXN", 0x01000000 + rng.randint(0, 1), 1 << 20, b"host::fuzz\0")
    return packet(kind.encode(), mine, theirs)


MILD = ("payload", "args")
"""Damage that a link survives, mostly."""
GRAVE = ("check", "magic", "command", "length", "cut", "bits")


def garbled(rng: random.Random, raw: bytes, how: str) -> bytes:
    """A packet with something wrong."""
    words = list(struct.unpack_from("<6I", raw))
    payload = raw[24:]
    if how == "payload":  # under a right checksum
        noise = bytearray(payload)
        for _ in range(rng.randint(1, 4)):
            if noise:
                noise[rng.randrange(len(noise))] = rng.randrange(256)
        payload = bytes(noise[: rng.randint(0, len(noise))]) if rng.random() < 0.3 else bytes(noise)
        words[3], words[4] = len(payload), sum(payload)
    elif how == "args":
        words[rng.choice([1, 2])] = rng.choice([0, 1, 2, 0x7FFFFFFF, 0xFFFFFFFF, rng.getrandbits(32)])
    elif how == "check":
        words[4] = rng.getrandbits(32)
    elif how == "magic":
        words[5] ^= 1 << rng.randrange(32)
    elif how == "command":
        words[0] = rng.getrandbits(32)
        words[5] = words[0] ^ 0xFFFFFFFF
    elif how == "length":
        words[3] = rng.choice([0, words[3] + 1, words[3] * 2 + 1, MAX_PAYLOAD, MAX_PAYLOAD + 1, 0xFFFFFFFF])
    damaged = bytearray(struct.pack("<6I", *words) + payload)
    if how == "cut":
        del damaged[rng.randrange(len(damaged)) :]
    if how == "bits":
        for _ in range(rng.randint(1, 8)):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


@pytest.mark.slow
def test_the_parser_takes_garbled_packets_for_packets_or_errors_and_stores_no_more_than_allowed(packet):
    rng = random.Random(SEED)

    async def parse_all() -> list[int]:
        counts = [0, 0, 0]
        for _ in range(PACKETS_PARSED):
            reader = asyncio.StreamReader()
            reader.feed_data(garbled(rng, valid_packet(rng, packet), rng.choice(MILD + GRAVE)))
            reader.feed_eof()
            try:
                found = await read_packet(reader, MAX_FIRST_PAYLOAD, checked=rng.random() < 0.5)
                assert len(found.payload) <= MAX_FIRST_PAYLOAD
                counts[0] += 1
            except ProtocolError:
                counts[1] += 1
            except asyncio.IncompleteReadError:
                counts[2] += 1
        return counts

    counts = asyncio.run(parse_all())
    assert sum(counts) == PACKETS_PARSED
    assert min(counts) > PACKETS_PARSED / 100  # each end was met


@pytest.mark.slow
def test_the_daemon_survives_garbled_packets(harmless_phone, monkeypatch, caplog, packet, raw):
    phone = harmless_phone
    taken = [0, 0]  # packets that went on to their stream or were refused, as the daemon saw them

    async def counted(*arguments):
        try:
            found = await read_packet(*arguments)
        except ProtocolError:
            taken[1] += 1
            raise
        taken[0] += 1
        return found

    monkeypatch.setattr("akd_gym.device_lab.loopback.link.read_packet", counted)
    rng = random.Random(SEED)
    files = {path for path in Path(phone.root).rglob("*") if "data/local/tmp" not in str(path)}
    memory = resident_bytes()
    links = 0
    while sum(taken) < PACKETS_TAKEN:
        client = raw(phone, version=rng.choice([0x01000000, 0x01000001]))
        try:
            links += 1
            if rng.random() < 0.95:
                client.connect()
            flood(rng, client, packet)
        finally:
            client.close()
    assert min(taken) > links / 10  # both ends were met
    assert_well(phone, raw)
    gc.collect()
    assert [record.message for record in caplog.records] == []  # where asyncio reports what nobody caught
    assert phone.children() == []
    assert {path for path in Path(phone.root).rglob("*") if "data/local/tmp" not in str(path)} == files
    assert resident_bytes() - memory < 64 << 20


def flood(rng: random.Random, client, packet) -> None:
    """Sends packets, most of them garbled, and stays until the daemon has seen the last or has had enough."""
    with contextlib.suppress(OSError, EOFError):
        for _ in range(PACKETS_A_LINK):
            one = valid_packet(rng, packet)
            if rng.random() < 0.8:
                one = garbled(rng, one, rng.choice(GRAVE if rng.random() < 0.01 else MILD))
            drain(client.socket)
            client.socket.settimeout(PATIENCE_S)
            client.socket.sendall(one)
        client.socket.shutdown(socket.SHUT_WR)
        while client.socket.recv(1 << 16):
            pass


def drain(connection: socket.socket) -> None:
    """Reads what is there; raises where the daemon has closed the link."""
    connection.setblocking(False)
    try:
        while connection.recv(1 << 16):
            pass
    except BlockingIOError:
        return
    raise ConnectionError


def assert_well(phone: LoopbackPhone, raw) -> None:
    """A clean client is served, and nothing of the others is left."""
    client = raw(phone).connect()
    assert client.push("/data/local/tmp/clean", b"clean") == b"OKAY"
    assert client.pull("/data/local/tmp/clean") == b"clean"
    client.close()

    async def others_gone() -> list[str]:
        for _ in range(3000):
            names = [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            if not names:
                return []
            await asyncio.sleep(0.01)
        return names

    assert asyncio.run_coroutine_threadsafe(others_gone(), phone._loop).result(60) == []


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096
