"""Searches on AKDBench that studies share, each in a run directory of its own."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

from akd_gym.agents.runs import read_run
from akd_gym.agents.search import run_search
from akd_gym.agents.settings import SETTINGS_FILE, settings_for
from akd_gym.analysis.runs import SearchRun
from akd_gym.bench.evaluator import BenchEvaluator

Cost = Literal["latency", "madds"]


_CANDIDATE_SECONDS = 0.004  # on the machine that this was written on


def search_seconds(searches: int, budget: int) -> float:
    """About how many seconds of one core searches of so many candidates take."""
    return searches * budget * _CANDIDATE_SECONDS


@lru_cache(maxsize=1)
def benchmark() -> BenchEvaluator:
    """AKDBench, for what does not depend on the teacher."""
    return BenchEvaluator(None, noise=False)


def reference_cost(cost: Cost) -> float:
    """What the reference architecture costs on AKDBench: milliseconds, or multiply-adds of one image."""
    [reference] = benchmark().truth([benchmark().space.reference])
    return benchmark().reference_cost() if cost == "latency" else float(reference.madds)


def bench_search(
    folder: Path, teacher: str, seed: int, budget: int, target_ratio: float = 1.0, cost: Cost = "latency"
) -> SearchRun:
    """A search by PPO on AKDBench; what was made before is only read, what was stopped goes on.

    Searches of one seed begin with the same agent, whatever the teacher (section 3.3).

    Args:
        folder: Of all run directories.
        teacher: Whose students, `"none"` for hard labels.
        seed: Of the agent and of the noise.
        budget: Candidates.
        target_ratio: The target in terms of the reference architecture's cost.
        cost: What accuracy is weighed against.

    Raises:
        AKDGymError: See `run_search`.
    """
    name = f"{teacher.rpartition(':')[2]}-{cost}-{target_ratio:g}-{budget}-seed{seed}"
    run, target = folder / name, target_ratio * reference_cost(cost)
    settings = replace(
        settings_for("fashion", "bench"),
        teacher=teacher,
        seed=seed,
        budget=budget,
        cost=cost,
        target_ms=target if cost == "latency" else None,
        target_madds=target if cost == "madds" else None,
    )
    run_search(settings, run, resume=(run / SETTINGS_FILE).exists())
    return read_run(run, f"{'hard labels' if teacher == 'none' else teacher.rpartition(':')[2]}, seed {seed}")
