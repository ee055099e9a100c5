"""The competition: what is metered, what disqualifies, what is kept, and that it goes on where it was stopped."""

from __future__ import annotations

import functools
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from akd_gym.agents.competition import (
    CompetitionObserver,
    CompetitionSettings,
    Meter,
    play_agent,
    read_competition,
    run_competition,
    runner,
)
from akd_gym.agents.competition.benchmark import best_on_benchmark, make_env, resolve
from akd_gym.agents.competition.best_known import find_best
from akd_gym.agents.competition.runner import BEST_FILE, check_agents
from akd_gym.agents.competition.settings import read_settings, settle
from akd_gym.agents.competition.storage import log_file, read_run, run_file, write_run
from akd_gym.agents.play import Player
from akd_gym.agents.random_search import random_search
from akd_gym.analysis.competition import AgentRun
from akd_gym.bench.evaluator import BenchEvaluator
from akd_gym.errors import (
    BudgetExceededError,
    CorruptFileError,
    InvalidSettingError,
    RunMismatchError,
    SchemaVersionError,
    StorageError,
    UnknownNameError,
)
from akd_gym.reward import Reward

OWN_AGENTS = """
import os, sys, time
import numpy as np
from akd_gym.agents.play import Player
from akd_gym.agents.random_search import random_search

def cautious(env, budget, seed):
    print("only half of it")
    random_search(env, budget // 2, seed)

def raises(env, budget, seed):
    random_search(env, 3, seed)
    raise ValueError("out of\\nideas")

def dies(env, budget, seed):
    random_search(env, 3, seed)
    os._exit(3)

def greedy(env, budget, seed):
    random_search(env, budget + 1, seed)

def dies_of_odd_seeds(env, budget, seed):
    if seed % 2:
        os._exit(3)
    random_search(env, budget, seed)

def sleeps(env, budget, seed):
    print(os.getpid(), flush=True)
    random_search(env, 1, seed)
    time.sleep(600)
"""
"""A user's module of agents."""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "their code"
    folder.mkdir()
    (folder / "own_agents.py").write_text(OWN_AGENTS)
    monkeypatch.syspath_prepend(folder)


@pytest.fixture(scope="module")
def settings() -> CompetitionSettings:
    return resolve(CompetitionSettings(budget=16))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "competition"


@pytest.fixture(autouse=True, scope="module")
def best_found_once():
    """The best of a benchmark takes seconds to find, and is the same for all competitions here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "best_on_benchmark", functools.cache(best_on_benchmark))
        yield


class Recorder(CompetitionObserver):
    """Remembers what it is told, and interrupts after so many runs if asked to."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.began: tuple[int, int] | None = None
        self.evaluations: list[int] = []
        self.runs: list[AgentRun] = []
        self.stop_after = stop_after

    def begin(self, settings: CompetitionSettings, jobs: int, kept: int) -> None:
        self.began = jobs, kept

    def evaluated(self, agent: str, seed: int, evaluations: int) -> None:
        self.evaluations.append(evaluations)

    def ended(self, run: AgentRun) -> None:
        self.runs.append(run)
        if len(self.runs) == self.stop_after:
            raise KeyboardInterrupt

    @property
    def names(self) -> list[tuple[str, int]]:
        return sorted((run.agent, run.seed) for run in self.runs)


def play(agent, settings: CompetitionSettings, seed: int = 0) -> AgentRun:
    """One run in this process."""
    return play_agent(agent, make_env(settings, seed), name="own", budget=settings.budget, seed=seed)


# One run


def test_a_run_holds_what_was_shown_and_what_it_is_worth(settings):
    run = play(random_search, settings, seed=3)
    assert run.reason is None
    assert (run.evaluations, run.choices.shape) == (16, (16, 35))
    evaluator, reward = BenchEvaluator("shipped:resnet", seed=3), Reward()
    choices = [tuple(row) for row in run.choices.tolist()]
    for shown, values, noiseless in ((evaluator.evaluate, run.observed, False), (evaluator.truth, run.values, True)):
        expected = shown(choices)
        assert values.tolist() == [reward(e.accuracy, e.cost, settings.target) for e in expected]
        if noiseless:
            assert run.accuracies.tolist() == [e.accuracy for e in expected]
            assert run.costs.tolist() == [e.cost for e in expected]
    assert not np.array_equal(run.observed, run.values)
    assert (np.diff(run.seconds) >= 0).all()
    assert 0 < run.seconds[0] <= run.seconds[-1] <= run.total_seconds


