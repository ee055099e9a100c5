"""The phone's own side: a root folder that looks like Android's where it must, and the state that commands change.

Commands of the phone run on this machine, as its user: nothing keeps them within the root. Two folders are mapped into
it, `/data/local/tmp` and `/sys/devices/system/cpu`, by replacing that text wherever it begins a path in a command, so a
path put together by the command itself (`/data/lo"cal"/tmp`) is not, and a command that prints such a path prints the
real one. Everything else, `/proc` above all, is this machine's: a process pinned on the loopback phone is pinned, and
the kernel confirms it. Sync requests reach these two folders and nothing else, and write to the first only.
"""

from __future__ import annotations

import os
import posixpath
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from akd_gym.device_lab.loopback.scripts import android_commands, faulty_shell
from akd_gym.errors import DeviceError, InvalidSettingError

if TYPE_CHECKING:
    from akd_gym.device_lab.loopback.faults import Fault

FILES = "/data/local/tmp"
CORES = "/sys/devices/system/cpu"
_MAPPED = re.compile(rb"(?<![\w./-])(?:%b|%b)(?![\w-])" % (re.escape(FILES.encode()), re.escape(CORES.encode())))
_GUARD = re.compile(rb"\btimeout\b[^;|&]*\bsh -c\b")
_BIG_KHZ, _LITTLE_KHZ, _LEAST_KHZ = 2841600, 1804800, 300000
_SLOWED = 0.6  # what is left of a frequency under `clock_change`
_THROTTLED = 2  # thermal status "moderate"


@dataclass(frozen=True)
class PhoneState:
    """What commands changed about the phone.

    Attributes:
        fixed_performance: Whether fixed-performance mode is on.
        airplane: Whether airplane mode is on.
        awake: Whether the screen is on.
        thermal_status: 0 for none to 6 for shutdown.
        online: Cores online.
        settings: Values by `"namespace/key"`, e.g. `"global/airplane_mode_on"`.
    """

    fixed_performance: bool
    airplane: bool
    awake: bool
    thermal_status: int
    online: tuple[int, ...]
    settings: dict[str, str]


