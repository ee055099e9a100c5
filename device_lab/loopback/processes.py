"""Programs that the loopback phone runs on this machine: started, connected to a stream, and surely ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

MARK = "AKD_LOOPBACK_ROOT"
"""Environment variable that tells the processes of one phone from all others; whatever they start inherits it."""
_END_S = 10.0
_EXEC_LOOKS, _EXEC_S = 20, 0.002


class Program:
    """A running program with its standard streams.

    Args:
        popen: The program.
        forget: Told once it has ended, and is no zombie.

    Attributes:
        input: Goes to the program.
        output: What it prints.
        error: Its error stream, if that was to be kept apart.
    """

    def __init__(self, popen: subprocess.Popen[bytes], forget: Callable[[Program], None]) -> None:
        self.input: asyncio.StreamWriter
        self.output: asyncio.StreamReader
        self.error: asyncio.StreamReader | None = None
        self._popen = popen
        self._transports: list[asyncio.BaseTransport] = []
        self._ended = asyncio.Event()
        descriptor = os.pidfd_open(popen.pid)
        loop = asyncio.get_running_loop()

        def on_end() -> None:
            loop.remove_reader(descriptor)
            os.close(descriptor)
            popen.wait()
            self._ended.set()
            forget(self)

        loop.add_reader(descriptor, on_end)

    async def use_sockets(self, main: socket.socket, error: socket.socket | None) -> None:
        """Talks over sockets, one for input and output, as adbd does: whoever closes it takes both away."""
        self.output, self.input = await asyncio.open_connection(sock=main)
        self._transports.append(self.input.transport)
        if error is not None:
            # A writer that nobody holds closes its socket, and with it the program's error stream.
            self.error, self._error_writer = await asyncio.open_connection(sock=error)
            self._transports.append(self._error_writer.transport)

    async def use_terminal(self, descriptor: int) -> None:
        """Talks over the near end of a terminal."""
        loop = asyncio.get_running_loop()
        self.output = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(self.output)
        near = os.fdopen(os.dup(descriptor), "rb", buffering=0)
        self._transports.append((await loop.connect_read_pipe(lambda: protocol, near))[0])
        unread = asyncio.StreamReaderProtocol(asyncio.StreamReader())
        transport, _ = await loop.connect_write_pipe(lambda: unread, os.fdopen(descriptor, "wb", buffering=0))
        self._transports.append(transport)
        self.input = asyncio.StreamWriter(transport, unread, None, loop)

    async def wait(self) -> int:
        """The exit code, as a shell reports it."""
        await self._ended.wait()
        code = self._popen.returncode
        return code if code >= 0 else 128 - code

    def detach(self) -> None:
        """Closes the streams; the program may go on."""
        for transport in self._transports:
            transport.close()

    def hang_up(self) -> None:
        """Sends SIGHUP to the program, and to nothing that it started."""
        if self._popen.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self._popen.send_signal(signal.SIGHUP)


def _environment(process: Path) -> list[bytes]:
    """The variables of a process, by its folder in /proc.

    Amid an exec a process shows none for a moment: then it is asked again. One without any memory is a zombie or the
    kernel's own, and has none.
    """
    for _ in range(_EXEC_LOOKS):
        text = (process / "environ").read_bytes()
        if text or (process / "statm").read_bytes().startswith(b"0 "):
            break
        time.sleep(_EXEC_S)
    return text.split(b"\0")


class Processes:
    """Every process of one phone.

    Args:
        root: The phone's folder, which is also the mark of its processes.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._running: set[Program] = set()  # held so that each is waited for, whatever becomes of its stream

    async def start(
        self, arguments: Sequence[str | bytes], environment: Mapping[str, str], *, split_error: bool
    ) -> Program:
        """Starts a program in a session of its own; `split_error` keeps its error stream apart.

        Raises:
            OSError: It cannot be started.
        """
        main, theirs = socket.socketpair()
        error, their_error = socket.socketpair() if split_error else (None, theirs)
        try:
            popen = self._popen(arguments, environment, theirs.fileno(), their_error.fileno(), new_session=True)
        finally:
            for one in {theirs, their_error}:
                one.close()
        program = self._keep(popen)
        await program.use_sockets(main, error)
        return program

    async def start_on_terminal(self, arguments: Sequence[str | bytes], environment: Mapping[str, str]) -> Program:
        """Starts a program on a terminal that it controls.

        Raises:
            OSError: It cannot be started.
        """
        near, far = os.openpty()
        os.set_blocking(near, False)
        try:
            line = ["setsid", "--ctty", *arguments]
            popen = self._popen(line, environment, far, far, new_session=False)
        finally:
            os.close(far)
        program = self._keep(popen)
        await program.use_terminal(near)
        return program

    def _keep(self, popen: subprocess.Popen[bytes]) -> Program:
        program = Program(popen, self._running.discard)
        self._running.add(program)
        return program

    def _popen(
        self,
        arguments: Sequence[str | bytes],
        environment: Mapping[str, str],
        main: int,
        error: int,
        *,
        new_session: bool,
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            arguments,
            stdin=main,
            stdout=main,
            stderr=error,
            cwd=self._root,
            env={**environment, MARK: str(self._root)},
            start_new_session=new_session,
        )

    def pids(self) -> list[int]:
        """The processes alive, however they came to be."""
        mark = f"{MARK}={self._root}".encode()
        found = []
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and int(folder.name) != os.getpid():
                with contextlib.suppress(OSError):
                    if mark in _environment(folder):
                        found.append(int(folder.name))
        return found

    async def end_all(self) -> None:
        """Ends every process and waits until all are gone, but not for ever."""
        await asyncio.get_running_loop().run_in_executor(None, self._kill_all)
        if self._running:
            await asyncio.wait([asyncio.create_task(program.wait()) for program in self._running], timeout=_END_S)

    def _kill_all(self) -> None:
        latest = time.monotonic() + _END_S
        # A process may start another while the list is read, so it is read until it is empty.
        while (left := self.pids()) and time.monotonic() < latest:
            for pid in left:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)

    def allow(self, cores: set[int]) -> None:
        """Moves every thread to `cores` where none of its own is among them, as a kernel does that loses a core."""
        for pid in self.pids():
            with contextlib.suppress(OSError):
                for thread in Path(f"/proc/{pid}/task").iterdir():
                    if not os.sched_getaffinity(int(thread.name)) & cores:
                        os.sched_setaffinity(int(thread.name), cores)
