"""AKDBench as an evaluator: the surrogate's answer to an architecture, in microseconds."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from akd_gym.bench.plan import SIGNALS
from akd_gym.bench.surrogate import MIXING, Surrogate, bench_tables, load_surrogate
from akd_gym.errors import InvalidSettingError, UnknownNameError
from akd_gym.evaluation import Evaluation
from akd_gym.space import Choices

DEVICE = "AKDBench"

_NO_SPREAD = 1e-9  # of the widest: below it, a direction is one of rounding errors


class BenchEvaluator:
    """Architecture -> the accuracy that one training would give and the latency, from the surrogate.

    The noise is that of a training's seed. It is drawn by a hash of noise seed and network, so that a network has the
    same answer however often and in whatever order it is asked for, and all signals share the draw, as trainings
    with equal seeds do.

    Args:
        teacher: Whose soft labels: `"shipped:resnet"` or `"shipped:mixer"`; None or `"none"` for hard labels.
        noise: Whether accuracies are those of one training, or what trainings scatter about.
        seed: Of the noise.
        surrogate: The model; None for the one that comes with the package.

    Attributes:
        space: `akd` on the small skeleton.
        teacher: Whose soft labels; `"none"` for hard labels.
        noise: See above; may be set at any time.
        hash: SHA-256 of the model and the data behind it: results of other hashes are of another benchmark.

    Raises:
        UnknownNameError: A teacher that the benchmark has no trainings of.
        InvalidSettingError: A seed below 0.
        CorruptFileError: The model's file is damaged.
    """

    cost_unit = "ms"

    def __init__(
        self,
        teacher: str | None = "shipped:resnet",
        noise: bool = True,
        seed: int = 0,
        *,
        surrogate: Surrogate | None = None,
    ) -> None:
        teacher = "none" if teacher is None else teacher
        if teacher not in SIGNALS:
            raise UnknownNameError("teacher of AKDBench", teacher, SIGNALS)
        model = load_surrogate() if surrogate is None else surrogate
        signal = SIGNALS.index(teacher)
        self._tables = bench_tables()
        self.space = self._tables.space
        self.teacher, self.noise, self.hash = teacher, noise, model.hash
        self.noise_seed = seed

        self._of_mean = float(MIXING[signal, 1:] @ model.of_mean)
        weights = np.stack([model.linear[0], MIXING[signal] @ model.linear, model.seconds], axis=1)
        own = self._tables.features
        self._shares = np.column_stack([own @ weights[: own.shape[1]], self._tables.costs, model.latency_ms])
        self._log_shares, self._constants = weights[own.shape[1] : -1], weights[-1]
        self._bend = _bend_of(model)
        self._residuals = model.residuals[:, signal]
        self._noise_scale = model.noise

    @property
    def noise_seed(self) -> int:
        """Which realisation of the noise is seen; may be set at any time.

        Raises:
            InvalidSettingError: If it is set to a negative one.
        """
        return self._noise_seed

    @noise_seed.setter
    def noise_seed(self, seed: int) -> None:
        if seed < 0:
            raise InvalidSettingError(f"`seed` must not be negative, but got {seed}.")
        self._noise_seed = int(seed)
        self._key = (self._noise_seed % 2**128).to_bytes(16, "little")  # Gymnasium takes seeds of any size

    def reference_cost(self) -> float:
        """Latency of the space's reference architecture, in milliseconds."""
        [reference] = self.truth([self.space.reference])
        assert reference.latency_ms is not None
        return reference.latency_ms

    def evaluate(self, choices: Sequence[Choices]) -> list[Evaluation]:
        """One `Evaluation` an architecture; `seconds` are those that its training would take.

        Raises:
            InvalidArchitectureError: Choices that are not of the space.
        """
        return self._evaluate(choices, self.noise)

    def truth(self, choices: Sequence[Choices]) -> list[Evaluation]:
        """As `evaluate`, without noise: what agents are compared by."""
        return self._evaluate(choices, noise=False)

    def close(self) -> None:
        """Nothing to release."""

    def _evaluate(self, choices: Sequence[Choices], noise: bool) -> list[Evaluation]:
        """All together, and each as if it were alone, to the last bit."""
        if not choices:
            return []
        found = [self._tables.look_up(one) for one in choices]
        names = [self._tables.name(rows) for rows in found]
        places = np.array([[row.place for row in rows] for rows in found])
        sums = self._shares[places].sum(1)
        costs = sums[:, 3:]  # in the order of LOGS
        logs = np.log(costs)
        mean, accuracy, log_seconds = (sums[:, :3] + self._constants + (logs[:, :, None] * self._log_shares).sum(1)).T
        if self._bend is not None:
            bend = self._bend(places, logs)
            mean, accuracy = mean + bend, accuracy + bend
        accuracy = accuracy + self._of_mean * mean
        if noise:
            draws = [self._draw(name) for name in names]
            accuracy = accuracy + self._noise_scale(mean) * self._residuals[draws]
        columns = np.clip(accuracy, 0, 1).tolist(), np.exp(log_seconds).tolist(), costs.tolist()
        return [
            Evaluation(
                *(name, "ok", None, accuracy, latency_ms, "ms", latency_ms, "predicted", DEVICE),
                *(int(madds), int(params), seconds, False),
            )
            for name, accuracy, seconds, (madds, params, latency_ms) in zip(names, *columns, strict=True)
        ]

    def _draw(self, name: str) -> int:
        """Which residual a network's noise is."""
        digest = hashlib.blake2b(name.encode(), digest_size=8, key=self._key).digest()
        return int.from_bytes(digest, "little") % len(self._residuals)


