"""AKDBench's second stage: the networks that searches end at, found on a surrogate of the first stage."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from akd_gym.bench.evaluator import BenchEvaluator
from akd_gym.bench.plan import SIGNALS
from akd_gym.bench.surrogate import Surrogate
from akd_gym.reward import Reward
from akd_gym.space import Choices

NEIGHBOURHOOD = 96
"""Networks of the second stage."""

_STARTS = 12
_TARGETS = (1.0, 0.5)  # of the reference architecture's latency
_SEED = 20202


def neighbourhood(surrogate: Surrogate, known: set[str], count: int = NEIGHBOURHOOD) -> list[str]:
    """Networks about the best ones, for each signal and for the reference's latency and half of it.

    From random networks, steps to the best neighbour are taken until none is better, by the noiseless reward. What was
    found, and the best neighbours of the best of it, are taken in turn for each of the goals.

    Args:
        surrogate: Of the first stage.
        known: Networks that are trained already.
        count: How many.

    Returns:
        Canonical strings; fewer than asked for if no more are found.
    """
    goals = [
        _proposals(BenchEvaluator(signal, noise=False, surrogate=surrogate), share)
        for share in _TARGETS
        for signal in SIGNALS
    ]
    found: dict[str, None] = {}
    while goals and len(found) < count:
        for proposals in list(goals):
            name = next((one for one in proposals if one not in known and one not in found), None)
            if name is None:
                goals.remove(proposals)
            elif len(found) < count:
                found[name] = None
    return list(found)


def _proposals(evaluator: BenchEvaluator, share: float) -> Iterator[str]:
    """Local optima and neighbours of the best, alternating, the best first; none twice."""
    space, target = evaluator.space, share * evaluator.reference_cost()
    reward = Reward()

    def worth(choices: Choices) -> float:
        [one] = evaluator.truth([choices])
        return reward(one.accuracy, one.cost, target)

    rng = np.random.default_rng(_SEED)
    optima: dict[Choices, float] = {}
    for _ in range(_STARTS):
        here = space.canonical(space.sample(rng))
        now = worth(here)
        while True:
            best = max(space.neighbours(here), key=worth)
            if worth(best) <= now:
                break
            here, now = best, worth(best)
        optima[here] = now
    ranked = sorted(optima, key=lambda choices: -optima[choices])
    around = sorted(space.neighbours(ranked[0]), key=lambda choices: -worth(choices))
    for pair in itertools.zip_longest(ranked, around):
        for choices in pair:
            if choices is not None:
                yield str(space.network(choices))
