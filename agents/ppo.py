"""Stable-Baselines3's PPO on the search, with defaults that are a function of the budget."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecNormalize

from akd_gym.agents.policies import MaskedActorCriticPolicy
from akd_gym.errors import InvalidSettingError

ANCHOR_BUDGETS = (48, 1_000, 10_000)
"""Evaluations that settings were tuned at; between them they follow straight lines in log-log."""

LEARNING_RATES = (1e-2, 1e-3, 5e-4)
CLIP_RANGES = (0.3, 0.2, 0.2)
ROLLOUT_EPISODES = 8
"""Fewest episodes an update learns from: candidates are compared with each other."""


def ppo_settings(
    envs: VecEnv | gym.Env[Any, Any], budget: int, *, seed: int | None = None, **overrides: Any
) -> dict[str, Any]:
    """Arguments of `stable_baselines3.PPO` for a search of `budget` evaluations."""
    if budget < 1:
        raise InvalidSettingError(f"`budget` must be at least 1 evaluation, but got {budget}.")
    counts = option_counts(envs)
    steps = len(counts)
    num_envs = envs.num_envs if isinstance(envs, VecEnv) else 1
    rounds = math.ceil(ROLLOUT_EPISODES / num_envs)
    settings: dict[str, Any] = {
        "policy": MaskedActorCriticPolicy,
        "env": envs,
        "n_steps": steps * rounds,
        "batch_size": steps * rounds * num_envs,
        "n_epochs": 10,
        "learning_rate": by_budget(budget, LEARNING_RATES),
        "clip_range": by_budget(budget, CLIP_RANGES),
        "gamma": 1.0,
        "gae_lambda": 1.0,
        "ent_coef": 0.0,
        "vf_coef": 0.0,
        "max_grad_norm": 0.5,
        "normalize_advantage": True,
        "policy_kwargs": {"option_counts": counts},
        "device": "cpu",
        "seed": seed,
    }
    policy_kwargs = {**settings["policy_kwargs"], **overrides.pop("policy_kwargs", {})}
    return {**settings, **overrides, "policy_kwargs": policy_kwargs}


def option_counts(envs: VecEnv | gym.Env[Any, Any]) -> list[int]:
    """Options of each decision of the environment's space."""
    if isinstance(envs, VecEnv):
        inner: Any = envs
        while isinstance(inner, VecEnvWrapper):
            if isinstance(inner, VecNormalize) and inner.norm_obs:
                raise InvalidSettingError("no")
            inner = inner.venv
        space = envs.get_attr("space")[0]
    else:
        space = envs.get_wrapper_attr("space")
    return [int(count) for count in space.option_counts]


def by_budget(budget: int, values: tuple[float, ...]) -> float:
    """`values` at `ANCHOR_BUDGETS`, between them by log-log interpolation, outside the nearest."""
    return float(np.exp(np.interp(math.log(budget), np.log(ANCHOR_BUDGETS), np.log(values))))
