from __future__ import annotations

import random
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor, VecNormalize

import akd_gym
from akd_gym.agents.ppo import ANCHOR_BUDGETS, LEARNING_RATES, by_budget, ppo_settings
from akd_gym.envs.sb3 import make_sb3_vec_env
from akd_gym.envs.synthetic import SyntheticEvaluator
from akd_gym.errors import InvalidSettingError
from akd_gym.space import Decision, SearchSpace, Skeleton


class Recorder(SyntheticEvaluator):
    """Remembers every architecture and accuracy in order."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.architectures: list[str] = []
        self.accuracies: list[float] = []

    def evaluate(self, choices: Any) -> Any:
        evaluations = super().evaluate(choices)
        self.architectures += [e.architecture for e in evaluations]
        self.accuracies += [e.accuracy for e in evaluations]
        return evaluations


def search(evaluator: Recorder, *, budget: int, seed: int, num_envs: int = 8) -> PPO:
    envs = make_sb3_vec_env(num_envs, evaluator=evaluator)
    return PPO(**ppo_settings(envs, budget, seed=seed)).learn(35 * budget)


def test_the_example_of_the_readme_spends_its_budget() -> None:
    evaluator = Recorder()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        envs = akd_gym.make_sb3_vec_env(num_envs=8, evaluator=evaluator)
        PPO(**akd_gym.agents.ppo_settings(envs, budget=48)).learn(35 * 48)
    assert len(evaluator.architectures) == 48


def test_a_seed_decides_the_whole_search() -> None:
    runs = []
    for seed in (0, 0, 1):
        evaluator = Recorder()
        search(evaluator, budget=24, seed=seed)
        runs.append(evaluator.architectures)
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_it_learns_the_identity() -> None:
    """Reward 1 - |wrong options| / n: a search must find the one best architecture of a small space."""

    class Match(Recorder):
        def evaluate(self, choices: Any) -> Any:
            evaluations = super().evaluate(choices)
            goal = np.arange(6) % 3
            rewards = [float((np.array(c) == goal).mean()) for c in choices]
            self.accuracies[-len(rewards) :] = rewards
            cost = self.reference_cost()
            return [
                evaluation._replace(accuracy=reward, cost=cost)
                for evaluation, reward in zip(evaluations, rewards, strict=True)
            ]

    skeleton = Skeleton("six", (1,) * 6, (16,) * 6, (1,) * 6, stem_channels=8, head_channels=16)
    space = SearchSpace("six", [Decision(b, "kernel", (3, 5, 7)) for b in range(1, 7)], skeleton)
    evaluator = Match(space)
    envs = make_sb3_vec_env(8, evaluator=evaluator)
    PPO(**ppo_settings(envs, 200, seed=0)).learn(6 * 200)
    assert np.mean(evaluator.accuracies[:16]) < 0.5
    assert np.mean(evaluator.accuracies[-16:]) > 0.85


def test_48_evaluations_suffice_to_improve() -> None:
    for seed in range(3):
        evaluator = Recorder(seed=seed)
        envs = make_sb3_vec_env(8, evaluator=evaluator)
        model = PPO(**ppo_settings(envs, 48, seed=seed)).learn(35 * 48)
        rewards = [episode["r"] for episode in model.ep_info_buffer]
        assert np.mean(rewards[24:]) > np.mean(rewards[:24])
        assert len(set(evaluator.architectures)) >= 40


def random_state() -> dict[str, Any]:
    return {"torch": torch.get_rng_state(), "numpy": np.random.get_state(), "python": random.getstate()}  # noqa: NPY002


def set_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    np.random.set_state(state["numpy"])  # noqa: NPY002
    random.setstate(state["python"])


def test_a_checkpoint_at_the_start_of_a_round_continues_as_if_nothing_had_happened(tmp_path: Path) -> None:
    class Checkpoint(BaseCallback):
        def _on_rollout_start(self) -> None:
            if self.model.num_timesteps == 35 * 16:
                self.model.save(tmp_path / "model")
                self.state = random_state()

        def _on_step(self) -> bool:
            return True

    whole, rest = Recorder(), Recorder()
    envs = make_sb3_vec_env(8, evaluator=whole)
    checkpoint = Checkpoint()
    PPO(**ppo_settings(envs, 40, seed=3)).learn(35 * 40, callback=checkpoint)

    torch.rand(3)
    np.random.rand(3)  # noqa: NPY002
    model = PPO.load(tmp_path / "model", env=make_sb3_vec_env(8, evaluator=rest), device="cpu")
    set_random_state(checkpoint.state)
    model.learn(35 * 24, reset_num_timesteps=False)
    assert rest.architectures == whole.architectures[16:]
    assert model.num_timesteps == 35 * 40


def test_settings_follow_the_budget() -> None:
    for budget, rate in zip(ANCHOR_BUDGETS, LEARNING_RATES, strict=True):
        assert by_budget(budget, LEARNING_RATES) == pytest.approx(rate)
    between = by_budget(220, LEARNING_RATES)  # about the geometric mean of 48 and 1,000
    assert between == pytest.approx((LEARNING_RATES[0] * LEARNING_RATES[1]) ** 0.5, rel=0.02)
    assert by_budget(1, LEARNING_RATES) == pytest.approx(LEARNING_RATES[0])
    assert by_budget(10**6, LEARNING_RATES) == pytest.approx(LEARNING_RATES[-1])


@pytest.mark.parametrize(("num_envs", "episodes"), [(1, 8), (4, 8), (5, 10), (8, 8), (16, 16)])
def test_an_update_sees_whole_episodes_and_at_least_eight(
    evaluator: SyntheticEvaluator, num_envs: int, episodes: int
) -> None:
    settings = ppo_settings(make_sb3_vec_env(num_envs, evaluator=evaluator), 48)
    assert settings["n_steps"] * num_envs == settings["batch_size"] == 35 * episodes


def test_rollouts_may_be_longer(evaluator: SyntheticEvaluator) -> None:
    settings = ppo_settings(make_sb3_vec_env(8, evaluator=evaluator), 48, rollout_episodes=20)
    assert settings["n_steps"] * 8 == settings["batch_size"] == 35 * 24


def test_a_single_gymnasium_environment_will_do(evaluator: SyntheticEvaluator) -> None:
    env = gym.make("AKDSearch-v0", evaluator=evaluator)
    model = PPO(**ppo_settings(env, 8, seed=0)).learn(35 * 8)
    assert model.num_timesteps == 35 * 8
    assert len(model.ep_info_buffer) == 8


def test_overrides_win_and_policy_arguments_are_merged(evaluator: SyntheticEvaluator) -> None:
    envs = make_sb3_vec_env(2, evaluator=evaluator)
    settings = ppo_settings(envs, 48, n_epochs=3, policy_kwargs={"net_arch": [16]})
    assert settings["n_epochs"] == 3
    assert settings["policy_kwargs"]["net_arch"] == [16]
    assert settings["policy_kwargs"]["option_counts"] == evaluator.space.option_counts.tolist()


def test_observations_must_not_be_normalised(evaluator: SyntheticEvaluator) -> None:
    envs = make_sb3_vec_env(2, evaluator=evaluator)
    with pytest.raises(InvalidSettingError, match="norm_obs=False"):
        ppo_settings(VecMonitor(VecNormalize(envs)), 48)
    ppo_settings(VecNormalize(envs, norm_obs=False), 48)  # rewards may


def test_bad_input(evaluator: SyntheticEvaluator) -> None:
    envs = make_sb3_vec_env(2, evaluator=evaluator)
    with pytest.raises(InvalidSettingError, match="`budget` must be at least 1"):
        ppo_settings(envs, 0)
    with pytest.raises(InvalidSettingError, match="`rollout_episodes` must be at least 1, but got 0"):
        ppo_settings(envs, 48, rollout_episodes=0)
    with pytest.raises(InvalidSettingError, match="AKDSearch-v0"):
        ppo_settings(gym.make("CartPole-v1"), 48)
    with pytest.raises(InvalidSettingError, match="AKDSearch-v0"):
        ppo_settings(DummyVecEnv([lambda: gym.make("CartPole-v1")]), 48)
