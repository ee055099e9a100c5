"""Variants of the default agent, to be compared on AKDBench by `akd compete`.

    akd compete --agents ppo,benchmarks.tuning:untuned,benchmarks.tuning:rate_x3 --budget 1000 \
                --first-seed 1000 --seeds 10 --out runs/tuning-1000

Leaderboards have the seeds from 0 on, so what is tuned here is tuned on noise that they do not have. What was compared,
at which hash of AKDBench, and what came of it: `benchmarks/tuning.md`.
"""

from __future__ import annotations

from typing import Any

from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecEnv

from akd_gym.agents.ppo import by_budget, ppo_settings
from akd_gym.agents.rnn import rnn_settings
from akd_gym.agents.sb3 import SB3Agent

LEARNING_RATES = (3e-2, 3e-3, 1e-3)
"""What PPO had before it was tuned on AKDBench, at `akd_gym.agents.ppo.ANCHOR_BUDGETS`."""

UNTUNED: dict[str, Any] = {"rollout_episodes": 8, "n_epochs": 10, "ent_coef": 0.003}
"""Likewise, at all budgets."""


RNN_LEARNING_RATES = (3e-2, 1e-2, 3e-3)
"""Those of the paper's agent before it was tuned."""

RNN_UNTUNED: dict[str, Any] = {"rollout_episodes": 8, "ent_coef": 0.001}
"""Likewise, at all budgets."""


def variant(*, rate: float = 1.0, **changes: Any) -> SB3Agent:
    """PPO with other settings than it had before it was tuned.

    Args:
        rate: Factor on the learning rate.
        **changes: Arguments of `ppo_settings`.
    """

    def settings(envs: VecEnv, budget: int) -> dict[str, Any]:
        learning_rate = rate * by_budget(budget, LEARNING_RATES)
        return ppo_settings(envs, budget, **(UNTUNED | {"learning_rate": learning_rate} | changes))

    return SB3Agent(PPO, settings)


untuned = variant()
rate_third = variant(rate=1 / 3)
rate_x3 = variant(rate=3.0)
entropy_x3 = variant(ent_coef=0.01)
entropy_x10 = variant(ent_coef=0.03)
no_entropy = variant(ent_coef=0.0)
rollout_16 = variant(rollout_episodes=16)
rollout_32 = variant(rollout_episodes=32)
epochs_4 = variant(n_epochs=4)
epochs_4_rate_x3 = variant(n_epochs=4, rate=3.0)
rollout_32_rate_x3 = variant(rollout_episodes=32, rate=3.0)
table_only = variant(policy_kwargs={"table_scale": 30.0})
mlp = variant(policy_kwargs={"net_arch": [64, 64]})
rate_third_entropy_x10 = variant(rate=1 / 3, ent_coef=0.03)
rollout_16_entropy_x10 = variant(rollout_episodes=16, ent_coef=0.03)
rollout_32_entropy_x10 = variant(rollout_episodes=32, ent_coef=0.03)
rollout_32_rate_x3_entropy_x10 = variant(rollout_episodes=32, rate=3.0, ent_coef=0.03)
rollout_32_rate_x3_entropy_x30 = variant(rollout_episodes=32, rate=3.0, ent_coef=0.1)
rollout_64_rate_x3 = variant(rollout_episodes=64, rate=3.0)
rollout_64_rate_x3_entropy_x10 = variant(rollout_episodes=64, rate=3.0, ent_coef=0.03)
rollout_64 = variant(rollout_episodes=64)
rollout_64_entropy_x10 = variant(rollout_episodes=64, ent_coef=0.03)
rollout_128_rate_x3 = variant(rollout_episodes=128, rate=3.0)
rollout_128_rate_x3_entropy_x10 = variant(rollout_episodes=128, rate=3.0, ent_coef=0.03)


def rnn_variant(*, rate: float = 1.0, **changes: Any) -> SB3Agent:
    """The paper's agent with other settings than it had before it was tuned.

    Args:
        rate: Factor on the learning rate.
        **changes: Arguments of `rnn_settings`.
    """

    def settings(envs: VecEnv, budget: int) -> dict[str, Any]:
        learning_rate = rate * by_budget(budget, RNN_LEARNING_RATES)
        return rnn_settings(envs, budget, **(RNN_UNTUNED | {"learning_rate": learning_rate} | changes))

    return SB3Agent(RecurrentPPO, settings)


rnn_untuned = rnn_variant()
rnn_rollout_32 = rnn_variant(rollout_episodes=32)
rnn_rollout_32_entropy_x10 = rnn_variant(rollout_episodes=32, ent_coef=0.01)
rnn_rollout_64_entropy_x10 = rnn_variant(rollout_episodes=64, ent_coef=0.01)
rnn_rollout_64_entropy_x30 = rnn_variant(rollout_episodes=64, ent_coef=0.03)
rnn_rollout_64_rate_third_entropy_x10 = rnn_variant(rollout_episodes=64, rate=1 / 3, ent_coef=0.01)
