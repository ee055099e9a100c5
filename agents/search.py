"""A whole search by any agent: its run directory, its records, stopping and going on, and what it has found."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import filelock

from akd_gym.agents.recording import Infos, Log, SearchObserver, SearchRecorder
from akd_gym.agents.registry import Agent, load_agent
from akd_gym.agents.runs import read_run
from akd_gym.agents.settings import (
    LEARNERS,
    SETTINGS_FILE,
    SearchSettings,
    differing_fields,
    read_search_name,
    read_settings,
    run_ledger,
    write_settings,
)
from akd_gym.agents.warm_start import (
    best_students,
    check_policy,
    keep_start,
    read_start,
    take_over_evaluations,
)
from akd_gym.analysis.outcomes import Outcome, derive_outcomes
from akd_gym.envs.search import AKDSearchEnv
from akd_gym.envs.task import SearchTask
from akd_gym.errors import (
    AKDGymError,
    BudgetExceededError,
    InvalidSettingError,
    RunMismatchError,
    StorageError,
)
from akd_gym.evaluation import Announce, ProxyEvaluator, make_evaluator
from akd_gym.ledger import EvaluatedCandidate, Ledger
from akd_gym.reward import Reward

__all__ = ["Infos", "SearchObserver", "SearchResult", "read_outcomes", "run_search"]

_LOCK_FILE = ".lock"


class SearchResult(NamedTuple):
    """What a search leaves.

    Attributes:
        outcomes: Every candidate in order.
        target: The cost aimed at, in `unit`.
        unit: `"ms"` or `"madds"`.
    """

    outcomes: list[Outcome]
    target: float
    unit: str


def run_search(
    settings: SearchSettings,
    run: Path,
    *,
    resume: bool = False,
    announce: Announce | None = None,
    observer: SearchObserver | None = None,
) -> SearchResult:
    """Search until the budget is spent, or go on with a search that was stopped.

    A stopped search continues as if nothing had happened. The weights, optimiser and random state of `ppo` and `rnn`
    are those of the last checkpoint, at the beginning of a round; other agents begin anew with their seed. What they
    play again has been evaluated already and comes from the ledger; it must be what they played before. What a repaired
    ledger has lost is evaluated again.

    An agent that asks for more than the budget is stopped there.

    Args:
        settings: What to search.
        run: The run directory; made here unless `resume`.
        resume: Whether to go on with the search in `run`, whose settings must be these.
        announce: Told what takes time or space before it does.
        observer: Told how the search goes.

    Raises:
        UnknownNameError: If there is no such agent.
        InvalidSettingError: If the agent cannot be imported, or cannot begin with what `policy` names.
        RunMismatchError: If `run` holds another search, or holds one and `resume` is not set, or the reverse, or
            another process searches in it; if an agent does not play what it played before; and see `warm_start`.
        StorageError: If `run` cannot be written.
        AKDGymError: See `make_evaluator`.
    """
    observer = observer or SearchObserver()
    agent = None if settings.agent in LEARNERS else load_agent(settings.agent)
    if agent is not None and settings.policy is not None and not _takes_start(agent):
        raise InvalidSettingError(
            "`policy` must go with an agent that can begin with something: ppo, rnn, or a function that takes "
            f"`start`, a list of choices. {settings.agent!r} takes none."
        )
    settings = _with_absolute_paths(settings)
    is_new = _check(settings, run, resume)
    with _writing(run):
        if is_new:
            write_settings(run, settings)
        elif _is_finished(settings, run):
            return read_outcomes(run)
        made_here = is_new and not run_ledger(settings, run).exists()
        try:
            evaluator = _make_evaluator(settings, run, announce)
            if is_new:
                _begin_with_others(settings, run, evaluator, announce)
        except AKDGymError:
            if is_new:
                _unmake(run, run_ledger(settings, run) if made_here else None)
            raise
        try:
            _search(settings, run, evaluator, observer, agent)
        finally:
            evaluator.close()
        return read_outcomes(run)


def read_outcomes(run: Path) -> SearchResult:
    """What the search in a run directory has found so far; safe while it runs.

    Raises:
        RunMismatchError: If `run` is no run directory, or nothing was evaluated yet.
    """
    search = read_run(run)
    return SearchResult(search.outcomes, search.target, search.unit)


def _make_evaluator(settings: SearchSettings, run: Path, announce: Announce | None) -> ProxyEvaluator:
    ledger = run_ledger(settings, run)
    if settings.evaluator == "bench":
        from akd_gym.bench.stand_in import make_bench_search_evaluator  # here: it reads the benchmark

        return make_bench_search_evaluator(settings.teacher, ledger, seed=settings.seed, cost=settings.cost)
    return make_evaluator(**settings.evaluator_kwargs(), ledger=ledger, workers=settings.workers, announce=announce)


def _search(
    settings: SearchSettings, run: Path, evaluator: ProxyEvaluator, observer: SearchObserver, agent: Agent | None
) -> None:
    task = SearchTask(evaluator=evaluator, **settings.env_kwargs())
    name, target = read_search_name(run), task.target
    if agent is None:
        from akd_gym.agents.search_sb3 import Learner

        learner = Learner(settings, run, task)
        earlier = _earlier(settings, name, evaluator, learner.played)
        observer.begin(settings, target, evaluator.cost_unit, earlier)
        evaluator.on_training = observer.trained
        learner.search(name, evaluator, observer, earlier)
    else:
        earlier = _earlier(settings, name, evaluator, settings.budget)
        observer.begin(settings, target, evaluator.cost_unit, earlier)
        evaluator.on_training = observer.trained
        with _logging(settings, run, len(evaluator.space.decisions)) as log:
            recorder = SearchRecorder(evaluator, name, settings.budget, observer=observer, log=log, earlier=earlier)
            task.watch = recorder
            start = read_start(run)
            play = agent if start is None else partial(agent, start=start)  # type: ignore[call-arg]
            with contextlib.suppress(BudgetExceededError):
                play(AKDSearchEnv(task=task), settings.budget, settings.seed)
        if recorder.played == 0:
            raise InvalidSettingError(f"The agent {settings.agent!r} must play at least one episode, but played none.")


def _earlier(settings: SearchSettings, name: str, evaluator: ProxyEvaluator, played: int) -> list[Outcome]:
    """The first `played` candidates of the search, after what a repaired ledger has lost was evaluated again."""
    lost = [e.candidate.choices for e in evaluator.ledger.evaluations(name) if _is_lost(e)]
    for start in range(0, len(lost), settings.round_size):
        evaluator.evaluate(lost[start : start + settings.round_size])
    outcomes = derive_outcomes(evaluator.ledger.evaluations(name), _reward(settings))
    return [outcome for outcome in outcomes if outcome.number < played]


@contextlib.contextmanager
def _logging(settings: SearchSettings, run: Path, decisions: int) -> Iterator[Log]:
    """TensorBoard's log of an agent that keeps none itself, with the keys and the steps of those that do."""
    from stable_baselines3.common.logger import configure

    logger = configure(str(run / "tensorboard" / settings.agent.replace(":", ".")), ["tensorboard"])

    def log(numbers: Mapping[str, float], played: int) -> None:
        for name, value in numbers.items():
            logger.record(name, value)
        logger.dump(played * decisions)

    try:
        yield log
    finally:
        logger.close()


