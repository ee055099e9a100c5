"""Whole architectures, played in an environment: for agents that do not decide step by step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from akd_gym.envs.task import SearchTask
from akd_gym.envs.vector import AKDSearchOneShotVectorEnv
from akd_gym.errors import InvalidSettingError
from akd_gym.space import Choices

ROUND_SIZE = 8
"""Most candidates that an agent has evaluated together: enough for the cores of a workstation."""

ROUNDS = 25
"""Fewest rounds that a budget is spent in, where rounds of 2 allow it: agents learn between rounds. With 100
evaluations on 30 made-up surfaces, in rounds of 4 instead of 8, the last tenth of REINFORCE's candidates were 0.9
points better and those of evolution 0.3, while the best ones differed by less than the error."""


class Played(NamedTuple):
    """One episode that was played.

    Attributes:
        choices: The options chosen.
        reward: What they earned.
        info: What the environment said at the end, see `AKDSearchEnv`.
    """

    choices: Choices
    reward: float
    info: dict[str, Any]


class Player:
    """Plays architectures in an environment, several side by side.

    Each is an episode of `AKDSearchOneShotVectorEnv` on the environment's own task: the same evaluator, target and
    watch, and one evaluation paid for each, repeated ones too. All that an agent learns through a player is what the
    environment shows everyone: how many options a decision has, rewards, and `info`.

    Args:
        env: Like `AKDSearch-v0`; wrappers around it do not see what is played.

    Attributes:
        option_counts: Options of each decision.

    Raises:
        InvalidSettingError: If the environment has no task, so is none of this package's.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        task = getattr(env.unwrapped, "task", None)
        if not isinstance(task, SearchTask):
            raise InvalidSettingError(f"`env` must be like AKDSearch-v0, with a `task`, but got {env}.")
        self._task = task
        self._envs: dict[int, AKDSearchOneShotVectorEnv] = {}
        self.option_counts: tuple[int, ...] = tuple(task.space.option_counts.tolist())

    def play(self, batch: Sequence[Sequence[int]]) -> list[Played]:
        """Play one round of architectures.

        Args:
            batch: One sequence of options an architecture, shape (n, num_decisions).

        Returns:
            One result an architecture, in order; none for an empty batch.

        Raises:
            InvalidArchitectureError: If a batch does not consist of options that the decisions have; nothing is
                evaluated then.
            Exception: What the task's watch raises when no more may be evaluated.
        """
        if not len(batch):
            return []
        architectures = np.array([self._task.space.validate(choices) for choices in batch])
        envs = self._envs_for(len(batch))
        envs.reset()  # also where a watch cut the last round off
        _, rewards, _, _, info = envs.step(architectures)
        columns = info["final_info"]
        names = [name for name in columns if not name.startswith("_")]
        return [
            Played(tuple(choices), float(reward), {name: _plain(columns[name][index]) for name in names})
            for index, (choices, reward) in enumerate(zip(architectures.tolist(), rewards.tolist(), strict=True))
        ]

    def draw(self, rng: np.random.Generator, count: int) -> list[Choices]:
        """Architectures at random, every decision uniformly and by itself."""
        options = rng.integers(self.option_counts, size=(count, len(self.option_counts)))
        return [tuple(choices) for choices in options.tolist()]

    def _envs_for(self, size: int) -> AKDSearchOneShotVectorEnv:
        if size not in self._envs:
            self._envs[size] = AKDSearchOneShotVectorEnv(size, task=self._task)
        return self._envs[size]


def round_size(budget: int) -> int:
    """How many candidates to evaluate together: few where the budget is small, see `ROUNDS` and `ROUND_SIZE`."""
    return min(ROUND_SIZE, max(2, budget // ROUNDS))


def rounds(budget: int, size: int | None = None) -> Iterator[int]:
    """The sizes of the rounds that spend a budget.

    Args:
        budget: Evaluations, at least 1.
        size: Of each round but the last, which has what is left; None for `round_size(budget)`.

    Raises:
        InvalidSettingError: If `budget` is less than 1.
    """
    check_budget(budget)
    size = round_size(budget) if size is None else size
    return (min(size, budget - begun) for begun in range(0, budget, size))


def check_budget(budget: int) -> None:
    """Refuses a budget that leaves nothing to play.

    Raises:
        InvalidSettingError: If `budget` is less than 1.
    """
    if budget < 1:
        raise InvalidSettingError(f"`budget` must be at least 1 evaluation, but got {budget}.")


def _plain(value: Any) -> Any:
    """A Python number for NumPy's."""
    return value.item() if isinstance(value, np.generic) else value
