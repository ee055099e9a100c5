"""Searches to analyse: made up candidate by candidate, or really run on AKDBench."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from akd_gym.agents.runs import read_run
from akd_gym.agents.search import run_search
from akd_gym.agents.settings import settings_for
from akd_gym.analysis.runs import SearchRun
from akd_gym.ledger_records import Candidate, EvaluatedCandidate, TrainingRecord
from akd_gym.space import SearchSpace, make_space


@pytest.fixture(scope="session")
def made_run() -> Callable[..., SearchRun]:
    """Makes a search of records like those that a ledger gives back."""

    def make(
        costs: Sequence[float | None],
        accuracies: Sequence[float | None],
        *,
        name: str = "made",
        unit: str = "ms",
        target: float = 1.0,
        madds: Sequence[int] | None = None,
        choices: Sequence[Sequence[int]] | None = None,
        space: SearchSpace | None = None,
    ) -> SearchRun:
        space = space or make_space("akd", "small")
        rng = np.random.default_rng(len(costs))
        taken = [tuple(c) for c in choices] if choices is not None else [space.sample(rng) for _ in costs]
        evaluations = []
        for i, (cost, accuracy, own) in enumerate(zip(costs, accuracies, taken, strict=True)):
            count = madds[i] if madds is not None else int(cost or 1) if unit == "madds" else 1_000_000 + i
            candidate = Candidate(
                number=i,
                round=i,
                choices=own,
                architecture=str(space.network(own)),
                training_context="training",
                seed=0,
                latency_context="host" if unit == "ms" else None,
                madds=count,
                params=1000,
                target=target,
            )
            failed = TrainingRecord("infeasible", reason="diverged")
            training = failed if accuracy is None else TrainingRecord("ok", accuracy=accuracy)
            latency = {"verdict": "failed"} if cost is None else {"verdict": "ok", "latency_ms": cost}
            evaluations.append(EvaluatedCandidate(candidate, training, latency if unit == "ms" else None))
        return SearchRun(name, space, evaluations)

    return make


@pytest.fixture(scope="session")
def bench_run(tmp_path_factory: pytest.TempPathFactory) -> SearchRun:
    """A real search of 160 candidates on AKDBench, read back from its run directory."""
    return _bench_run(tmp_path_factory.mktemp("bench"), cost="latency")


@pytest.fixture(scope="session")
def bench_run_of_madds(tmp_path_factory: pytest.TempPathFactory) -> SearchRun:
    """The same with multiply-adds as the cost: it has no latencies."""
    return _bench_run(tmp_path_factory.mktemp("madds"), cost="madds")


def _bench_run(run: Path, cost: str) -> SearchRun:
    settings = dataclasses.replace(
        settings_for(evaluator="bench"), cost=cost, agent="random", teacher="shipped:resnet", budget=160, seed=4
    )
    run_search(settings, run)
    return read_run(run, name=f"bench by {cost}")
