"""Actor-critic policies that never choose an option that the due decision does not have."""

from __future__ import annotations

from typing import Any

import torch
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import nn

from akd_gym.agents.masking import INVALID_LOGIT, MaskedLogits, ZeroCritic

__all__ = [
    "INVALID_LOGIT",
    "MaskedActorCriticPolicy",
    "MaskedRecurrentActorCriticPolicy",
    "ZeroCriticMaskablePolicy",
]

_States = tuple[torch.Tensor, ...]
"""Hidden and cell states of one LSTM, each of shape (layers, N, hidden)."""


class MaskedActorCriticPolicy(MaskedLogits, ActorCriticPolicy):
    """Actor-critic whose distribution holds the due decision's options only, read off the observation.

    Works with plain PPO, A2C and TRPO: no algorithm need know of masks. The mask is applied wherever the distribution
    is built: acting, evaluating and predicting. The critic starts at zero everywhere. See `MaskedLogits` for the
    arguments.
    """

    def get_distribution(self, obs: torch.Tensor) -> Distribution:  # type: ignore[override]
        """The distribution over valid actions; over all of them where no decision is due.

        Args:
            obs: Shape (B, size), float32.
        """
        # the parent's own is for several kinds of action; the grandparent's takes the actor's extractor
        features = super(ActorCriticPolicy, self).extract_features(obs, self.pi_features_extractor)
        return self._distribution(self.mlp_extractor.forward_actor(features), obs)

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


class MaskedRecurrentActorCriticPolicy(MaskedLogits, RecurrentActorCriticPolicy):
    """Masked *and* recurrent: an LSTM actor-critic over the due decision's options only, for `RecurrentPPO`.

    The masks are read off the observation, so sb3-contrib's `RecurrentPPO` drives it as it stands. The critic starts at
    zero everywhere. See `MaskedLogits` for the arguments, and sb3-contrib's `RecurrentActorCriticPolicy` for those of
    the LSTM.

    Sequences are those of `RecurrentRolloutBuffer`, N of them of one length, one after the other in a batch of B
    steps; while acting, N environments and one step each.
    """

    def forward(  # type: ignore[override]
        self,
        obs: torch.Tensor,
        lstm_states: RNNStates,
        episode_starts: torch.Tensor,
        deterministic: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, RNNStates]:
        """Actions (B,), values (B, 1), log-probabilities (B,) and the states after them.

        Args:
            obs: Shape (B, size).
            lstm_states: Before the first step of each sequence.
            episode_starts: Shape (B,), 1 where an episode begins.
            deterministic: The likeliest action instead of a drawn one.
        """
        latent_pi, latent_vf, states = self._latents(obs, lstm_states, episode_starts)
        distribution = self._distribution(latent_pi, obs)
        actions = distribution.get_actions(deterministic=deterministic)
        return actions, self.value_net(latent_vf), distribution.log_prob(actions), states

    def evaluate_actions(  # type: ignore[override]
        self, obs: torch.Tensor, actions: torch.Tensor, lstm_states: RNNStates, episode_starts: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Values (B, 1), log-probabilities (B,) and entropies (B,) of actions (B,); see `forward` for the arguments."""
        latent_pi, latent_vf, _ = self._latents(obs, lstm_states, episode_starts)
        distribution = self._distribution(latent_pi, obs)
        entropy = distribution.entropy()
        assert entropy is not None
        return self.value_net(latent_vf), distribution.log_prob(actions), entropy

    def get_distribution(  # type: ignore[override]
        self, obs: torch.Tensor, lstm_states: _States, episode_starts: torch.Tensor
    ) -> tuple[Distribution, _States]:
        """The distribution over valid actions, which `predict` draws from, and the actor's states after it.

        Args:
            obs: Shape (B, size).
            lstm_states: Of the actor.
            episode_starts: Shape (B,), 1 where an episode begins.
        """
        features = super(ActorCriticPolicy, self).extract_features(obs, self.pi_features_extractor)
        latent, states = self._process_sequence(features, lstm_states, episode_starts, self.lstm_actor)
        return self._distribution(self.mlp_extractor.forward_actor(latent), obs), states

    def _latents(
        self, obs: torch.Tensor, lstm_states: RNNStates, episode_starts: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, RNNStates]:
        """What the actor's and the critic's heads see, each of shape (B, features), and the states afterwards."""
        features: Any = self.extract_features(obs)
        pi_features, vf_features = (features, features) if self.share_features_extractor else features
        latent_pi, pi_states = self._process_sequence(pi_features, lstm_states.pi, episode_starts, self.lstm_actor)
        vf_states = pi_states
        if self.lstm_critic is not None:
            latent_vf, vf_states = self._process_sequence(vf_features, lstm_states.vf, episode_starts, self.lstm_critic)
        elif self.shared_lstm:
            latent_vf = latent_pi.detach()  # the critic reads the actor's memory and does not shape it
        else:
            assert self.critic is not None
            latent_vf = self.critic(vf_features)
        latent_pi, latent_vf = self.mlp_extractor.forward_actor(latent_pi), self.mlp_extractor.forward_critic(latent_vf)
        return latent_pi, latent_vf, RNNStates(pi_states, vf_states)

    @staticmethod
    def _process_sequence(  # type: ignore[override]
        features: torch.Tensor, lstm_states: _States, episode_starts: torch.Tensor, lstm: nn.LSTM
    ) -> tuple[torch.Tensor, _States]:
        """The parent's, in one pass of the LSTM where episodes begin only where sequences do.

        They always do in a rollout buffer, which cuts there; the parent walks through such sequences step by step.
        """
        count = lstm_states[0].shape[1]
        starts = episode_starts.reshape(count, -1)
        if starts.shape[1] > 1 and starts[:, 1:].any():
            return RecurrentActorCriticPolicy._process_sequence(features, lstm_states, episode_starts, lstm)  # type: ignore[return-value, arg-type]
        kept = (1.0 - starts[:, 0]).view(1, count, 1)
        sequences = features.reshape(count, -1, lstm.input_size).swapaxes(0, 1)
        output, states = lstm(sequences, (kept * lstm_states[0], kept * lstm_states[1]))
        return output.transpose(0, 1).flatten(end_dim=1), states

    def _get_constructor_parameters(self) -> dict[str, Any]:
        lstm = {  # the parent forgets them
            "lstm_hidden_size": self.lstm_actor.hidden_size,
            "n_lstm_layers": self.lstm_actor.num_layers,
            "shared_lstm": self.shared_lstm,
            "enable_critic_lstm": self.enable_critic_lstm,
            "lstm_kwargs": self.lstm_kwargs,
        }
        return super()._get_constructor_parameters() | lstm


class ZeroCriticMaskablePolicy(ZeroCritic, MaskableActorCriticPolicy):
    """The policy of `MaskablePPO`, which hands it the environment's masks, with a critic that starts at zero."""
