from __future__ import annotations

import signal
import struct
import time

import pytest

from akd_gym.device_lab.loopback import LoopbackPhone


@pytest.mark.parametrize("kind", [bytes, str])
def test_a_signature_of_a_known_key_suffices(raw, key, kind):
    text = key.GetPublicKey()
    with LoopbackPhone(known_keys=[text if kind is bytes else text.decode()], accept_new_keys=False) as phone:
        client = raw(phone).connect()
        assert client.asked == 1
        assert client.exec("echo $((6*7))") == b"42\n"


def test_a_new_key_is_asked_for_and_then_known(phone, raw):
    first, second = raw(phone).connect(), raw(phone).connect()
    assert (first.asked, second.asked) == (3, 1)


def test_an_unknown_key_is_met_with_silence(raw, key):
    with LoopbackPhone(accept_new_keys=False) as phone:
        client = raw(phone)
        client.socket.settimeout(0.7)
        with pytest.raises(TimeoutError):
            client.connect()
        assert client.asked == 3


def test_a_known_key_with_another_token_does_not_connect(raw, key):
    with LoopbackPhone(known_keys=[key.GetPublicKey()]) as phone:
        client = raw(phone)
        client.hello()
        client.send(b"AUTH", 2, 0, key.Sign(b"\7" * 20))
        assert client.read()[0] == b"AUTH"


@pytest.mark.parametrize("text", [b"", b"!", b"QUJD", b"\0" * 700, b"QUFB" * 175])
def test_what_is_no_key_is_met_with_silence(phone, raw, text):
    client = raw(phone)
    client.hello()
    client.send(b"AUTH", 3, 0, text)
    client.socket.settimeout(0.3)
    with pytest.raises(TimeoutError):
        client.read()


def test_nothing_is_served_before_authentication(phone, raw):
    client = raw(phone)
    client.hello()
    client.send(b"OPEN", 1, 0, b"exec:touch /data/local/tmp/in\0")
    with pytest.raises((EOFError, ConnectionError)):
        client.read()
    assert not phone.path("/data/local/tmp/in").exists()


def damaged(index: int, raw: bytes) -> bytes:
    return raw[:index] + bytes([raw[index] ^ 1]) + raw[index + 1 :]


@pytest.mark.parametrize("index", [0, 16, 20, 24])
def test_a_packet_with_wrong_command_checksum_magic_or_payload_ends_the_link(phone, client, packet, index):
    client.socket.sendall(damaged(index, packet(b"OPEN", 1, 0, b"exec:true\0")))
    with pytest.raises((EOFError, ConnectionError)):
        client.read()


def test_checksums_are_left_out_only_if_both_ends_can(phone, raw, packet):
    client = raw(phone, version=0x01000001).connect()
    client.last_id = 1
    client.socket.sendall(damaged(16, packet(b"OPEN", 1, 0, b"exec:true\0")))
    assert client.read()[0] == b"OKAY"


def test_an_announced_payload_above_the_limit_ends_the_link(phone, client):
    (word,) = struct.unpack("<I", b"WRTE")
    client.socket.sendall(struct.pack("<6I", word, 1, 1, (1 << 20) + 1, 0, word ^ 0xFFFFFFFF))
    with pytest.raises((EOFError, ConnectionError)):
        client.read()


def test_a_peer_that_does_not_wait_for_okay_is_cut_off(phone, client):
    ids = client.open(b"exec:sleep 5")
    with pytest.raises((EOFError, ConnectionError)):
        flood(client, ids)


def flood(client, ids):
    for _ in range(200):
        client.send(b"WRTE", *ids, bytes(1 << 16))
    client.read()


def test_clse_is_answered_once(phone, client):
    ours, theirs = client.open(b"exec:cat")
    client.send(b"CLSE", ours, theirs)
    assert client.read()[:3] == (b"CLSE", theirs, ours)
    for _ in range(3):
        client.send(b"CLSE", ours, theirs)
        client.send(b"WRTE", ours, theirs, b"late")
        client.send(b"OKAY", ours, theirs)
    assert client.exec("echo next") == b"next\n"  # so nothing stood before its OKAY


