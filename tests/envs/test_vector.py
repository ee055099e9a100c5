from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from akd_gym.envs.episodes import EpisodeOverError, InvalidActionError
from akd_gym.envs.search import AKDSearchEnv
from akd_gym.envs.synthetic import SyntheticEvaluator
from akd_gym.envs.vector import AKDSearchVectorEnv
from akd_gym.errors import InvalidSettingError, UnknownNameError
from akd_gym.recipes import Recipe


def make(evaluator: SyntheticEvaluator, num_envs: int = 3, **settings: Any) -> AKDSearchVectorEnv:
    return gym.make_vec("AKDSearch-v0", num_envs=num_envs, evaluator=evaluator, **settings)  # type: ignore[return-value]


def assert_same(ours: Any, theirs: Any) -> None:
    assert type(ours) is type(theirs)
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys()
        for key in ours:
            assert_same(ours[key], theirs[key])
    elif ours.dtype == object:
        assert theirs.dtype == object
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_equal(a, b)
    else:
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


def test_made_by_make_vec(evaluator: SyntheticEvaluator) -> None:
    envs = make(evaluator)
    assert isinstance(envs, AKDSearchVectorEnv)
    assert envs.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    observations, info = envs.reset(seed=0)
    assert observations in envs.observation_space
    assert observations.shape == (3, 148)
    assert info == {}


def test_two_episodes_are_those_of_gymnasiums_same_step_vectoriser() -> None:
    ours = make(SyntheticEvaluator(seed=1), target=1e6)
    theirs = SyncVectorEnv(
        [lambda: AKDSearchEnv(evaluator=SyntheticEvaluator(seed=1), target=1e6)] * 3,
        autoreset_mode=AutoresetMode.SAME_STEP,
    )
    ours.action_space.seed(0)
    assert_same(ours.reset(seed=0)[0], theirs.reset(seed=0)[0])
    for _ in range(2 * 35):
        actions = ours.action_space.sample()
        for a, b in zip(ours.step(actions), theirs.step(actions), strict=True):
            assert_same(a, b)


def test_a_round_is_one_call_of_the_evaluator(evaluator: SyntheticEvaluator) -> None:
    calls: list[int] = []
    answer = evaluator.evaluate
    evaluator.evaluate = lambda choices: calls.append(len(choices)) or answer(choices)  # type: ignore[method-assign]
    envs = make(evaluator, 5)
    envs.reset()
    for _ in range(35):
        envs.step(np.zeros(5, int))
    assert calls == [5]


def test_results_of_a_step_are_the_callers_own(evaluator: SyntheticEvaluator) -> None:
    envs = make(evaluator)
    envs.reset()
    for _ in range(35):
        for array in envs.step(np.zeros(3, int))[:4]:
            array[:] = 1
    observations, rewards, ends, *_ = envs.step(np.zeros(3, int))
    assert observations[:, :112].sum() == 3
    assert not rewards.any()
    assert not ends.any()


def test_infeasible_candidates_beside_feasible_ones() -> None:
    class Half(SyntheticEvaluator):
        def evaluate(self, choices: Any) -> Any:
            first, *rest = super().evaluate(choices)
            return [first._replace(status="infeasible", reason="time_limit", accuracy=None), *rest]

    envs = make(Half())
    envs.reset()
    for _ in range(35):
        _, rewards, ends, _, info = envs.step(np.zeros(3, int))
    assert ends.all()
    assert rewards[0] == -1.0
    assert (rewards[1:] > -1.0).all()
    final = info["final_info"]
    assert math.isnan(final["accuracy"][0])
    assert final["accuracy"].dtype == float
    assert final["reason"].tolist() == ["time_limit", None, None]


def test_masks_and_their_end(evaluator: SyntheticEvaluator) -> None:
    envs = make(evaluator)
    with pytest.raises(EpisodeOverError, match="has not begun"):
        envs.action_masks()
    envs.reset()
    envs.step(np.zeros(3, int))
    envs.step(np.zeros(3, int))
    assert envs.action_masks().tolist() == [[True, True, False, False]] * 3


