"""A made-up benchmark whose surface is known, small enough to fit in seconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest

from akd_gym.bench.dataset import BenchData, make_data
from akd_gym.bench.latencies import MeasuredRow
from akd_gym.bench.plan import SIGNALS, Training, bench_space
from akd_gym.bench.surrogate import Surrogate, bench_tables, load_surrogate, network_features
from akd_gym.bench.trainings import TrainedRow
from akd_gym.space import Choices

SEEDS = 3
GAIN = 0.01


class Known(NamedTuple):
    """Data, and what is behind them."""

    data: BenchData
    means: np.ndarray


def random_choices(count: int, seed: int) -> list[Choices]:
    space, rng = bench_space(), np.random.default_rng(seed)
    return list({space.canonical(space.sample(rng)): None for _ in range(count)})


def true_mean(choices: list[Choices]) -> np.ndarray:
    """Falls with every layer that has no skip, rises with the parameters."""
    features = network_features(load_surrogate().latency_ms, choices)
    noskip = features[:, bench_tables().feature_names.index("layers.noskip")]
    return 0.75 - 0.01 * noskip + 0.02 * (features[:, -2] - 10)


def make_known(count: int, *, noise: float = 0.008, taste: float = 0.0, seed: int = 0) -> Known:
    """Networks with a known mean, a constant gain, and a preference that rises by `taste` a layer of SE."""
    rng = np.random.default_rng(seed)
    choices = random_choices(count, seed)
    means = true_mean(choices)
    features = network_features(load_surrogate().latency_ms, choices)
    layers = features[:, bench_tables().feature_names.index("layers.se")]
    tables = bench_tables()
    rows, measured = [], []
    for i, (own, mean) in enumerate(zip(choices, means, strict=True)):
        name = tables.name(tables.look_up(own))
        measured.append(MeasuredRow(name, float(np.exp(features[i, -1]) * rng.normal(1, 0.01)), False))
        for run in range(SEEDS if i % 4 == 0 else 1):
            common = rng.normal(0, noise)
            preference = taste * (layers[i] - layers.mean())
            for signal, offset in zip(SIGNALS, (0.0, GAIN + preference / 2, GAIN - preference / 2), strict=True):
                accuracy = float(np.clip(mean + offset + common + rng.normal(0, noise / 2), 0, 1))
                rows.append(TrainedRow(Training(name, signal, run), accuracy, 1.0, 5.0 + 100 * mean, None))
    return Known(make_data(rows, measured), means)


@pytest.fixture(scope="session")
def draw() -> Callable[..., list[Choices]]:
    """Distinct random networks, by count and seed."""
    return random_choices


@pytest.fixture(scope="session")
def make() -> Callable[..., Known]:
    """Makes benchmarks, see `make_known`."""
    return make_known


@pytest.fixture(scope="session")
def known() -> Known:
    return make_known(100)


@pytest.fixture(scope="session")
def bent(known: Known) -> Surrogate:
    """A surrogate with a bend and differences that vary."""
    from akd_gym.bench.fit import assemble, fit_surface, fit_surface_noise, make_features

    latency_ms = load_surrogate().latency_ms
    features = make_features(latency_ms, known.data)
    surface = fit_surface(features, known.data.components, "linear and bend", (True, True))
    noise = fit_surface_noise(known.data, surface.mean.left_out)
    return assemble(surface, noise, features, latency_ms, known.data, {"version": 1, "networks": 100})
