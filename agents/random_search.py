"""Random search: what every other agent is compared with."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from akd_gym.agents.play import Player, rounds


def random_search(env: gym.Env[Any, Any], budget: int, seed: int) -> None:
    """Play `budget` architectures whose every decision is drawn uniformly.

    What it plays follows from the space and the seed alone, so that a search which was stopped goes on by playing it
    again with the ledger there.

    Args:
        env: Like `AKDSearch-v0`.
        budget: Evaluations to spend, at least 1; all are spent.
        seed: Of the draws.

    Raises:
        InvalidSettingError: If `budget` is less than 1.
    """
    player, rng = Player(env), np.random.default_rng(seed)
    for size in rounds(budget):
        player.play(player.draw(rng, size))