@pytest.mark.parametrize("service", [b"tcp:80", b"root:", b"exec:", b"shell", b"sync", b"", b"jdwp:1", b"\xff\xfe"])
def test_an_unknown_service_is_refused(phone, client, service):
    client.send(b"OPEN", 7, 0, service + b"\0")
    assert client.read()[:3] == (b"CLSE", 0, 7)


def test_one_packet_is_in_flight_a_stream(phone, client):
    ids = client.open(b"exec:head -c 3000000 /dev/zero")
    command, _, _, payload = client.read()
    assert command == b"WRTE"
    client.socket.settimeout(0.3)
    with pytest.raises(TimeoutError):
        client.read()
    client.socket.settimeout(60)
    client.send(b"OKAY", *ids)
    assert len(payload) + sum(map(len, client.parts(ids))) == 3_000_000


def test_streams_do_not_wait_for_each_other(phone, client):
    slow = client.open(b"exec:sleep 60")
    assert client.exec("echo quick") == b"quick\n"
    client.send(b"CLSE", *slow)


def test_a_command_outlives_its_link_as_on_a_phone_but_not_the_phone(phone, raw):
    client = raw(phone).connect()
    ids = client.open(b"exec:echo; exec sleep 1000")
    assert next(client.parts(ids)) == b"\n"
    (pid,) = phone.children()
    client.close()
    time.sleep(0.2)
    assert phone.children() == [pid]
    phone.close()
    assert phone.children() == []


@pytest.fixture
def heard_hang_up():
    """What `nohup` starts ignores SIGHUP, and so would whatever the phone starts."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def test_shell_v2_hangs_up_when_its_link_ends(heard_hang_up, phone, raw):
    client = raw(phone).connect()
    ids = client.open(b"shell,v2,raw:echo; exec sleep 1000")
    next(client.parts(ids))
    client.close()
    latest = time.monotonic() + 60
    while phone.children() and time.monotonic() < latest:
        time.sleep(0.01)
    assert phone.children() == []


def test_input_reaches_the_command_and_shell_v2_can_end_it(phone, client):
    ids = client.open(b"shell,v2,raw:cat; exit 9")
    client.send(b"WRTE", *ids, struct.pack("<BI", 0, 3) + b"ab")
    assert client.read()[0] == b"OKAY"
    client.send(b"WRTE", *ids, b"c" + struct.pack("<BI", 4, 0))
    answers = [client.read()]
    while answers[-1][0] != b"CLSE":
        if answers[-1][0] == b"WRTE":
            client.send(b"OKAY", *ids)
        answers.append(client.read())
    data = b"".join(payload for command, _, _, payload in answers if command == b"WRTE")
    assert data == struct.pack("<BI", 1, 3) + b"abc" + struct.pack("<BIB", 3, 1, 9)


def test_a_shell_on_a_terminal(phone, client):
    ids = client.open(b"shell,v2,TERM=dumb,pty:")
    line = b"tty; exit 5\n"
    client.send(b"WRTE", *ids, struct.pack("<BI", 0, len(line)) + line)
    data = b""
    while True:
        command, _, _, payload = client.read()
        if command == b"WRTE":
            data += payload
            client.send(b"OKAY", *ids)
        if command == b"CLSE":
            break
    assert b"/dev/pts/" in data
    assert data.endswith(struct.pack("<BIB", 3, 1, 5))


def test_many_links_are_refused_rather_than_served_badly(phone, raw):
    clients = [raw(phone) for _ in range(40)]
    answers = []
    for client in clients:
        try:
            answers.append(client.hello()[0])
        except (EOFError, ConnectionError):
            answers.append(b"")
    assert answers.count(b"AUTH") == 32
