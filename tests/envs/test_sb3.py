from __future__ import annotations

import numpy as np
import pytest
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

import akd_gym
from akd_gym.envs.sb3 import AKDSB3VecEnv, make_sb3_vec_env
from akd_gym.envs.search import AKDSearchEnv
from akd_gym.envs.synthetic import SyntheticEvaluator
from akd_gym.envs.vector import AKDSearchVectorEnv
from akd_gym.errors import InvalidSettingError


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