def test_without_noise_agents_see_the_truth(settings):
    run = play(random_search, replace(settings, noise=False))
    assert np.array_equal(run.observed, run.values)


def test_the_noise_is_that_of_the_runs_seed(settings):
    def reference(env, budget, seed):
        Player(env).play([env.unwrapped.space.reference] * 2)

    first, again, other = (play(reference, settings, seed) for seed in (0, 0, 1))
    assert first.observed[0] == first.observed[1] == again.observed[0] != other.observed[0]
    assert first.values[0] == other.values[0]


def test_another_seed_of_the_environment_is_no_other_noise(settings):
    def curious(env, budget, seed):
        for other in range(4):
            env.reset(seed=seed + other)
            Player(env).play([env.unwrapped.space.reference])

    assert len(set(play(curious, settings).observed.tolist())) == 1


def test_repeated_architectures_count(settings):
    def stubborn(env, budget, seed):
        Player(env).play([env.unwrapped.space.reference] * (budget + 1))

    run = play(stubborn, settings)
    assert run.evaluations == 0  # the round was refused as a whole
    assert run.reason == "BudgetExceededError: An agent may use 16 evaluations, but after 0 it asked for 17 more."


def test_steps_of_the_environment_and_rounds_of_others_on_its_task_are_counted_together(settings):
    def mixed(env, budget, seed):
        Player(env).play([env.unwrapped.space.reference] * 6)
        for _ in range(10):
            env.reset()
            while not env.step(env.action_space.sample())[2]:
                pass

    run = play(mixed, settings)
    assert (run.reason, run.evaluations) == (None, 16)


def test_an_agent_that_catches_the_error_is_disqualified_all_the_same(settings):
    def sly(env, budget, seed):
        random_search(env, budget, seed)
        with pytest.raises(BudgetExceededError):
            random_search(env, 1, seed + 1)

    run = play(sly, settings)
    assert run.evaluations == 16
    assert run.reason.startswith("BudgetExceededError: An agent may use 16 evaluations, but after 16")


def test_an_agent_that_raises_is_disqualified_with_what_it_said(settings, capsys):
    def fails(env, budget, seed):
        random_search(env, 5, seed)
        raise RuntimeError("no\nidea")

    run = play(fails, settings)
    assert (run.reason, run.evaluations) == ("RuntimeError: no idea", 5)
    assert "Traceback" in capsys.readouterr().err

    def leaves(env, budget, seed):
        sys.exit()

    assert play(leaves, settings).reason == "SystemExit"


def test_an_agent_that_evaluates_nothing_is_disqualified(settings):
    run = play(lambda env, budget, seed: None, settings)
    assert (run.reason, run.evaluations) == ("It ended without one evaluation.", 0)
    assert run.choices.shape == (0, 35)


def test_an_agent_that_aims_elsewhere_is_disqualified_and_judged_at_the_target(settings):
    def easier(env, budget, seed):
        env.reset(options={"target_ms": 1.0})
        Player(env).play([env.unwrapped.space.reference])

    run = play(easier, settings)
    assert run.reason == f"It aimed at 1, but the competition's target is {settings.target:g}."
    truth = BenchEvaluator().truth([tuple(run.choices[0].tolist())])[0]
    assert run.values[0] == Reward()(truth.accuracy, truth.cost, settings.target)


def test_an_agent_that_takes_the_meter_off_is_disqualified(settings):
    def cheats(env, budget, seed):
        random_search(env, 2, seed)
        env.unwrapped.task.watch = None
        random_search(env, 50, seed)

    run = play(cheats, settings)
    assert (run.reason, run.evaluations) == ("It took the meter off its task.", 2)


def test_evaluations_are_not_the_agents_own_time(settings):
    task = make_env(settings, 0).unwrapped.task
    meter = Meter(task, 4, 0)
    infos = [{"choices": (0,), "target": settings.target}]
    meter.before(1)
    time.sleep(0.2)
    meter.after([0.5], infos)
    time.sleep(0.01)
    meter.before(1)
    meter.after([0.5], infos)
    assert 0 < meter.seconds[0] < meter.seconds[1]
    assert meter.own_seconds() < time.perf_counter() - meter._began - 0.2


