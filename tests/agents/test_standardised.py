from __future__ import annotations

import numpy as np
import pytest
from stable_baselines3 import DQN

from akd_gym.agents.standardised import StandardisedRewards
from akd_gym.envs.sb3 import make_sb3_vec_env
from akd_gym.envs.synthetic import SyntheticEvaluator


def test_rewards_lose_their_mean_and_deviation(evaluator: SyntheticEvaluator) -> None:
    """0.6, 0.8 and 1.0 have mean 0.8 and variance 0.08 / 3."""
    envs = StandardisedRewards(make_sb3_vec_env(3, evaluator=evaluator))
    envs._update_reward(np.array([0.6, 0.8, 1.0]))
    deviation = (0.08 / 3) ** 0.5
    expected = [-0.2 / deviation, 0.0, 0.2 / deviation]
    standardised = envs.normalize_reward(np.array([0.6, 0.8, 1.0]))
    assert standardised.dtype == np.float32
    assert standardised.tolist() == pytest.approx(expected, abs=2e-3)  # SB3 counts 1e-4 of a reward of 0 beforehand
    assert envs.unnormalize_reward(standardised).tolist() == pytest.approx([0.6, 0.8, 1.0], abs=1e-6)


def test_steps_under_way_stay_at_zero_and_count_for_nothing(evaluator: SyntheticEvaluator) -> None:
    envs = StandardisedRewards(make_sb3_vec_env(3, evaluator=evaluator))
    envs._update_reward(np.array([0.6, 0.8, 1.0]))
    before = envs.normalize_reward(np.array([0.7]))
    for _ in range(34):
        envs._update_reward(np.zeros(3))
    assert envs.normalize_reward(np.array([0.7])) == before
    assert envs.normalize_reward(np.zeros(3)).tolist() == [0, 0, 0]


def test_an_infeasible_candidate_is_clipped(evaluator: SyntheticEvaluator) -> None:
    envs = StandardisedRewards(make_sb3_vec_env(3, evaluator=evaluator))
    envs._update_reward(np.random.default_rng(0).normal(0.7, 0.03, 1000))
    assert envs.normalize_reward(np.array([-1.0])).tolist() == [-5.0]


def test_off_policy_algorithms_store_what_was_earned_and_sample_it_standardised(evaluator: SyntheticEvaluator) -> None:
    envs = StandardisedRewards(make_sb3_vec_env(4, evaluator=evaluator))
    model = DQN("MlpPolicy", envs, buffer_size=2_000, learning_starts=10_000, seed=0, device="cpu").learn(35 * 40)
    earned = model.replay_buffer.rewards[model.replay_buffer.rewards != 0]
    assert len(earned) == 40
    assert 0.5 < earned.min() <= earned.max() < 1
    sampled = model.replay_buffer.sample(5_000, env=envs).rewards.numpy()
    ends = sampled[sampled != 0]
    assert abs(ends.mean()) < 0.3
    assert 0.7 < ends.std() < 1.3


def test_observations_are_left_alone(evaluator: SyntheticEvaluator) -> None:
    envs = StandardisedRewards(make_sb3_vec_env(2, evaluator=evaluator))
    first = envs.reset()
    assert set(np.unique(first)) == {0, 1}
