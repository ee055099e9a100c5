"""What is competed on: AKDBench at the settings of a competition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import gymnasium as gym

import akd_gym  # noqa: F401 - registers AKDBench
from akd_gym.agents.competition.best_known import find_best
from akd_gym.agents.competition.settings import CompetitionSettings
from akd_gym.bench.evaluator import BenchEvaluator
from akd_gym.envs.task import SearchTask
from akd_gym.errors import RunMismatchError
from akd_gym.reward import Reward
from akd_gym.space import Choices


def make_env(settings: CompetitionSettings, seed: int) -> gym.Env[Any, Any]:
    """The environment that an agent is given.

    Args:
        settings: The competition's.
        seed: Of the noise.

    Raises:
        RunMismatchError: If AKDBench is another than the settings were resolved with.
    """
    evaluator = BenchEvaluator(settings.teacher, settings.noise, seed)
    if evaluator.hash != settings.benchmark:
        raise RunMismatchError(
            f"AKDBench must be {settings.benchmark} throughout the competition, but is now {evaluator.hash}."
        )
    return gym.make("AKDBench-v0", task=SearchTask(evaluator=evaluator, target_ms=settings.target_ms))


def resolve(settings: CompetitionSettings, target_ratio: float | None = None) -> CompetitionSettings:
    """Settings with the target in ms and the benchmark's hash.

    Args:
        settings: Perhaps without.
        target_ratio: The target in terms of the reference architecture's cost, where it is not given in ms.

    Raises:
        UnknownNameError: If AKDBench does not have the teacher.
        InvalidSettingError: If the ratio is not positive.
    """
    evaluator = BenchEvaluator(settings.teacher)
    if settings.target_ms is None:
        settings = settings.with_target_ratio(1.0 if target_ratio is None else target_ratio, evaluator.reference_cost())
    return replace(settings, benchmark=evaluator.hash)


def best_on_benchmark(settings: CompetitionSettings) -> tuple[Choices, float]:
    """The best architecture that a thorough noiseless search finds, and its reward."""
    evaluator, reward = BenchEvaluator(settings.teacher), Reward()

    def worth(choices: Sequence[Choices]) -> list[float]:
        return [reward(truth.accuracy, truth.cost, settings.target) for truth in evaluator.truth(choices)]

    return find_best(evaluator.space, worth)