# The best known


def test_the_best_known_is_the_best_there_is_where_decisions_are_independent():
    space = BenchEvaluator().space
    wanted = np.array([count - 1 for count in space.option_counts.tolist()])

    def matches(choices: Sequence[tuple[int, ...]]) -> list[float]:
        return (np.array(choices) == wanted).mean(1).tolist()

    assert find_best(space, matches) == (tuple(wanted.tolist()), 1.0)


def test_two_decisions_that_only_help_together_are_found():
    space = BenchEvaluator().space

    def worth(choices: Sequence[tuple[int, ...]]) -> list[float]:
        array = np.array(choices)
        trap = np.where(
            (array[:, 0] == 3) & (array[:, 1] == 3), 2.0, (array[:, 0] == 0) * 0.5 + (array[:, 1] == 0) * 0.5
        )
        return (trap + (array[:, 2:] == 0).mean(1)).tolist()

    choices, value = find_best(space, worth)
    assert choices == (3, 3, *[0] * 33)
    assert value == pytest.approx(3.0)


def test_the_best_on_the_benchmark_is_what_no_agent_comes_near_and_the_same_again(settings):
    choices, value = best_on_benchmark(settings)
    truth = BenchEvaluator().truth([choices])[0]
    assert value == Reward()(truth.accuracy, truth.cost, settings.target)
    assert value > play(random_search, replace(settings, budget=2000)).values.max()
    assert best_on_benchmark(settings) == (choices, value)


# Settings


def test_settings_are_resolved_to_a_target_in_ms_and_a_hash():
    evaluator = BenchEvaluator()
    whole, half = resolve(CompetitionSettings()), resolve(CompetitionSettings(), target_ratio=0.5)
    assert whole.benchmark == half.benchmark == evaluator.hash
    assert whole.target == pytest.approx(evaluator.reference_cost(), rel=1e-5)
    assert half.target == pytest.approx(whole.target / 2, rel=1e-5)
    assert float(f"{half.target:g}") == half.target  # a command can tell it
    assert resolve(CompetitionSettings(target_ms=0.05)).target == 0.05


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"budget": 0}, "`budget` must be at least 1 evaluation, but got 0"),
        ({"target_ms": 0.0}, "`target_ms` must be positive and finite"),
        ({"target_ms": math.inf}, "`target_ms` must be positive and finite"),
    ],
)
def test_settings_that_cannot_work_are_refused(wrong, said):
    with pytest.raises(InvalidSettingError, match=said):
        CompetitionSettings(**wrong)


def test_a_ratio_must_be_positive_and_a_teacher_known():
    with pytest.raises(InvalidSettingError, match="`target_ratio` must be positive"):
        resolve(CompetitionSettings(), target_ratio=-1)
    with pytest.raises(UnknownNameError, match="Did you mean 'shipped:mixer'"):
        resolve(CompetitionSettings(teacher="shipped:mixr"))


def test_a_directory_keeps_its_settings(settings, folder):
    folder.mkdir()
    settle(folder, settings)
    settle(folder, settings)
    assert read_settings(folder) == settings
    with pytest.raises(RunMismatchError, match=r"differs in budget \(16, not 17\), noise \(True, not False\)"):
        settle(folder, replace(settings, budget=17, noise=False))


def test_settings_that_are_damaged_or_of_a_newer_version_are_told(settings, folder):
    folder.mkdir()
    path = folder / "settings.json"
    with pytest.raises(RunMismatchError, match=r"has no settings\.json"):
        read_settings(folder)
    path.write_text("{")
    with pytest.raises(CorruptFileError, match="must hold the settings of a competition"):
        read_settings(folder)
    path.write_text(json.dumps(settings.to_json() | {"speed": 1}))
    with pytest.raises(CorruptFileError, match="speed"):
        read_settings(folder)
    path.write_text(json.dumps({"schema_version": 99}))
    with pytest.raises(SchemaVersionError, match="version 99"):
        read_settings(folder)


# Storage


