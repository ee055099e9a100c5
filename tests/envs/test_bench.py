"""AKDBench as an environment; the surrogate itself is tested in tests/akd_gym/bench."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from akd_gym.envs import AKDBenchEnv, AKDBenchOneShotEnv, AKDBenchOneShotVectorEnv, AKDSearchEnv, SyntheticEvaluator
from akd_gym.errors import InvalidSettingError, UnknownNameError
from akd_gym.reward import Reward


def outcomes(env: AKDBenchOneShotEnv, seed: int | None = None, count: int = 20) -> list[tuple[float, dict[str, Any]]]:
    """Of `count` random architectures, always the same ones."""
    rng = np.random.default_rng(0)
    found = []
    for index in range(count):
        env.reset(seed=seed if index == 0 else None)
        _, reward, _, _, info = env.step(np.array(env.space.sample(rng)))
        found.append((reward, info))
    return found


def accuracies(env: AKDBenchOneShotEnv, seed: int | None = None) -> list[float]:
    return [info["accuracy"] for _, info in outcomes(env, seed)]


def test_a_seed_fixes_the_outcome_and_another_changes_it() -> None:
    env = AKDBenchOneShotEnv()
    zero, one = accuracies(env, 0), accuracies(env, 1)
    assert accuracies(env, 0) == zero
    assert accuracies(AKDBenchOneShotEnv()) == zero  # where there never was a seed
    assert accuracies(AKDBenchOneShotEnv(), 1) == one
    assert sum(a != b for a, b in zip(zero, one, strict=True)) > 15


def test_the_seed_reaches_the_vector_environment() -> None:
    rng = np.random.default_rng(0)
    envs = AKDBenchOneShotVectorEnv(20)
    choices = np.array([envs.space.sample(rng) for _ in range(20)])
    for seed in (3, [3] + [None] * 19):
        envs.reset(seed=seed)
        found = envs.step(choices)[4]["final_info"]["accuracy"]
        assert found.tolist() == accuracies(AKDBenchOneShotEnv(), 3)


def test_without_noise_the_seed_changes_nothing() -> None:
    env = AKDBenchOneShotEnv(noise=False)
    quiet = accuracies(env, 0)
    assert accuracies(env, 1) == quiet
    env = AKDBenchOneShotEnv()
    noisy = np.array([accuracies(env, seed) for seed in range(30)])
    spread = noisy.std(axis=0).mean()
    assert 0 < spread < 0.1
    assert abs(noisy.mean(axis=0) - quiet).mean() < spread


def test_teachers_differ_and_cost_does_not() -> None:
    by_teacher = {name: outcomes(AKDBenchOneShotEnv(teacher=name, noise=False)) for name in ("none", "shipped:resnet")}
    hard, distilled = ([info for _, info in by_teacher[name]] for name in by_teacher)
    assert [info["cost"] for info in hard] == [info["cost"] for info in distilled]
    assert [info["accuracy"] for info in hard] != [info["accuracy"] for info in distilled]
    assert outcomes(AKDBenchOneShotEnv(teacher=None, noise=False)) == by_teacher["none"]
    assert outcomes(AKDBenchOneShotEnv(noise=False)) == by_teacher["shipped:resnet"]  # the default


def test_info_has_the_keys_and_types_of_akdsearch() -> None:
    search = AKDSearchEnv(evaluator=SyntheticEvaluator())
    infos = []
    for env in (search, AKDBenchEnv()):
        env.reset()
        for choice in env.space.reference:
            info = env.step(choice)[4]
        infos.append(info)
    assert list(infos[0]) == list(infos[1])
    ours = infos[1]
    assert (ours["status"], ours["cost_unit"], ours["latency_unit"]) == ("ok", "ms", "ms")
    assert ours["latency_ms"] == ours["cost"] == ours["target"] > 0  # by default the target is the reference's
    assert {type(ours[key]) for key in ("accuracy", "cost", "latency_ms", "seconds")} == {float}
    assert not ours["from_ledger"]


def test_the_reward_is_derived_with_the_target_and_weight_asked_for() -> None:
    cost = AKDBenchOneShotEnv().target
    env = AKDBenchOneShotEnv(target_ms=cost / 2, reward="absolute", reward_weight=0.2, noise=False)
    env.reset()
    _, reward, _, _, info = env.step(np.array(env.space.reference))
    assert reward == pytest.approx(info["accuracy"] - 0.2)  # costs twice the target
    soft = AKDBenchOneShotEnv(reward=Reward("soft"), noise=False)
    soft.reset()
    assert soft.step(np.array(soft.space.reference))[1] == info["accuracy"]


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"teacher": "shipped:inception"}, UnknownNameError, "teacher.*shipped:inception.*shipped:resnet"),
        ({"target_ms": -1}, InvalidSettingError, "positive"),
        ({"reward": "absolut"}, UnknownNameError, "Did you mean 'absolute'"),
        ({"reward": Reward("soft"), "reward_weight": -0.1}, InvalidSettingError, "reward_weight"),
        ({"render_mode": "text"}, UnknownNameError, "render mode"),
    ],
)
def test_settings_that_cannot_work(settings: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        gym.make("AKDBench-v0", **settings)
    with pytest.raises(error, match=message):
        gym.make_vec("AKDBench-v0", num_envs=2, **settings)


def test_an_episode_of_it_needs_no_torch() -> None:
    code = (
        "import sys, gymnasium, akd_gym\n"
        "env = gymnasium.make('AKDBenchOneShot-v0'); env.reset(); env.step(env.action_space.sample())\n"
        "assert not {'torch', 'scipy', 'stable_baselines3'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd="/")
