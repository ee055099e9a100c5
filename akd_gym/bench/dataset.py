"""The tables of AKDBench as arrays: accuracies of the networks that all signals trained, with paired seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from akd_gym.bench.latencies import LATENCIES_FILE, MeasuredRow, read_latencies
from akd_gym.bench.plan import SIGNALS
from akd_gym.bench.surrogate import MIXING, bench_tables
from akd_gym.bench.trainings import TRAININGS_FILE, TrainedRow, read_trainings
from akd_gym.errors import InvalidSettingError
from akd_gym.space import Choices

Array = NDArray[np.float64]

LEAST_NETWORKS = 20
"""To fit anything to."""


@dataclass(frozen=True, eq=False)
class BenchData:
    """What was trained and measured.

    Attributes:
        architectures: Networks that every signal trained with at least one common seed.
        choices: Of each.
        runs: Accuracies by network: arrays of shape (common seeds, signals).
        seconds: Mean of a training of each network, shape (networks,).
        measured: The latencies.
        trainings: All rows, also those of other networks.
    """

    architectures: tuple[str, ...]
    choices: tuple[Choices, ...]
    runs: tuple[Array, ...]
    seconds: Array
    measured: tuple[MeasuredRow, ...]
    trainings: tuple[TrainedRow, ...]

    @property
    def accuracies(self) -> Array:
        """Means over common seeds, shape (networks, signals)."""
        return np.array([runs.mean(0) for runs in self.runs])

    @property
    def components(self) -> Array:
        """Mean, gain and preference (see `surrogate.MIXING`) of each network, shape (networks, 3)."""
        return self.accuracies @ np.linalg.inv(MIXING).T

    @property
    def replicated(self) -> NDArray[np.intp]:
        """Places of the networks with several common seeds."""
        return np.flatnonzero([len(runs) > 1 for runs in self.runs])

    def only(self, architectures: Sequence[str]) -> BenchData:
        """What is known of these networks alone."""
        kept = set(architectures)
        places = [i for i, name in enumerate(self.architectures) if name in kept]
        return BenchData(
            tuple(self.architectures[i] for i in places),
            tuple(self.choices[i] for i in places),
            tuple(self.runs[i] for i in places),
            self.seconds[places],
            tuple(row for row in self.measured if row.architecture in kept),
            tuple(row for row in self.trainings if row.training.architecture in kept),
        )


def read_data(folder: Path) -> BenchData:
    """Read the tables of a folder; they may still be growing.

    Raises:
        CorruptFileError: A table is damaged.
        StorageError: A table cannot be read.
    """
    return make_data(read_trainings(folder / TRAININGS_FILE), read_latencies(folder / LATENCIES_FILE))


def make_data(trainings: Sequence[TrainedRow], measured: Sequence[MeasuredRow]) -> BenchData:
    """Arrange rows by network.

    Raises:
        InvalidArchitectureError: A network is not of AKDBench's space.
    """
    accuracies: dict[str, dict[tuple[str, int], float]] = {}
    seconds: dict[str, list[float]] = {}
    for row in trainings:
        seconds.setdefault(row.training.architecture, []).append(row.seconds)
        if row.accuracy is not None:
            found = accuracies.setdefault(row.training.architecture, {})
            found[row.training.signal, row.training.seed] = row.accuracy
    runs: dict[str, Array] = {}
    for name, found in accuracies.items():
        seeds = sorted(seed for seed, count in Counter(seed for _, seed in found).items() if count == len(SIGNALS))
        if seeds:
            runs[name] = np.array([[found[signal, seed] for signal in SIGNALS] for seed in seeds])
    space = bench_tables().space
    return BenchData(
        tuple(runs),
        tuple(space.choices(name) for name in runs),
        tuple(runs.values()),
        np.array([np.mean(seconds[name]) for name in runs]),
        tuple(measured),
        tuple(trainings),
    )


def check_enough(data: BenchData) -> None:
    """Refuse to fit to next to nothing.

    Raises:
        InvalidSettingError: As said.
    """
    measured = sum(row.latency_ms is not None for row in data.measured)
    if len(data.architectures) < LEAST_NETWORKS or measured < LEAST_NETWORKS:
        raise InvalidSettingError(
            f"A fit must have at least {LEAST_NETWORKS} networks trained by all of {', '.join(SIGNALS)}, and "
            f"{LEAST_NETWORKS} measured, but has {len(data.architectures)} and {measured}. Train and measure more "
            "with `akd bench build`."
        )
