from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from stable_baselines3 import PPO
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from akd_gym.agents.checkpoints import latest_checkpoint
from akd_gym.agents.search import SearchObserver, SearchResult, read_outcomes, run_search
from akd_gym.agents.settings import SearchSettings, read_search_name, read_settings
from akd_gym.analysis.outcomes import Outcome
from akd_gym.cost import count_cost
from akd_gym.errors import (
    CorruptFileError,
    InvalidSettingError,
    RunMismatchError,
    StorageError,
    UnknownNameError,
)
from akd_gym.ledger import Ledger
from akd_gym.recipes import RECIPES
from akd_gym.reward import INFEASIBLE_REWARD, Reward
from akd_gym.space import make_space

RECIPE = dataclasses.replace(RECIPES["fashion"], epochs=2, train_size=64, val_size=100, batch_size=32)
SETTINGS = SearchSettings(
    teacher="shipped:resnet", cost="madds", budget=16, round_size=4, workers=1, seed=5, recipe=RECIPE
)
"""16 students that train in a fraction of a second each."""

FOUR = """
from akd_gym.space import Decision, SearchSpace, Skeleton

skeleton = Skeleton("one", (1,), (8,), (2,), stem_channels=4, head_channels=8)
four = SearchSpace("four", [Decision(1, "kernel", (3, 5)), Decision(1, "filters", (1, 2))], skeleton)
"""
"""A user's own space: 4 architectures."""


@pytest.fixture
def four(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SearchSettings:
    """Settings of a search among 4 architectures by hard labels: over in a second."""
    (tmp_path / "spaces").mkdir()
    (tmp_path / "spaces" / "own_spaces.py").write_text(FOUR)
    monkeypatch.syspath_prepend(tmp_path / "spaces")
    return dataclasses.replace(SETTINGS, space="own_spaces:four", teacher="none")


class Recorder(SearchObserver):
    """Remembers what it is told, and interrupts the search at a training if asked to."""

    def __init__(self, stop_at_training: int | None = None) -> None:
        self.began: list[tuple[float, str, int]] = []
        self.trainings: list[str] = []
        self.rounds: list[tuple[int, int]] = []
        self.stop_at_training = stop_at_training

    def begin(self, settings: SearchSettings, target: float, unit: str, earlier: Sequence[Outcome]) -> None:
        self.began.append((target, unit, len(earlier)))

    def trained(self, architecture: str, record: Any) -> None:
        self.trainings.append(architecture)
        if len(self.trainings) == self.stop_at_training:
            raise KeyboardInterrupt

    def round_done(self, number: int, infos: Any, rewards: Any, seconds: float) -> None:
        self.rounds.append((number, len(infos)))


class Whole:
    """A search that nobody interrupted."""

    def __init__(self, run: Path) -> None:
        self.run, self.observer = run, Recorder()
        self.result = run_search(SETTINGS, run, observer=self.observer)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, own_cache: None) -> Whole:
    return Whole(tmp_path_factory.mktemp("whole") / "run")


def sequence(result: SearchResult) -> list[tuple[int, str, float | None, float]]:
    return [(o.number, o.architecture, o.accuracy, o.reward) for o in result.outcomes]


def trainings(run: Path) -> Counter[str]:
    """How often each architecture was trained."""
    with Ledger.open(run / "ledger.sqlite", read_only=True) as ledger:
        return Counter(architecture for _, architecture, _, _ in ledger.trainings())


