"""Policies that never choose an option that the due decision does not have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import CategoricalDistribution, Distribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import Schedule
from torch import nn

from akd_gym.envs.episodes import EpisodeLayout
from akd_gym.errors import InvalidSettingError

INVALID_LOGIT = -1e8
"""Added to an invalid action's logit: its probability is exactly 0, and no infinity spoils a gradient."""


class MaskedActorCriticPolicy(ActorCriticPolicy):
    """Actor-critic whose distribution holds the due decision's options only, read off the observation.

    Works with plain PPO and A2C: no algorithm need know of masks. The mask is applied wherever the
    distribution is
    built: acting, evaluating and predicting.

    The critic starts at zero everywhere. A randomly initialised one predicts values that differ between
    observations by more than the rewards of architectures do, and would be all that the first rounds learn
    from.

    Args:
        observation_space: Of `AKDSearch-v0`, shape (B, size) in a batch.
        action_space: Of `AKDSearch-v0`.
        lr_schedule: Learning rate by remaining progress.
        option_counts: Options of each decision (`env.unwrapped.space.option_counts`).
        table_scale: If positive, logits have a table of their own, one entry a decision and option, beside
            the network's: with `x` the due decision's one-hot, `table_scale * x @ table` is added. It learns
            what is good whatever was chosen before, from far fewer candidates than the network needs.
        **kwargs: Of `ActorCriticPolicy`.

    Raises:
        InvalidSettingError: If the spaces do not have the layout of `option_counts`.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        *,
        option_counts: Sequence[int],
        table_scale: float = 0.0,
        **kwargs: Any,
    ) -> None:
        layout = EpisodeLayout(option_counts)
        if observation_space.shape != (layout.size,) or action_space != layout.action_space():
            raise InvalidSettingError(
                f"`option_counts` must be those of the environment's space, but {list(layout.option_counts)} "
                f"belong to observations of shape ({layout.size},) and {layout.num_actions} actions, and the "
                f"environment has {observation_space.shape} and {action_space}."
            )
        self._option_counts, self._table_scale = list(layout.option_counts), table_scale
        self._due = slice(layout.due_start, layout.target_index)
        self._layout = layout
        super().__init__(observation_space, action_space, lr_schedule, **kwargs)
        penalty = torch.where(torch.from_numpy(layout.masks), 0.0, INVALID_LOGIT)
        self.register_buffer("penalty", penalty, persistent=False)

    penalty: torch.Tensor

    def _build(self, lr_schedule: Schedule) -> None:
        self.table = nn.Parameter(torch.zeros(self._layout.num_decisions, self._layout.num_actions))
        self.table.requires_grad_(self._table_scale > 0)
        super()._build(lr_schedule)
        nn.init.zeros_(self.value_net.weight)

    def get_distribution(self, obs: torch.Tensor) -> Distribution:  # type: ignore[override]
        """The distribution over valid actions; over all of them where no decision is due.

        Args:
            obs: Shape (B, size), float32.
        """
        distribution = super().get_distribution(obs)
        assert isinstance(distribution, CategoricalDistribution)
        due = obs[:, self._due].float()
        logits = distribution.distribution.logits + due @ (self.penalty + self._table_scale * self.table)
        return distribution.proba_distribution(action_logits=logits)

    def forward(
        self, obs: torch.Tensor, deterministic: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Actions (B,), values (B, 1) and log-probabilities (B,) for observations (B, size)."""
        distribution = self.get_distribution(obs)
        actions = distribution.get_actions(deterministic=deterministic)
        return actions, self.predict_values(obs), distribution.log_prob(actions)

    def evaluate_actions(  # type: ignore[override]
        self, obs: torch.Tensor, actions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Values (B, 1), log-probabilities (B,) and entropies (B,) of actions (B,) at `obs` (B, size)."""
        distribution = self.get_distribution(obs)
        return self.predict_values(obs), distribution.log_prob(actions), distribution.entropy()

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return super()._get_constructor_parameters() | {
            "option_counts": self._option_counts,
            "table_scale": self._table_scale,
        }
