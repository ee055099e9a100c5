"""Peak memory of the processes of the default search, beyond what torch itself needs."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from akd_gym.cores import available_cores
from benchmarks.results import Measurement

CANDIDATES = 16
_LOOK_EVERY_S = 0.05
_TORCH_ALONE = """
import pathlib, torch
torch.nn.Conv2d(1, 8, 3)(torch.zeros(1, 1, 8, 8)).sum().backward()
print(pathlib.Path("/proc/self/status").read_text())
"""


def measure() -> dict[str, Measurement]:
    """Give `search_peak_mib`."""
    return {"search_peak_mib": search_peak_mib()}


def search_peak_mib(candidates: int = CANDIDATES, teacher: str | None = None) -> Measurement:
    """Run `akd search` as a user does and watch the peaks of its processes.

    The soft labels are computed too: the cache is an empty one, so the searching process holds the teacher.

    Args:
        candidates: How many to search, of the default settings' 48.
        teacher: Another than the default one.

    Returns:
        `value`, of the worker with the highest peak, and that of the searching process.
    """
    if not Path("/proc/self/status").exists():
        return {"value": None, "note": "peaks are read from /proc, which this system does not have"}
    alone = subprocess.run([sys.executable, "-c", _TORCH_ALONE], capture_output=True, text=True, check=True)
    baseline = _peak_mib(alone.stdout)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "run")
        command = [str(Path(sys.executable).with_name("akd")), "search", "--run", str(run), "--budget", str(candidates)]
        if teacher is not None:
            command += ["--teacher", teacher]
        searching, workers = _peaks_mib(command, Path(folder))
        largest = _largest(run)
    return {
        "value": max(workers) - baseline,
        "searching_process_mib": searching - baseline,
        "torch_alone_mib": baseline,
        "workers_mib": [peak - baseline for peak in workers],
        "candidates": candidates,
        "largest_candidate": largest,
        "command": " ".join(["akd", *command[1:]]),
    }


def _peaks_mib(command: list[str], folder: Path) -> tuple[float, list[float]]:
    """Run a command; return its own peak memory and that of each worker it spawned."""
    environment = os.environ | {"AKD_GYM_CACHE": str(folder / "cache")}
    log = folder / "log"
    peaks: dict[int, float] = {}
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
        try:
            while process.poll() is None:
                for pid in (process.pid, *_workers_of(process.pid)):
                    if (peak := _peak_of(pid)) is not None:
                        peaks[pid] = peak
                time.sleep(_LOOK_EVERY_S)
        finally:
            process.terminate()
    if process.returncode:
        raise RuntimeError(f"`{' '.join(command)}` must succeed, but: {log.read_text()[-2000:]}")
    own = peaks.pop(process.pid)
    if not peaks and available_cores() > 1:
        raise RuntimeError("A search on several cores must have worker processes, but none was seen.")
    return own, sorted(peaks.values()) or [own]  # on one core the searching process trains


def _workers_of(pid: int) -> list[int]:
    """Processes that the executor of `pid` trains in."""
    workers = []
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for child in children:
            if b"akd_gym.executors" in Path(f"/proc/{child}/cmdline").read_bytes():
                workers.append(int(child))
    except OSError:  # it ended while we looked
        pass
    return workers


def _peak_of(pid: int) -> float | None:
    """Peak memory of a process so far, None if it has ended."""
    try:
        return _peak_mib(Path(f"/proc/{pid}/status").read_text())
    except (OSError, StopIteration):
        return None


def _peak_mib(status: str) -> float:
    """Peak resident memory in the text of `/proc/PID/status`."""
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def _largest(run: Path) -> dict[str, Any]:
    from akd_gym.agents.search import read_outcomes

    largest = max(read_outcomes(run).outcomes, key=lambda outcome: outcome.madds)
    return {"architecture": largest.architecture, "madds": largest.madds, "params": largest.params}
