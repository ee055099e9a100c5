"""A made-up evaluator that answers at once, to try, tune and test agents with. Its accuracies mean nothing.

Its shape is that of the real thing: the cost is real (multiply-adds of the network), the accuracy is a sum of
one effect an option and a few interactions, rises with the cost, and is seen through the noise of a training
seed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from akd_gym.cost import count_cost
from akd_gym.evaluation import Evaluation
from akd_gym.space import Choices, SearchSpace, make_space


class SyntheticEvaluator:
    """Architecture -> multiply-adds and an invented accuracy, the same at every asking.

    Args:
        space: The space; `akd` on the small skeleton if None.
        seed: Of the surface and of its noise.
        spread: Standard deviation of the noiseless accuracy over random architectures, as a fraction.
        noise: Standard deviation of the accuracy over training seeds, as a fraction.
        cost_share: Correlation of the noiseless accuracy with the log of the cost over random architectures.
        resolution: Of the images that multiply-adds are counted for, in pixels.
    """

    cost_unit = "madds"

    def __init__(
        self,
        space: SearchSpace | None = None,
        *,
        seed: int = 0,
        spread: float = 0.02,
        noise: float = 0.008,
        cost_share: float = 0.5,
        resolution: int = 28,
    ) -> None:
        self.space = make_space("akd", "small") if space is None else space
        self.seed, self.noise, self.resolution = seed, noise, resolution
        rng = np.random.default_rng(seed)
        counts = self.space.option_counts
        self._effects = [rng.normal(size=count) for count in counts.tolist()]
        self._pairs = rng.integers(len(counts), size=(len(counts) // 3, 2))
        self._pair_effects = rng.normal(size=(len(self._pairs), self.space.num_actions, self.space.num_actions))
        sample = [self.space.sample(rng) for _ in range(100)]
        own, cost = np.array([self._own(c) for c in sample]), np.log([self._madds(c) for c in sample])
        own_scale = spread * math.sqrt(1 - cost_share**2) / own.std()
        cost_scale = spread * cost_share / cost.std()
        self._scales = (own_scale, cost_scale, 0.8 - own_scale * own.mean() - cost_scale * cost.mean())
        self._seen: set[str] = set()

    def reference_cost(self) -> float:
        """Multiply-adds of the space's reference architecture."""
        return float(self._madds(self.space.reference))

    def evaluate(self, choices: Sequence[Choices]) -> list[Evaluation]:
        """One `Evaluation` an architecture; `from_ledger` if it was asked for before."""
        return [self._evaluate(self.space.canonical(c)) for c in choices]

    def close(self) -> None:
        """Nothing to release."""

    def _evaluate(self, choices: Choices) -> Evaluation:
        network = self.space.network(choices)
        cost = count_cost(network, self.resolution, 1, 10)
        name = str(network)
        seen = name in self._seen
        self._seen.add(name)
        noise = np.random.default_rng([self.seed, *choices]).normal(0.0, self.noise)
        own, log_cost, base = self._scales
        accuracy = own * self._own(choices) + log_cost * math.log(cost.madds) + base + noise
        return Evaluation(
            architecture=name,
            status="ok",
            reason=None,
            accuracy=float(np.clip(accuracy, 0.0, 1.0)),
            cost=float(cost.madds),
            cost_unit="madds",
            latency_ms=None,
            latency_kind=None,
            device=None,
            madds=cost.madds,
            params=cost.params,
            seconds=0.0,
            from_ledger=seen,
        )

    def _own(self, choices: Choices) -> float:
        """The part of the accuracy, unscaled, that does not come from cost."""
        single = sum(effects[c] for effects, c in zip(self._effects, choices, strict=True))
        pairs = sum(
            table[choices[a], choices[b]]
            for table, (a, b) in zip(self._pair_effects, self._pairs.tolist(), strict=True)
        )
        return float(single + pairs)

    def _madds(self, choices: Choices) -> int:
        return count_cost(self.space.network(choices), self.resolution, 1, 10).madds
