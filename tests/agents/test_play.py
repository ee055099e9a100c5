from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from akd_gym.agents.play import Player, round_size, rounds
from akd_gym.envs.search import AKDSearchEnv
from akd_gym.envs.synthetic import SyntheticEvaluator
from akd_gym.errors import InvalidArchitectureError, InvalidSettingError


@pytest.fixture
def env(evaluator: SyntheticEvaluator) -> AKDSearchEnv:
    return AKDSearchEnv(evaluator=evaluator)


def test_a_round_earns_what_single_episodes_do(env: AKDSearchEnv) -> None:
    player = Player(env)
    batch = player.draw(np.random.default_rng(0), 5)
    for played, choices in zip(player.play(batch), batch, strict=True):
        env.reset()
        for action in choices:
            _, reward, _, _, info = env.step(action)
        assert (played.choices, played.reward) == (choices, reward)
        assert played.info.pop("from_ledger") is False
        assert info.pop("from_ledger") is True
        np.testing.assert_equal(played.info, info)  # NaN, as the latency here, equals NaN
        assert {key: type(value) for key, value in played.info.items()} == {k: type(v) for k, v in info.items()}


def test_the_target_is_the_environments_own(env: AKDSearchEnv) -> None:
    player, architecture = Player(env), [env.space.reference]
    [at_reference] = player.play(architecture)
    env.reset(options={"target": env.target / 2})
    [at_half] = player.play(architecture)
    assert at_half.info["target"] == at_reference.info["target"] / 2
    assert at_reference.reward - at_half.reward == pytest.approx(0.05)  # twice the target: |2 - 1| * 0.05


def test_a_watch_sees_every_round_and_may_refuse_one(env: AKDSearchEnv, evaluator: SyntheticEvaluator) -> None:
    class Limit:
        left = 5

        def before(self, count: int) -> None:
            if count > self.left:
                raise RuntimeError("spent")
            self.left -= count

        def after(self, rewards: object, infos: object) -> None: ...

    env.task.watch = limit = Limit()
    player = Player(env)
    assert len(player.play([env.space.reference] * 3)) == 3  # repeated ones count too
    with pytest.raises(RuntimeError, match="spent"):
        player.play([env.space.reference] * 3)
    assert len(player.play([env.space.reference] * 2)) == 2
    assert limit.left == 0
    assert player.play([]) == []


def test_wrapped_environments_and_the_registered_one(evaluator: SyntheticEvaluator) -> None:
    env = gym.wrappers.RecordEpisodeStatistics(gym.make("AKDSearch-v0", evaluator=evaluator))
    assert Player(env).play([evaluator.space.reference])[0].info["status"] == "ok"


def test_its_end_does_not_close_the_task(env: AKDSearchEnv) -> None:
    closed = []
    env.task.close = lambda: closed.append(1)  # type: ignore[method-assign]
    player = Player(env)
    player.play([env.space.reference])
    del player
    assert closed == []


def test_draws_are_uniform_over_each_decision(env: AKDSearchEnv) -> None:
    player = Player(env)
    assert player.option_counts == (4, 4, 2, 3, 3) * 7
    drawn = np.array(player.draw(np.random.default_rng(0), 3_000))
    for decision, count in enumerate(player.option_counts):
        shares = np.bincount(drawn[:, decision], minlength=count) / len(drawn)
        assert shares == pytest.approx(np.full(count, 1 / count), abs=4 * 0.5 / 3_000**0.5)  # four standard errors


def test_what_is_no_architecture_is_not_evaluated(env: AKDSearchEnv) -> None:
    player = Player(env)
    with pytest.raises(InvalidArchitectureError, match="takes 35 choices, but got 2"):
        player.play([env.space.reference, (0, 0)])
    with pytest.raises(InvalidArchitectureError, match=r"`block1.conv_op` must be from 0 to 3, but got 4"):
        player.play([env.space.reference, (4, *env.space.reference[1:])])
    assert not player.play([env.space.reference])[0].info["from_ledger"]


def test_an_environment_of_somebody_else() -> None:
    with pytest.raises(InvalidSettingError, match="`env` must be like AKDSearch-v0"):
        Player(gym.make("CartPole-v1"))


@pytest.mark.parametrize(
    ("budget", "size", "sizes"),
    [(7, None, [2, 2, 2, 1]), (1, 8, [1]), (7, 8, [7]), (8, 8, [8]), (97, 40, [40, 40, 17]), (3, 1, [1, 1, 1])],
)
def test_rounds_spend_the_budget_exactly(budget: int, size: int, sizes: list[int]) -> None:
    assert list(rounds(budget, size)) == sizes


@pytest.mark.parametrize("budget", [0, -3])
def test_no_budget(budget: int) -> None:
    with pytest.raises(InvalidSettingError, match=f"`budget` must be at least 1 evaluation, but got {budget}"):
        rounds(budget)


@pytest.mark.parametrize(("budget", "size"), [(1, 2), (74, 2), (75, 3), (100, 4), (200, 8), (10_000, 8)])
def test_small_budgets_are_spent_in_small_rounds(budget: int, size: int) -> None:
    assert round_size(budget) == size
