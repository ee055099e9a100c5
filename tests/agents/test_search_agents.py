"""Searches by any agent, on AKDBench, where they take a second."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from akd_gym.agents.checkpoints import latest_checkpoint
from akd_gym.agents.search import SearchObserver, SearchResult, read_outcomes, run_search
from akd_gym.agents.settings import SearchSettings, read_search_name, read_settings, settings_for
from akd_gym.errors import InvalidSettingError, RunMismatchError, UnknownNameError
from akd_gym.ledger import Ledger

ASSETS = Path(__file__).parents[1] / "assets"
BENCH = dataclasses.replace(settings_for(evaluator="bench"), budget=24, round_size=8, seed=3)

OWN = """
import pathlib

import numpy as np
from akd_gym.agents.play import Player


def greedy(env, budget, seed):
    "Never has enough."
    player, rng = Player(env), np.random.default_rng(seed)
    while True:
        player.play(player.draw(rng, 5))


def stepwise(env, budget, seed):
    "Plays in the environment itself, one decision at a time."
    rng = np.random.default_rng(seed)
    for _ in range(budget):
        env.reset()
        over = False
        while not over:
            over = env.step(int(rng.choice(np.flatnonzero(env.action_masks()))))[2]


def fickle(env, budget, seed):
    "Plays something else each time that it is asked."
    count = pathlib.Path(__file__).with_name("count")
    seed = len(count.read_text()) if count.exists() else 0
    count.write_text("x" * (seed + 1))
    player, rng = Player(env), np.random.default_rng(seed)
    for _ in range(budget):
        player.play(player.draw(rng, 1))


def lazy(env, budget, seed):
    pass


def broken(env, budget, seed):
    player, rng = Player(env), np.random.default_rng(seed)
    player.play(player.draw(rng, 3))
    raise ZeroDivisionError("my own mistake")


def begun(env, budget, seed, *, start=()):
    "Plays what it is given first."
    player, rng = Player(env), np.random.default_rng(seed)
    player.play([*start, *player.draw(rng, budget)][:budget])
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Agents of a user's own, in a module `own_agents`."""
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "own_agents.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path / "agents")
    monkeypatch.delitem(sys.modules, "own_agents", raising=False)


class Recorder(SearchObserver):
    """Remembers what it is told, and interrupts the search at a training if asked to."""

    def __init__(self, stop_at_training: int | None = None) -> None:
        self.earlier, self.trained_now, self.shown = 0, 0, 0
        self.stop_at_training = stop_at_training

    def begin(self, settings: SearchSettings, target: float, unit: str, earlier: Any) -> None:
        self.earlier = len(earlier)

    def trained(self, architecture: str, record: Any) -> None:
        self.trained_now += 1
        if self.trained_now == self.stop_at_training:
            raise KeyboardInterrupt

    def round_done(self, number: int, infos: Any, rewards: Any, seconds: float) -> None:
        self.shown += len(infos)


def sequence(result: SearchResult) -> list[tuple[int, str, float | None, float | None, float]]:
    return [(o.number, o.architecture, o.accuracy, o.cost, o.reward) for o in result.outcomes]


@pytest.mark.parametrize(
    "agent", ["rnn", "random", "evolution", "local_search", "tpe", "reinforce", "a2c", "own_agents:stepwise"]
)
def test_stopped_and_resumed_any_agent_goes_on_as_if_nothing_had_happened(
    agent: str, own: None, tmp_path: Path
) -> None:
    settings = dataclasses.replace(BENCH, agent=agent)
    unbroken = Recorder()
    whole = run_search(settings, tmp_path / "whole", observer=unbroken)
    assert [outcome.number for outcome in whole.outcomes] == list(range(24))
    assert unbroken.shown == 24
    first, second = Recorder(stop_at_training=unbroken.trained_now - 2), Recorder()
    with pytest.raises(KeyboardInterrupt):
        run_search(settings, tmp_path / "run", observer=first)
    result = run_search(settings, tmp_path / "run", resume=True, observer=second)
    assert sequence(result) == sequence(whole)
    assert second.earlier + second.shown == 24
    assert second.earlier > 0
    assert second.trained_now < unbroken.trained_now
    assert list((tmp_path / "run" / "tensorboard").iterdir())
    assert (latest_checkpoint(tmp_path / "run") is not None) == (agent == "rnn")


def test_seeds_and_agents_differ(tmp_path: Path) -> None:
    settings = [
        dataclasses.replace(BENCH, agent=agent, seed=seed, budget=8) for agent in ("random", "rnn") for seed in (0, 1)
    ]
    found = [run_search(one, tmp_path / str(index)) for index, one in enumerate(settings)]
    assert len({str(sequence(result)) for result in found}) == 4


def test_a_budget_need_not_be_whole_rounds_of_agents_that_have_none(tmp_path: Path) -> None:
    result = run_search(dataclasses.replace(BENCH, agent="random", budget=11), tmp_path / "run")
    assert len(result.outcomes) == 11


def test_an_agent_that_wants_more_is_stopped_at_its_budget(own: None, tmp_path: Path) -> None:
    """Rounds of 5 of a budget of 12: two are whole, a third would be too much."""
    settings = dataclasses.replace(BENCH, agent="own_agents:greedy", budget=12)
    assert len(run_search(settings, tmp_path / "run").outcomes) == 10
    assert len(run_search(settings, tmp_path / "run", resume=True).outcomes) == 10
    exact = dataclasses.replace(settings, budget=15)
    assert len(run_search(exact, tmp_path / "exact").outcomes) == 15


