"""A loopback phone in a background thread, or in the foreground until it is told to stop."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType

from akd_gym.device_lab.loopback.daemon import HOST, Daemon
from akd_gym.device_lab.loopback.faults import Fault, FaultPlan
from akd_gym.device_lab.loopback.system import PhoneState, System
from akd_gym.errors import DeviceError

_PATIENCE_S = 30.0


class LoopbackPhone:
    """A phone without hardware: real adb on 127.0.0.1, commands that run on this machine as this user.

    It listens from construction until `close`; as a context manager it closes itself. See
    `akd_gym.device_lab.loopback.system` for what a command finds.

    Args:
        port: Where to listen; 0 picks a free port.
        accept_new_keys: Whether any key that asks may connect, as if somebody tapped "allow" on the phone's screen.
        known_keys: Public keys (contents of `adbkey.pub`) that may connect in any case.
        faults: What goes wrong, and when.
        model: The phone's model name.
        serial: Its serial number; None makes one up.
        reboot_s: How long a reboot that was asked for takes.

    Attributes:
        address: `"127.0.0.1:PORT"`.
        port: Where it listens.
        root: Its private folder, removed at the end.

    Raises:
        DeviceError: The port is taken, or this machine cannot play a phone.
        InvalidSettingError: See `System`.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        accept_new_keys: bool = True,
        known_keys: Iterable[str | bytes] = (),
        faults: Iterable[Fault] = (),
        model: str = "Loopback",
        serial: str | None = None,
        reboot_s: float = 1.0,
    ) -> None:
        self._plan = FaultPlan(faults)
        self.root = Path(tempfile.mkdtemp(prefix="akd-loopback-"))
        try:
            self._system = System(self.root, model, serial or f"LOOP{secrets.token_hex(4).upper()}")
            known = [key.encode() if isinstance(key, str) else key for key in known_keys]
            self._daemon = Daemon(self._system, self._plan, known, accept_new_keys, reboot_s)
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="loopback phone", daemon=True)
            self._thread.start()
            self._closed = threading.Lock()
            try:
                asyncio.run_coroutine_threadsafe(self._daemon.start(port), self._loop).result(_PATIENCE_S)
            except OSError as error:
                self._end_thread()
                raise DeviceError(
                    f"Port {port} of {HOST} must be free for a loopback phone: {error.strerror}."
                ) from error
        except BaseException:
            shutil.rmtree(self.root, ignore_errors=True)
            raise
        self.port = self._daemon.port
        self.address = f"{HOST}:{self.port}"

    def inject(self, *faults: Fault) -> None:
        """Has more go wrong, after what was asked for before."""
        self._plan.add(*faults)

    def pending(self) -> tuple[Fault, ...]:
        """Faults that have not fired as often as they should."""
        return self._plan.waiting()

    def fired(self) -> tuple[Fault, ...]:
        """Faults that fired, in order, once each time."""
        return self._plan.fired()

    def forget_faults(self) -> None:
        """Has nothing more go wrong; what lasts a while still does."""
        self._plan.clear()

    def children(self) -> list[int]:
        """Processes alive that commands of the phone started."""
        return self._daemon.processes.pids()

    def state(self) -> PhoneState:
        """What commands changed about the phone."""
        return self._system.state()

    def path(self, path: str) -> Path:
        """The file on this machine behind a path of the phone.

        Raises:
            PermissionError: It is not mapped.
        """
        return self._system.locate(path)

    def reboot(self, away_s: float | None = None) -> None:
        """Reboots the phone, as its power button would."""
        self._loop.call_soon_threadsafe(self._daemon.reboot, away_s)

    def close(self) -> None:
        """Ends all links and processes and removes the root. May be called again."""
        if not self._closed.acquire(blocking=False):
            return
        asyncio.run_coroutine_threadsafe(self._daemon.stop(), self._loop).result(_PATIENCE_S)
        self._end_thread()
        shutil.rmtree(self.root, ignore_errors=True)

    def _end_thread(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE_S)
        # A connection accepted while the port closed may still be on its way to the daemon.
        if left := asyncio.all_tasks(self._loop):
            for task in left:
                task.cancel()
            self._loop.run_until_complete(asyncio.wait(left))
        self._loop.close()

    def __enter__(self) -> LoopbackPhone:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def serve(
    *,
    port: int = 0,
    accept_new_keys: bool = True,
    known_keys: Iterable[str | bytes] = (),
    faults: Iterable[Fault] = (),
    model: str = "Loopback",
    say: Callable[[str], None] = print,
) -> None:
    """Runs a loopback phone until Ctrl-C or SIGTERM. Must be called from the main thread.

    Args:
        port: See `LoopbackPhone`, as for the others.
        accept_new_keys: See there.
        known_keys: See there.
        faults: See there.
        model: See there.
        say: Takes the lines that tell the user where the phone is, and what it means.

    Raises:
        DeviceError: See `LoopbackPhone`.
    """
    stop = threading.Event()
    before = {name: signal.signal(name, lambda *_: stop.set()) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        with LoopbackPhone(
            port=port, accept_new_keys=accept_new_keys, known_keys=known_keys, faults=faults, model=model
        ) as phone:
            say(f"Loopback phone on {phone.address} (try `adb connect {phone.address}`). Ctrl-C ends it.")
            who = "every user of this machine" if accept_new_keys else "whoever has one of this user's keys"
            say(f"WARNING: commands sent to it run on this machine as this user, and {who} may send them.")
            for fault in phone.pending():
                say(f"Will go wrong: {fault.name} at {fault.stage}, {fault.times} time(s).")
            stop.wait()
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