def test_runs_are_read_as_they_were_written(settings, folder):
    run = play(random_search, settings)
    write_run(folder, run)
    found = read_run(run_file(folder, "own", 0))
    for name in ("choices", "observed", "values", "accuracies", "costs", "seconds"):
        assert np.array_equal(getattr(found, name), getattr(run, name)), name
    assert (found.agent, found.seed, found.reason, found.total_seconds) == ("own", 0, None, run.total_seconds)


def test_a_damaged_run_is_told_with_the_cure(settings, folder):
    write_run(folder, play(random_search, settings))
    path = run_file(folder, "own", 0)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(CorruptFileError, match="Delete it to have it run again"):
        read_run(path)


def test_names_of_agents_are_safe_as_names_of_files(folder):
    path = run_file(folder, "a/../b:c", 0)
    assert path.parent.parent == folder / "runs"
    assert path.parent.name == "a%2F..%2Fb%3Ac"


# Whole competitions


@pytest.mark.slow
def test_a_competition_keeps_every_run_and_stands_the_others_where_some_fail(own, settings, folder):
    agents = ["own_agents:cautious", "own_agents:raises", "own_agents:dies", "own_agents:greedy"]
    recorder = Recorder()
    competition = run_competition(agents, [0], settings, folder, workers=2, observer=recorder)
    runs = {run.agent: run for run in competition.runs}
    assert set(runs) == {"random", *agents}
    assert recorder.began == (5, 0)
    assert {name: run.reason for name, run in runs.items()} == {
        "random": None,
        "own_agents:cautious": None,
        "own_agents:raises": "ValueError: out of ideas",
        "own_agents:dies": "Its process ended with status 3.",
        "own_agents:greedy": "BudgetExceededError: An agent may use 16 evaluations, but after 16 it asked for 1 more.",
    }
    assert runs["own_agents:cautious"].evaluations == 8
    assert np.array_equal(runs["random"].choices, play(random_search, settings).choices)  # as in this process
    placed = [standing.agent for standing in competition.standings() if standing.place]
    assert sorted(placed) == ["own_agents:cautious", "random"]
    assert competition.best_value >= max(run.values.max() for run in competition.runs if run.evaluations)
    assert "only half of it" in log_file(folder, "own_agents:cautious", 0).read_text()
    assert 'raise ValueError("out of' in log_file(folder, "own_agents:raises", 0).read_text()
    assert not log_file(folder, "random", 0).exists()  # it said nothing


def test_a_competition_goes_on_where_it_was_stopped_and_takes_others_in(own, settings, folder):
    with pytest.raises(KeyboardInterrupt):
        run_competition(["random"], [0, 1], settings, folder, workers=1, observer=Recorder(stop_after=1))
    with pytest.raises(RunMismatchError, match="must have been carried through"):
        read_competition(folder)
    before = run_file(folder, "random", 0).read_bytes()

    recorder = Recorder()
    run_competition(["random"], [0, 1], settings, folder, workers=1, observer=recorder)
    assert (recorder.began, recorder.names) == ((1, 1), [("random", 1)])
    recorder = Recorder()
    competition = run_competition(["own_agents:cautious"], [1], settings, folder, workers=1, observer=recorder)
    assert (recorder.began, recorder.names) == ((1, 1), [("own_agents:cautious", 1)])
    assert len(competition.runs) == 3
    assert run_file(folder, "random", 0).read_bytes() == before


def test_disqualified_runs_are_made_again_where_asked(own, settings, folder):
    agents = ["own_agents:dies_of_odd_seeds"]
    first = run_competition(agents, [0, 1], settings, folder, workers=2)
    assert [run.reason is None for run in first.runs if run.agent in agents] == [True, False]
    recorder = Recorder()
    run_competition(agents, [0, 1], settings, folder, workers=2, observer=recorder)
    assert recorder.runs == []
    run_competition(agents, [0, 1], settings, folder, workers=2, retry=True, observer=recorder)
    assert recorder.names == [("own_agents:dies_of_odd_seeds", 1)]


