"""The paper's agent: an LSTM actor-critic that takes one decision a step, trained by PPO.

Paper: Search to Distill: Pearls are Everywhere but not the Eyes, section 3.1 - https://arxiv.org/abs/1911.09074
(a recurrent actor-critic with PPO; the paper gives no sizes), whose controller goes back to
Learning Transferable Architectures for Scalable Image Recognition, appendix A.1 - https://arxiv.org/abs/1707.07012
(one LSTM layer of 100 units, learning rate 3.5e-4, entropy bonus 1e-5, 20 architectures an update).
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from stable_baselines3.common.vec_env import VecEnv

from akd_gym.agents.policies import MaskedRecurrentActorCriticPolicy
from akd_gym.agents.ppo import by_budget, merged, option_counts, whole_episodes

LEARNING_RATES = (3e-2, 1e-2, 3e-3)
"""At `akd_gym.agents.ppo.ANCHOR_BUDGETS`; NASNet's 3.5e-4 is for a search of 20,000 candidates."""

LSTM_UNITS = 100
"""NASNet's."""

ROLLOUT_EPISODES = 8
"""Fewest episodes an update learns from. NASNet's 20 leave 1,000 candidates too few updates."""


def rnn_settings(
    envs: VecEnv | gym.Env[Any, Any],
    budget: int,
    *,
    seed: int | None = None,
    rollout_episodes: int = ROLLOUT_EPISODES,
    **overrides: Any,
) -> dict[str, Any]:
    """Arguments of `sb3_contrib.RecurrentPPO` for a search of `budget` evaluations by the paper's agent.

    An LSTM of 100 units reads the observation of each step and remembers those before it; a linear layer on it gives
    the logits of the due decision. An update learns from whole episodes in one batch, and nothing is discounted, for
    the reasons given in `ppo_settings`. Nor is there a critic to learn (`vf_coef` 0 and a value of zero): the mean of
    the batch is the baseline. The learning rate follows the budget (`LEARNING_RATES` at `ANCHOR_BUDGETS`).

    Args:
        envs: See `ppo_settings`.
        budget: Evaluations that the whole search will make.
        seed: Of the agent; None draws one.
        rollout_episodes: Fewest episodes an update learns from.
        **overrides: Arguments of `RecurrentPPO` to have otherwise; `policy_kwargs` are merged.

    Returns:
        Keyword arguments: `RecurrentPPO(**rnn_settings(envs, 1000)).learn(35 * 1000)`.

    Raises:
        InvalidSettingError: If `budget` or `rollout_episodes` is less than 1, or `envs` are no such environments.
    """
    settings = whole_episodes(envs, budget, rollout_episodes) | {
        "policy": MaskedRecurrentActorCriticPolicy,
        "learning_rate": by_budget(budget, LEARNING_RATES),
        "n_epochs": 5,
        "clip_range": 0.2,
        "ent_coef": 1e-3,
        "vf_coef": 0.0,
        "max_grad_norm": 0.5,
        "policy_kwargs": {
            "option_counts": option_counts(envs),
            "net_arch": [],
            "lstm_hidden_size": LSTM_UNITS,
            "n_lstm_layers": 1,
            "enable_critic_lstm": False,
        },
        "seed": seed,
        "device": "cpu",
    }
    return merged(settings, overrides)
