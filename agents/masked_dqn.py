"""DQN and QR-DQN that never choose an option that the due decision does not have.

Their masks are read off the observation, in the three places where these algorithms choose: the greedy action, the
best next action in a target, and the uniform one of exploration and warm-up, which they draw outside their policies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sb3_contrib import QRDQN
from sb3_contrib.qrdqn.policies import QRDQNPolicy, QuantileNetwork
from stable_baselines3 import DQN
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.dqn.policies import DQNPolicy, QNetwork

from akd_gym.agents.masking import DueMask


class MaskedQNetwork(QNetwork):
    """Values of actions, those of invalid ones lowered by 1e8.

    Args:
        option_counts: Options of each decision.
        **kwargs: Of `QNetwork`.
    """

    def __init__(self, *, option_counts: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mask = DueMask(option_counts, self.observation_space, self.action_space)

    def forward(self, obs: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """Shape (B, num_actions), of observations (B, size)."""
        return super().forward(obs) + self.mask(obs)


class MaskedQuantileNetwork(QuantileNetwork):
    """Quantiles of the values of actions, those of invalid ones lowered by 1e8.

    Args:
        option_counts: Options of each decision.
        **kwargs: Of `QuantileNetwork`.
    """

    def __init__(self, *, option_counts: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mask = DueMask(option_counts, self.observation_space, self.action_space)

    def forward(self, obs: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """Shape (B, n_quantiles, num_actions), of observations (B, size)."""
        return super().forward(obs) + self.mask(obs)[:, None]


class MaskedDQNPolicy(DQNPolicy):
    """Policy of `MaskedDQN`.

    Args:
        *args: Of `DQNPolicy`.
        option_counts: Options of each decision (`env.unwrapped.space.option_counts`).
        **kwargs: Of `DQNPolicy`.

    Raises:
        InvalidSettingError: If the spaces do not have the layout of `option_counts`.
    """

    def __init__(self, *args: Any, option_counts: Sequence[int], **kwargs: Any) -> None:
        self._option_counts = [int(count) for count in option_counts]
        super().__init__(*args, **kwargs)

    def make_q_net(self) -> MaskedQNetwork:
        """A network with its own features extractor."""
        arguments = self._update_features_extractor(self.net_args, features_extractor=None)
        return MaskedQNetwork(option_counts=self._option_counts, **arguments).to(self.device)

    @property
    def mask(self) -> DueMask:
        """Of the greedy network."""
        assert isinstance(self.q_net, MaskedQNetwork)
        return self.q_net.mask

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return super()._get_constructor_parameters() | {"option_counts": self._option_counts}


class MaskedQRDQNPolicy(QRDQNPolicy):
    """Policy of `MaskedQRDQN`.

    Args:
        *args: Of `QRDQNPolicy`.
        option_counts: Options of each decision (`env.unwrapped.space.option_counts`).
        **kwargs: Of `QRDQNPolicy`.

    Raises:
        InvalidSettingError: If the spaces do not have the layout of `option_counts`.
    """

    def __init__(self, *args: Any, option_counts: Sequence[int], **kwargs: Any) -> None:
        self._option_counts = [int(count) for count in option_counts]
        super().__init__(*args, **kwargs)

    def make_quantile_net(self) -> MaskedQuantileNetwork:
        """A network with its own features extractor."""
        arguments = self._update_features_extractor(self.net_args, features_extractor=None)
        return MaskedQuantileNetwork(option_counts=self._option_counts, **arguments).to(self.device)

    @property
    def mask(self) -> DueMask:
        """Of the greedy network."""
        assert isinstance(self.quantile_net, MaskedQuantileNetwork)
        return self.quantile_net.mask

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return super()._get_constructor_parameters() | {"option_counts": self._option_counts}


class MaskedExploration:
    """Mixin of DQN and QR-DQN: exploration and warm-up draw valid actions, each environment for itself.

    The algorithms' own draw from the whole action space, and toss one coin for all environments of a step.
    """

    policy: Any
    action_space: Any
    exploration_rate: float
    num_timesteps: int
    _last_obs: Any

    def predict(
        self,
        observation: Any,
        state: tuple[NDArray[Any], ...] | None = None,
        episode_start: NDArray[Any] | None = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[Any], tuple[NDArray[Any], ...] | None]:
        """Greedy actions (N,), of which a share, the exploration rate, is replaced by any valid ones.

        Args:
            observation: Array of shape (N, size), or (size,) for one action.
            state: Not used.
            episode_start: Not used.
            deterministic: No exploration.
        """
        rate = 0.0 if deterministic else self.exploration_rate
        return self._choose(observation, rate), state

    def _sample_action(
        self, learning_starts: int, action_noise: ActionNoise | None = None, n_envs: int = 1
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        rate = 1.0 if self.num_timesteps < learning_starts else self.exploration_rate
        actions = self._choose(self._last_obs, rate)
        return actions, actions

    def _choose(self, observation: NDArray[np.float32], rate: float) -> NDArray[Any]:
        greedy, _ = self.policy.predict(observation, deterministic=True)
        batch = np.atleast_2d(observation)
        rng: np.random.Generator = self.action_space.np_random
        with torch.no_grad():
            valid = self.policy.mask.valid(torch.as_tensor(batch, device=self.policy.device)).cpu().numpy()
        random = np.where(valid, rng.random(valid.shape), -1.0).argmax(axis=1).reshape(np.shape(greedy))
        return np.where(rng.random(np.shape(greedy)) < rate, random, greedy)


class MaskedDQN(MaskedExploration, DQN):
    """DQN on `AKDSearch-v0`: `MaskedDQN(MaskedDQNPolicy, envs, policy_kwargs={"option_counts": counts})`."""


class MaskedQRDQN(MaskedExploration, QRDQN):
    """QR-DQN on `AKDSearch-v0`: `MaskedQRDQN(MaskedQRDQNPolicy, envs, policy_kwargs={"option_counts": counts})`."""