class _Bend:
    """The bend of the mean (`Surrogate.components`) in 32 bits, as one matrix product.

    With `p` a network's point and `s` one that the bend remembers, of weight `w`, the exponent is `p s - |p|^2 / 2 -
    |s|^2 / 2 + log |w|` once points are scaled by the square root of two; `p` is a sum over rows. Of its dimensions,
    only those in which the remembered ones differ meet others in the product.

    Args:
        model: With a bend.
    """

    def __init__(self, model: Surrogate) -> None:
        own = bench_tables().features
        count, blocks = own.shape[1], len(bench_tables().sizes)
        known = model.support_weights != 0
        weights, support = model.support_weights[known], model.projected_support[known] * math.sqrt(2)
        order = np.argsort(weights < 0, kind="stable")
        weights, support = weights[order], support[order]
        centre = support.mean(0)
        _, spreads, directions = np.linalg.svd(support - centre)
        self._used = int(np.count_nonzero(spreads > _NO_SPREAD * spreads[0]))
        rotation = directions @ model.projection * math.sqrt(2)
        self._points = (own @ rotation[:, :count].T - directions @ centre / blocks).astype(np.float32)
        self._log_points = rotation[:, count:].T.astype(np.float32)
        support = (support - centre) @ directions[: self._used].T
        constants = np.log(np.abs(weights)) - 0.5 * (support**2).sum(1)
        rows = np.vstack([support.T, np.ones(len(support)), constants])
        self._support = np.ascontiguousarray(rows, dtype=np.float32)  # the other order takes BLAS much longer
        self._positive = int((weights > 0).sum())

    def __call__(self, places: NDArray[np.int64], logs: NDArray[np.float64]) -> NDArray[np.float32]:
        """The bend of networks given by places of rows (n, blocks) and logarithms (n, 3); shape (n,)."""
        count, used = len(places), self._used
        points = self._points[places].sum(1)
        for log, log_point in zip(logs.astype(np.float32).T, self._log_points, strict=True):
            points += log[:, None] * log_point
        # Never one row alone, which BLAS would multiply another way, with another rounding.
        factors = np.ones((max(2, count), used + 2), np.float32)
        factors[:count, :used] = points[:, :used]
        factors[:count, used] = -0.5 * (points * points).sum(1)
        exponents = (factors @ self._support)[:count]
        np.exp(exponents, out=exponents)
        total: NDArray[np.float32] = exponents[:, : self._positive].sum(1) - exponents[:, self._positive :].sum(1)
        return total


@lru_cache(maxsize=2)
def _bend_of(model: Surrogate) -> _Bend | None:
    """One for all evaluators of a model."""
    return _Bend(model) if len(model.support) else None
