"""Agents: settings and policies for Stable-Baselines3."""

from akd_gym.agents.policies import MaskedActorCriticPolicy
from akd_gym.agents.ppo import ppo_settings

__all__ = ["MaskedActorCriticPolicy", "ppo_settings"]
