"""Bytes to and from a peer until a deadline: what every connection to a device or to the adb server stands on."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator

from akd_gym.errors import DeviceError, DeviceLostError, DeviceTimeoutError


class Deadline:
    """A moment after which nothing may be waited for, whatever still arrives.

    Args:
        timeout_s: Seconds from now.
        task: What must be done by then, for the message.
        grace_s: Seconds more that are waited but not spoken of.
    """

    def __init__(self, timeout_s: float, task: str, grace_s: float = 0.0) -> None:
        self.timeout_s, self.task = timeout_s, task
        self._end = time.monotonic() + timeout_s + grace_s

    def left_s(self) -> float:
        """Seconds left, more than 0.

        Raises:
            DeviceTimeoutError: None are left.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise self.error()
        return left

    def error(self) -> DeviceTimeoutError:
        """The error that says that time is up."""
        return DeviceTimeoutError(f"To {self.task} must take at most {self.timeout_s:g} s, but it did not end in time.")


class Link(ABC):
    """A connection that carries bytes. One thread uses it; any thread may close it, also in the middle of a read.

    Args:
        peer: Who is at the other end, for messages.
    """

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self._closed = False
        self._in_use = threading.RLock()

    def send(self, data: bytes, deadline: Deadline) -> None:
        """Sends all of `data`.

        Raises:
            DeviceLostError: The link broke, or is closed.
            DeviceTimeoutError: The deadline came first.
        """
        with self._using(deadline):
            self._send(data, deadline)

    def receive(self, limit: int, deadline: Deadline) -> bytes:
        """At least 1 byte and at most `limit` of them, or none when the peer has closed its side.

        Raises:
            DeviceLostError: The link broke, or is closed.
            DeviceTimeoutError: The deadline came first.
        """
        with self._using(deadline):
            data = self._receive(limit, deadline)
            if not data:
                self._check_open()
            return data

    def close(self) -> None:
        """Ends the link; a thread that waits for it gets `DeviceLostError`. May be called twice."""
        self._closed = True
        self._break_off()
        with self._in_use:  # not earlier: the number of a closed file is given to the next one opened
            self._release()

    @contextlib.contextmanager
    def _using(self, deadline: Deadline) -> Iterator[None]:
        with self._in_use:
            self._check_open()
            try:
                yield
            except DeviceError:
                raise
            except TimeoutError as error:
                raise deadline.error() from error
            except OSError as error:
                self._check_open()
                raise DeviceLostError(
                    f"The link to {self.peer} must stay up, but it broke: {error.strerror or error}."
                ) from error

    def _check_open(self) -> None:
        if self._closed:
            raise DeviceLostError(f"The link to {self.peer} is closed. Open another session.")

    @abstractmethod
    def _send(self, data: bytes, deadline: Deadline) -> None: ...

    @abstractmethod
    def _receive(self, limit: int, deadline: Deadline) -> bytes: ...

    @abstractmethod
    def _break_off(self) -> None:
        """Has a read or write of another thread return soon."""

    @abstractmethod
    def _release(self) -> None:
        """Gives back what the system lent; nobody reads or writes any more."""


class SocketLink(Link):
    """A link over a connected stream socket."""

    def __init__(self, connection: socket.socket, peer: str) -> None:
        super().__init__(peer)
        self._connection = connection
        if connection.family in (socket.AF_INET, socket.AF_INET6):
            # Packets are small and answered one by one: with Nagle's algorithm each waits for a delayed answer.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @classmethod
    def connect(cls, host: str, port: int, deadline: Deadline) -> SocketLink:
        """Opens a TCP connection. Looking up a host's name is up to the system, which has time limits of its own.

        Raises:
            DeviceLostError: Nobody listens there, or the host is unknown.
            DeviceTimeoutError: The deadline came first.
        """
        peer = f"{host}:{port}"
        reason: OSError | None = None
        try:
            for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
                connection = socket.socket(family, kind, protocol)
                try:
                    connection.settimeout(deadline.left_s())
                    connection.connect(address)
                    return cls(connection, peer)
                except TimeoutError as error:
                    connection.close()
                    raise deadline.error() from error
                except OSError as error:
                    connection.close()
                    reason = error
        except DeviceError:
            raise
        except (OSError, UnicodeError) as error:  # a name that cannot be looked up, or cannot be a name
            raise DeviceLostError(f"{host!r} must be a host that can be found, but: {error}.") from error
        raise DeviceLostError(
            f"{peer} must accept connections, but does not: {reason and (reason.strerror or reason)}. "
            "Is the device on, in this network, and does it listen there?"
        ) from reason

    def has_data(self) -> bool:
        """Whether `receive` would return at once (also when the peer has closed, or the link broke)."""
        with self._in_use:
            if self._closed:
                return True
            self._connection.settimeout(0)
            try:
                self._connection.recv(1, socket.MSG_PEEK)
            except BlockingIOError:
                return False
            except OSError:
                return True
            return True

    def _send(self, data: bytes, deadline: Deadline) -> None:
        self._connection.settimeout(deadline.left_s())
        self._connection.sendall(data)  # its time limit is for all of it together

    def _receive(self, limit: int, deadline: Deadline) -> bytes:
        self._connection.settimeout(deadline.left_s())
        return self._connection.recv(limit)

    def _break_off(self) -> None:
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def _release(self) -> None:
        self._connection.close()
