"""The best architecture that is known: what regret is measured from.

Found by a search that no agent could afford, on noiseless rewards; whatever a run of the competition finds beyond it
counts too.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np

from akd_gym.space import Choices, SearchSpace

Worth = Callable[[list[Choices]], list[float]]
"""Noiseless rewards of architectures."""

RESTARTS = 32
"""Local searches from architectures at random, in lockstep."""

FINALISTS = 3
"""Best local optima from which pairs of decisions are changed at once."""

_SEED = 1911_09074


def find_best(space: SearchSpace, worth: Worth) -> tuple[Choices, float]:
    """Steepest ascent from many starts, then from the best ends with pairs of decisions changed at once.

    No change of one or two decisions improves what is found. Deterministic.

    Args:
        space: Where to search.
        worth: What is to be highest.

    Returns:
        The choices, and what they are worth.
    """
    known = _Known(worth)
    rng = np.random.default_rng(_SEED)
    starts = [space.validate(space.reference), *(space.sample(rng) for _ in range(RESTARTS))]
    ends = _ascend(starts, partial(_changed_once, space), known)
    finalists = sorted(set(ends), key=lambda choices: (-known[choices], choices))[:FINALISTS]
    best = max(_ascend(finalists, partial(_changed_twice, space), known), key=known.__getitem__)
    return best, known[best]


class _Known:
    """Worth by choices; each asked for once, a round at a time."""

    def __init__(self, worth: Worth) -> None:
        self._worth = worth
        self._values: dict[Choices, float] = {}

    def __getitem__(self, choices: Choices) -> float:
        return self._values[choices]

    def learn(self, choices: Iterable[Choices]) -> None:
        new = [each for each in dict.fromkeys(choices) if each not in self._values]
        self._values.update(zip(new, self._worth(new) if new else [], strict=True))


def _ascend(starts: Sequence[Choices], neighbours: Callable[[Choices], list[Choices]], known: _Known) -> list[Choices]:
    """Each start's local optimum: as long as a neighbour is better, on to the best one."""
    ends, moving = list(starts), list(range(len(starts)))
    known.learn(starts)
    while moving:
        around = [neighbours(ends[index]) for index in moving]
        known.learn(itertools.chain.from_iterable(around))
        best = [max(near, key=known.__getitem__) for near in around]
        steps = [(index, to) for index, to in zip(moving, best, strict=True) if known[to] > known[ends[index]]]
        for index, to in steps:
            ends[index] = to
        moving = [index for index, _ in steps]
    return ends


def _changed_once(space: SearchSpace, choices: Choices) -> list[Choices]:
    """What differs in one decision. Spellings of the same network are not told apart: building it takes longer."""
    return [
        (*choices[:index], option, *choices[index + 1 :])
        for index, count in enumerate(space.option_counts.tolist())
        for option in range(count)
        if option != choices[index]
    ]


def _changed_twice(space: SearchSpace, choices: Choices) -> list[Choices]:
    """What differs in one or two decisions."""
    once = _changed_once(space, choices)
    return list(dict.fromkeys([*once, *(twice for other in once for twice in _changed_once(space, other))]))
