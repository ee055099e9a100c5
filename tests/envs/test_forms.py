"""What holds for every id, whatever the form of its actions."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from akd_gym.envs import (
    AKDBenchBoxEnv,
    AKDBenchBoxVectorEnv,
    AKDBenchEnv,
    AKDBenchOneShotEnv,
    AKDBenchOneShotVectorEnv,
    AKDBenchVectorEnv,
    AKDSearchBoxEnv,
    AKDSearchEnv,
    AKDSearchOneShotEnv,
    AKDSearchVectorEnv,
    EpisodeOverError,
    InvalidActionError,
    SyntheticEvaluator,
)
from akd_gym.envs.vector import VECTOR_ENVS
from akd_gym.envs.vector_base import ArchitectureVectorEnv
from akd_gym.errors import InvalidSettingError, UnknownNameError

SINGLE = (AKDBenchEnv, AKDBenchOneShotEnv, AKDBenchBoxEnv)
VECTOR = (AKDBenchVectorEnv, AKDBenchOneShotVectorEnv, AKDBenchBoxVectorEnv)


def sample(space: gym.Space[Any], count: int) -> list[Any]:
    space.seed(0)
    return [space.sample() for _ in range(count)]


@pytest.mark.filterwarnings("error::UserWarning")
def test_gymnasiums_checker(env_id: str, settings: dict[str, Any]) -> None:
    check_env(gym.make(env_id, render_mode="ansi", **settings).unwrapped, skip_render_check=True)


@pytest.mark.filterwarnings("error::UserWarning")
def test_sb3s_checker(env_id: str, settings: dict[str, Any]) -> None:
    sb3_check_env(gym.make(env_id, **settings))


def test_gymnasiums_render_check() -> None:
    check_env(gym.make("AKDBenchOneShot-v0", render_mode="rgb_array").unwrapped)


def test_three_forms_and_their_vectors_give_the_same_outcome(actions_for: Any) -> None:
    task = AKDBenchEnv().task
    rng = np.random.default_rng(0)
    choices = np.array([task.space.sample(rng) for _ in range(4)])
    counts = task.space.option_counts
    found: list[list[tuple[float, dict[str, Any]]]] = []
    for single in SINGLE:
        env = single(task=task)
        outcomes = []
        for one in choices:
            env.reset()
            for action in actions_for(env.action_space, counts, one[None]):
                _, reward, terminated, _, info = env.step(action[0])
            assert terminated
            outcomes.append((reward, info))
        found.append(outcomes)
    for vector in VECTOR:
        envs = vector(4, task=task)
        envs.reset()
        for actions in actions_for(envs.single_action_space, counts, choices):
            _, rewards, ends, _, info = envs.step(actions)
        assert ends.all()
        final = info["final_info"]
        keys = [key for key in final if not key.startswith("_")]
        found.append([(rewards[i], {key: final[key][i] for key in keys}) for i in range(4)])
    assert [info["choices"] for _, info in found[0]] == [tuple(row) for row in choices.tolist()]
    for other in found[1:]:
        assert other == found[0]


def test_the_form_alone_decides_the_spaces(env_id: str, settings: dict[str, Any]) -> None:
    env = gym.make(env_id, **settings)
    envs = gym.make_vec(env_id, num_envs=2, **settings)
    assert envs.single_action_space == env.action_space
    assert envs.single_observation_space == env.observation_space
    assert env.observation_space.shape == ((148,) if env_id in ("AKDSearch-v0", "AKDBench-v0") else (1,))
    assert hasattr(env.unwrapped, "action_masks") == hasattr(envs, "action_masks") == ("Box" not in env_id)


@pytest.mark.parametrize(
    ("form", "action"), [(AKDBenchEnv, 4), (AKDBenchOneShotEnv, [4] * 35), (AKDBenchBoxEnv, [1.5] * 35)]
)
def test_wrong_input(form: type[AKDBenchEnv], action: Any) -> None:
    env = form()
    [good] = sample(env.action_space, 1)
    with pytest.raises(EpisodeOverError, match="has not begun"):
        env.step(good)
    env.reset()
    with pytest.raises(InvalidActionError, match="`action"):
        env.step(action)
    while not env.step(good)[2]:
        pass
    with pytest.raises(EpisodeOverError, match=r"is over\. Call `reset\(\)`"):
        env.step(good)
    if hasattr(env, "action_masks"):
        with pytest.raises(EpisodeOverError, match="ask for an action mask, but the episode is over"):
            env.action_masks()
    env.reset()
    env.step(good)


@pytest.mark.parametrize("num_envs", [0, -3, 2.5])
def test_num_envs_that_cannot_be(env_id: str, settings: dict[str, Any], num_envs: Any) -> None:
    with pytest.raises(InvalidSettingError, match="`num_envs` must be an integer of at least 1"):
        gym.make_vec(env_id, num_envs=num_envs, **settings)


def test_many_at_once_reset_in_the_step_that_ends_them(env_id: str, settings: dict[str, Any]) -> None:
    envs = gym.make_vec(env_id, num_envs=64, **settings)
    assert isinstance(envs, VECTOR_ENVS[env_id])
    assert envs.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    first, _ = envs.reset(seed=0)
    assert first in envs.observation_space
    steps = 35 if envs.single_observation_space.shape == (148,) else 1
    for actions in sample(envs.action_space, steps):
        observations, rewards, ends, _, info = envs.step(actions)
    assert ends.all()
    np.testing.assert_array_equal(observations, first)
    assert info["final_info"]["status"].tolist() == ["ok"] * 64
    assert (rewards > 0.3).all()
    assert len(set(info["final_info"]["architecture"])) > 60


@pytest.mark.parametrize("env_id", ["AKDBenchOneShot-v0", "AKDBenchBox-v0"])
def test_rounds_are_those_of_gymnasiums_same_step_vectoriser(env_id: str) -> None:
    ours = gym.make_vec(env_id, num_envs=3)
    theirs = SyncVectorEnv([lambda: gym.make(env_id)] * 3, autoreset_mode=AutoresetMode.SAME_STEP)
    seeds = [7, 7, 7]  # one realisation of the noise, as ours have
    np.testing.assert_array_equal(ours.reset(seed=seeds)[0], theirs.reset(seed=seeds)[0])
    for actions in sample(ours.action_space, 3):
        a, b = ours.step(actions), theirs.step(actions)
        for x, y in zip(a[:4], b[:4], strict=True):
            assert x.dtype == y.dtype
            np.testing.assert_array_equal(x, y)
        np.testing.assert_equal(a[4], b[4])


def test_gymnasiums_episode_statistics_loop(env_id: str, settings: dict[str, Any]) -> None:
    """As in Gymnasium's documentation of recording agents."""
    env = gym.wrappers.RecordEpisodeStatistics(gym.make(env_id, **settings), buffer_length=4)
    rewards = []
    for _ in range(4):
        env.reset()
        episode_over = False
        while not episode_over:
            _, reward, terminated, truncated, info = env.step(env.action_space.sample())
            episode_over = terminated or truncated
        assert info["episode"]["r"] == reward
        rewards.append(reward)
    steps = 35 if env.observation_space.shape == (148,) else 1
    assert list(env.length_queue) == [steps] * 4
    assert list(env.return_queue) == rewards