def _begin_with_others(
    settings: SearchSettings, run: Path, evaluator: ProxyEvaluator, announce: Announce | None
) -> None:
    """Take over what others have paid for and learned, where the settings ask for it; once a search."""
    try:
        if settings.policy is not None:
            check_policy(settings, evaluator.space)
        if settings.warm_start is not None:
            take_over_evaluations(settings.warm_start, evaluator, announce)
        if settings.policy is not None and settings.agent not in LEARNERS:
            target = SearchTask(evaluator=evaluator, **settings.env_kwargs()).target
            keep_start(run, best_students(settings, target, evaluator.cost_unit))
    except BaseException:
        evaluator.close()
        raise


def _takes_start(agent: Agent) -> bool:
    try:
        return "start" in inspect.signature(agent).parameters
    except (TypeError, ValueError):  # some callables do not say what they take
        return False


def _with_absolute_paths(settings: SearchSettings) -> SearchSettings:
    """Paths that are found again from any folder."""
    paths = {name: getattr(settings, name) for name in ("ledger", "warm_start", "policy")}
    return replace(settings, **{name: path.absolute() for name, path in paths.items() if path is not None})


def _check(settings: SearchSettings, run: Path, resume: bool) -> bool:
    """Whether the search in `run` is a new one."""
    if not (run / SETTINGS_FILE).exists():
        if resume:
            raise RunMismatchError(f"{run} must hold a search to resume, but it has no {SETTINGS_FILE}.")
        return True
    differing = [name for name in differing_fields(read_settings(run), settings) if name not in ("workers", "audit")]
    if differing:
        raise RunMismatchError(
            f"{run} must hold a search of these settings, but differs in {', '.join(differing)}. "
            "Resume without other settings than --workers and --audit, or choose another run directory."
        )
    if not resume:
        raise RunMismatchError(f"{run} holds this search already. Continue it with `akd search --resume {run}`.")
    return False


@contextlib.contextmanager
def _writing(run: Path) -> Iterator[None]:
    """Keeps a run directory to this process, and turns the system's refusals to write into `StorageError`."""
    try:
        run.mkdir(parents=True, exist_ok=True)
        (run / _LOCK_FILE).touch()  # where it cannot be made, a lock would only be waited for
        with filelock.FileLock(run / _LOCK_FILE, timeout=0):
            yield
    except filelock.Timeout as error:
        raise RunMismatchError(f"{run} must not be in use, but another process is searching in it.") from error
    except OSError as error:
        if isinstance(error, AKDGymError):
            raise
        raise StorageError(f"The run directory {run} cannot be written: {error.strerror or error}.") from error


def _unmake(run: Path, ledger: Path | None) -> None:
    """Nothing was paid for: with the mistake put right, the same command may use the same directory.

    Args:
        run: The directory.
        ledger: One that was made for it and holds nothing of worth.
    """
    with contextlib.suppress(OSError):
        if ledger is not None:
            ledger.unlink(missing_ok=True)
        (run / SETTINGS_FILE).unlink(missing_ok=True)
        (run / _LOCK_FILE).unlink(missing_ok=True)
        run.rmdir()  # only if nothing else is in it


def _is_finished(settings: SearchSettings, run: Path) -> bool:
    with Ledger.open(run_ledger(settings, run)) as ledger:
        evaluations = list(ledger.evaluations(read_search_name(run)))
    if not evaluations or any(_is_lost(evaluation) for evaluation in evaluations):
        return False
    return evaluations[-1].candidate.number + 1 >= settings.budget


def _is_lost(evaluation: EvaluatedCandidate) -> bool:
    """Whether a candidate's training or latency is gone from the ledger: it was damaged and repaired."""
    unmeasured = evaluation.candidate.latency_context is not None and evaluation.latency is None
    return unmeasured or evaluation.reason == "not_trained"


def _reward(settings: SearchSettings) -> Reward:
    return Reward(settings.reward, settings.reward_weight)
