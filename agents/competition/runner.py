"""A whole competition: every agent with every seed, several runs side by side, each kept as it ends."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np

from akd_gym.agents.competition.benchmark import best_on_benchmark
from akd_gym.agents.competition.processes import RunJob, RunProcess
from akd_gym.agents.competition.settings import CompetitionSettings, read_settings, settle
from akd_gym.agents.competition.storage import keeping, read_run, read_runs, run_file, write_run
from akd_gym.agents.registry import AGENTS, load_agent
from akd_gym.analysis.competition import RANDOM, AgentRun, Standing, standings
from akd_gym.cores import available_cores
from akd_gym.errors import CorruptFileError, InvalidSettingError, RunMismatchError
from akd_gym.files import write_atomically

BEST_FILE = "best.json"


@dataclass(frozen=True)
class Competition:
    """What a competition has come to.

    Attributes:
        folder: Its directory.
        settings: What was competed at.
        runs: All that have ended.
        best_value: Noiseless reward of the best known architecture, the runs' finds among them.
    """

    folder: Path
    settings: CompetitionSettings
    runs: list[AgentRun]
    best_value: float

    def standings(self) -> list[Standing]:
        """See `akd_gym.analysis.competition.standings`."""
        return standings(self.runs, self.best_value, self.settings.target)


class CompetitionObserver:
    """Told what happens during a competition; the command line shows it. Every method does nothing here."""

    def begin(self, settings: CompetitionSettings, jobs: int, kept: int) -> None:
        """So many runs are to be made; of those asked for, `kept` are there already."""

    def started(self, agent: str, seed: int) -> None:
        """A run has been started."""

    def evaluated(self, agent: str, seed: int, evaluations: int) -> None:
        """A run has come so far."""

    def ended(self, run: AgentRun) -> None:
        """A run has ended and is kept."""

    def judging(self) -> None:
        """All runs have ended; the best architecture is being searched for."""


def run_competition(
    agents: Sequence[str],
    seeds: Sequence[int],
    settings: CompetitionSettings,
    folder: Path,
    *,
    workers: int | None = None,
    retry: bool = False,
    observer: CompetitionObserver | None = None,
) -> Competition:
    """Let agents compete; random search always does.

    Each run has a process of its own. It is kept when it has ended, so that the same call goes on where it was stopped,
    and another one adds agents or seeds. A run that breaks the rules, or whose process dies, is disqualified; the
    others stand.

    Args:
        agents: Names, or `module:function`.
        seeds: Of the runs; the noise has the same.
        settings: What they compete at, resolved.
        folder: Where the competition is kept.
        workers: Runs side by side; None for one a core.
        retry: Whether runs that are there but disqualified are made again.
        observer: Told how it goes.

    Raises:
        UnknownNameError: If there is no such agent; nothing has been run then.
        InvalidSettingError: If an agent cannot be imported; or no seed, a negative one, or less than one worker.
        RunMismatchError: If `folder` holds another competition, or another process competes in it.
        StorageError: If `folder` cannot be written.
        CorruptFileError: If something in it is damaged.
    """
    observer = observer or CompetitionObserver()
    roster = check_agents(agents)
    _check_seeds(seeds)
    workers = available_cores() if workers is None else workers
    if workers < 1:
        raise InvalidSettingError(f"`workers` must be at least 1, but got {workers}.")
    with keeping(folder):
        settle(folder, settings)
        jobs = [RunJob(folder, settings, agent, seed) for seed in dict.fromkeys(seeds) for agent in roster]
        waiting = [job for job in jobs if _is_due(job, retry)]
        observer.begin(settings, len(waiting), len(jobs) - len(waiting))
        _make_runs(waiting, workers, observer)
        if not (folder / BEST_FILE).exists():
            observer.judging()
            _search_best(folder, settings)
    return read_competition(folder)


def read_competition(folder: Path) -> Competition:
    """What the competition in a directory has come to.

    Raises:
        RunMismatchError: If there is none, or none that was carried through.
        StorageError: If it cannot be read.
        CorruptFileError: If something in it is damaged.
    """
    settings, runs = read_settings(folder), read_runs(folder)
    path = folder / BEST_FILE
    if not runs or not path.exists():
        raise RunMismatchError(
            f"The competition in {folder} must have been carried through, but was stopped. Repeat its command first."
        )
    try:
        best = float(json.loads(path.read_text(encoding="utf-8"))["value"])
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptFileError(
            f"{path} must hold a number `value`, but: {error}. Delete it; it is made again."
        ) from error
    found = [float(run.values.max()) for run in runs if run.evaluations]
    return Competition(folder, settings, runs, max([best, *found]))


def check_agents(agents: Sequence[str]) -> list[str]:
    """The agents, each once, with random search among them.

    Raises:
        UnknownNameError: If there is no such agent.
        InvalidSettingError: If an agent of the user's own cannot be imported.
    """
    roster = list(dict.fromkeys([RANDOM, *agents]))
    for agent in roster:
        if agent not in AGENTS:  # this package's need not be tried, and take long to import
            load_agent(agent)
    return roster


def _check_seeds(seeds: Sequence[int]) -> None:
    if not seeds or min(seeds) < 0 or max(seeds) >= 2**32:
        shown = f"from {min(seeds)} to {max(seeds)}" if seeds else "none"
        raise InvalidSettingError(f"`seeds` must be at least one, each from 0 to {2**32 - 1}, but got {shown}.")


def _is_due(job: RunJob, retry: bool) -> bool:
    path = run_file(job.folder, job.agent, job.seed)
    return not path.exists() or (retry and read_run(path).reason is not None)


def _make_runs(jobs: Sequence[RunJob], workers: int, observer: CompetitionObserver) -> None:
    waiting = deque(jobs)
    running: dict[object, RunProcess] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                process = RunProcess(waiting.popleft())
                running[process.connection] = process
                observer.started(process.job.agent, process.job.seed)
            for connection in wait([process.connection for process in running.values()]):
                process = running[connection]
                job, said = process.job, process.hear()
                if isinstance(said, int):
                    observer.evaluated(job.agent, job.seed, said)
                    continue
                del running[connection]
                if said is not None:
                    write_run(job.folder, _died(job, said))
                observer.ended(read_run(run_file(job.folder, job.agent, job.seed)))
    finally:
        for process in running.values():
            process.end()


def _died(job: RunJob, reason: str) -> AgentRun:
    """What is left of a run whose process did not live to keep it."""
    nothing = np.empty(0)
    choices = np.empty((0, 0), np.int64)
    return AgentRun(job.agent, job.seed, reason, choices, nothing, nothing, nothing, nothing, nothing, 0.0)


def _search_best(folder: Path, settings: CompetitionSettings) -> None:
    choices, value = best_on_benchmark(settings)
    document = {"value": value, "choices": list(choices)}
    write_atomically(folder / BEST_FILE, (json.dumps(document) + "\n").encode())
