from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported
from stable_baselines3 import A2C, PPO, SAC
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

import akd_gym
from akd_gym.envs.sb3 import AKDSB3VecEnv, make_sb3_vec_env
from akd_gym.envs.search import AKDSearchEnv
from akd_gym.envs.synthetic import SyntheticEvaluator
from akd_gym.envs.vector import AKDSearchVectorEnv
from akd_gym.errors import InvalidSettingError, UnknownNameError


def make(evaluator: SyntheticEvaluator, num_envs: int = 3) -> AKDSB3VecEnv:
    return AKDSB3VecEnv(AKDSearchVectorEnv(num_envs, evaluator=evaluator, target=1e6))


def test_episodes_are_those_of_sb3s_own_vectoriser() -> None:
    ours = make(SyntheticEvaluator(seed=1))
    theirs = DummyVecEnv([lambda: AKDSearchEnv(evaluator=SyntheticEvaluator(seed=1), target=1e6)] * 3)
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(ours.reset(), theirs.reset())
    for _ in range(2 * 35):
        actions = rng.integers(4, size=3)
        a, b = ours.step(actions), theirs.step(actions)
        for x, y in zip(a[:3], b[:3], strict=True):
            assert x.dtype == y.dtype
            np.testing.assert_array_equal(x, y)
        for own, other in zip(a[3], b[3], strict=True):
            assert own.keys() == other.keys()
            for key in own:
                assert type(own[key]) is type(other[key])
                np.testing.assert_equal(own[key], other[key])


def test_monitored_rewards_reach_the_logs(evaluator: SyntheticEvaluator) -> None:
    envs = akd_gym.make_sb3_vec_env(4, evaluator=evaluator)
    assert isinstance(envs, VecMonitor)
    model = PPO("MlpPolicy", envs, n_steps=35, batch_size=140, n_epochs=1, device="cpu").learn(140)
    assert [episode["l"] for episode in model.ep_info_buffer] == [35] * 4
    assert all(0 < episode["r"] < 1 for episode in model.ep_info_buffer)


def test_other_algorithms_and_evaluate_policy_run_on_it(evaluator: SyntheticEvaluator) -> None:
    envs = make_sb3_vec_env(2, evaluator=evaluator)
    model = A2C("MlpPolicy", envs, n_steps=35, device="cpu").learn(70)
    mean, _ = evaluate_policy(model, envs, n_eval_episodes=2)
    assert 0 < mean < 1


def test_methods_and_attributes(evaluator: SyntheticEvaluator) -> None:
    envs = make(evaluator)
    envs.reset()
    masks = envs.env_method("action_masks")
    assert np.stack(masks).tolist() == [[True] * 4] * 3
    assert len(envs.env_method("action_masks", indices=[0, 2])) == 2
    assert envs.has_attr("action_masks")
    assert not envs.has_attr("nothing")
    assert envs.get_attr("space", indices=1) == [evaluator.space]
    assert envs.env_is_wrapped(Monitor) == [False] * 3
    with pytest.raises(AttributeError, match="'action_masks' or 'render'"):
        envs.env_method("reset")
    envs.set_attr("note", 5)
    assert envs.get_attr("note") == [5, 5, 5]
    with pytest.raises(InvalidSettingError, match="all 3 episodes"):
        envs.set_attr("note", 6, indices=0)


def test_seed_and_options_act_at_the_next_reset(evaluator: SyntheticEvaluator) -> None:
    envs = make(evaluator)
    assert envs.seed(7) == [7, 8, 9]
    reference = evaluator.reference_cost()
    envs.set_options([{"target": reference}, {"target": 2 * reference}, {}])
    np.testing.assert_allclose(envs.reset()[:, -1], np.log([1, 2, 1e6 / reference]), rtol=1e-5)
    assert envs.envs.np_random_seed == 7


def test_close_closes(evaluator: SyntheticEvaluator) -> None:
    envs = make_sb3_vec_env(2, evaluator=evaluator)
    envs.close()
    assert envs.get_attr("closed") == [True, True]


