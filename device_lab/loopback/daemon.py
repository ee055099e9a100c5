"""The daemon: listens on 127.0.0.1, knows keys, and carries what all its links share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from cryptography.hazmat.primitives.asymmetric import rsa

from akd_gym.device_lab.loopback import keys
from akd_gym.device_lab.loopback.faults import Fault, FaultPlan
from akd_gym.device_lab.loopback.link import Link
from akd_gym.device_lab.loopback.processes import Processes
from akd_gym.device_lab.loopback.services import FEATURES
from akd_gym.device_lab.loopback.system import System

HOST = "127.0.0.1"
_MAX_LINKS = 32


class Daemon:
    """One phone's adbd. All but the constructor belongs to the thread of its event loop.

    Args:
        system: The phone's files and state.
        faults: What goes wrong.
        known_keys: Public keys, as `adb keygen` writes them, that may connect.
        accept_new_keys: Whether any other key that asks may connect too, as if somebody tapped "allow".
        reboot_s: How long a reboot that was asked for takes.

    Raises:
        ValueError: A key is none.
    """

    def __init__(
        self, system: System, faults: FaultPlan, known_keys: Iterable[bytes], accept_new_keys: bool, reboot_s: float
    ) -> None:
        self.system, self.faults = system, faults
        self.processes = Processes(system.root)
        self._keys: dict[tuple[int, int], rsa.RSAPublicKey] = {}
        for key in known_keys:
            self._remember(keys.parse_public_key(key))
        self._accept_new_keys, self._reboot_s = accept_new_keys, reboot_s
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.Task[None]] = set()
        self._rebooting: asyncio.Task[None] | None = None
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self.port = 0

    # life

    async def start(self, port: int) -> None:
        """Listens; port 0 picks a free one.

        Raises:
            OSError: The port is taken.
        """
        self._server = await asyncio.start_server(self._on_connection, HOST, port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Closes the port and all links, and ends every process of the phone."""
        if self._rebooting is not None:
            self._rebooting.cancel()
            await asyncio.gather(self._rebooting, return_exceptions=True)
        await self._shut()

    def reboot(self, away_s: float | None = None) -> None:
        """Reboots: everything ends at once, and the port opens again after `away_s`. Returns before that."""
        if self._rebooting is None or self._rebooting.done():
            self._rebooting = asyncio.create_task(self._reboot(self._reboot_s if away_s is None else away_s))

    async def _reboot(self, away_s: float) -> None:
        await self._shut()
        await asyncio.sleep(away_s)
        self.system.start_up()
        await self.start(self.port)

    async def _shut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for task in self._links:
            task.cancel()
        if self._links:
            await asyncio.wait(self._links)
        await self.processes.end_all()

    def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The port may have closed between a connection's acceptance and this call.
        if self._server is None or len(self._links) >= _MAX_LINKS:
            writer.transport.abort()
            return
        task = asyncio.create_task(Link(reader, writer, self).serve(), name="loopback link")
        self._links.add(task)
        task.add_done_callback(self._links.discard)

    # keys

    @property
    def banner(self) -> bytes:
        """What the phone says of itself when connected."""
        name = "ro.product.name=loopback;ro.product.model=loopback;ro.product.device=loopback"
        return f"device::{name};features={','.join(FEATURES)}".encode()

    def knows_signature(self, token: bytes, signature: bytes) -> bool:
        """Whether a known key signed the token."""
        return any(keys.is_signed(token, signature, key) for key in self._keys.values())

    def accepts_key(self, text: bytes) -> bool:
        """Whether a public key may connect; one that is new is then known."""
        try:
            key = keys.parse_public_key(text)
        except ValueError:
            return False
        numbers = key.public_numbers()
        known = (numbers.n, numbers.e) in self._keys
        if not known and self._accept_new_keys:
            self._remember(key)
        return known or self._accept_new_keys

    def _remember(self, key: rsa.RSAPublicKey) -> None:
        numbers = key.public_numbers()
        self._keys[numbers.n, numbers.e] = key

    # what services bring about

    def begin_trouble(self, fault: Fault) -> bool:
        """Has a fault befall the phone until `end_trouble_later`. Returns False for one that is not of this kind."""
        change = self._trouble(fault)
        if change is None:
            return False
        if (timer := self._timers.pop(fault.name, None)) is not None:
            timer.cancel()
        change(True)
        return True

    def end_trouble_later(self, fault: Fault) -> None:
        """Has what `begin_trouble` began end once the fault's time is up, from now."""
        change = self._trouble(fault)
        if change is not None:
            if (timer := self._timers.pop(fault.name, None)) is not None:
                timer.cancel()
            self._timers[fault.name] = asyncio.get_running_loop().call_later(fault.lasts_s, change, False)

    def _trouble(self, fault: Fault) -> Callable[[bool], None] | None:
        return {
            "throttle": self.system.throttle,
            "clock_change": self.system.slow_down,
            "core_offline": self._lose_big_core,
        }.get(fault.name)

    def _lose_big_core(self, on: bool) -> None:
        cores = self.system.cores
        if on and len(cores) > 1:  # no kernel gives up its last core
            self.system.set_online(cores[:-1])
            self.processes.allow(set(cores[:-1]))
        else:
            self.system.set_online(cores)

    def after_command(self) -> None:
        """Does what the command that ended asked the phone for."""
        if self.system.wants_reboot():
            self.reboot()
