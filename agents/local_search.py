"""Local search: hill climbing over changes of a single decision.

Paper: Local Search is State of the Art for Neural Architecture Search Benchmarks - https://arxiv.org/abs/2005.02960
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from akd_gym.agents.play import Player, check_budget, round_size
from akd_gym.space import Choices


def local_search(env: gym.Env[Any, Any], budget: int, seed: int, *, start: Sequence[Choices] = ()) -> None:
    """Climb from a random architecture to better neighbours until there are none, then from another one.

    A neighbour differs in one decision. Neighbours are played a round at a time, and the best of a round is moved to if
    it is better (the paper's variant that does not wait for all neighbours, side by side). On made-up surfaces rounds
    of 1, 2, 4 and 8 found equally good architectures with 100, 300 and 1,000 evaluations. Nothing is played twice,
    because a repeated architecture costs an evaluation too.

    What it plays follows from the space, the rewards and the seed alone, so that a search which was stopped goes on by
    playing it again with the ledger there.

    Args:
        env: Like `AKDSearch-v0`.
        budget: Evaluations to spend, at least 1; all are spent, unless the whole space has been played.
        seed: Of the beginnings and the order of changes.
        start: Architectures to climb from first, in turn; random ones follow.

    Raises:
        InvalidSettingError: If `budget` is less than 1.
    """
    check_budget(budget)
    player, rng = Player(env), np.random.default_rng(seed)
    tried: set[Choices] = set()
    size, budget = round_size(budget), min(budget, math.prod(player.option_counts))
    starts = [tuple(choices) for choices in start]
    while len(tried) < budget:
        beginning = _next_untried(starts, player, rng, tried)
        [played] = player.play([beginning])
        tried.add(beginning)
        climb = Climb(beginning, played.reward, player.option_counts, rng)
        while batch := climb.neighbours(tried, min(size, budget - len(tried))):
            tried.update(batch)
            climb.move([(played.choices, played.reward) for played in player.play(batch)])


class Climb:
    """One climb: where it stands, and the changes of one decision in a random order, round and round.

    The order is kept after a move, so that changes which were no good wait until all others had their turn: where
    decisions matter independently of each other, one turn finds the optimum.

    Args:
        start: Where to begin.
        reward: What it earned.
        option_counts: Options of each decision.
        rng: For the order.
    """

    def __init__(self, start: Choices, reward: float, option_counts: Sequence[int], rng: np.random.Generator) -> None:
        self.choices, self.reward = start, reward
        changes = [(decision, option) for decision, count in enumerate(option_counts) for option in range(count)]
        self._changes = [changes[index] for index in rng.permutation(len(changes)).tolist()]

    def neighbours(self, tried: set[Choices], count: int) -> list[Choices]:
        """The next neighbours that are not among those tried, at most `count`; none at a local optimum."""
        found: list[Choices] = []
        for turn, (decision, option) in enumerate(self._changes):
            if len(found) == count:
                self._changes = self._changes[turn:] + self._changes[:turn]
                break
            neighbour = (*self.choices[:decision], option, *self.choices[decision + 1 :])
            if neighbour not in tried:
                found.append(neighbour)
        return found

    def move(self, played: Sequence[tuple[Choices, float]]) -> None:
        """Go to the best of the neighbours played, if it is better than where the climb stands."""
        choices, reward = max(played, key=lambda one: one[1])
        if reward > self.reward:
            self.choices, self.reward = choices, reward


def _next_untried(starts: list[Choices], player: Player, rng: np.random.Generator, tried: set[Choices]) -> Choices:
    """Where to climb from next; given beginnings are used up first."""
    while True:
        choices = starts.pop(0) if starts else player.draw(rng, 1)[0]
        if choices not in tried:
            return choices
