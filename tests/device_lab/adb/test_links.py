from __future__ import annotations

import contextlib
import socket
import threading
import time

import pytest

from akd_gym.device_lab.adb.links import Deadline, SocketLink
from akd_gym.errors import DeviceLostError, DeviceTimeoutError


@pytest.fixture
def pair():
    near, far = socket.socketpair()
    link = SocketLink(near, "the other end")
    yield link, far
    link.close()
    far.close()


def within(seconds: float = 30.0) -> Deadline:
    return Deadline(seconds, "test")


@contextlib.contextmanager
def beside(target, *arguments):
    """Another thread, ended at the end."""
    thread = threading.Thread(target=target, args=arguments)
    thread.start()
    yield
    thread.join(30)
    assert not thread.is_alive()


def test_all_of_8_mb_reaches_a_slow_reader(pair):
    link, far = pair
    far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    data, got = bytes(range(256)) * 2**15, bytearray()

    def read_slowly():
        while len(got) < len(data):
            got.extend(far.recv(100_000))
            time.sleep(0.001)

    with beside(read_slowly):
        link.send(data, within())
    assert got == data


def test_a_write_nobody_reads_ends_at_the_deadline(pair):
    link, _ = pair
    with pytest.raises(DeviceTimeoutError, match=r"To test must take at most 0\.2 s"):
        link.send(bytes(2**24), within(0.2))


def test_silence_ends_at_the_deadline(pair):
    link, _ = pair
    with pytest.raises(DeviceTimeoutError):
        link.receive(1, within(0.2))


def test_a_deadline_holds_over_many_reads_of_dripping_data(pair):
    link, far = pair
    stop, deadline = threading.Event(), within(0.5)

    def drip():
        with contextlib.suppress(OSError):
            while not stop.wait(0.02):
                far.send(b"x")

    with beside(drip):
        with pytest.raises(DeviceTimeoutError):
            [link.receive(1, deadline) for _ in range(10_000)]
        stop.set()


def test_a_deadline_holds_where_all_data_is_there_already(pair):
    link, far = pair
    far.send(b"x" * 100)
    with pytest.raises(DeviceTimeoutError):
        link.receive(1, within(-1))


def test_the_end_of_the_stream_is_seen_at_once(pair):
    link, far = pair
    far.close()
    assert link.receive(1, within()) == b""


def test_a_broken_link_is_lost(pair):
    link, far = pair
    far.close()
    with pytest.raises(DeviceLostError, match="the other end must stay up"):
        [link.send(bytes(2**20), within()) for _ in range(3)]


def test_closing_breaks_off_a_read_of_another_thread(pair):
    link, _ = pair
    with beside(lambda: (time.sleep(0.1), link.close())), pytest.raises(DeviceLostError, match="closed"):
        link.receive(1, within())


def test_closing_breaks_off_a_write_of_another_thread(pair):
    link, _ = pair
    with beside(lambda: (time.sleep(0.1), link.close())), pytest.raises(DeviceLostError, match="closed"):
        link.send(bytes(2**24), within())


def test_a_link_may_be_closed_twice_and_is_then_lost(pair):
    link, _ = pair
    link.close()
    link.close()
    with pytest.raises(DeviceLostError, match="closed"):
        link.receive(1, within())
    with pytest.raises(DeviceLostError, match="closed"):
        link.send(b"x", within())


def test_it_tells_whether_something_is_to_be_read(pair):
    link, far = pair
    assert not link.has_data()
    far.send(b"x")
    assert link.has_data()
    assert link.receive(9, within()) == b"x"
    assert not link.has_data()
    far.close()
    assert link.has_data()


def test_a_port_where_nobody_listens_is_lost():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(DeviceLostError, match=f"127.0.0.1:{port} must accept connections"):
            SocketLink.connect("127.0.0.1", port, within())


@pytest.mark.parametrize("host", ["no such host", "a" * 100, "ü" * 80, "."])
def test_a_host_that_cannot_be_is_lost(host):
    with pytest.raises(DeviceLostError, match="must be a host that can be found"):
        SocketLink.connect(host, 5555, within())


def test_small_packets_are_sent_without_delay():
    with socket.create_server(("127.0.0.1", 0)) as server:
        link = SocketLink.connect("127.0.0.1", server.getsockname()[1], within())
        assert link._connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        link.close()
