"""Optuna's samplers as agents, by its ask-and-tell interface: every decision is a categorical parameter.

What they play follows from the space, the rewards, the seed and the version of Optuna alone, so that a search which was
stopped goes on by playing it again with the ledger there.

Papers:
    TPE: Algorithms for Hyper-Parameter Optimization -
    https://papers.nips.cc/paper/4443-algorithms-for-hyper-parameter-optimization.pdf
    NSGA-II: A fast and elitist multiobjective genetic algorithm - https://doi.org/10.1109/4235.996017
    GP: see `optuna.samplers.GPSampler`
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import gymnasium as gym
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, TPESampler
from optuna.trial import TrialState

from akd_gym.agents.play import Played, Player, rounds

Direction = Literal["maximize", "minimize"]


def tpe(env: gym.Env[Any, Any], budget: int, seed: int) -> None:
    """Optuna's tree-structured Parzen estimator on the reward, all decisions modelled together (`multivariate`).

    With 100 evaluations on 16 made-up surfaces that was at least as good as decisions modelled one by one, in a third
    of the time. Candidates of a round still under way count as bad (`constant_liar`); rounds of 1, 4 and 8 were equally
    good. It takes 0.8 s of its own for 100 evaluations, 17 s for 1,000 (a busy core).

    Args:
        env: Like `AKDSearch-v0`.
        budget: Evaluations to spend, at least 1; all are spent.
        seed: Of the sampler.

    Raises:
        InvalidSettingError: If `budget` is less than 1.
    """
    sampler = TPESampler(seed=seed, multivariate=True, constant_liar=True)
    _ask_and_tell(env, budget, sampler, ["maximize"], lambda played: [played.reward], None)


def nsga2(env: gym.Env[Any, Any], budget: int, seed: int) -> None:
    """Optuna's NSGA-II with two objectives, accuracy up and cost down, both read off `info`.

    It looks for the whole front; target and reward mean nothing to it. Infeasible candidates join no population.

    Args:
        env: Like `AKDSearch-v0`.
        budget: Evaluations to spend, at least 1; all are spent.
        seed: Of the sampler.

    Raises:
        InvalidSettingError: If `budget` is less than 1.
    """
    sampler = NSGAIISampler(seed=seed, population_size=nsga2_population_size(budget))
    _ask_and_tell(env, budget, sampler, ["maximize", "minimize"], _accuracy_and_cost, None)


def gp(env: gym.Env[Any, Any], budget: int, seed: int) -> None:
    """Optuna's Gaussian process on the reward, one candidate at a time.

    Each candidate is the optimum of log expected improvement over the space, which takes the longer the more there
    have been: 31 s for 60 evaluations, 73 s for 100 (a busy core). For small budgets only.

    Args:
        env: Like `AKDSearch-v0`.
        budget: Evaluations to spend, at least 1; all are spent.
        seed: Of the sampler.

    Raises:
        InvalidSettingError: If `budget` is less than 1.
    """
    sampler = GPSampler(seed=seed)
    _ask_and_tell(env, budget, sampler, ["maximize"], lambda played: [played.reward], 1)


def nsga2_population_size(budget: int) -> int:
    """How many live at once: a twentieth of the budget, from 8 to Optuna's own 50."""
    return min(max(budget // 20, 8), 50)


def _accuracy_and_cost(played: Played) -> list[float] | None:
    if played.info["status"] != "ok":
        return None
    return [played.info["accuracy"], played.info["cost"]]


def _ask_and_tell(
    env: gym.Env[Any, Any],
    budget: int,
    sampler: BaseSampler,
    directions: Sequence[Direction],
    values: Callable[[Played], list[float] | None],
    round_size: int | None,
) -> None:
    player = Player(env)
    distributions: dict[str, BaseDistribution] = {
        f"decision{index}": CategoricalDistribution(range(count)) for index, count in enumerate(player.option_counts)
    }
    with _quiet():
        study = optuna.create_study(directions=directions, sampler=sampler)
        for size in rounds(budget, round_size):
            trials = [study.ask(distributions) for _ in range(size)]
            batch = [[trial.params[name] for name in distributions] for trial in trials]
            for trial, played in zip(trials, player.play(batch), strict=True):
                told = values(played)
                if told is None:
                    study.tell(trial, state=TrialState.FAIL)
                else:
                    study.tell(trial, told)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No word of Optuna's about every trial, nor about what it calls experimental."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)
