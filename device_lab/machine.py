"""What this machine is and which of its cores to measure on."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Literal

_BUSY_STEP = 0.15  # differences in load below this are noise and do not move the measurement to another core


@functools.cache
def cpu_model() -> str:
    """The processor's name, e.g. `"AMD EPYC 7551"`; the architecture where the system does not tell."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("model name", "Hardware", "Processor") and value.strip():
                return value.strip()
    except OSError:
        if platform.system() == "Darwin":
            command = ["sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "Apple"
    return platform.processor() or platform.machine()


@functools.cache
def machine_id() -> str:
    """A hash that tells this machine from another of the same model: of its machine id, else of its name."""
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        try:
            text = Path(path).read_text(encoding="utf-8").strip()
        except OSError:
            continue
        if text:
            break
    else:
        text = platform.node()
    return hashlib.sha256(f"akd_gym:{text}".encode()).hexdigest()[:16]


def can_pin() -> bool:
    """Whether this system lets a process choose its core (Linux does; macOS and Windows do not, or not this way)."""
    return hasattr(os, "sched_setaffinity")


def best_clock(threads: int) -> Literal["thread_cpu", "wall"]:
    """The clock to time inferences with: the thread's own where it is fine enough and there is but one thread.

    It stands still while another process has the core, which on a shared machine happens in every inference longer than
    a time slice (about 3 ms). It does not see what the other threads do.
    """
    fine = hasattr(time, "thread_time_ns") and time.get_clock_info("thread_time").resolution <= 1e-6
    return "thread_cpu" if fine and threads == 1 else "wall"


def choose_core(previous: int | None = None, *, look_s: float = 0.1) -> int | None:
    """The idlest of the fastest cores that this process may use; None where the system cannot pin.

    Args:
        previous: The core of the last measurement, kept unless another is clearly idler.
        look_s: How long to watch the load.
    """
    if not can_pin():
        return None
    cores = sorted(os.sched_getaffinity(0))
    fastest = max(_max_frequency(core) for core in cores)
    cores = [core for core in cores if _max_frequency(core) == fastest]
    if len(cores) == 1:
        return cores[0]
    before = _cpu_ticks()
    time.sleep(look_s)
    after = _cpu_ticks()

    def busy(core: int) -> float:
        if core not in before or core not in after:
            return 0.0
        idle, total = (now - then for now, then in zip(after[core], before[core], strict=True))
        return 1 - idle / total if total else 0.0

    return min(cores, key=lambda core: (round(busy(core) / _BUSY_STEP), core != previous, -core))


def _max_frequency(core: int) -> int:
    for name in ("cpufreq/cpuinfo_max_freq", "cpu_capacity"):
        try:
            return int(Path(f"/sys/devices/system/cpu/cpu{core}/{name}").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
    return 0


def _cpu_ticks() -> dict[int, tuple[int, int]]:
    """(idle, total) ticks of each core since boot; empty where the system does not tell."""
    ticks: dict[int, tuple[int, int]] = {}
    try:
        lines = Path("/proc/stat").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ticks
    for line in lines:
        name, *fields = line.split()
        if name.startswith("cpu") and name[3:].isdigit():
            numbers = [int(field) for field in fields[:8]]  # guest times are already inside user and nice
            ticks[int(name[3:])] = (numbers[3] + numbers[4], sum(numbers))
    return ticks
