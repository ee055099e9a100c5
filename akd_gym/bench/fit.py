"""AKDBench's model fitted to its tables.

The mean over the signals is a surface of its own, fitted robustly to all networks. Gain and preference, which are small
beside the noise, depend on a few features at most, and only where `akd_gym.bench.judge` finds that this tells something
about networks that the fit did not see; else they are constants.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from akd_gym.bench.blocks import LAYER_COUNTS
from akd_gym.bench.dataset import BenchData
from akd_gym.bench.latency import row_operators
from akd_gym.bench.noise import NoiseModel, fit_noise
from akd_gym.bench.regression import Process, Ridge, fit_process, fit_ridge
from akd_gym.bench.surrogate import COMPONENTS, LOGS, Surrogate, bench_tables, network_features
from akd_gym.device_lab.predictor import LatencyModel, fit_latency
from akd_gym.errors import InvalidSettingError

Array = NDArray[np.float64]

SURFACES = {"linear": False, "linear and bend": True}
"""Kinds of surface for the mean, the simplest first, and whether they have a bend."""

_REFERENCE_NETWORKS = 2000  # random ones that say how far features reach
_REFERENCE_SEED = 0


class Features(NamedTuple):
    """The features of networks, and which belong together.

    Attributes:
        values: Shape (networks, features).
        groups: Decisions, layer counts, logarithms; each scaled to unit deviation over the space.
    """

    values: Array
    groups: tuple[Array, ...]


class Surface(NamedTuple):
    """The fitted accuracies.

    Attributes:
        mean: Over the signals.
        differences: Gain and preference, by `few_features`; None where one is a constant.
        constants: Of gain and preference.
    """

    mean: Process
    differences: tuple[Ridge | None, ...]
    constants: Array

    def predict(self, features: Features) -> Array:
        """Mean, gain and preference of networks, shape (networks, 3)."""
        mean = self.mean.predict(features.values)
        few = few_features(features, mean)
        columns = [mean]
        for process, constant in zip(self.differences, self.constants, strict=True):
            columns.append(np.full(len(mean), constant) if process is None else process.predict(few))
        return np.stack(columns, axis=1)


def fit_latencies(data: BenchData) -> tuple[LatencyModel, Array]:
    """The predictor fitted to the measured networks, and what each block row adds by it."""
    operators = row_operators()
    space = bench_tables().space
    ok = [row for row in data.measured if row.latency_ms is not None]
    model = fit_latency(
        [operators.of_network(space.choices(row.architecture)) for row in ok],
        [row.latency_ms for row in ok if row.latency_ms is not None],
    )
    return model, operators.latencies_ms(model)


def make_features(latency_ms: Array, data: BenchData) -> Features:
    """Features of the networks of the data."""
    space = bench_tables().space
    rng = np.random.default_rng(_REFERENCE_SEED)
    somewhere = network_features(latency_ms, [space.sample(rng) for _ in range(_REFERENCE_NETWORKS)])
    spread = somewhere.std(0)
    scaled = np.diag(1 / np.where(spread > 0, spread, 1.0))
    own, counts = space.num_features, len(LAYER_COUNTS)
    groups = scaled[:own], scaled[own : own + counts], scaled[own + counts :]
    return Features(network_features(latency_ms, data.choices), groups)


def few_features(features: Features, mean: Array) -> Array:
    """What differences between signals may depend on: layer counts, logarithms and the mean; shape (networks, few)."""
    few = len(LAYER_COUNTS) + len(LOGS)
    return np.concatenate([features.values[:, -few:], mean[:, None]], axis=1)


def fit_surface(
    features: Features, components: Array, kind: str, varying: Sequence[bool], theta: Array | None = None
) -> Surface:
    """Fit mean, gain and preference.

    Args:
        features: Of the networks.
        components: See `BenchData.components`, shape (networks, 3).
        kind: One of `SURFACES`.
        varying: Whether gain and preference depend on features.
        theta: See `fit_process`, for the mean.
    """
    mean = fit_process(features.values, components[:, 0], features.groups, bend=SURFACES[kind], theta=theta)
    few = few_features(features, mean.left_out)  # not what was fitted: that has the noise of the differences in it
    differences = tuple(
        fit_ridge(few, target) if varies else None for target, varies in zip(components[:, 1:].T, varying, strict=True)
    )
    return Surface(mean, differences, components[:, 1:].mean(0))


def fit_surface_noise(data: BenchData, means: Array) -> NoiseModel:
    """The noise about means that the surface gives for networks it did not see, shape (networks,).

    Raises:
        InvalidSettingError: Fewer than two networks have several seeds.
    """
    places = data.replicated
    if len(places) < 2:
        raise InvalidSettingError(
            f"The noise must be fitted to at least 2 networks with several seeds, but got {len(places)}."
        )
    return fit_noise([data.runs[i] for i in places], means[places])


def assemble(
    surface: Surface,
    noise: NoiseModel,
    features: Features,
    latency_ms: Array,
    data: BenchData,
    about: dict[str, object],
) -> Surrogate:
    """Put the parts together into what the evaluator needs."""
    count = features.values.shape[1]
    linear = np.zeros((len(COMPONENTS), count + 1))
    linear[0] = [*surface.mean.weights, surface.mean.constant]
    linear[1:, -1] = surface.constants
    of_mean = np.zeros(len(COMPONENTS) - 1)
    for place, process in enumerate(surface.differences):
        if process is not None:
            linear[place + 1, -len(process.weights) :] = [*process.weights[:-1], process.constant]
            of_mean[place] = process.weights[-1]
    seconds = fit_process(features.values, np.log(data.seconds), features.groups, bend=False)
    has_bend = len(surface.mean.support) > 0
    return Surrogate(
        linear=linear,
        of_mean=of_mean,
        projection=surface.mean.projection,
        support=np.array(data.choices if has_bend else np.zeros((0, len(data.choices[0]))), dtype=np.int8),
        support_weights=surface.mean.support_weights,
        latency_ms=latency_ms,
        seconds=np.append(seconds.weights, seconds.constant),
        residuals=noise.residuals,
        noise_scale=noise.scale,
        about=about,
    )