def test_num_envs_zero(evaluator: SyntheticEvaluator) -> None:
    with pytest.raises(InvalidSettingError, match="num_envs"):
        make_sb3_vec_env(0, evaluator=evaluator)


def test_num_envs_zero_of_every_id(env_id: str, settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidSettingError, match="num_envs"):
        make_sb3_vec_env(0, env_id, **settings)


def test_ids_that_are_not_ours(evaluator: SyntheticEvaluator) -> None:
    with pytest.raises(
        UnknownNameError, match=r"Unknown environment 'AKDBenchBoxes-v0'\. Did you mean 'AKDBenchBox-v0'"
    ):
        make_sb3_vec_env(2, "AKDBenchBoxes-v0")


@pytest.mark.parametrize("env_id", ["AKDBenchOneShot-v0", "AKDBenchBox-v0"])
def test_one_step_episodes_are_those_of_sb3s_own_vectoriser(env_id: str) -> None:
    task = gym.make(env_id).unwrapped.task
    ours = make_sb3_vec_env(3, env_id, task=task)
    theirs = VecMonitor(DummyVecEnv([lambda: gym.make(env_id, task=task)] * 3))
    np.testing.assert_array_equal(ours.reset(), theirs.reset())
    for _ in range(3):
        actions = np.stack([ours.action_space.sample() for _ in range(3)])
        a, b = ours.step(actions), theirs.step(actions)
        for x, y in zip(a[:3], b[:3], strict=True):
            assert x.dtype == y.dtype
            np.testing.assert_array_equal(x, y)
        for own, other in zip(a[3], b[3], strict=True):
            assert own["episode"].pop("t") >= 0
            other["episode"].pop("t")
            np.testing.assert_equal(own, other)


def test_methods_seeds_and_options_of_every_form(env_id: str, settings: dict[str, Any]) -> None:
    envs = make_sb3_vec_env(3, env_id, **settings)
    assert envs.seed(5) == [5, 6, 7]
    task = envs.get_attr("task", 0)[0]
    name = "target" if settings else "target_ms"
    envs.set_options([{name: task.reference_cost}, {name: 2 * task.reference_cost}, {}])
    np.testing.assert_allclose(envs.reset()[:, -1], np.log([1, 2, 1]), rtol=1e-5)
    assert envs.get_attr("np_random_seed") == [5, 5, 5]
    assert envs.env_is_wrapped(VecMonitor) == [False] * 3
    assert is_masking_supported(envs) == envs.has_attr("action_masks") == ("Box" not in env_id)
    if "Box" not in env_id:
        masks = get_action_masks(envs)
        assert masks.shape == (3, 112 if "OneShot" in env_id else 4)
        assert masks.all()
    envs.close()


@pytest.mark.parametrize(
    ("algorithm", "env_id", "settings"),
    [
        (MaskablePPO, "AKDBench-v0", {"n_steps": 35, "batch_size": 140}),
        (MaskablePPO, "AKDBenchOneShot-v0", {"n_steps": 4, "batch_size": 16}),
        (PPO, "AKDBenchOneShot-v0", {"n_steps": 4, "batch_size": 16}),
        (SAC, "AKDBenchBox-v0", {"learning_starts": 4, "batch_size": 8}),
    ],
)
def test_algorithms_on_the_form_that_their_actions_need(algorithm: Any, env_id: str, settings: dict[str, Any]) -> None:
    envs = make_sb3_vec_env(4, env_id)
    steps = 35 if env_id == "AKDBench-v0" else 1
    model = algorithm("MlpPolicy", envs, seed=0, device="cpu", **settings).learn(2 * 4 * 4 * steps)
    assert len(model.ep_info_buffer) >= 16
    assert {episode["l"] for episode in model.ep_info_buffer} == {steps}
    assert all(0.3 < episode["r"] < 1 for episode in model.ep_info_buffer)
