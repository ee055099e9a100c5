from __future__ import annotations

import dataclasses
import math
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import akd_gym
from akd_gym.envs.episodes import EpisodeOverError, InvalidActionError
from akd_gym.envs.search import AKDSearchEnv
from akd_gym.envs.synthetic import SyntheticEvaluator
from akd_gym.errors import InvalidSettingError, UnknownNameError
from akd_gym.recipes import Recipe
from akd_gym.reward import INFEASIBLE_REWARD, Reward
from akd_gym.space import Decision, SearchSpace, Skeleton, make_space


class Broken(SyntheticEvaluator):
    """Every candidate diverges."""

    def evaluate(self, choices: Any) -> Any:
        return [e._replace(status="infeasible", reason="diverged", accuracy=None) for e in super().evaluate(choices)]


class Milliseconds(SyntheticEvaluator):
    """Cost in ms, made from multiply-adds."""

    cost_unit = "ms"

    def reference_cost(self) -> float:
        return super().reference_cost() / 1e6

    def evaluate(self, choices: Any) -> Any:
        return [
            e._replace(cost=e.cost / 1e6, cost_unit="ms", latency_ms=e.cost / 1e6, latency_kind="host", device="cpu")
            for e in super().evaluate(choices)
        ]


def play(env: gym.Env, choices: Any) -> tuple[np.ndarray, float, dict[str, Any]]:
    env.reset()
    for index, choice in enumerate(choices):
        observation, reward, terminated, truncated, info = env.step(choice)
        assert (terminated, truncated) == (index == len(choices) - 1, False)
    return observation, reward, info


@pytest.mark.parametrize("render_mode", [None, "ansi", "rgb_array"])
def test_gymnasium_checker_has_nothing_to_say(evaluator: SyntheticEvaluator, render_mode: str | None) -> None:
    env = gym.make("AKDSearch-v0", evaluator=evaluator, render_mode=render_mode)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)


def test_steps_are_deterministic_under_a_deterministic_evaluator(evaluator: SyntheticEvaluator) -> None:
    env = gym.make("AKDSearch-v0", evaluator=evaluator).unwrapped
    env.spec = dataclasses.replace(env.spec, nondeterministic=False)  # what check_env would skip otherwise
    check_env(env, skip_render_check=True)


def test_sb3_checker_has_nothing_to_say(evaluator: SyntheticEvaluator) -> None:
    env = gym.make("AKDSearch-v0", evaluator=evaluator)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sb3_check_env(env)


def test_an_episode_ends_with_everything_known_about_its_architecture(evaluator: SyntheticEvaluator) -> None:
    env = AKDSearchEnv(evaluator=evaluator)
    choices = evaluator.space.sample(np.random.default_rng(0))
    observation, reward, info = play(env, choices)
    [expected] = evaluator.evaluate([choices])
    assert info["architecture"] == expected.architecture == str(evaluator.space.network(choices))
    assert info["choices"] == choices
    assert info["accuracy"] == expected.accuracy
    assert info["cost"] == info["madds"] == expected.madds
    assert math.isnan(info["latency_ms"])
    assert (info["status"], info["reason"], info["from_ledger"]) == ("ok", None, False)
    target = evaluator.reference_cost()
    assert info["target"] == target
    assert reward == pytest.approx(expected.accuracy - 0.05 * abs(expected.cost / target - 1))
    assert isinstance(reward, float)
    assert observation[:112].sum() == 35
    assert not observation[112:147].any()


def test_an_infeasible_candidate_earns_the_lowest_reward() -> None:
    _, reward, info = play(AKDSearchEnv(evaluator=Broken()), [0] * 35)
    assert reward == INFEASIBLE_REWARD
    assert (info["status"], info["reason"]) == ("infeasible", "diverged")
    assert math.isnan(info["accuracy"])


def test_only_the_last_step_says_anything_unless_an_action_is_folded(evaluator: SyntheticEvaluator) -> None:
    env = AKDSearchEnv(evaluator=evaluator)
    env.reset()
    assert [env.step(3)[4] for _ in range(3)] == [{}, {}, {"folded": True}]  # the third is kernel: 2 options