class System:
    """The files of one phone.

    Args:
        root: An empty folder of the phone's own.
        model: The phone's model name.
        serial: Its serial number.

    Raises:
        InvalidSettingError: The root's path would not survive being put into a command; or model or serial do not fit
            a line.
        DeviceError: This machine is no Linux, or lacks `taskset`.
    """

    def __init__(self, root: Path, model: str, serial: str) -> None:
        taskset = shutil.which("taskset")
        if not sys.platform.startswith("linux") or taskset is None:
            raise DeviceError(
                f"A loopback phone needs Linux with `taskset` (package util-linux), but this is {sys.platform}"
                f"{'' if taskset else ' without it'}."
            )
        if not re.fullmatch(r"[\w./-]+", str(root), re.ASCII):
            raise InvalidSettingError(
                f"A loopback phone's folder must have a path of letters, digits and ._- only, but got {str(root)!r}: "
                "set TMPDIR to such a folder."
            )
        if re.search(r"[\x00-\x1f]", model + serial):
            raise InvalidSettingError(f"Model and serial must each be a line of text, but got {model!r}, {serial!r}.")
        self.root = root
        self.cores = tuple(sorted(os.sched_getaffinity(0)))
        self.big_core = self.cores[-1]
        self._state = root / "state"
        self._write_programs(taskset)
        self._write_properties(model, serial)
        for name in ("global", "system", "secure"):
            (self._state / "settings" / name).mkdir(parents=True)
        for name, value in {
            "settings/global/airplane_mode_on": "0",
            "settings/global/stay_on_while_plugged_in": "0",
            "settings/system/screen_off_timeout": "60000",
            "settings/system/screen_brightness_mode": "1",
            "battery_level": "87",
            "battery_temperature": "271",
        }.items():
            self._write(name, value)
        (root / FILES[1:]).mkdir(parents=True)
        self.start_up()

    def start_up(self) -> None:
        """Sets what no phone keeps over a reboot."""
        self._write("fixed_performance", "0")
        self._write("wakefulness", "Awake")
        (self._state / "reboot").unlink(missing_ok=True)
        self.throttle(False)
        self.set_clock(1.0)
        self.set_online(self.cores)

    # commands and paths

    def command_line(
        self, command: bytes, stage: str, fault: Fault | None
    ) -> tuple[Sequence[str | bytes], dict[str, str]]:
        """Program with arguments, and environment, for a command of the phone."""
        path = f"{self.root}/bin:{os.environ.get('PATH', os.defpath)}"
        environment = {**os.environ, "PATH": path, "AKD_LOOPBACK_PATH": path, "LC_ALL": "C.UTF-8"}
        environment.pop("AKD_LOOPBACK_FAULT", None)
        shell = "/bin/sh"
        if fault is not None and stage in ("run", "report"):
            environment["AKD_LOOPBACK_FAULT"] = f"{stage}:{fault.name}"  # the benchmark itself reads it
        elif fault is not None and fault.name in ("hang", "nonzero", "disk_full", "no_permission"):
            environment["AKD_LOOPBACK_FAULT"] = fault.name
            if _GUARD.search(command):
                environment["PATH"] = f"{self.root}/faulty:{path}"
            else:
                shell = f"{self.root}/faulty/sh"
        return ([shell, "-c", self.mapped(command)] if command else [shell]), environment

    def mapped(self, command: bytes) -> bytes:
        """The command with the phone's folders replaced by those in the root."""
        return _MAPPED.sub(lambda found: os.fsencode(self.root) + found[0], command)

    def locate(self, path: str, *, writing: bool = False) -> Path:
        """The file in the root that stands for a path of the phone.

        Raises:
            PermissionError: It lies outside what is mapped, also by way of `..` or a link.
        """
        plain = posixpath.normpath(posixpath.join("/", path))
        for base in (FILES,) if writing else (FILES, CORES):
            if plain == base or plain.startswith(f"{base}/"):
                found = Path(f"{self.root}{plain}")
                home = Path(f"{self.root}{base}").resolve()
                parent = found.parent.resolve() if plain != base else home
                inside = parent == home or home in parent.parents
                # What is written replaces a link, what is read would follow it.
                if inside and (writing or not found.is_symlink() or home in found.resolve().parents):
                    return found
        raise PermissionError(13, "Permission denied")

    # state

    def state(self) -> PhoneState:
        """What commands changed."""
        settings = {
            f"{file.parent.name}/{file.name}": file.read_text(encoding="utf-8", errors="replace").rstrip("\n")
            for file in sorted((self._state / "settings").glob("*/*"))
        }
        return PhoneState(
            fixed_performance=self._read("fixed_performance") == "1",
            airplane=settings.get("global/airplane_mode_on") == "1",
            awake=self._read("wakefulness") == "Awake",
            thermal_status=int(self._read("thermal_status")),
            online=self._online,
            settings=settings,
        )

    def wants_reboot(self) -> bool:
        """Whether a command asked for a reboot."""
        return (self._state / "reboot").exists()

    def throttle(self, on: bool) -> None:
        """Reports thermal throttling, or its end."""
        self._write("thermal_status", str(_THROTTLED if on else 0))
        self._write("skin_temperature", "43.6" if on else "31.2")

    def slow_down(self, on: bool) -> None:
        """Lowers the frequency of all cores, or restores it."""
        self.set_clock(_SLOWED if on else 1.0)

    def set_clock(self, share: float) -> None:
        """Sets the frequency of all cores to a share of their own maximum."""
        folder = self.root / CORES[1:]
        for core in self.cores:
            big = core == self.big_core or len(self.cores) == 1
            fastest = _BIG_KHZ if big else _LITTLE_KHZ
            now = str(int(fastest * share))
            for name, value in {
                "cpufreq/cpuinfo_max_freq": str(fastest),
                "cpufreq/cpuinfo_min_freq": str(_LEAST_KHZ),
                "cpufreq/scaling_max_freq": now,
                "cpufreq/scaling_cur_freq": now,
                "cpufreq/scaling_governor": "schedutil",
                "cpu_capacity": "1024" if big else "512",
            }.items():
                _replace(folder / f"cpu{core}" / name, value)

    def set_online(self, cores: Sequence[int]) -> None:
        """Takes cores online, all others offline."""
        self._online = tuple(cores)
        folder = self.root / CORES[1:]
        _replace(folder / "present", core_list(self.cores))
        _replace(folder / "possible", core_list(self.cores))
        _replace(folder / "online", core_list(cores))
        for core in self.cores:
            _replace(folder / f"cpu{core}" / "online", str(int(core in cores)))
        self._write("online_mask", f"{sum(1 << core for core in cores):x}")

    def _read(self, name: str) -> str:
        return (self._state / name).read_text(encoding="utf-8").strip()

    def _write(self, name: str, value: str) -> None:
        _replace(self._state / name, value)

    def _write_programs(self, taskset: str) -> None:
        (self.root / "bin").mkdir()
        (self.root / "faulty").mkdir()
        os.mkfifo(self.root / "never")
        scripts = {f"bin/{name}": text for name, text in android_commands(taskset).items()}
        for name, text in {**scripts, "faulty/sh": faulty_shell()}.items():
            (self.root / name).write_text(text, encoding="utf-8")
            (self.root / name).chmod(0o755)

    def _write_properties(self, model: str, serial: str) -> None:
        properties = {
            "ro.product.manufacturer": "akd-gym",
            "ro.product.model": model,
            "ro.product.name": "loopback",
            "ro.product.device": "loopback",
            "ro.soc.manufacturer": "akd-gym",
            "ro.soc.model": "LOOPBACK1",
            "ro.board.platform": "loopback",
            "ro.hardware": "loopback",
            "ro.build.version.release": "14",
            "ro.build.version.sdk": "34",
            "ro.build.fingerprint": "akd-gym/loopback/loopback:14/LOOP.1/1:user/release-keys",
            "ro.product.cpu.abi": "arm64-v8a",
            "ro.serialno": serial,
            "ro.akd_gym.loopback": "1",
        }
        self._write("properties", "\n".join(f"{name}={value}" for name, value in properties.items()))


def core_list(cores: Sequence[int]) -> str:
    """Cores as the kernel writes them: `"0-3,6"`."""
    parts: list[list[int]] = []
    for core in sorted(cores):
        if parts and parts[-1][1] == core - 1:
            parts[-1][1] = core
        else:
            parts.append([core, core])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)


def _replace(path: Path, value: str) -> None:
    """Writes a line so that a reader finds the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.new")
    draft.write_text(f"{value}\n", encoding="utf-8")
    draft.replace(path)
