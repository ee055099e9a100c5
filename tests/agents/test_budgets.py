"""What every agent that plays whole architectures keeps to: its budget, exactly, and its seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from akd_gym.agents.registry import load_agent
from akd_gym.errors import InvalidSettingError

NAMES = ("random", "local_search", "evolution", "tpe", "nsga2", "gp", "reinforce")
SLOW = ("gp",)
"""They take a third of a second an evaluation after the first ten, which are drawn."""


@pytest.mark.parametrize("budget", [1, 7, 97])
@pytest.mark.parametrize("name", NAMES)
def test_the_budget_is_spent_exactly(play: Any, name: str, budget: int) -> None:
    budget = min(budget, 12) if name in SLOW else budget
    record = play(load_agent(name), budget)
    assert len(record.choices) == sum(record.rounds) == budget
    assert max(record.rounds) <= 8


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_plays_the_same_whatever_else_draws(play: Any, name: str) -> None:
    import torch

    budget = 12 if name in SLOW else 45
    agent = load_agent(name)
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002 - the state that careless agents would draw from
    state = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    first = play(agent, budget, seed=3)
    torch.testing.assert_close(torch.get_rng_state(), state[0])
    assert np.random.get_state()[1].tolist() == state[1]  # noqa: NPY002
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002
    assert play(agent, budget, seed=3).choices == first.choices
    assert play(agent, budget, seed=4).choices[0] != first.choices[0]


@pytest.mark.parametrize("name", NAMES)
def test_no_budget(play: Any, name: str) -> None:
    with pytest.raises(InvalidSettingError, match="`budget` must be at least 1 evaluation, but got 0"):
        play(load_agent(name), 0)