def scalars(run: Path) -> EventAccumulator:
    [folder] = (run / "tensorboard").iterdir()  # a resumed search goes on in the same one
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def test_every_candidate_is_in_the_ledger_in_order(whole: Whole) -> None:
    space = make_space("akd", "small")
    with Ledger.open(whole.run / "ledger.sqlite", read_only=True) as ledger:
        candidates = list(ledger.candidates(read_search_name(whole.run)))
        counts = ledger.counts()
    assert [(c.number, c.round) for c in candidates] == [(n, n // 4) for n in range(16)]
    for candidate in candidates:
        network = space.network(candidate.choices)
        assert candidate.architecture == str(network)
        assert (candidate.madds, candidate.params) == count_cost(network, 28, 1, 10)
    distinct = {c.architecture for c in candidates}
    assert trainings(whole.run) == Counter(distinct)
    assert counts["candidates"] == 16
    assert counts["latencies"] == 0


def test_the_result_is_what_the_ledger_holds(whole: Whole) -> None:
    result = whole.result
    reference = make_space("akd", "small")
    target = count_cost(reference.network(reference.reference), 28, 1, 10).madds
    assert (result.target, result.unit) == (target, "madds")
    reward = Reward("absolute")
    for outcome in result.outcomes:
        assert outcome.accuracy is not None
        assert outcome.reward == reward(outcome.accuracy, outcome.madds, target)
    assert sequence(read_outcomes(whole.run)) == sequence(result)


def test_the_observer_is_told_everything(whole: Whole) -> None:
    assert whole.observer.began == [(whole.result.target, "madds", 0)]
    assert whole.observer.rounds == [(0, 4), (1, 4), (2, 4), (3, 4)]
    assert Counter(whole.observer.trainings) == trainings(whole.run)


def test_settings_checkpoint_and_logs_lie_beside_the_ledger(whole: Whole) -> None:
    assert read_settings(whole.run) == SETTINGS
    checkpoint = latest_checkpoint(whole.run)
    assert checkpoint is not None
    assert PPO.load(checkpoint / "agent.zip").num_timesteps == 16 * 35
    events = scalars(whole.run)
    rewards = [outcome.reward for outcome in whole.result.outcomes]
    best = events.Scalars("search/best_reward")
    assert [event.step for event in best] == [4 * 35, 8 * 35, 12 * 35, 16 * 35]
    assert [event.value for event in best] == pytest.approx([max(rewards[:n]) for n in (4, 8, 12, 16)])
    means = [sum(o.madds for o in whole.result.outcomes[n : n + 4]) / 4 for n in (0, 4, 8, 12)]
    assert [event.value for event in events.Scalars("search/madds")] == pytest.approx(means)
    assert {"search/accuracy", "search/mean_reward", "search/infeasible", "search/from_ledger"} <= set(
        events.Tags()["scalars"]
    )


def test_equal_architectures_are_trained_once(four: SearchSettings, tmp_path: Path) -> None:
    result = run_search(four, tmp_path / "run")
    distinct = {outcome.architecture for outcome in result.outcomes}
    assert len(result.outcomes) == 16
    assert len(distinct) <= 4
    assert trainings(tmp_path / "run") == Counter(distinct)
    for architecture in distinct:
        assert len({(o.accuracy, o.reward) for o in result.outcomes if o.architecture == architecture}) == 1


@pytest.mark.parametrize(("budget", "round_size"), [(4, 4), (12, 4), (15, 5), (3, 1), (20, 20)])
def test_the_budget_is_kept_whatever_an_update_needs(
    four: SearchSettings, tmp_path: Path, budget: int, round_size: int
) -> None:
    """PPO learns from at least 8 episodes at a time, which need not divide the budget."""
    settings = dataclasses.replace(four, budget=budget, round_size=round_size)
    observer = Recorder()
    result = run_search(settings, tmp_path / "run", observer=observer)
    assert [outcome.number for outcome in result.outcomes] == list(range(budget))
    assert observer.rounds == [(n, round_size) for n in range(budget // round_size)]


def test_infeasible_candidates_do_not_stop_a_search(four: SearchSettings, tmp_path: Path) -> None:
    recipe = dataclasses.replace(RECIPE, learning_rate=1e30)
    result = run_search(dataclasses.replace(four, recipe=recipe), tmp_path / "run")
    assert {(o.reason, o.accuracy, o.reward) for o in result.outcomes} == {("diverged", None, INFEASIBLE_REWARD)}
    assert [e.value for e in scalars(tmp_path / "run").Scalars("search/infeasible")] == [4.0] * 4


@pytest.mark.slow
def test_latency_on_this_machine(four: SearchSettings, tmp_path: Path, own_machine: Path) -> None:
    settings = dataclasses.replace(four, cost="latency", budget=8)
    result = run_search(settings, tmp_path / "run")
    assert result.unit == "ms"
    assert result.target > 0
    distinct = {outcome.architecture for outcome in result.outcomes}
    for outcome in result.outcomes:
        assert outcome.cost == outcome.latency_ms
        assert outcome.cost is not None
        assert outcome.cost > 0
    with Ledger.open(tmp_path / "run" / "ledger.sqlite", read_only=True) as ledger:
        assert len(distinct) <= ledger.counts()["latencies"] <= len(distinct) + 1  # and the reference
        kinds = {e.latency["kind"] for e in ledger.evaluations(read_search_name(tmp_path / "run")) if e.latency}
    assert kinds == {"host"}
    again = Recorder()
    assert sequence(run_search(settings, tmp_path / "run", resume=True, observer=again)) == sequence(result)
    assert again.trainings == []


# Stopped and continued


@pytest.mark.parametrize("stop_at", [1, 7, 12, 16])
def test_stopped_anywhere_it_goes_on_as_if_nothing_had_happened(whole: Whole, tmp_path: Path, stop_at: int) -> None:
    first, second = Recorder(stop_at_training=stop_at), Recorder()
    with pytest.raises(KeyboardInterrupt):
        run_search(SETTINGS, tmp_path / "run", observer=first)
    result = run_search(SETTINGS, tmp_path / "run", resume=True, observer=second)
    assert sequence(result) == sequence(whole.result)
    assert Counter(first.trainings + second.trainings) == trainings(whole.run)
    assert trainings(tmp_path / "run") == trainings(whole.run)
    [(_, _, earlier)] = second.began
    assert earlier == (stop_at - 1) // 8 * 8  # an update, and so a checkpoint, is two rounds of 4
    best = {event.step: event.value for event in scalars(tmp_path / "run").Scalars("search/best_reward")}
    assert best == {event.step: event.value for event in scalars(whole.run).Scalars("search/best_reward")}


def search_process(run: Path, *, workers: int) -> subprocess.Popen[str]:
    """`akd search` with the settings of `SETTINGS`, in a session of its own."""
    code = "import sys; from akd_gym.cli import main; sys.exit(main())"
    recipe = {"epochs": 2, "train-size": 64, "val-size": 100, "batch-size": 32}
    options = {"teacher": "shipped:resnet", "cost": "madds", "budget": 16, "round-size": 4, "seed": 5}
    words = [f"--{name}={value}" for name, value in options.items()]
    words += [f"--recipe.{name}={value}" for name, value in recipe.items()]
    return subprocess.Popen(
        [sys.executable, "-c", code, "search", f"--run={run}", f"--workers={workers}", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def workers_of(pid: int) -> list[str]:
    """Command lines of the workers that a search has started (Linux)."""
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has just ended
            lines.append(file.read_bytes().decode(errors="replace"))
    return [line for line in lines if re.search(rf"serve\(\d+, {pid}\)", line)]


def wait_for_trainings(process: subprocess.Popen[str], run: Path, count: int) -> None:
    """Return as soon as the ledger holds so many trainings."""
    while process.poll() is None:
        try:
            with Ledger.open(run / "ledger.sqlite", read_only=True) as ledger:
                if ledger.counts()["trainings"] >= count:
                    return
        except (StorageError, CorruptFileError):
            pass  # not there, or not ready yet
        time.sleep(0.02)
    pytest.fail(f"It ended too early: {process.communicate()}")


@pytest.mark.slow
def test_killed_in_the_middle_of_a_round(whole: Whole, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = search_process(run, workers=1)
    wait_for_trainings(process, run, 6)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    survived = trainings(run)
    assert 6 <= len(survived) < 16
    observer = Recorder()
    result = run_search(SETTINGS, run, resume=True, observer=observer)
    assert sequence(result) == sequence(whole.result)
    assert trainings(run) == trainings(whole.run)
    assert not set(observer.trainings) & set(survived)


@pytest.mark.slow
def test_ctrl_c_ends_cleanly_and_says_how_to_go_on(whole: Whole, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = search_process(run, workers=2)
    wait_for_trainings(process, run, 3)
    assert len(workers_of(process.pid)) == 2
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"akd search --resume {run}" in output
    assert "Traceback" not in output + errors
    assert workers_of(process.pid) == []
    result = run_search(SETTINGS, run, resume=True)  # with another number of workers
    assert sequence(result) == sequence(whole.result)
    assert trainings(run) == trainings(whole.run)


def test_a_finished_search_only_shows_what_it_found(whole: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even data and teacher are loaded."""
    observer = Recorder()
    monkeypatch.setattr("akd_gym.agents.search.make_evaluator", None)
    assert sequence(run_search(SETTINGS, whole.run, resume=True, observer=observer)) == sequence(whole.result)
    assert (observer.began, observer.trainings, observer.rounds) == ([], [], [])


def test_without_its_checkpoint_a_search_replays_the_ledger(four: SearchSettings, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_search(four, tmp_path / "run", observer=Recorder(stop_at_training=3))
    checkpoint = latest_checkpoint(tmp_path / "run")
    assert checkpoint is not None
    (checkpoint / "agent.zip").write_bytes(b"damaged")
    with pytest.raises(CorruptFileError, match="the ledger keeps every evaluation"):
        run_search(four, tmp_path / "run", resume=True)
    for file in checkpoint.iterdir():
        file.unlink()
    checkpoint.rmdir()
    result = run_search(four, tmp_path / "run", resume=True)
    assert sequence(result) == sequence(run_search(four, tmp_path / "unbroken"))
    assert max(trainings(tmp_path / "run").values()) == 1


def test_other_settings_are_refused_and_named(four: SearchSettings, tmp_path: Path) -> None:
    run_search(dataclasses.replace(four, budget=4), tmp_path / "run")
    other = dataclasses.replace(four, budget=4, seed=9, recipe=dataclasses.replace(RECIPE, epochs=3))
    for resume in (True, False):
        with pytest.raises(RunMismatchError, match=r"differs in recipe\.epochs, seed\. "):
            run_search(other, tmp_path / "run", resume=resume)
    run_search(dataclasses.replace(four, budget=4, workers=3), tmp_path / "run", resume=True)


def test_a_run_directory_is_never_begun_twice(four: SearchSettings, tmp_path: Path) -> None:
    run_search(dataclasses.replace(four, budget=4), tmp_path / "run")
    with pytest.raises(RunMismatchError, match=r"Continue it with `akd search --resume"):
        run_search(dataclasses.replace(four, budget=4), tmp_path / "run")


def test_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(RunMismatchError, match=r"must hold a search to resume, but it has no settings\.json"):
        run_search(SETTINGS, tmp_path / "nothing", resume=True)
    assert not (tmp_path / "nothing").exists()


def test_two_processes_do_not_search_in_one_directory(four: SearchSettings, tmp_path: Path) -> None:
    class Second(Recorder):
        def round_done(self, number: int, infos: Any, rewards: Any, seconds: float) -> None:
            with pytest.raises(RunMismatchError, match="another process is searching in it"):
                run_search(four, tmp_path / "run", resume=True)
            super().round_done(number, infos, rewards, seconds)

    observer = Second()
    run_search(four, tmp_path / "run", observer=observer)
    assert len(observer.rounds) == 4


# Directories and ledgers


def test_a_run_directory_may_be_moved(four: SearchSettings, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_search(four, tmp_path / "run", observer=Recorder(stop_at_training=3))
    (tmp_path / "run").rename(tmp_path / "moved")
    result = run_search(four, tmp_path / "moved", resume=True)
    assert sequence(result) == sequence(run_search(four, tmp_path / "unbroken"))
    assert not (tmp_path / "run").exists()


def test_searches_that_share_a_ledger_share_trainings_but_not_candidates(
    four: SearchSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if their directories have the same name, and wherever they are called from."""
    monkeypatch.chdir(tmp_path)
    shared = dataclasses.replace(four, ledger=Path("shared.sqlite"))
    first = run_search(shared, tmp_path / "a" / "run")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    second = run_search(dataclasses.replace(shared, ledger=Path("../shared.sqlite"), seed=6), tmp_path / "b" / "run")
    alone = run_search(dataclasses.replace(four, seed=6), tmp_path / "alone")
    assert sequence(second) == sequence(alone)
    assert sequence(first) != sequence(second)
    assert sequence(read_outcomes(tmp_path / "a" / "run")) == sequence(first)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"space": "akdd"}, UnknownNameError, "Unknown space 'akdd'"),
        ({"teacher": "shipped:resnett"}, UnknownNameError, "Did you mean 'shipped:resnet'"),
        ({"data": "fashon"}, UnknownNameError, "Did you mean 'fashion'"),
        ({"device": "tpu"}, InvalidSettingError, "`device` must be one that torch can use here.*'tpu'"),
        ({"cost": "latency", "latency": "phone"}, StorageError, "`akd phones setup` fetches it"),
    ],
)
def test_a_search_that_cannot_begin_leaves_nothing(
    changes: dict[str, Any], error: type[Exception], message: str, four: SearchSettings, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        run_search(dataclasses.replace(four, **changes), tmp_path / "runs" / "run")
    assert not (tmp_path / "runs" / "run").exists()
    run_search(dataclasses.replace(four, budget=4), tmp_path / "runs" / "run")  # so the corrected command works


def test_what_was_not_searched_has_no_outcomes(four: SearchSettings, tmp_path: Path) -> None:
    with pytest.raises(RunMismatchError, match="must be the directory of a search"):
        read_outcomes(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run_search(four, tmp_path / "run", observer=Recorder(stop_at_training=1))
    with pytest.raises(RunMismatchError, match="must have evaluated a round, but it has not yet"):
        read_outcomes(tmp_path / "run")


def test_a_damaged_ledger_is_named(four: SearchSettings, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_search(four, tmp_path / "run", observer=Recorder(stop_at_training=2))
    path = tmp_path / "run" / "ledger.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("UPDATE trainings SET accuracy = 0.5")  # a whole file, but not what was written
    connection.commit()
    connection.close()
    with pytest.raises(CorruptFileError, match=r"ledger\.sqlite` is damaged.*`akd repair"):
        run_search(four, tmp_path / "run", resume=True)


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder that nobody may write to, not even root."""
    folder = tmp_path / "read_only"
    folder.mkdir()
    if os.geteuid() != 0:
        folder.chmod(0o555)
        yield folder
        folder.chmod(0o755)
    elif subprocess.run(["chattr", "+i", folder], capture_output=True, check=False).returncode == 0:
        yield folder
        subprocess.run(["chattr", "-i", folder], check=True)
    else:
        yield Path("/proc/self")


def test_a_read_only_directory(read_only: Path, four: SearchSettings) -> None:
    for run in (read_only, read_only / "run"):
        with pytest.raises(StorageError, match=f"The run directory {run} cannot be written"):
            run_search(four, run)


def test_a_directory_below_a_file(four: SearchSettings, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="file/run cannot be written: Not a directory"):
        run_search(four, tmp_path / "file" / "run")