def test_an_agent_that_does_not_repeat_itself_is_refused_and_nothing_is_lost(own: None, tmp_path: Path) -> None:
    settings, run = dataclasses.replace(BENCH, agent="own_agents:fickle"), tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run_search(settings, run, observer=Recorder(stop_at_training=5))
    before = sequence(read_outcomes(run))
    assert len(before) == 4
    with pytest.raises(RunMismatchError, match=r"candidate 0 is not the one in the ledger.*--warm-start"):
        run_search(settings, run, resume=True)
    assert sequence(read_outcomes(run)) == before


def test_an_agent_that_plays_nothing(own: None, tmp_path: Path) -> None:
    with pytest.raises(InvalidSettingError, match="'own_agents:lazy' must play at least one episode"):
        run_search(dataclasses.replace(BENCH, agent="own_agents:lazy"), tmp_path / "run")


def test_an_agent_that_raises_keeps_what_it_has_played(own: None, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError, match="my own mistake"):
        run_search(dataclasses.replace(BENCH, agent="own_agents:broken"), tmp_path / "run")
    assert len(read_outcomes(tmp_path / "run").outcomes) == 3


@pytest.mark.parametrize(
    ("agent", "error", "message"),
    [
        ("evolutoin", UnknownNameError, "Did you mean 'evolution'"),
        ("nowhere:agent", InvalidSettingError, "nowhere"),
        ("own_agents:OWN", InvalidSettingError, "OWN"),
    ],
)
def test_no_such_agent(agent: str, error: type[Exception], message: str, own: None, tmp_path: Path) -> None:
    with pytest.raises(error, match=message):
        run_search(dataclasses.replace(BENCH, agent=agent), tmp_path / "run")
    assert not (tmp_path / "run").exists()


# Run directories of schema version 1, which knew PPO on the proxy task only


@pytest.fixture
def old_run(tmp_path: Path) -> Path:
    """Stopped in its third round of four, after the checkpoint of the second."""
    return shutil.copytree(ASSETS / "run-v1", tmp_path / "run-v1")


def test_an_old_run_is_read(old_run: Path) -> None:
    settings = read_settings(old_run)
    assert (settings.agent, settings.evaluator, settings.warm_start, settings.policy) == ("ppo", "proxy", None, None)
    assert len(read_outcomes(old_run).outcomes) == 8


def test_an_old_run_is_resumed(old_run: Path) -> None:
    before = sequence(read_outcomes(old_run))
    observer = Recorder()
    result = run_search(read_settings(old_run), old_run, resume=True, observer=observer)
    assert sequence(result)[:8] == before
    assert len(result.outcomes) == 16
    assert (observer.earlier, observer.shown) == (8, 8)


# On the benchmark


def test_the_ledger_says_that_nothing_was_trained(tmp_path: Path) -> None:
    from akd_gym.bench.evaluator import BenchEvaluator

    settings, run = dataclasses.replace(BENCH, agent="random", teacher="shipped:mixer"), tmp_path / "run"
    run_search(settings, run)
    bench = BenchEvaluator("shipped:mixer", seed=settings.seed)
    with Ledger.open(run / "ledger.sqlite", read_only=True) as ledger:
        for found in ledger.evaluations(read_search_name(run)):
            [answer] = bench.evaluate([found.candidate.choices])
            assert found.training is not None
            assert found.latency is not None
            assert (found.accuracy, found.latency_ms) == (answer.accuracy, answer.latency_ms)
            assert found.training.seconds == answer.seconds
            assert (found.latency["kind"], found.latency["device"]) == ("predicted", "AKDBench")
            training = ledger.identity(found.candidate.training_context)
            latency = ledger.identity(str(found.candidate.latency_context))
            assert training is not None
            assert latency is not None
            assert (training["kind"], training["bench"], training["teacher"]) == (
                "training",
                bench.hash,
                {"name": "shipped:mixer"},
            )
            assert (latency["kind"], latency["bench"]) == ("predicted", bench.hash)


def test_the_benchmark_by_multiply_adds(tmp_path: Path) -> None:
    settings = dataclasses.replace(BENCH, agent="random", cost="madds", teacher="none", budget=8)
    result = run_search(settings, tmp_path / "run")
    assert result.unit == "madds"
    assert all(outcome.cost == outcome.madds and outcome.latency_ms is None for outcome in result.outcomes)


def test_checkpoints_are_rare_where_evaluations_are_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An update learns from one round of 8: 15 of them, and a checkpoint after every 2 at most, and at the end."""
    monkeypatch.setattr("akd_gym.agents.search_sb3._FREE_CHECKPOINTS", 8)
    saved: list[int] = []
    from akd_gym.agents import search_sb3

    def save(run: Path, model: Any) -> Path:
        saved.append(model.num_timesteps // 35)
        return Path()

    monkeypatch.setattr(search_sb3, "save_checkpoint", save)
    run_search(dataclasses.replace(BENCH, budget=120), tmp_path / "run")
    assert saved == [0, 16, 32, 48, 64, 80, 96, 112, 120]


@pytest.mark.slow
@pytest.mark.parametrize("share", [1.0, 0.5])
def test_finalists_cost_what_was_aimed_at(share: float, tmp_path: Path) -> None:
    """The ten best rewards of 1,000 candidates, at the reference architecture's cost and at half of it."""
    from akd_gym.bench.evaluator import BenchEvaluator

    torch.set_num_threads(1)
    target = share * BenchEvaluator().reference_cost()
    settings = dataclasses.replace(BENCH, budget=1_000, seed=0, target_ms=target)
    outcomes = run_search(settings, tmp_path / "run").outcomes
    finalists = sorted({o.architecture: o for o in outcomes}.values(), key=lambda o: -o.reward)[:10]
    costs = sorted(outcome.cost or 0.0 for outcome in finalists)
    assert (costs[4] + costs[5]) / 2 == pytest.approx(target, rel=0.1)