def test_a_killed_run_is_disqualified_and_a_stopped_competition_leaves_no_process(own, settings, folder):
    class Kill(Recorder):
        def evaluated(self, agent: str, seed: int, evaluations: int) -> None:
            if agent == "own_agents:sleeps" and evaluations:
                os.kill(sleeper(folder, 0), signal.SIGKILL)

    competition = run_competition(["own_agents:sleeps"], [0], settings, folder, workers=2, observer=Kill())
    assert [run.reason for run in competition.runs if run.reason] == ["Its process was ended by SIGKILL."]

    class Stop(Recorder):
        def evaluated(self, agent: str, seed: int, evaluations: int) -> None:
            if agent == "own_agents:sleeps" and evaluations:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_competition(["own_agents:sleeps"], [1], settings, folder, workers=2, observer=Stop())
    assert not is_alive(sleeper(folder, 1))
    assert not run_file(folder, "own_agents:sleeps", 1).exists()


def sleeper(folder: Path, seed: int) -> int:
    """The process of a run of the agent that sleeps."""
    return int(log_file(folder, "own_agents:sleeps", seed).read_text())


def is_alive(process: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{process}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


def test_runs_end_with_a_competition_that_is_killed(own, settings, folder):
    script = (
        f"import sys; sys.path[:] = {sys.path!r}\n"
        "from pathlib import Path\n"
        "from akd_gym.agents.competition import *\n"
        "class Say(CompetitionObserver):\n"
        "    def evaluated(self, agent, seed, evaluations):\n"
        "        if agent.startswith('own') and evaluations: print('running', flush=True)\n"
        f"run_competition(['own_agents:sleeps'], [0], CompetitionSettings.from_json({settings.to_json()!r}),"
        f" Path({str(folder)!r}), workers=2, observer=Say())"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as competition:
        assert competition.stdout.readline() == "running\n"
        try:
            with pytest.raises(RunMismatchError, match="another process competes in it"):
                run_competition(["random"], [0], settings, folder)
        finally:
            competition.kill()
    deadline = time.monotonic() + 60
    while is_alive(sleeper(folder, 0)):
        assert time.monotonic() < deadline, "the run lives on"
        time.sleep(0.05)
    assert not run_file(folder, "own_agents:sleeps", 0).exists()


# Wrong input


def test_random_search_always_takes_part_and_everyone_once():
    assert check_agents(["ppo", "ppo", "evolution"]) == ["random", "ppo", "evolution"]


def test_an_unknown_agent_is_told_before_anything_runs(settings, folder):
    with pytest.raises(UnknownNameError, match="Did you mean 'evolution'"):
        run_competition(["evolutoin"], [0], settings, folder)
    assert not folder.exists()


def test_a_module_that_cannot_be_imported_is_told_before_anything_runs(settings, folder, own):
    with pytest.raises(InvalidSettingError, match="no_such_module"):
        run_competition(["no_such_module:agent"], [0], settings, folder)
    with pytest.raises(InvalidSettingError, match="missing"):
        run_competition(["own_agents:missing"], [0], settings, folder)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("seeds", "workers", "said"),
    [
        ([], 1, "`seeds` must be at least one, each from 0 to 4294967295, but got none"),
        ([-1, 0], 1, "but got from -1 to 0"),
        ([0], 0, "`workers` must be at least 1, but got 0"),
    ],
)
def test_no_seeds_and_no_workers_are_refused(settings, folder, seeds, workers, said):
    with pytest.raises(InvalidSettingError, match=said):
        run_competition(["random"], seeds, settings, folder, workers=workers)
    assert not folder.exists()


def test_a_directory_of_something_else_is_left_alone(settings, folder):
    folder.mkdir()
    (folder / "thesis.tex").touch()
    with pytest.raises(RunMismatchError, match=r"holds thesis\.tex"):
        run_competition(["random"], [0], settings, folder)
    blocked = folder / "thesis.tex" / "inside"
    with pytest.raises(StorageError, match="cannot be written"):
        run_competition(["random"], [0], settings, blocked)


def test_a_damaged_best_is_told_with_the_cure(settings, folder):
    run_competition(["random"], [0], settings, folder)
    (folder / BEST_FILE).write_text("{}")
    with pytest.raises(CorruptFileError, match="Delete it; it is made again"):
        read_competition(folder)


def test_a_benchmark_that_changed_meanwhile_is_told(settings):
    with pytest.raises(RunMismatchError, match="throughout the competition"):
        make_env(replace(settings, benchmark="0" * 64), 0)


def test_the_environment_is_the_registered_one(settings):
    env = make_env(settings, 0)
    assert isinstance(env, gym.Env)
    assert env.spec is not None
    assert env.spec.id == "AKDBench-v0"
