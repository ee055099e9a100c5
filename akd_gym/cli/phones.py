"""`akd phones`: what is connected and what it lacks, the benchmark, a loopback phone, settings put back."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from akd_gym.agents.settings import optional
from akd_gym.errors import AKDGymError, DeviceError, InvalidSettingError

if TYPE_CHECKING:
    from akd_gym.device_lab.adb.addresses import Address

_At = Annotated[tuple[str, ...], tyro.conf.arg(metavar="[ADDRESS ...]", help_behavior_hint="")]


@dataclass(frozen=True)
class ListPhones:
    """List the phones that adb sees, the state they are in, and what is missing with how to put it right."""

    at: _At = ()
    """Phones on the network to look at too, as HOST:PORT."""

    def __call__(self, console: Console) -> None:
        """Print a table, and advice below it."""
        from akd_gym.device_lab.adb.addresses import find_addresses, open_session, parse_address
        from akd_gym.device_lab.phones.checkup import check_up

        named = [parse_address(text) for text in self.at]
        table = Table(box=SIMPLE_HEAD)
        table.add_column("address", no_wrap=True, overflow="fold")  # to be copied
        for column in ("phone", "system", "fastest core", "heat", "battery"):
            table.add_column(column, overflow="fold")
        advice: list[tuple[str, str]] = []
        searched = find_addresses()
        addresses = [one.address for one in searched.phones if one.address and not one.problem]
        advice += [(str(one.address or "?"), one.problem) for one in searched.phones if one.problem]
        for address in dict.fromkeys([*addresses, *named]):
            try:
                session = open_session(address)
                try:
                    found = check_up(session)
                finally:
                    session.close()
            except (DeviceError, InvalidSettingError) as error:  # what reaches it may not be installed
                advice.append((str(address), str(error)))
                continue
            facts, state = found.facts, found.state
            name = f"{facts.manufacturer} {facts.model}" + (" (loopback)" if facts.kind != "phone" else "")
            khz = next(core.max_khz for core in facts.cores if core.number == facts.big_core)
            table.add_row(
                Text(str(address)),
                Text(name),
                Text(facts.os),
                f"{facts.big_core}" + (f" at {khz / 1e6:.2f} GHz" if khz else ""),
                "not told" if state.thermal_status is None else f"status {state.thermal_status}",
                " ".join(_battery(state.battery_level, state.battery_temp_c, state.battery_plugged)) or "not told",
            )
            advice += [(str(address), text) for text in (*found.missing, *found.advice)]
        if table.row_count:
            console.print(table)
        else:
            console.print("No phone to measure on.", style="bold")
        advice += [("", text) for text in searched.not_searched]
        advice += [("", text) for text in _missing_benchmark()]
        for where, text in advice:
            console.out(f"{where}: " if where else "", style="bold", end="", highlight=False)
            console.out(text, highlight=False)
        if not table.row_count:
            console.print(
                "docs/phones.md leads from the box to the first search; --latency loopback does without a phone."
            )


@dataclass(frozen=True)
class SetUp:
    """Fetch LiteRT's benchmark_model for arm64 phones into the cache, once; its SHA-256 is pinned and checked later."""

    benchmark: Annotated[Path | None, optional("FILE")] = None
    """A benchmark_model that you have: a copy of it is kept in place of the public one."""
    sha256: Annotated[str | None, optional("HEX")] = None
    """What its SHA-256 must be."""
    url: Annotated[str | None, optional("URL")] = None
    """Where the public one is fetched, an https address; by default a release in Google's bucket of LiteRT."""

    def __call__(self, console: Console) -> None:
        """Fetch or copy, and show what was pinned."""
        from akd_gym.device_lab.phones import benchmark_file

        say = functools.partial(console.out, highlight=False)
        if self.benchmark is not None:
            path = benchmark_file.keep_benchmark(self.benchmark, sha256=self.sha256)
        else:
            url = benchmark_file.DEFAULT_URL if self.url is None else self.url
            bar = Progress(TextColumn("benchmark_model"), BarColumn(), DownloadColumn(), console=console)
            task = bar.add_task("", total=None)

            def show(done: int, total: int | None) -> None:
                bar.start()  # not before the first byte: there may be nothing to fetch
                bar.update(task, completed=done, total=total)

            try:
                path = benchmark_file.fetch_benchmark(url=url, sha256=self.sha256, announce=say, progress=show)
            finally:
                if bar.live.is_started:
                    bar.stop()
        pin = benchmark_file.read_pin()
        assert pin is not None
        say(f"Kept as {path}")
        say(f"SHA-256 {pin.sha256} (pinned)")
        if (found := benchmark_file.describe_program(path.read_bytes())) != benchmark_file.ARM64_PROGRAM:
            say(f"Phones run {benchmark_file.ARM64_PROGRAM}, but this is {found}.")