def calls_of_an_episode(step: Any, actions: list[Any]) -> int:
    """Calls of functions, Python's and C's, that the steps of an episode make."""
    calls = 0

    def count(frame: FrameType, event: str, arg: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        for action in actions:
            step(action)
    finally:
        sys.setprofile(None)
    return calls


def state_bytes(env: Any) -> int:
    """Bytes of the arrays, and entries of the containers, that an environment keeps."""
    held = [*vars(env).values(), *vars(env._episodes).values(), *vars(env.task).values()]
    return sum(x.nbytes if isinstance(x, np.ndarray) else len(x) if hasattr(x, "__len__") else 0 for x in held)


@pytest.mark.parametrize("form", [*SINGLE, *VECTOR])
def test_a_step_costs_the_same_whatever_was_played_before(form: Any) -> None:
    is_vector = issubclass(form, ArchitectureVectorEnv)
    env = form(4) if is_vector else form()
    steps = 1 if env._episodes.observation().shape[-1] == 1 else 35
    same = sample(env.action_space, 1) * steps

    def play(actions: list[Any]) -> int:
        env.reset()
        return calls_of_an_episode(env.step, actions)

    play(same)
    early = play(same), state_bytes(env)
    for _ in range(100):
        env.reset()
        for _ in range(steps):
            env.step(env.action_space.sample())
    assert (play(same), state_bytes(env)) == early


def test_a_task_is_shared_by_all_forms_and_left_open() -> None:
    closed = []
    evaluator = SyntheticEvaluator(seed=1)
    owner = AKDSearchEnv(evaluator=evaluator, target=1e6, reward="hard")
    owner.task.close = lambda: closed.append(True)  # type: ignore[method-assign]
    others = [
        AKDSearchEnv(task=owner.task, render_mode="ansi"),
        AKDSearchOneShotEnv(task=owner.task),
        AKDSearchBoxEnv(task=owner.task),
        AKDSearchVectorEnv(3, task=owner.task),
    ]
    for other in others:
        assert other.task is owner.task
        other.close()
    assert not closed
    owner.reset(options={"target": 2e6})  # one target for all
    assert others[0].target == 2e6
    assert others[1].reset()[0] == owner.reset()[0][-1]
    owner.close()
    assert closed == [True]


def test_the_watch_of_a_task_sees_every_forms_rounds() -> None:
    class Watch:
        def __init__(self) -> None:
            self.asked: list[int] = []
            self.told: list[tuple[list[float], list[Any]]] = []

        def before(self, count: int) -> None:
            self.asked.append(count)

        def after(self, rewards: Any, infos: Any) -> None:
            self.told.append((rewards, infos))

    task = AKDBenchEnv().task
    task.watch = watch = Watch()
    env, envs = AKDBenchOneShotEnv(task=task), AKDBenchBoxVectorEnv(3, task=task)
    env.reset()
    _, reward, *_, info = env.step(np.zeros(35, int))
    envs.reset()
    rewards = envs.step(np.zeros((3, 35), np.float32))[1]
    assert watch.asked == [1, 3]
    assert watch.told[0] == ([reward], [info])
    assert watch.told[1][0] == rewards.tolist()


@pytest.mark.parametrize(
    ("form", "setting"),
    [
        (AKDBenchEnv, {"teacher": "none"}),
        (AKDBenchOneShotEnv, {"noise": False}),
        (AKDSearchBoxEnv, {"cost": "madds"}),
        (AKDSearchEnv, {"target_ms": 0.1}),
        (AKDSearchVectorEnv, {"workers": 2}),
        (AKDBenchBoxVectorEnv, {"reward": "soft"}),
    ],
)
def test_a_setting_beside_a_task(form: Any, setting: dict[str, Any]) -> None:
    task = AKDBenchEnv().task
    with pytest.raises(InvalidSettingError, match=f"`{next(iter(setting))}` must be left out beside `task`"):
        form(task=task, **setting)
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        form(task=task, colour="red")


def test_reset_options_of_every_form(env_id: str, settings: dict[str, Any]) -> None:
    env = gym.make(env_id, **settings).unwrapped
    name = "target" if settings else "target_ms"
    assert env.reset()[0][-1] == 0
    observation, _ = env.reset(options={name: 2 * env.task.reference_cost})
    assert observation[-1] == np.float32(np.log(2))
    with pytest.raises(UnknownNameError, match="reset option 'goal'"):
        env.reset(options={"goal": 1})


def test_text_of_a_one_step_episode() -> None:
    env = AKDBenchOneShotEnv(render_mode="ansi")
    assert "decision 1 of 35" in str(env.render())
    env.reset()
    assert "decision 1 of 35" in str(env.render())
    env.step(np.array(env.space.reference))
    text = str(env.render())
    assert "complete" in text
    assert "reward 0." in text
