"""Stable-Baselines3's PPO on the search, with defaults that are a function of the budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecNormalize

from akd_gym.agents.policies import MaskedActorCriticPolicy
from akd_gym.errors import InvalidSettingError
from akd_gym.space import SearchSpace

ANCHOR_BUDGETS = (48, 1_000, 10_000)
"""Evaluations at which settings are anchored; between them they follow straight lines in log-log.

What is at 1,000 and 10,000 was chosen on AKDBench, on noise that its leaderboard does not use (`benchmarks/tuning.md`);
what is at 48 on made-up surfaces (`benchmarks/ppo_tuning.py`)."""

LEARNING_RATES = (3e-2, 9e-3, 3e-3)
CLIP_RANGES = (0.4, 0.2, 0.2)
ENTROPY_BONUSES = (0.003, 0.003, 0.03)
EPOCHS = (10, 10, 10)
"""Gradient steps an update, each on the whole rollout."""
ROLLOUT_EPISODES = (8, 32, 64)
"""Fewest episodes an update learns from: candidates are judged against each other."""


def ppo_settings(
    envs: VecEnv | gym.Env[Any, Any],
    budget: int,
    *,
    seed: int | None = None,
    rollout_episodes: int | None = None,
    **overrides: Any,
) -> dict[str, Any]:
    """Arguments of `stable_baselines3.PPO` for a search of `budget` evaluations.

    An update learns from whole episodes, at least `ROLLOUT_EPISODES`, in one batch. The reward comes at the end and is
    the architecture's, so nothing is discounted (`gamma` and `gae_lambda` 1) and every decision of an episode gets the
    same advantage: its reward against those of the others in the batch. There is no critic (`vf_coef` 0, and
    `MaskedActorCriticPolicy` starts it at zero): the mean of the batch is the baseline. The policy is a table of
    logits, one a decision and option, and a linear layer on the observation, which makes a decision depend on
    those before it. Learning rate, clip range, entropy bonus, epochs and rollout follow the budget (`LEARNING_RATES`,
    `CLIP_RANGES`, `ENTROPY_BONUSES`, `EPOCHS` and `ROLLOUT_EPISODES` at `ANCHOR_BUDGETS`): few candidates must be
    learned from in large steps.

    Measured on made-up searches (`benchmarks/ppo_tuning.py`) of 48 evaluations over 20 seeds, as the later half's mean
    reward minus the earlier half's, points: 3.1 (random search 0.1; with a critic 0.9; without the table 1.6; an MLP of
    64-64 in its place 2.8; a third of the learning rate 2.9). The gain was positive in 20 of 20 seeds.

    Args:
        envs: Made by `make_sb3_vec_env`, or one `AKDSearch-v0`; `VecMonitor`, and `VecNormalize` of rewards alone, may
            be around it.
        budget: Evaluations that the whole search will make.
        seed: Of the agent; None draws one.
        rollout_episodes: Fewest episodes an update learns from; None for the budget's.
        **overrides: Arguments of `PPO` to have otherwise; `policy_kwargs` are merged.

    Returns:
        Keyword arguments: `PPO(**ppo_settings(envs, 48)).learn(35 * 48)`.

    Raises:
        InvalidSettingError: If `budget` or `rollout_episodes` is less than 1, or `envs` are no such environments.
    """
    if rollout_episodes is None:
        rollout_episodes = round(by_budget(max(budget, 1), ROLLOUT_EPISODES))
    settings = whole_episodes(envs, budget, rollout_episodes) | {
        "policy": MaskedActorCriticPolicy,
        "learning_rate": by_budget(budget, LEARNING_RATES),
        "n_epochs": round(by_budget(budget, EPOCHS)),
        "clip_range": by_budget(budget, CLIP_RANGES),
        "ent_coef": by_budget(budget, ENTROPY_BONUSES),
        "vf_coef": 0.0,
        "max_grad_norm": 0.5,
        "policy_kwargs": {"option_counts": option_counts(envs), "table_scale": 10.0, "net_arch": []},
        "seed": seed,
        "device": "cpu",
    }
    return merged(settings, overrides)


def whole_episodes(envs: VecEnv | gym.Env[Any, Any], budget: int, episodes: int) -> dict[str, Any]:
    """What PPO and its kin need to learn from whole undiscounted episodes, all of a rollout in one batch.

    Args:
        envs: See `ppo_settings`.
        budget: Evaluations that the whole search will make.
        episodes: Fewest episodes a rollout.

    Raises:
        InvalidSettingError: If a number is less than 1, or `envs` are no such environments.
    """
    if budget < 1:
        raise InvalidSettingError(f"`budget` must be at least 1 evaluation, but got {budget}.")
    if episodes < 1:
        raise InvalidSettingError(f"`rollout_episodes` must be at least 1, but got {episodes}.")
    num_envs = envs.num_envs if isinstance(envs, VecEnv) else 1
    n_steps = len(option_counts(envs)) * math.ceil(episodes / num_envs)
    return {
        "env": envs,
        "n_steps": n_steps,
        "batch_size": n_steps * num_envs,
        "gamma": 1.0,
        "gae_lambda": 1.0,
        "normalize_advantage": True,
    }


def merged(settings: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """Settings with some overridden, and `policy_kwargs` one by one."""
    policy_kwargs = settings["policy_kwargs"] | (overrides.get("policy_kwargs") or {})
    return settings | overrides | {"policy_kwargs": policy_kwargs}


def option_counts(envs: VecEnv | gym.Env[Any, Any]) -> list[int]:
    """Options of each decision of the environment's space.

    Raises:
        InvalidSettingError: If the environment is none of `AKDSearch-v0`, or its observations are normalised.
    """
    layer: Any = envs
    while isinstance(layer, VecEnvWrapper):
        if isinstance(layer, VecNormalize) and layer.norm_obs:
            raise InvalidSettingError(
                "Observations must not be normalised, because the policy reads masks off their one-hots, but got "
                "`VecNormalize` over them. Give it `norm_obs=False`."
            )
        layer = layer.venv
    try:
        space = envs.get_attr("space", 0)[0] if isinstance(envs, VecEnv) else envs.get_wrapper_attr("space")
    except AttributeError:
        space = None
    if not isinstance(space, SearchSpace):
        raise InvalidSettingError(
            f"`envs` must be made by `akd_gym.make_sb3_vec_env` or from AKDSearch-v0, but got {envs}."
        )
    return [int(count) for count in space.option_counts]


def by_budget(budget: float, values: Sequence[float]) -> float:
    """The value for a budget: `values` at `ANCHOR_BUDGETS`, log-log between, the nearest one outside."""
    return float(np.exp(np.interp(math.log(budget), np.log(ANCHOR_BUDGETS), np.log(values))))
