"""Searches that begin with what others have paid for and learned, on AKDBench."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from akd_gym.agents.checkpoints import latest_checkpoint
from akd_gym.agents.search import SearchObserver, read_outcomes, run_search
from akd_gym.agents.search_sb3 import Learner
from akd_gym.agents.settings import SearchSettings, read_search_name, read_settings, settings_for
from akd_gym.agents.warm_start import read_start
from akd_gym.bench.stand_in import make_bench_search_evaluator
from akd_gym.envs.task import SearchTask
from akd_gym.errors import CorruptFileError, InvalidSettingError, RunMismatchError, StorageError
from akd_gym.ledger import Ledger
from akd_gym.ledger_merge import merge_ledgers

BENCH = dataclasses.replace(settings_for(evaluator="bench"), agent="random", budget=16, seed=1)

OWN = """
from akd_gym.agents.play import Player
import numpy as np


def begun(env, budget, seed, *, start=()):
    "Plays what it is given first."
    player, rng = Player(env), np.random.default_rng(seed)
    for choices in [*start, *player.draw(rng, budget)][:budget]:
        player.play([choices])
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "starting_agents.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path / "agents")


class Paid(SearchObserver):
    """What was trained, and so paid for."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.architectures: list[str] = []
        self.stop_at = stop_at

    def trained(self, architecture: str, record: Any) -> None:
        self.architectures.append(architecture)
        if len(self.architectures) == self.stop_at:
            raise KeyboardInterrupt


@contextlib.contextmanager
def make_learner(settings: SearchSettings, run: Path) -> Iterator[OnPolicyAlgorithm]:
    """The algorithm as a search would begin, or go on, with it."""
    run.mkdir(exist_ok=True)
    evaluator = make_bench_search_evaluator(settings.teacher, run / "ledger.sqlite", seed=settings.seed)
    try:
        yield Learner(settings, run, SearchTask(evaluator=evaluator)).model
    finally:
        evaluator.close()


class TestEvaluations:
    @pytest.mark.parametrize("source", ["first", "first/ledger.sqlite"])
    def test_nothing_is_paid_twice(self, source: str, tmp_path: Path) -> None:
        """The same agent at another target plays the same architectures."""
        first = run_search(BENCH, tmp_path / "first")
        paid, said = Paid(), []
        settings = dataclasses.replace(BENCH, target_ms=0.02, warm_start=tmp_path / source)
        second = run_search(settings, tmp_path / "second", observer=paid, announce=said.append)
        assert paid.architectures == []
        assert said == [f"Taken over from {tmp_path / source}: 16 trainings and 17 latencies"]  # the reference's too
        assert [o.architecture for o in second.outcomes] == [o.architecture for o in first.outcomes]
        assert {o.reward for o in second.outcomes}.isdisjoint({o.reward for o in first.outcomes})

    def test_only_what_is_new_is_paid_for(self, tmp_path: Path) -> None:
        first = {o.architecture for o in run_search(BENCH, tmp_path / "first").outcomes}
        paid = Paid()
        settings = dataclasses.replace(BENCH, budget=24, warm_start=tmp_path / "first")
        result = run_search(settings, tmp_path / "second", observer=paid)
        assert set(paid.architectures) == {o.architecture for o in result.outcomes} - first
        assert len(paid.architectures) == 8
        with Ledger.open(tmp_path / "second" / "ledger.sqlite", read_only=True) as ledger:
            flags = [c.from_ledger for c in ledger.candidates(read_search_name(tmp_path / "second"))]
        assert flags == [True] * 16 + [False] * 8

    def test_latencies_serve_whoever_teaches(self, tmp_path: Path) -> None:
        run_search(BENCH, tmp_path / "first")
        said: list[str] = []
        settings = dataclasses.replace(BENCH, teacher="none", warm_start=tmp_path / "first")
        run_search(settings, tmp_path / "second", announce=said.append)
        assert said == [f"Taken over from {tmp_path / 'first'}: 0 trainings and 17 latencies"]

    def test_what_belongs_to_something_else(self, tmp_path: Path) -> None:
        run_search(dataclasses.replace(BENCH, cost="madds"), tmp_path / "first")
        other = dataclasses.replace(BENCH, cost="madds", teacher="none", seed=9, warm_start=tmp_path / "first")
        with pytest.raises(InvalidSettingError, match=r"none: its first training differs in recipe, teacher, seed\."):
            run_search(other, tmp_path / "second")
        assert not (tmp_path / "second").exists()
        run_search(dataclasses.replace(other, warm_start=None), tmp_path / "second")

    def test_what_is_not_there_or_broken(self, tmp_path: Path) -> None:
        with pytest.raises(StorageError, match="there is no such file"):
            run_search(dataclasses.replace(BENCH, warm_start=tmp_path / "nothing"), tmp_path / "run")
        (tmp_path / "folder").mkdir()
        with pytest.raises(RunMismatchError, match="must be the directory of a search"):
            run_search(dataclasses.replace(BENCH, warm_start=tmp_path / "folder"), tmp_path / "run")
        run_search(BENCH, tmp_path / "first")
        ledger = tmp_path / "first" / "ledger.sqlite"
        ledger.write_bytes(ledger.read_bytes()[:-5000])
        with pytest.raises(CorruptFileError, match="akd repair"):
            run_search(dataclasses.replace(BENCH, warm_start=tmp_path / "first"), tmp_path / "run")
        assert not (tmp_path / "run").exists()

    def test_a_third_search_pays_for_nothing_that_two_have_paid_for(self, tmp_path: Path) -> None:
        for seed, agent in enumerate(("random", "evolution")):
            run_search(dataclasses.replace(BENCH, agent=agent), tmp_path / str(seed))
        merged = tmp_path / "merged.sqlite"
        merge_ledgers([tmp_path / "0" / "ledger.sqlite", tmp_path / "1" / "ledger.sqlite"], merged)
        for agent in ("random", "evolution"):
            paid = Paid()
            settings = dataclasses.replace(BENCH, agent=agent, ledger=merged, target_ms=0.03)
            result = run_search(settings, tmp_path / f"third-{agent}", observer=paid)
            assert len(result.outcomes) == 16
            assert len(paid.architectures) <= 8  # evolution's first generation does not depend on the target
            if agent == "random":
                assert paid.architectures == []


class TestPolicies:
    @pytest.mark.parametrize("agent", ["ppo", "rnn"])
    def test_the_policy_is_taken_and_the_optimiser_is_not(self, agent: str, tmp_path: Path) -> None:
        settings = dataclasses.replace(BENCH, agent=agent)
        run_search(settings, tmp_path / "first")
        with make_learner(settings, tmp_path / "first") as learned:
            begun = dataclasses.replace(settings, policy=tmp_path / "first", seed=7)
            with make_learner(begun, tmp_path / "second") as learner, make_learner(settings, tmp_path / "new") as new:
                mine, theirs = learner.policy.state_dict(), learned.policy.state_dict()
                torch.testing.assert_close(mine, theirs, rtol=0, atol=0)
                assert not all(
                    torch.equal(a, b) for a, b in zip(mine.values(), new.policy.state_dict().values(), strict=True)
                )
                assert learner.policy.optimizer.state_dict()["state"] == {}
                assert learner.num_timesteps == 0

    def test_a_search_begun_with_a_policy_begins_better_and_is_resumed(self, tmp_path: Path) -> None:
        settings = dataclasses.replace(BENCH, agent="ppo", budget=160)
        first = run_search(settings, tmp_path / "first").outcomes
        begun = dataclasses.replace(settings, budget=16, policy=tmp_path / "first", seed=2)
        with pytest.raises(KeyboardInterrupt):
            run_search(begun, tmp_path / "second", observer=Paid(stop_at=9))
        shutil.rmtree(tmp_path / "first" / "checkpoints")  # what was taken is in the own checkpoint now
        result = run_search(begun, tmp_path / "second", resume=True)
        rewards = [outcome.reward for outcome in result.outcomes]
        assert sum(rewards) / 16 > sum(outcome.reward for outcome in first[:16]) / 16

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"agent": "rnn"}, "must be a run of the agent 'rnn', but .*first is of 'ppo'"),
            ({"policy": "nothing"}, "must be the directory of a search"),
        ],
    )
    def test_runs_that_have_no_such_policy(self, changes: dict[str, Any], message: str, tmp_path: Path) -> None:
        settings = dataclasses.replace(BENCH, agent="ppo", budget=8)
        run_search(settings, tmp_path / "first")
        if "policy" in changes:
            changes = {"policy": tmp_path / changes["policy"]}
        with pytest.raises(RunMismatchError, match=message):
            run_search(dataclasses.replace(settings, **({"policy": tmp_path / "first"} | changes)), tmp_path / "second")
        assert not (tmp_path / "second").exists()

    def test_a_run_without_a_checkpoint_or_of_another_space(self, tmp_path: Path) -> None:
        settings = dataclasses.replace(BENCH, agent="ppo", budget=8)
        run_search(settings, tmp_path / "first")
        document = json.loads((tmp_path / "first" / "settings.json").read_text())
        begun = dataclasses.replace(settings, policy=tmp_path / "first")
        shutil.move(tmp_path / "first" / "checkpoints", tmp_path / "kept")
        with pytest.raises(RunMismatchError, match=r"must be a run with a checkpoint, but .*first has none"):
            run_search(begun, tmp_path / "second")
        shutil.move(tmp_path / "kept", tmp_path / "first" / "checkpoints")
        proxy = document | {"evaluator": "proxy", "space": "mnas"}
        (tmp_path / "first" / "settings.json").write_text(json.dumps(proxy))
        with pytest.raises(RunMismatchError, match=r"over the same decisions as 'akd', but .*first searches 'mnas'"):
            run_search(begun, tmp_path / "second")
        (tmp_path / "first" / "settings.json").write_text(json.dumps(document))
        checkpoint = latest_checkpoint(tmp_path / "first")
        assert checkpoint is not None
        (checkpoint / "agent.zip").write_bytes(b"damaged")
        with pytest.raises(CorruptFileError, match="no policy can be taken"):
            run_search(begun, tmp_path / "second")


class TestStudents:
    def test_an_agent_that_takes_them_begins_with_the_best(self, own: None, tmp_path: Path) -> None:
        """By this search's target, whoever found them."""
        run_search(BENCH, tmp_path / "first")
        settings = dataclasses.replace(
            BENCH, agent="starting_agents:begun", policy=tmp_path / "first", target_ms=0.02, budget=20
        )
        with pytest.raises(KeyboardInterrupt):
            run_search(settings, tmp_path / "second", observer=Paid(stop_at=5))
        run_search(dataclasses.replace(BENCH, seed=8), tmp_path / "other")  # the earlier run may change meanwhile
        shutil.copy(tmp_path / "other" / "ledger.sqlite", tmp_path / "first" / "ledger.sqlite")
        result = run_search(settings, tmp_path / "second", resume=True)
        rewards = [outcome.reward for outcome in result.outcomes]
        assert rewards[:16] == sorted(rewards[:16], reverse=True)
        assert len(rewards) == 20
        start = read_start(tmp_path / "second")
        assert start is not None
        assert len(start) == 16

    def test_others_say_that_they_take_none(self, tmp_path: Path) -> None:
        run_search(BENCH, tmp_path / "first")
        with pytest.raises(InvalidSettingError, match=r"`policy` must go with an agent.*'random' takes none"):
            run_search(dataclasses.replace(BENCH, policy=tmp_path / "first"), tmp_path / "second")

    def test_a_run_that_weighs_another_cost(self, own: None, tmp_path: Path) -> None:
        run_search(dataclasses.replace(BENCH, cost="madds"), tmp_path / "first")
        settings = dataclasses.replace(BENCH, agent="starting_agents:begun", policy=tmp_path / "first")
        with pytest.raises(RunMismatchError, match=r"by cost in ms, but .*first weighs cost in madds"):
            run_search(settings, tmp_path / "second")

    def test_a_damaged_list_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "start.json").write_text('[["a"]]')
        with pytest.raises(CorruptFileError, match=r"start\.json must hold lists of options"):
            read_start(tmp_path)


def test_paths_are_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_search(BENCH, tmp_path / "first")
    monkeypatch.chdir(tmp_path)
    run_search(dataclasses.replace(BENCH, warm_start=Path("first")), Path("second"))
    assert read_settings(Path("second")).warm_start == tmp_path / "first"
    assert len(read_outcomes(Path("second")).outcomes) == 16
