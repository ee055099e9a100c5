from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from akd_gym.agents.reinforce import Reinforce, Sample, learning_rate, reinforce

COUNTS = (4, 2, 3)


@pytest.fixture
def uniform() -> Reinforce:
    """A learner whose controller sees nothing and likes all options alike: only its biases can learn."""
    learner = Reinforce(COUNTS, learning_rate=0.01, seed=0)
    with torch.no_grad():
        for parameter in learner.controller.parameters():
            parameter.zero_()
    return learner


def log_prob_of(learner: Reinforce, choices: torch.Tensor) -> torch.Tensor:
    """Found by waiting until the controller writes them."""
    while True:
        sample = learner.sample(200)
        same = (sample.choices == choices).all(dim=1)
        if same.any():
            return sample.log_prob[same][0].detach()


def test_log_probabilities_and_entropies_of_a_uniform_controller(uniform: Reinforce) -> None:
    sample = uniform.sample(50)
    every = torch.full((50,), math.log(4 * 2 * 3))
    torch.testing.assert_close(sample.entropy, every)
    torch.testing.assert_close(sample.log_prob, -every)


def test_options_that_a_decision_lacks_are_never_written() -> None:
    learner = Reinforce(COUNTS, learning_rate=0.01, seed=0)
    choices = learner.sample(2_000).choices
    assert choices.amax(dim=0).tolist() == [count - 1 for count in COUNTS]
    assert choices.amin() == 0


def test_the_first_update_by_hand(uniform: Reinforce) -> None:
    # Two architectures, rewards 1 and 0: baseline 1/2, scale 1/2, advantages 1 and -1. With biases alone, and all
    # options alike, the gradient of log p[chosen] is 1[chosen] - p, so that of the mean is half the difference of the
    # one-hots; the entropy is at its maximum and adds nothing. Adam's first step is the learning rate times the sign.
    sample = uniform.sample(2)
    while (sample.choices[0] == sample.choices[1]).all():
        sample = uniform.sample(2)
    good, bad = torch.nn.functional.one_hot(sample.choices, 4).float()
    uniform.learn(sample, [1.0, 0.0])
    bias = uniform.controller.bias
    assert bias.grad is not None
    torch.testing.assert_close(bias.grad, (bad - good) / 2, rtol=0, atol=1e-6)
    moved = good != bad
    torch.testing.assert_close(bias.detach()[moved], 0.01 * (good - bad)[moved], rtol=1e-4, atol=0)
    assert uniform.baseline == 0.5
    assert uniform.scale == 0.5


def test_likelier_with_a_good_reward_and_less_likely_with_a_bad_one() -> None:
    learner = Reinforce(COUNTS, learning_rate=0.01, seed=0)
    sample = learner.sample(2)
    assert (sample.choices[0] != sample.choices[1]).any()
    learner.learn(sample, [0.70, 0.72])
    assert log_prob_of(learner, sample.choices[0]) < sample.log_prob[0]
    assert log_prob_of(learner, sample.choices[1]) > sample.log_prob[1]


def test_the_baseline_moves_a_twentieth_of_the_way_after_each_round(uniform: Reinforce) -> None:
    uniform.learn(uniform.sample(2), [0.6, 0.8])
    assert uniform.baseline == pytest.approx(0.7)
    uniform.learn(uniform.sample(2), [0.8, 1.0])
    assert uniform.baseline == pytest.approx(0.7 + 0.05 * (0.9 - 0.7))
    assert uniform.scale == pytest.approx(0.1)


def test_advantages_are_against_earlier_rounds(uniform: Reinforce) -> None:
    sample = Sample(torch.zeros(2, 3, dtype=torch.long), torch.zeros(2, requires_grad=True), torch.zeros(2))
    uniform.learn(uniform.sample(2), [0.6, 0.8])  # baseline 0.7, scale 0.1
    uniform.learn(sample, [0.8, 1.0])
    assert sample.log_prob.grad is not None
    assert sample.log_prob.grad.tolist() == pytest.approx([-0.5, -1.5])  # minus (0.8 - 0.7) / 0.1 / 2, and so on


def test_what_one_decision_was_changes_the_next() -> None:
    # exclusive or: no decision alone says what the reward is, so only a controller that is fed its choices learns it
    learner = Reinforce((2, 2), learning_rate=0.02, seed=0)
    for _ in range(150):
        sample = learner.sample(8)
        learner.learn(sample, (sample.choices[:, 0] != sample.choices[:, 1]).float().tolist())
    choices = learner.sample(200).choices
    assert (choices[:, 0] != choices[:, 1]).float().mean() > 0.95


def test_it_learns_the_identity(play_matches: Any) -> None:
    wanted = tuple(np.random.default_rng(5).integers((4, 4, 2, 3, 3) * 7).tolist())
    rewards = play_matches(reinforce, 600, wanted=wanted).rewards
    assert np.mean(rewards[:60]) < 0.45  # at random 0.35
    assert np.mean(rewards[-60:]) > 0.8


def test_rewards_that_are_all_alike_break_nothing(play_matches: Any) -> None:
    assert set(play_matches(reinforce, 24, wanted=(9,) * 35).rewards) == {0.0}


def test_the_learning_rate_falls_with_the_budget() -> None:
    assert [learning_rate(budget) for budget in (1, 100)] == [1e-2, 1e-2]
    assert learning_rate(1_000) == pytest.approx(2.81e-3, rel=1e-2)
    assert learning_rate(10_000) == pytest.approx(5e-4)
    assert learning_rate(100_000) == 3.5e-4