def test_masks_follow_the_due_decision(evaluator: SyntheticEvaluator) -> None:
    env = AKDSearchEnv(evaluator=evaluator)
    observation, _ = env.reset()
    for count in evaluator.space.option_counts.tolist():
        mask = env.action_masks()
        assert mask.tolist() == [index < count for index in range(4)]
        due = int(observation[112:147].argmax())
        assert evaluator.space.option_counts[due] == count
        mask[:] = False  # the caller's own
        observation, *_ = env.step(0)
    with pytest.raises(EpisodeOverError, match="mask"):
        env.action_masks()
    with pytest.raises(EpisodeOverError, match="is over"):
        env.step(0)


def test_actions_outside_the_space_raise_and_change_nothing(evaluator: SyntheticEvaluator) -> None:
    env = AKDSearchEnv(evaluator=evaluator)
    env.reset()
    with pytest.raises(InvalidActionError, match="from 0 to 3, but got 4"):
        env.step(4)
    observation, *_ = env.step(0)
    assert observation[113] == 1


def test_target_of_the_constructor_and_of_reset(evaluator: SyntheticEvaluator) -> None:
    reference = evaluator.reference_cost()
    env = AKDSearchEnv(evaluator=evaluator, target=2 * reference)
    assert env.reset()[0][-1] == pytest.approx(math.log(2))
    assert env.reset(options={"target": reference / 2})[0][-1] == pytest.approx(-math.log(2))
    assert env.reset()[0][-1] == pytest.approx(-math.log(2))  # from then on
    assert env.target == reference / 2


def test_target_in_milliseconds() -> None:
    evaluator = Milliseconds()
    env = AKDSearchEnv(evaluator=evaluator, target_ms=1.0)
    assert env.reset(options={"target_ms": 2.0})[0][-1] == pytest.approx(math.log(2 / evaluator.reference_cost()))
    _, _, info = play(env, [0] * 35)
    assert (info["target"], info["cost_unit"], info["latency_kind"]) == (2.0, "ms", "host")
    assert info["latency_ms"] == info["cost"]


