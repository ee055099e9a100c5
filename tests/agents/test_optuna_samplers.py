from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
import pytest

from akd_gym.agents.optuna_samplers import gp, nsga2, nsga2_population_size, tpe
from akd_gym.agents.random_search import random_search
from akd_gym.envs.synthetic import SyntheticEvaluator
from akd_gym.evaluation import Evaluation
from akd_gym.space import Choices


@pytest.mark.slow
@pytest.mark.parametrize(("agent", "budget"), [(tpe, 90), (gp, 24)])
def test_it_learns_more_than_random_search(play: Any, agent: Any, budget: int) -> None:
    evaluator = SyntheticEvaluator(seed=10)
    learned, drawn = (play(one, budget, evaluator=evaluator).rewards for one in (agent, random_search))
    assert np.mean(learned[-budget // 3 :]) > np.mean(drawn) + 0.01  # half of what random architectures spread by


def test_nsga2_finds_a_better_front_than_random_search(play: Any) -> None:
    class Watched(SyntheticEvaluator):
        def evaluate(self, choices: Sequence[Choices]) -> list[Evaluation]:
            found = super().evaluate(choices)
            self.points += [(one.accuracy, one.cost) for one in found]
            return found

    dominated = []
    for agent in (nsga2, random_search):
        evaluator = Watched(seed=3)
        evaluator.points = []  # type: ignore[attr-defined]
        play(agent, 400, evaluator=evaluator)
        points = np.array(evaluator.points[-400:])  # type: ignore[attr-defined]
        reference = SyntheticEvaluator(seed=3)
        rng = np.random.default_rng(0)
        others = [
            (one.accuracy, one.cost) for one in reference.evaluate([reference.space.sample(rng) for _ in range(300)])
        ]
        dominated.append(
            sum(((points[:, 0] > accuracy) & (points[:, 1] < cost)).any() for accuracy, cost in others) / len(others)
        )
    assert dominated[0] > dominated[1]


@pytest.mark.parametrize("agent", [tpe, nsga2, gp])
def test_candidates_that_are_infeasible_are_borne(play: Any, agent: Any) -> None:
    class HalfInfeasible(SyntheticEvaluator):
        def evaluate(self, choices: Sequence[Choices]) -> list[Evaluation]:
            return [
                one._replace(status="infeasible", reason="diverged", accuracy=None, cost=None) if own[0] < 2 else one
                for one, own in zip(super().evaluate(choices), choices, strict=True)
            ]

    rewards = play(agent, 13, evaluator=HalfInfeasible(seed=1)).rewards
    assert len(rewards) == 13
    assert -1.0 in rewards


@pytest.mark.parametrize("agent", [tpe, nsga2, gp])
def test_optuna_says_nothing_and_speaks_again_afterwards(play: Any, agent: Any, capfd: Any, recwarn: Any) -> None:
    optuna.logging.set_verbosity(optuna.logging.INFO)
    play(agent, 12)
    assert optuna.logging.get_verbosity() == optuna.logging.INFO
    assert capfd.readouterr() == ("", "")
    assert [str(warning.message) for warning in recwarn] == []


def test_optuna_speaks_again_after_an_error(play: Any) -> None:
    class Broken(SyntheticEvaluator):
        def evaluate(self, choices: Sequence[Choices]) -> list[Evaluation]:
            raise RuntimeError("broken")

    optuna.logging.set_verbosity(optuna.logging.INFO)
    with pytest.raises(RuntimeError, match="broken"):
        play(tpe, 4, evaluator=Broken(seed=1))
    assert optuna.logging.get_verbosity() == optuna.logging.INFO


@pytest.mark.parametrize("budget", [1, 40, 100, 1_000, 10_000])
def test_nsga2_has_generations_whatever_the_budget(budget: int) -> None:
    size = nsga2_population_size(budget)
    assert 8 <= size <= 50
    assert budget < 40 or size <= budget / 5