@dataclass(frozen=True)
class Restore:
    """Put back the settings that a search which was lost (power cut, kill -9) left on the phones."""

    at: _At = ()
    """Phones on the network, as HOST:PORT; those that adb sees are looked at anyway."""

    def __call__(self, console: Console) -> None:
        """Put back, and say what; a phone that fails does not keep the others from it."""
        failed = []
        addresses = list(_usable(self.at))
        for address in addresses:
            try:
                done = _restore(address)
            except AKDGymError as error:
                failed.append(f"{address}: {error}")
            else:
                console.out(f"{address}: {'; '.join(done) or 'nothing was left'}", highlight=False)
        if failed:
            raise DeviceError(" ".join(failed))
        if not addresses:
            console.out("No phone was found. `akd phones` says where was looked.", highlight=False)


@dataclass(frozen=True)
class Loopback:
    """Run a phone without hardware on 127.0.0.1 until Ctrl-C: real adb, commands that run on this machine as you.

    Use it with adb connect, or with --latency loopback:127.0.0.1:PORT.

    Faults are NAME@STAGE or NAME@STAGE:TIMES. Stages: connect, check, push, run, report, pull. Names: cut, mute, hang,
    drip, garble, bad_packet, nonzero, truncate, disk_full, no_permission, reboot, throttle, core_offline, clock_change.
    """

    port: int = 5555
    """Where to listen; 0 picks a free port."""
    fault: Annotated[tuple[str, ...], tyro.conf.arg(metavar="[NAME@STAGE ...]", help_behavior_hint="")] = ()
    """What goes wrong, for instance cut@push or throttle@run:3."""
    model: str = "Loopback"
    """The phone's model name."""
    accept_new_keys: tyro.conf.FlagCreatePairsOff[bool] = False
    """Let everybody on this machine in, not only the keys that this user's adb and akd have now."""

    def __call__(self, console: Console) -> None:
        """Serve."""
        from akd_gym.device_lab.adb.keys import load_keys
        from akd_gym.device_lab.loopback import parse_fault, serve

        serve(
            port=self.port,
            accept_new_keys=self.accept_new_keys,
            known_keys=[key.GetPublicKey() for key in load_keys()],
            faults=[parse_fault(text) for text in self.fault],
            model=self.model,
            say=functools.partial(console.out, highlight=False),
        )


_List = Annotated[ListPhones, tyro.conf.subcommand("list", default=ListPhones())]
_SetUp = Annotated[SetUp, tyro.conf.subcommand("setup")]
_Restore = Annotated[Restore, tyro.conf.subcommand("restore")]
_Loopback = Annotated[Loopback, tyro.conf.subcommand("loopback")]


@dataclass(frozen=True)
class Phones:
    """List phones and what they lack (the default), set one up, put settings back, or run a loopback phone."""

    action: tyro.conf.OmitSubcommandPrefixes[_List | _SetUp | _Restore | _Loopback] = field(default_factory=ListPhones)

    def __call__(self, console: Console) -> None:
        """Do what was asked."""
        self.action(console)


def _usable(at: tuple[str, ...]) -> Iterator[Address]:
    from akd_gym.device_lab.adb.addresses import find_addresses, parse_address

    named = [parse_address(text) for text in at]
    seen = [one.address for one in find_addresses().phones if one.address is not None and one.problem is None]
    yield from dict.fromkeys([*seen, *named])


def _restore(address: Address) -> list[str]:
    """Puts back what a lost session left on one phone; refused while somebody measures on it."""
    from akd_gym.device_lab.adb.addresses import open_session
    from akd_gym.device_lab.lock import phone_lock
    from akd_gym.device_lab.phones.conditions import restore_leftovers
    from akd_gym.device_lab.phones.facts import read_facts
    from akd_gym.device_lab.phones.runner import clear_leftovers

    session = open_session(address)
    try:
        with phone_lock(read_facts(session).serial_hash, timeout_s=1.0):
            return [*clear_leftovers(session), *restore_leftovers(session)]
    finally:
        session.close()


def _missing_benchmark() -> list[str]:
    from akd_gym.device_lab.phones.benchmark_file import kept_benchmark

    try:
        kept_benchmark()
    except AKDGymError as error:
        return [str(error)]
    return []


def _battery(level: int | None, temperature_c: float | None, plugged: bool | None) -> Iterator[str]:
    if level is not None:
        yield f"{level} %"
    if temperature_c is not None:
        yield f"{temperature_c:g} °C"
    if plugged is not None:
        yield "plugged in" if plugged else "on battery"