@pytest.mark.parametrize("target", [0, -1.0, math.nan, math.inf, "soon"])
def test_targets_that_are_no_costs(evaluator: SyntheticEvaluator, target: Any) -> None:
    with pytest.raises(InvalidSettingError, match="positive"):
        AKDSearchEnv(evaluator=evaluator, target=target)
    with pytest.raises(InvalidSettingError, match="positive"):
        AKDSearchEnv(evaluator=evaluator).reset(options={"target": target})


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"target_ms": 1.0}, InvalidSettingError, "`target` must name the target where cost is in madds"),
        ({"cost": "watts"}, UnknownNameError, "Unknown cost 'watts'.*latency, madds"),
        ({"reward": "absolut"}, UnknownNameError, "Did you mean 'absolute'"),
        ({"reward": Reward("soft"), "reward_weight": -0.1}, InvalidSettingError, "reward_weight"),
        ({"render_mode": "text"}, UnknownNameError, "Unknown render mode 'text'.*ansi, rgb_array"),
        ({"teacher": "shipped:resnet"}, InvalidSettingError, "`teacher` must be left out beside `evaluator`"),
        ({"space": "mnas"}, InvalidSettingError, "`space` must be left out"),
    ],
)
def test_settings_that_cannot_work(
    evaluator: SyntheticEvaluator, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        AKDSearchEnv(evaluator=evaluator, **settings)


def test_target_ms_is_the_name_for_latency() -> None:
    with pytest.raises(InvalidSettingError, match="`target_ms` must name the target where cost is in ms"):
        AKDSearchEnv(evaluator=Milliseconds(), target=1.0)


def test_unknown_reset_option(evaluator: SyntheticEvaluator) -> None:
    with pytest.raises(UnknownNameError, match=r"reset option 'goal'.*target"):
        AKDSearchEnv(evaluator=evaluator).reset(options={"goal": 1})


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_other_rewards(evaluator: SyntheticEvaluator, kind: str) -> None:
    _, reward, info = play(AKDSearchEnv(evaluator=evaluator, reward=kind), [2] * 35)
    assert reward == Reward(kind)(info["accuracy"], info["cost"], info["target"])


def own_space() -> SearchSpace:
    skeleton = Skeleton("tiny", repeats=(1, 1), filters=(8, 16), strides=(1, 2), stem_channels=8, head_channels=16)
    decisions = [Decision(1, "kernel", (3, 5, 7)), Decision(2, "conv_op", ("conv", "mbconv3"))]
    return SearchSpace("tiny", decisions, skeleton)


@pytest.mark.parametrize(("space", "size", "actions"), [(make_space("mnas", "small"), 162, 4), (own_space(), 8, 3)])
def test_other_spaces(space: SearchSpace, size: int, actions: int) -> None:
    env = AKDSearchEnv(space=space, evaluator=SyntheticEvaluator(space))
    assert env.observation_space.shape == (size,)
    assert env.action_space.n == actions
    check_env(env, skip_render_check=True)
    _, _, info = play(env, space.reference)
    assert info["architecture"] == str(space.network(space.reference))


def test_seeded_action_sampling_repeats_the_episode(evaluator: SyntheticEvaluator) -> None:
    def architecture() -> str:
        env = AKDSearchEnv(evaluator=evaluator)
        env.action_space.seed(5)
        env.reset(seed=5)
        return play(env, [env.action_space.sample() for _ in range(35)])[2]["architecture"]

    assert architecture() == architecture()


def test_text_marks_the_due_decision_and_ends_with_the_reward(evaluator: SyntheticEvaluator) -> None:
    env = AKDSearchEnv(evaluator=evaluator, render_mode="ansi")
    env.reset()
    for choice in (2, 1, 0, 1, 1, 3):
        env.step(choice)
    text = env.render()
    assert "decision 7 of 35: block2.skip_op" in text
    assert "1  ir_r1_k3_s1_e3_c8_id" in text
    assert "> " in text
    assert "conv_op=mbconv6  skip_op=[none | identity | pool | identity+se]" in text
    play(env, [0] * 35)
    assert "reward 0." in env.render()


def test_picture_shows_the_network_so_far(evaluator: SyntheticEvaluator) -> None:
    env = AKDSearchEnv(evaluator=evaluator, render_mode="rgb_array")
    env.reset()
    empty = env.render()
    for _ in range(5):
        env.step(0)
    block = env.render()
    assert empty.shape == block.shape
    assert empty.dtype == np.uint8
    assert (empty != block).any()
    play(env, [0] * 35)
    assert (env.render() != block).any()


def test_an_evaluator_of_ones_own_is_left_open(evaluator: SyntheticEvaluator) -> None:
    closed = []
    evaluator.close = lambda: closed.append(True)  # type: ignore[method-assign]
    AKDSearchEnv(evaluator=evaluator).close()
    assert not closed


def test_the_documented_info_is_what_comes(evaluator: SyntheticEvaluator) -> None:
    _, _, info = play(AKDSearchEnv(evaluator=evaluator), [0] * 35)
    documented = AKDSearchEnv.__doc__ or ""
    assert not [key for key in info if f"`{key}`" not in documented]


def test_made_by_module_and_id(evaluator: SyntheticEvaluator) -> None:
    env = gym.make("akd_gym:AKDSearch-v0", evaluator=evaluator)
    assert isinstance(env.unwrapped, akd_gym.envs.AKDSearchEnv)


def test_a_real_episode_on_this_machine(tiny_recipe: Recipe, own_machine: Path) -> None:
    ledger = own_machine / "ledger.sqlite"
    env = gym.make("AKDSearch-v0", teacher="shipped:resnet", recipe=tiny_recipe, ledger=ledger, seed=3)
    choices = env.unwrapped.space.reference
    observation, reward, info = play(env, choices)
    assert observation[-1] == 0.0  # by default the target is what the reference architecture costs here
    assert info["latency_ms"] == info["cost"] == info["target"] > 0
    assert (info["status"], info["cost_unit"], info["latency_kind"]) == ("ok", "ms", "host")
    assert reward == info["accuracy"] > 0  # on target there is no penalty
    assert not info["from_ledger"]

    observation, _ = env.reset(options={"target_ms": info["cost"] / 2})
    assert observation[-1] == pytest.approx(-math.log(2))
    _, halved, again = play(env, choices)
    assert halved == pytest.approx(reward - 0.05)
    assert again["from_ledger"]
    env.close()
    other = gym.make("AKDSearch-v0", teacher="shipped:resnet", recipe=tiny_recipe, ledger=ledger, seed=3)
    assert play(other, choices)[1:] == (reward, {**again, "target": info["target"]})
    other.close()


def test_gymnasium_checker_on_the_real_thing(tiny_recipe: Recipe) -> None:
    env = gym.make("AKDSearch-v0", teacher=None, cost="madds", recipe=tiny_recipe)
    check_env(env.unwrapped, skip_render_check=True)
    sb3_check_env(env)
    env.close()
