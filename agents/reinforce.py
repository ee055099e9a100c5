"""REINFORCE: an LSTM that writes architectures, one decision after the other, and learns from what they earn.

Papers:
    Neural Architecture Search with Reinforcement Learning - https://arxiv.org/abs/1611.01578
    Learning Transferable Architectures for Scalable Image Recognition (NASNet) - https://arxiv.org/abs/1707.07012
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from akd_gym.agents.play import Player, check_budget, rounds
from akd_gym.envs.episodes import EpisodeLayout

HIDDEN_UNITS = 100
"""Of the controller's one layer (NASNet, appendix A.2)."""

INITIAL_BOUND = 0.1
"""Weights begin uniform in plus and minus this (NASNet, appendix A.2)."""

BASELINE_DECAY = 0.95
"""Of the moving average of rewards (NASNet, appendix A.2)."""

ENTROPY_BONUS = 0.01
"""Weight of the entropy, in nats and summed over the decisions, beside advantages of unit deviation."""

SMALLEST_SCALE = 1e-4
"""Of rewards: where a round's differ by less, what is left is not worth a full step."""

INVALID_LOGIT = -1e8
"""Of an option that a decision does not have: its probability is exactly 0, and no infinity spoils a gradient."""


def reinforce(env: gym.Env[Any, Any], budget: int, seed: int) -> None:
    """Policy gradient on whole architectures, with a moving average of rewards as baseline.

    The controller writes a round of architectures, the round is played, and Adam takes one step along the gradient of
    their log-probabilities, each weighed by its advantage: its reward less the baseline, in units of a moving average
    of the rewards' deviation within a round, so that the entropy bonus weighs the same whatever rewards differ by. The
    rule is that of the first paper, the controller and its baseline are NASNet's (which learns by PPO).

    What it plays follows from the space, the rewards and the seed alone, so that a search which was stopped goes on by
    playing it again with the ledger there.

    Args:
        env: Like `AKDSearch-v0`.
        budget: Evaluations to spend, at least 1; all are spent.
        seed: Of the initial weights and of the draws.

    Raises:
        InvalidSettingError: If `budget` is less than 1.
    """
    check_budget(budget)
    player = Player(env)
    learner = Reinforce(player.option_counts, learning_rate(budget), seed)
    for size in rounds(budget):
        sample = learner.sample(size)
        played = player.play(sample.choices.tolist())
        learner.learn(sample, [one.reward for one in played])


def learning_rate(budget: int) -> float:
    """Adam's: 1e-2 up to 180 evaluations, then falling with the budget to the papers' 3.5e-4 at 16,000.

    The papers' rate would leave a controller that sees 100 or 1,000 architectures as it began. Between a half and twice
    this rate makes little difference on made-up surfaces, with 100 as with 1,000 evaluations.
    """
    return float(np.clip(0.5 * budget**-0.75, 3.5e-4, 1e-2))


class Sample(NamedTuple):
    """Architectures that a controller wrote.

    Attributes:
        choices: Options, shape (N, num_decisions), int64.
        log_prob: Of each architecture, shape (N,).
        entropy: Of the decisions on its way, summed, shape (N,), nats.
    """

    choices: Tensor
    log_prob: Tensor
    entropy: Tensor


class Controller(nn.Module):
    """LSTM of one layer; a step decides one decision and is fed what the step before decided.

    Args:
        option_counts: Options of each decision.
        generator: For the initial weights.
    """

    def __init__(self, option_counts: Sequence[int], generator: torch.Generator) -> None:
        super().__init__()
        self.layout = EpisodeLayout(option_counts)
        layout = self.layout
        with torch.random.fork_rng(devices=[]):  # layers draw first weights of their own
            self.inputs = nn.Embedding(layout.due_start + 1, HIDDEN_UNITS)  # an option each, and the beginning
            self.cell = nn.LSTMCell(HIDDEN_UNITS, HIDDEN_UNITS)
        self.weight = nn.Parameter(torch.empty(layout.num_decisions, HIDDEN_UNITS, layout.num_actions))
        self.bias = nn.Parameter(torch.empty(layout.num_decisions, layout.num_actions))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -INITIAL_BOUND, INITIAL_BOUND, generator=generator)
        nn.init.zeros_(self.bias)
        self.register_buffer("penalty", torch.where(torch.from_numpy(layout.masks), 0.0, INVALID_LOGIT))

    penalty: Tensor

    def forward(self, count: int, generator: torch.Generator) -> Sample:
        """Write `count` architectures."""
        layout = self.layout
        fed = torch.full((count,), layout.due_start)
        state: tuple[Tensor, Tensor] | None = None
        taken, log_probs, entropies = [], [], []
        for decision, offset in enumerate(layout.offsets):
            state = self.cell(self.inputs(fed), state)
            logits = state[0] @ self.weight[decision] + self.bias[decision] + self.penalty[decision]
            log_p = logits.log_softmax(dim=1)
            p = log_p.exp()
            options = torch.multinomial(p.detach(), 1, generator=generator)
            taken.append(options)
            log_probs.append(log_p.gather(1, options))
            entropies.append(-(p * log_p).sum(dim=1))
            fed = options[:, 0] + offset
        return Sample(torch.cat(taken, 1), torch.cat(log_probs, 1).sum(1), torch.stack(entropies).sum(0))


class Reinforce:
    """A controller and how it learns.

    Args:
        option_counts: Options of each decision.
        learning_rate: Adam's.
        seed: Of weights and draws.

    Attributes:
        baseline: Moving average of the rounds' mean rewards, beginning with the first round's; None before it.
        scale: Moving average of the rewards' standard deviation within a round.
    """

    def __init__(self, option_counts: Sequence[int], learning_rate: float, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self.controller = Controller(option_counts, self._generator)
        self.optimizer = torch.optim.Adam(self.controller.parameters(), lr=learning_rate)
        self.baseline: float | None = None
        self.scale = 0.0

    def sample(self, count: int) -> Sample:
        """Write `count` architectures to be played and learned from."""
        sample: Sample = self.controller(count, self._generator)
        return sample

    def learn(self, sample: Sample, rewards: Sequence[float]) -> None:
        """One step along the gradient; the baseline takes the round in afterwards.

        Args:
            sample: What was played.
            rewards: What it earned, N of them.
        """
        earned = torch.tensor(rewards)
        mean, deviation = earned.mean().item(), earned.std(correction=0).item()
        if self.baseline is None:
            self.baseline, self.scale = mean, deviation
        advantages = (earned - self.baseline) / max(self.scale, SMALLEST_SCALE)
        loss = -(advantages * sample.log_prob).mean() - ENTROPY_BONUS * sample.entropy.mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.baseline += (1 - BASELINE_DECAY) * (mean - self.baseline)
        self.scale += (1 - BASELINE_DECAY) * (deviation - self.scale)
