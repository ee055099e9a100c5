from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.vec_env import VecEnv

from akd_gym.agents import sb3
from akd_gym.agents.registry import AGENTS, load_agent
from akd_gym.envs.episodes import LockstepEpisodes
from akd_gym.errors import InvalidSettingError
from akd_gym.space import Decision, SearchSpace, Skeleton

NAMES = [name for name, home in AGENTS.items() if home.startswith("akd_gym.agents.sb3:")]

SIX = SearchSpace(
    "six",
    [Decision(block, "kernel", (3, 5, 7)) for block in range(1, 7)],
    Skeleton("six", (1,) * 6, (16,) * 6, (1,) * 6, stem_channels=8, head_channels=16),
)


class Budget:
    """A task's watch that lets no more than the budget through."""

    def __init__(self, budget: int) -> None:
        self.left = budget
        self.choices: list[tuple[int, ...]] = []

    def before(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise RuntimeError("over budget")

    def after(self, rewards: Sequence[float], infos: Sequence[dict[str, Any]]) -> None:
        self.choices += [info["choices"] for info in infos]


def played(name: str, budget: int, seed: int = 0) -> list[tuple[int, ...]]:
    """What an agent plays on AKDBench."""
    env = gym.make("AKDBench-v0")
    env.unwrapped.task.watch = watch = Budget(budget)
    load_agent(name)(env, budget, seed)
    assert watch.left == 0
    return watch.choices


def test_every_algorithm_is_here() -> None:
    algorithms = {load_agent(name).algorithm.__name__ for name in NAMES}
    assert algorithms == {
        "PPO", "RecurrentPPO", "A2C", "TRPO", "MaskablePPO", "MaskedDQN", "MaskedQRDQN",
        "SAC", "TD3", "DDPG", "TQC", "CrossQ", "ARS",
    }  # fmt: skip


@pytest.mark.parametrize("budget", [1, 7, 40])
@pytest.mark.parametrize("name", NAMES)
def test_it_plays_the_budget_and_valid_actions_only(name: str, budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """40 is enough for every one of them to have learned from something."""
    folded = []
    take = LockstepEpisodes.take

    def spy(self: LockstepEpisodes, actions: Any) -> Any:
        result = take(self, actions)
        folded.append(bool(np.any(result)))
        return result

    monkeypatch.setattr(LockstepEpisodes, "take", spy)
    assert len(played(name, budget)) == budget
    assert not any(folded)
    assert bool(folded) == (load_agent(name).env_id == "AKDSearch-v0")


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_decides_what_it_plays(name: str) -> None:
    first = played(name, 24, seed=5)
    assert played(name, 24, seed=5) == first
    assert played(name, 24, seed=6) != first


@pytest.mark.parametrize("name", NAMES)
def test_the_agents_seed_leaves_the_noise_of_the_benchmark_alone(name: str) -> None:
    env = gym.make("AKDBench-v0")
    env.reset(seed=11)
    load_agent(name)(env, 8, 5)
    assert env.unwrapped.task.evaluator.noise_seed == 11


LEARNERS = {"ppo": 200, "rnn": 200, "a2c": 200, "trpo": 200, "maskableppo": 400, "dqn": 200, "qrdqn": 200,
            "sac": 400, "td3": 400, "ddpg": 400, "tqc": 400, "crossq": 400, "ars": 400}  # fmt: skip
"""Candidates after which each has found most of six decisions of three options. A third is right by chance, and the
noise that some explore by costs them the rest."""


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNERS)
def test_it_learns_what_pays(name: str, play_matches: Any) -> None:
    record = play_matches(load_agent(name), LEARNERS[name], wanted=(0, 1, 2, 0, 1, 2), space=SIX)
    tenth = LEARNERS[name] // 10
    assert np.mean(record.rewards[:tenth]) < 0.6
    assert np.mean(record.rewards[-tenth:]) > 0.75


@pytest.mark.parametrize(("budget", "most", "count"), [(1000, 8, 8), (50, 8, 5), (7, 8, 7), (97, 8, 1), (9, 1, 1)])
def test_as_many_side_by_side_as_divide_the_budget(budget: int, most: int, count: int) -> None:
    assert sb3._side_by_side(budget, most) == count


def test_a_rollout_is_cut_where_the_budget_ends() -> None:
    """97 is prime, so episodes are played one by one, and 8 a rollout do not fit in it."""
    assert len(played("a2c", 97)) == 97


def test_whoever_watches_is_heard() -> None:
    env = gym.make("AKDBench-v0")
    env.unwrapped.task.watch = Budget(16)
    with pytest.raises(RuntimeError, match="over budget"):
        sb3.ppo(env, 24, 0)


def test_other_agents_of_the_kind_can_be_made(play_matches: Any) -> None:
    def settings(envs: VecEnv, budget: int) -> dict[str, Any]:
        return sb3.ppo.settings(envs, budget) | {"n_epochs": 1}

    record = play_matches(sb3.SB3Agent(sb3.PPO, settings, max_envs=4), 8, wanted=(0,) * 6, space=SIX)
    assert record.rounds == [4, 4]


@pytest.mark.parametrize("name", ["ppo", "sac"])
def test_bad_input(name: str) -> None:
    agent = load_agent(name)
    with pytest.raises(InvalidSettingError, match="`budget` must be at least 1 evaluation, but got 0"):
        agent(gym.make("AKDBench-v0"), 0, 0)
    with pytest.raises(InvalidSettingError, match="`env` must be like AKDSearch-v0"):
        agent(gym.make("CartPole-v1"), 8, 0)
