"""AKDBench as an evaluator: the surrogate's answer to an architecture, in microseconds."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np

from akd_gym.bench.plan import SIGNALS
from akd_gym.bench.surrogate import LOGS, MIXING, Surrogate, bench_tables, load_surrogate
from akd_gym.errors import InvalidSettingError, UnknownNameError
from akd_gym.evaluation import Evaluation
from akd_gym.space import Choices

DEVICE = "AKDBench"


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

        own = self._tables.features
        count = own.shape[1]
        mixed = MIXING[signal] @ model.linear
        mixed_with_mean = float(MIXING[signal, 1:] @ model.of_mean)
        combined = np.stack([model.linear[0], mixed, model.seconds])
        self._constants = combined[:, -1].tolist()
        self._log_weights = combined[:, count:-1].tolist()
        self._shares = [  # of each block row: to mean, accuracy, log of seconds, latency
            tuple(row) for row in np.column_stack([own @ combined[:, :count].T, model.latency_ms]).tolist()
        ]
        self._of_mean = mixed_with_mean
        # Scaled so that half the squared distance is the exponent; centred, for the sake of 32 bits.
        projection = model.projection * math.sqrt(2)
        support = model.projected_support * math.sqrt(2)
        centre = support.mean(0) if len(support) else np.zeros(len(projection))
        blocks = len(self._tables.sizes)
        self._projected_rows = (own @ projection[:, :count].T - centre / blocks).astype(np.float32)
        self._projected_logs = projection[:, count:].astype(np.float32)
        self._support = np.ascontiguousarray(support - centre, dtype=np.float32)
        self._support_offset = (0.5 * ((support - centre) ** 2).sum(1)).astype(np.float32)
        self._support_weights = model.support_weights.astype(np.float32)
        self._residuals = model.residuals[:, signal].tolist()
        self._noise_scale = model.noise_scale.tolist()

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
        return [self._evaluate(one, self.noise) for one in choices]

    def truth(self, choices: Sequence[Choices]) -> list[Evaluation]:
        """As `evaluate`, without noise: what agents are compared by."""
        return [self._evaluate(one, False) for one in choices]

    def close(self) -> None:
        """Nothing to release."""

    def _evaluate(self, choices: Choices, noise: bool) -> Evaluation:
        rows = self._tables.look_up(choices)
        shares, madds, params = self._shares, 0, 0
        mean, accuracy, log_seconds = self._constants
        latency_ms = 0.0
        places = []
        for place, _, more_madds, more_params, _ in rows:
            places.append(place)
            madds += more_madds
            params += more_params
            a, b, c, d = shares[place]
            mean += a
            accuracy += b
            log_seconds += c
            latency_ms += d
        logs = math.log(madds), math.log(params), math.log(latency_ms)
        of_mean, of_accuracy, of_seconds = self._log_weights
        for i in range(len(LOGS)):
            mean += of_mean[i] * logs[i]
            accuracy += of_accuracy[i] * logs[i]
            log_seconds += of_seconds[i] * logs[i]
        if len(self._support_weights):
            bend = self._bend(places, logs)
            mean += bend
            accuracy += bend
        accuracy += self._of_mean * mean
        name = self._tables.name(rows)
        if noise:
            accuracy += self._noise_of(name, mean)
        return Evaluation(
            name,
            "ok",
            None,
            min(1.0, max(0.0, accuracy)),
            latency_ms,
            "ms",
            latency_ms,
            "predicted",
            DEVICE,
            madds,
            params,
            math.exp(log_seconds),
            False,
        )

    def _bend(self, places: list[int], logs: tuple[float, ...]) -> float:
        point = self._projected_rows[places].sum(0)
        point += self._projected_logs @ np.array(logs, dtype=np.float32)
        exponents = self._support @ point
        exponents -= self._support_offset
        exponents -= 0.5 * float(point @ point)
        return float(np.exp(exponents, out=exponents) @ self._support_weights)

    def _noise_of(self, name: str, mean: float) -> float:
        drawn = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8, key=self._key).digest(), "little")
        intercept, slope, low, high = self._noise_scale
        scale = math.exp(intercept + slope * min(high, max(low, mean)))
        return scale * self._residuals[drawn % len(self._residuals)]