def test_folding_is_flagged_an_episode(evaluator: SyntheticEvaluator) -> None:
    envs = make(evaluator)
    envs.reset()
    envs.step(np.zeros(3, int))
    envs.step(np.zeros(3, int))
    info = envs.step(np.array([0, 3, 1]))[4]
    assert info["folded"].tolist() == info["_folded"].tolist() == [False, True, False]


def test_targets_an_episode(evaluator: SyntheticEvaluator) -> None:
    reference = evaluator.reference_cost()
    envs = make(evaluator, target=reference)
    observations, _ = envs.reset(options={"target": [reference, 2 * reference, 4 * reference]})
    np.testing.assert_allclose(observations[:, -1], np.log([1, 2, 4]), rtol=1e-6)
    for _ in range(35):
        observations, rewards, _, _, info = envs.step(np.zeros(3, int))
    np.testing.assert_allclose(observations[:, -1], np.log([1, 2, 4]), rtol=1e-6)  # they stay
    assert info["final_info"]["target"].tolist() == [reference, 2 * reference, 4 * reference]
    assert len(set(rewards.tolist())) == 3
    assert envs.reset(options={"target": reference})[0][:, -1].tolist() == [0, 0, 0]


@pytest.mark.parametrize("num_envs", [0, -1, 1.5, True])
def test_num_envs_that_cannot_be(evaluator: SyntheticEvaluator, num_envs: Any) -> None:
    with pytest.raises(InvalidSettingError, match="`num_envs` must be an integer of at least 1"):
        make(evaluator, num_envs)


def test_bad_input_of_reset_and_step(evaluator: SyntheticEvaluator) -> None:
    envs = make(evaluator)
    with pytest.raises(EpisodeOverError, match="has not begun"):
        envs.step(np.zeros(3, int))
    with pytest.raises(UnknownNameError, match="reset option 'reset_mask'"):
        envs.reset(options={"reset_mask": np.ones(3, bool)})
    with pytest.raises(InvalidSettingError, match="one or 3, but got 2 targets"):
        envs.reset(options={"target": [1.0, 2.0]})
    with pytest.raises(InvalidSettingError, match="one or 3, but got 2 seeds"):
        envs.reset(seed=[1, 2])
    envs.reset()
    with pytest.raises(InvalidActionError, match="3 integers"):
        envs.step(np.zeros(4, int))


def test_texts_of_all_episodes(evaluator: SyntheticEvaluator) -> None:
    envs = make(evaluator, render_mode="ansi")
    envs.reset()
    envs.step(np.array([0, 1, 2]))
    texts = envs.render()
    assert texts is not None
    assert ["conv_op=conv " in texts[0], "conv_op=sepconv " in texts[1], "conv_op=mbconv3 " in texts[2]] == [True] * 3


def test_gymnasiums_episode_statistics(evaluator: SyntheticEvaluator) -> None:
    envs = gym.wrappers.vector.RecordEpisodeStatistics(make(evaluator))
    envs.reset(seed=0)
    for _ in range(2 * 35):
        _, rewards, ends, _, info = envs.step(np.ones(3, int))
    assert ends.all()
    assert info["final_info"]["status"].tolist() == ["ok"] * 3
    episode = info["episode"]
    assert episode["l"].tolist() == [35] * 3
    np.testing.assert_allclose(episode["r"], rewards)


def test_a_real_round_in_worker_processes(tiny_recipe: Recipe) -> None:
    envs = gym.make_vec("AKDSearch-v0", num_envs=3, teacher=None, cost="madds", recipe=tiny_recipe, workers=2)
    envs.reset()
    reference = envs.unwrapped.space.reference
    choices = np.array([reference, (1, 0, 0, 0, 0) * 7, reference])
    for actions in choices.T:
        _, rewards, ends, _, info = envs.step(actions)
    envs.close()
    assert ends.all()
    final = info["final_info"]
    assert final["status"].tolist() == ["ok"] * 3
    assert final["from_ledger"].tolist() == [False, False, True]
    assert rewards[0] == rewards[2] == final["accuracy"][0]
    assert final["cost"][1] < final["target"][1] == final["cost"][0]
