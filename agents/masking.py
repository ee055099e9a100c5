"""Which actions are valid, read off the observation: what all policies here share.

The observation holds the one-hot of the decision now due (`akd_gym.envs.EpisodeLayout`), so a policy needs no mask
beside it, and the algorithm that trains it need not know of masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import CategoricalDistribution
from stable_baselines3.common.type_aliases import Schedule
from torch import nn
from torch.distributions import Categorical

from akd_gym.envs.episodes import EpisodeLayout
from akd_gym.errors import InvalidSettingError

INVALID_LOGIT = -1e8
"""Added to an invalid action's logit or value: its probability is exactly 0, it is never the best one, and no infinity
spoils a gradient or a target."""


class DueMask(nn.Module):
    """What is added to the logits or values of actions: 0 where the due decision has the option, else `INVALID_LOGIT`.

    Where no decision is due, at the end of an episode, nothing is masked.

    Args:
        option_counts: Options of each decision (`env.unwrapped.space.option_counts`).
        observation_space: Of `AKDSearch-v0`.
        action_space: Of `AKDSearch-v0`.

    Raises:
        InvalidSettingError: If the spaces do not have the layout of `option_counts`.
    """

    penalty: torch.Tensor

    def __init__(
        self, option_counts: Sequence[int], observation_space: spaces.Space[Any], action_space: spaces.Space[Any]
    ) -> None:
        super().__init__()
        layout = EpisodeLayout(option_counts)
        if observation_space.shape != (layout.size,) or action_space != layout.action_space():
            raise InvalidSettingError(
                f"`option_counts` must be those of the environment's space, but {list(layout.option_counts)} "
                f"belong to observations of shape ({layout.size},) and {layout.num_actions} actions, and the "
                f"environment has {observation_space.shape} and {action_space}."
            )
        self.layout = layout
        penalty = torch.where(torch.from_numpy(layout.masks), 0.0, INVALID_LOGIT)
        self.register_buffer("penalty", penalty, persistent=False)

    def due(self, obs: torch.Tensor) -> torch.Tensor:
        """The one-hot of the due decision, shape (B, num_decisions), of observations (B, size)."""
        return obs[:, self.layout.due_start : self.layout.target_index].float()

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        """What to add, shape (B, num_actions), at observations (B, size)."""
        return self.due(obs) @ self.penalty

    def valid(self, obs: torch.Tensor) -> torch.Tensor:
        """Which actions are valid, bool, shape (B, num_actions), at observations (B, size)."""
        return self(obs) == 0


class _UncheckedCategorical(CategoricalDistribution):
    """Without torch's validation of logits and actions, which costs more than the policy's own layers."""

    def proba_distribution(self, action_logits: torch.Tensor) -> _UncheckedCategorical:
        self.distribution = Categorical(logits=action_logits, validate_args=False)
        return self


class ZeroCritic:
    """Mixin of actor-critic policies: a critic that starts at zero everywhere.

    A randomly initialised one predicts values that differ between observations by more than the rewards of
    architectures do, and would be all that the first rounds learn from.
    """

    value_net: nn.Linear

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)  # type: ignore[misc]
        nn.init.zeros_(self.value_net.weight)


class MaskedLogits(ZeroCritic):
    """Mixin of actor-critic policies: their distribution holds the due decision's options only.

    Args:
        observation_space: Of `AKDSearch-v0`, shape (B, size) in a batch.
        action_space: Of `AKDSearch-v0`.
        lr_schedule: Learning rate by remaining progress.
        option_counts: Options of each decision (`env.unwrapped.space.option_counts`).
        table_scale: If positive, logits have a table of their own, one entry a decision and option, beside
            the network's: with `x` the due decision's one-hot, `table_scale * x @ table` is added. It learns
            what is good whatever was chosen before, from far fewer candidates than the network needs.
        **kwargs: Of the policy that this is mixed into.

    Raises:
        InvalidSettingError: If the spaces do not have the layout of `option_counts`, or `table_scale` is negative.
    """

    action_net: nn.Module
    action_dist: Any

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
        if table_scale < 0:
            raise InvalidSettingError(f"`table_scale` must be at least 0, but got {table_scale}.")
        self._mask_arguments: dict[str, Any] = {
            "option_counts": [int(count) for count in option_counts],
            "table_scale": table_scale,
        }
        self._table_scale = table_scale
        mask = DueMask(option_counts, observation_space, action_space)
        self._table_shape = mask.penalty.shape
        super().__init__(observation_space, action_space, lr_schedule, **kwargs)  # type: ignore[call-arg]
        self.mask = mask

    def _build(self, lr_schedule: Schedule) -> None:
        self.table = nn.Parameter(torch.zeros(self._table_shape)) if self._table_scale > 0 else None
        self.action_dist = _UncheckedCategorical(self._table_shape[1])
        super()._build(lr_schedule)

    def _distribution(self, latent_pi: torch.Tensor, obs: torch.Tensor) -> CategoricalDistribution:
        """Over valid actions; over all of them where no decision is due."""
        bias = self.mask.penalty
        if self.table is not None:
            bias = bias + self._table_scale * self.table
        logits = self.action_net(latent_pi) + self.mask.due(obs) @ bias
        distribution: CategoricalDistribution = self.action_dist.proba_distribution(logits)
        return distribution

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return super()._get_constructor_parameters() | self._mask_arguments  # type: ignore[misc]
