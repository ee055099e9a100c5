"""What each benchmark must reach, and the file that keeps what it reached."""

from __future__ import annotations

import datetime
import json
import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from akd_gym.cores import available_cores
from akd_gym.device_lab.machine import cpu_model
from akd_gym.files import write_atomically

RESULTS = Path(__file__).with_name("results.json")

Measurement = dict[str, Any]
"""`value` (None where it could not be measured, with a `note` that says why) and whatever explains it."""


@dataclass(frozen=True)
class Target:
    """A number to reach.

    Attributes:
        part: Module of this package whose `measure` gives it.
        what: Of what it is the number.
        reach: The bound.
        at_least: Whether the bound is a lower one.
    """

    part: str
    what: str
    reach: float
    at_least: bool = False

    @property
    def bound(self) -> str:
        """As text, e.g. `"<= 100"`."""
        return f"{'>=' if self.at_least else '<='} {self.reach:g}"

    def met_by(self, value: float) -> bool:
        """Whether `value` reaches it."""
        return value >= self.reach if self.at_least else value <= self.reach


TARGETS: dict[str, Target] = {
    "kd_cost_ratio": Target("proxy", "proxy seconds with KD / with hard labels, soft labels cached", 1.05),
    "proxy_efficiency": Target(
        "proxy", "bare forward, backward, step and final evaluation seconds / proxy seconds", 0.95, at_least=True
    ),
    "proxy_speedup": Target("proxy", "candidates an hour / by a plain DataLoader loop", 3, at_least=True),
    "folder_mib_a_thousand": Target(
        "image_folder", "peak memory of a training on streamed pictures for a thousand more of them, MiB", 10
    ),
    "folder_vs_dataloader": Target(
        "image_folder", "pictures a second, streamed / by a DataLoader, one decoder a core each", 1, at_least=True
    ),
    "folder_kd_cost_ratio": Target(
        "image_folder", "proxy seconds with KD / with hard labels on streamed pictures, soft labels cached", 1.05
    ),
    "search_peak_mib": Target("memory", "peak memory of a worker of the default search beyond torch's own, MiB", 300),
    "ledger_lookup_us": Target("ledger", "median look-up among 1,000,000 evaluations, microseconds", 100),
    "phone_overhead_s": Target("phone_overhead", "seconds a candidate on a phone beyond the benchmark itself", 0.5),
    "env_vs_cartpole": Target("environments", "AKDBench-v0 steps a second / CartPole-v1", 1, at_least=True),
    "vector_vs_cartpole": Target(
        "environments", "AKDBench-v0 steps a second / CartPole-v1, 64 in a vector environment", 1, at_least=True
    ),
    "ppo_vs_cartpole": Target(
        "environments", "PPO frames a second on AKDBench-v0 (148 inputs) / CartPole-v1 (4)", 0.8, at_least=True
    ),
    "export_seconds_ratio": Target("export", "litert-torch export seconds / ours", 50, at_least=True),
}
"""By key; design, section 7."""


def read_results() -> dict[str, Any]:
    """The entries of the file by key; none where there is no file yet."""
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    return results


def write_results(measurements: dict[str, Measurement], load: float) -> None:
    """Put measurements into the file; entries of other keys stay.

    Args:
        measurements: By key of `TARGETS`.
        load: Of the machine before they were taken: the mean number of busy processes in the last minute.
    """
    entries = read_results()
    for key, measurement in measurements.items():
        target, value = TARGETS[key], measurement["value"]
        entries[key] = {
            "value": value,
            "reach": target.bound,
            "met": None if value is None else target.met_by(value),
            "what": target.what,
            "details": {name: detail for name, detail in measurement.items() if name != "value"},
            "machine": machine() | {"load_before": round(load, 2)},
        }
    ordered = {key: entries[key] for key in TARGETS if key in entries}
    write_atomically(RESULTS, (json.dumps(ordered, indent=2) + "\n").encode())


def machine() -> dict[str, Any]:
    """What was measured on, and when."""
    return {
        "cpu": cpu_model(),
        "cores": available_cores(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def load_now() -> float:
    """Mean number of busy processes in the last minute."""
    return os.getloadavg()[0]
