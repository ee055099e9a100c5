"""What a phone is: maker, model, system, cores. And how many small readings are taken in one round trip."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from akd_gym.device_lab.adb.session import Session
from akd_gym.errors import BadOutputError

CPU_FOLDER = "/sys/devices/system/cpu"

_PROPERTIES = (
    "ro.product.manufacturer",
    "ro.product.model",
    "ro.soc.manufacturer",
    "ro.soc.model",
    "ro.board.platform",
    "ro.hardware",
    "ro.build.version.release",
    "ro.build.version.sdk",
    "ro.build.fingerprint",
    "ro.product.cpu.abi",
    "ro.serialno",
    "ro.akd_gym.loopback",
)
# `present` is a list such as `0-3,6-7`. A core that is not there, or sleeps, has no such files: that is a dash.
_CORES = f"""\
last=$(cat {CPU_FOLDER}/present); last=${{last##*[-,]}}
case $last in ''|*[!0-9]*|????*) exit 1;; esac
n=0
while [ $n -le $last ]; do
  khz=$(cat {CPU_FOLDER}/cpu$n/cpufreq/cpuinfo_max_freq) || khz=-
  capacity=$(cat {CPU_FOLDER}/cpu$n/cpu_capacity) || capacity=-
  echo "$n $khz $capacity"
  n=$((n+1))
done"""
_READINGS = {name: f"getprop {name}" for name in _PROPERTIES} | {
    "online": f"cat {CPU_FOLDER}/online",
    "present": f"cat {CPU_FOLDER}/present",
    "cores": _CORES,
}


@dataclass(frozen=True)
class Core:
    """One core of a phone.

    Attributes:
        number: As the kernel and `taskset` count, from 0.
        online: Whether it takes work now.
        max_khz: Its highest clock; None if the kernel does not say.
        capacity: How much work it does at that clock, the biggest core's being 1024; None if the kernel does not say.
    """

    number: int
    online: bool
    max_khz: int | None
    capacity: int | None


@dataclass(frozen=True)
class PhoneFacts:
    """What does not change while a phone is on, but for which cores are online.

    Attributes:
        kind: A phone, or the loopback phone, whose numbers are no phone's.
        manufacturer: Who made it.
        model: The maker's name of the model.
        soc: System on chip.
        os: Android version and API level.
        build: Fingerprint of the system's build.
        abi: Instruction set that programs for it must have.
        serial_hash: Tells it from other phones; the serial itself is in no record. Of a phone that does not tell its
            serial it is made of the address where it was reached.
        cores: All cores that are present.
    """

    kind: Literal["phone", "loopback"]
    manufacturer: str
    model: str
    soc: str
    os: str
    build: str
    abi: str
    serial_hash: str
    cores: tuple[Core, ...]

    @property
    def big_core(self) -> int:
        """Number of the core to measure on.

        The online core with the highest clock; among equals, or where the kernel tells no clock, the one with the
        highest capacity, then the highest number.
        """
        online = [core for core in self.cores if core.online]
        return max(online, key=lambda core: (core.max_khz or 0, core.capacity or 0, core.number)).number

    @property
    def mask(self) -> str:
        """The big core as `taskset` wants it: hexadecimal, one bit a core."""
        return f"{1 << self.big_core:x}"


def read_facts(session: Session) -> PhoneFacts:
    """Asks a device what it is, with one command.

    Raises:
        BadOutputError: It does not tell its model or its cores.
        DeviceError: See `Session`.
    """
    return parse_facts(read_values(session, _READINGS), session.address)


def parse_facts(values: Mapping[str, str | None], address: str) -> PhoneFacts:
    """The facts in what a device answered.

    Args:
        values: By name of the property; `online` and `present` are lists of cores, and `cores` holds a line for each
            with number, clock and capacity.
        address: Where it was reached.

    Raises:
        BadOutputError: Model or cores are missing.
    """
    said = {name: (values.get(name) or "").strip() for name in _READINGS}
    present, online = parse_core_list(said["present"]), parse_core_list(said["online"])
    table = [
        Core(int(n), int(n) in online, _positive(khz), _positive(capacity))
        for n, khz, capacity in re.findall(r"^(\d+) (\S+) (\S+)$", said["cores"], re.MULTILINE)
    ]
    cores = tuple(core for core in table if core.number in present)
    missing = [name for name in ("ro.product.model", "present", "online") if not said[name]]
    if missing or not cores or not any(core.online for core in cores):
        what = ", ".join(missing) or "any online core among those present"
        raise BadOutputError(
            f"The device at {address} must tell its model and its cores, but it did not tell {what}. "
            "Is it an Android phone that has finished starting?"
        )
    return PhoneFacts(
        kind="loopback" if said["ro.akd_gym.loopback"] == "1" else "phone",
        manufacturer=said["ro.product.manufacturer"] or "unknown",
        model=said["ro.product.model"],
        soc=_soc(said),
        os=f"Android {said['ro.build.version.release'] or '?'} (API {said['ro.build.version.sdk'] or '?'})",
        build=said["ro.build.fingerprint"] or "unknown",
        abi=said["ro.product.cpu.abi"] or "unknown",
        serial_hash=hashlib.sha256(f"akd_gym:{said['ro.serialno'] or address}".encode()).hexdigest()[:16],
        cores=cores,
    )


def read_values(session: Session, commands: Mapping[str, str], *, timeout_s: float = 30.0) -> dict[str, str | None]:
    """What each of several commands prints, in one round trip.

    Args:
        session: To the device.
        commands: Shell code by a name of letters, digits, dots and underscores. Each runs in a shell of its own; what
            it prints to standard error is dropped.
        timeout_s: For all of them.

    Returns:
        The output of each, without the newlines that end it; None for a command that failed.

    Raises:
        BadOutputError: A name is not in the answer.
        DeviceError: See `Session`.
    """
    nonce = secrets.token_hex(8)
    parts = [f"(\n{command}\n) 2>/dev/null; r=$?; echo; echo {nonce} {name} $r" for name, command in commands.items()]
    return parse_values(session.run("\n".join(parts), timeout_s=timeout_s).output, nonce, commands)


def parse_values(text: str, nonce: str, names: Mapping[str, object]) -> dict[str, str | None]:
    """The outputs in the answer of a device, each followed by a line with the nonce, its name and its exit code.

    Raises:
        BadOutputError: A name is missing.
    """
    pieces = re.split(rf"^{nonce} ([\w.]+) (\d+)(?:\n|\Z)", text, flags=re.MULTILINE)
    values: dict[str, str | None] = {}
    for output, name, exit_code in zip(pieces[0::3], pieces[1::3], pieces[2::3], strict=False):
        values[name] = output.rstrip("\n") if exit_code == "0" else None
    if missing := [name for name in names if name not in values]:
        raise BadOutputError(f"The device must answer all of {', '.join(names)}, but not {', '.join(missing)}.")
    return values


def parse_core_list(text: str) -> tuple[int, ...]:
    """The numbers in a kernel's list of cores such as `0-3,6`; empty if it is no such list."""
    cores: list[int] = []
    for part in text.strip().split(","):
        found = re.fullmatch(r"(\d{1,3})(?:-(\d{1,3}))?", part)
        if found is None:
            return ()
        cores += range(int(found[1]), int(found[2] or found[1]) + 1)
    return tuple(cores)


def _positive(text: str) -> int | None:
    return int(text) if re.fullmatch("[0-9]{1,12}", text) and int(text) > 0 else None


def _soc(said: Mapping[str, str]) -> str:
    """The chip by its name (Android 12 and later), else by its board."""
    maker, model = (said[name] if said[name] != "unknown" else "" for name in ("ro.soc.manufacturer", "ro.soc.model"))
    return f"{maker} {model}".strip() if model else said["ro.board.platform"] or said["ro.hardware"] or "unknown"
