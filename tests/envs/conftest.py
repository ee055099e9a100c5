from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from numpy.typing import NDArray

from akd_gym.envs.synthetic import SyntheticEvaluator

IDS = tuple(f"{family}{form}-v0" for family in ("AKDSearch", "AKDBench") for form in ("", "OneShot", "Box"))


@pytest.fixture
def evaluator() -> SyntheticEvaluator:
    return SyntheticEvaluator(seed=1)


@pytest.fixture(params=IDS)
def env_id(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def settings(env_id: str, evaluator: SyntheticEvaluator) -> dict[str, Any]:
    """With which an environment of the id answers at once."""
    return {} if env_id.startswith("AKDBench") else {"evaluator": evaluator}


@pytest.fixture
def actions_for() -> Any:
    """The actions that make N choices, shape (N, decisions), in the form of an action space of one episode."""

    def actions(space: gym.Space[Any], counts: Sequence[int], choices: NDArray[np.int64]) -> list[NDArray[Any]]:
        choices = np.asarray(choices)
        if isinstance(space, spaces.Discrete):
            return list(choices.T)
        if isinstance(space, spaces.MultiDiscrete):
            return [choices]
        return [(2 * (choices + 0.5) / np.asarray(counts) - 1).astype(np.float32)]  # the middles of the bins

    return actions
