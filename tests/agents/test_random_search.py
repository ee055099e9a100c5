from __future__ import annotations

from typing import Any

import numpy as np

from akd_gym.agents.random_search import random_search


def test_it_draws_uniformly_and_learns_nothing(play_matches: Any) -> None:
    counts = np.array((4, 4, 2, 3, 3) * 7)
    record = play_matches(random_search, 600, wanted=(0,) * 35)
    rewards = np.array(record.rewards)
    # a decision of n options is as wanted with probability 1/n: mean 0.348 of 35, a standard deviation of 0.080 each
    mean, deviation = (1 / counts).mean(), (1 / counts * (1 - 1 / counts)).sum() ** 0.5 / 35
    assert abs(rewards.mean() - mean) < 4 * deviation / 600**0.5
    assert abs(rewards[300:].mean() - rewards[:300].mean()) < 4 * deviation * (2 / 300) ** 0.5
