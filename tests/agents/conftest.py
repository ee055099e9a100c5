from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from akd_gym.envs.search import AKDSearchEnv
from akd_gym.envs.synthetic import SyntheticEvaluator
from akd_gym.evaluation import Evaluation
from akd_gym.reward import Reward
from akd_gym.space import Choices, SearchSpace


@pytest.fixture
def evaluator() -> SyntheticEvaluator:
    return SyntheticEvaluator(seed=1)


class Matches(SyntheticEvaluator):
    """Accuracy is the share of decisions that are as `wanted`: each counts by itself, and the same."""

    def __init__(self, wanted: Sequence[int], space: SearchSpace | None = None) -> None:
        super().__init__(space)
        self.wanted = tuple(wanted)

    def evaluate(self, choices: Sequence[Choices]) -> list[Evaluation]:
        return [
            evaluation._replace(accuracy=sum(map(int.__eq__, own, self.wanted)) / len(self.wanted))
            for evaluation, own in zip(super().evaluate(choices), choices, strict=True)
        ]


class Record:
    """A task's watch that keeps what was played."""

    def __init__(self) -> None:
        self.choices: list[Choices] = []
        self.rewards: list[float] = []
        self.rounds: list[int] = []

    def before(self, count: int) -> None:
        self.rounds.append(count)

    def after(self, rewards: Sequence[float], infos: Sequence[dict[str, Any]]) -> None:
        self.rewards += rewards
        self.choices += [info["choices"] for info in infos]


Play = Callable[..., Record]


@pytest.fixture
def play() -> Play:
    """Plays an agent on a made-up surface, or on an evaluator of one's own, and returns what it played."""

    def run(
        agent: Callable[..., None],
        budget: int,
        seed: int = 0,
        *,
        evaluator: SyntheticEvaluator | None = None,
        reward: Reward | None = None,
        **options: Any,
    ) -> Record:
        evaluator = evaluator or SyntheticEvaluator(seed=1)
        env = AKDSearchEnv(evaluator=evaluator, target=evaluator.reference_cost(), reward=reward or "absolute")
        env.task.watch = record = Record()
        agent(env, budget, seed, **options)
        return record

    return run


@pytest.fixture
def play_matches(play: Play) -> Play:
    """Plays an agent where the reward is the share of decisions that are as `wanted`."""

    def run(
        agent: Callable[..., None],
        budget: int,
        seed: int = 0,
        *,
        wanted: Sequence[int],
        space: Any = None,
        **options: Any,
    ) -> Record:
        return play(agent, budget, seed, evaluator=Matches(wanted, space), reward=Reward("absolute", 0.0), **options)

    return run
