"""A whole search with PPO: rounds of candidates, checkpoints, progress, and what was found at the end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import filelock
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback

from akd_gym.agents.checkpoints import latest_checkpoint, load_checkpoint, save_checkpoint
from akd_gym.agents.ppo import ppo_settings
from akd_gym.agents.settings import (
    SETTINGS_FILE,
    SearchSettings,
    differing_fields,
    read_search_name,
    read_settings,
    write_settings,
)
from akd_gym.analysis.outcomes import Outcome, derive_outcomes
from akd_gym.envs.sb3 import make_sb3_vec_env
from akd_gym.errors import AKDGymError, RunMismatchError, StorageError
from akd_gym.evaluation import Announce, ProxyEvaluator, make_evaluator
from akd_gym.ledger import Candidate, EvaluatedCandidate, Ledger, TrainingRecord
from akd_gym.reward import INFEASIBLE_REWARD, Reward

Infos = Sequence[dict[str, Any]]

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


class SearchObserver:
    """Told what happens during a search; the command line shows it. Every method does nothing here."""

    def begin(self, settings: SearchSettings, target: float, unit: str, earlier: Sequence[Outcome]) -> None:
        """The search begins, or goes on with the `earlier` candidates behind it."""

    def trained(self, architecture: str, record: TrainingRecord) -> None:
        """One student has been trained."""

    def round_done(self, number: int, infos: Infos, rewards: Sequence[float], seconds: float) -> None:
        """All candidates of a round have been evaluated."""


def run_search(
    settings: SearchSettings,
    run: Path,
    *,
    resume: bool = False,
    announce: Announce | None = None,
    observer: SearchObserver | None = None,
) -> SearchResult:
    """Search with PPO until the budget is spent, or go on with a search that was stopped.

    A stopped search continues as if nothing had happened: the agent's weights, optimiser and random state are
    those of the beginning of the interrupted round, and what was already evaluated comes from the ledger. What a
    repaired ledger has lost is evaluated again.

    Args:
        settings: What to search.
        run: The run directory; made here unless `resume`.
        resume: Whether to go on with the search in `run`, whose settings must be these.
        announce: Told what takes time or space before it does.
        observer: Told how the search goes.

    Raises:
        RunMismatchError: If `run` holds another search, or holds one and `resume` is not set, or the reverse, or
            another process searches in it.
        StorageError: If `run` cannot be written.
        AKDGymError: See `make_evaluator`.
    """
    observer = observer or SearchObserver()
    if settings.ledger is not None:
        settings = replace(settings, ledger=settings.ledger.absolute())  # to be found again from any folder
    is_new = _check(settings, run, resume)
    with _writing(run):
        if is_new:
            write_settings(run, settings)
        elif _is_finished(settings, run):
            return read_outcomes(run)
        try:
            evaluator = make_evaluator(
                **settings.evaluator_kwargs(),
                ledger=run_ledger(settings, run),
                workers=settings.workers,
                announce=announce,
            )
        except AKDGymError:
            if is_new:
                _unmake(run)
            raise
        try:
            return _search(settings, run, evaluator, observer)
        finally:
            evaluator.close()


def read_outcomes(run: Path) -> SearchResult:
    """What the search in a run directory has found so far; safe while it runs.

    Raises:
        RunMismatchError: If `run` is no run directory, or nothing was evaluated yet.
    """
    settings = read_settings(run)
    with Ledger.open(run_ledger(settings, run), read_only=True) as ledger:
        outcomes = derive_outcomes(ledger.evaluations(read_search_name(run)), _reward(settings))
    if not outcomes:
        raise RunMismatchError(f"The search in {run} must have evaluated a round, but it has not yet.")
    return SearchResult(outcomes, outcomes[-1].target, outcomes[-1].unit)


def run_ledger(settings: SearchSettings, run: Path) -> Path:
    """The ledger of a run: its own, or the one that its settings name."""
    return settings.ledger or run / "ledger.sqlite"


class _RoundRecorder(BaseCallback):
    """Puts every round into the ledger and every beginning of a round into a checkpoint."""

    def __init__(
        self,
        settings: SearchSettings,
        run: Path,
        evaluator: ProxyEvaluator,
        observer: SearchObserver,
        earlier: Sequence[Outcome],
    ) -> None:
        super().__init__()
        self._run, self._evaluator, self._observer = run, evaluator, observer
        self._name = read_search_name(run)
        self._last_step = settings.budget * len(evaluator.space.decisions)
        self._began = time.perf_counter()
        self._best_reward = max((outcome.reward for outcome in earlier), default=INFEASIBLE_REWARD)

    def _on_rollout_start(self) -> None:
        save_checkpoint(self._run, self.model)
        self._began = time.perf_counter()

    def _on_step(self) -> bool:
        if self.locals["dones"][0]:
            self._record(self.locals["infos"], [float(r) for r in self.locals["rewards"]])
            self._began = time.perf_counter()
        assert isinstance(self.model, PPO)
        update_follows = self.locals["n_steps"] + 1 == self.model.n_steps
        return update_follows or self.model.num_timesteps < self._last_step  # the budget may end between updates

    def _record(self, infos: Infos, rewards: Sequence[float]) -> None:
        evaluator, size = self._evaluator, len(infos)
        number = self.model.num_timesteps // (len(evaluator.space.decisions) * size) - 1
        with evaluator.ledger.transaction():
            for index, info in enumerate(infos):
                evaluator.ledger.add_candidate(
                    Candidate(
                        number=number * size + index,
                        round=number,
                        choices=info["choices"],
                        architecture=info["architecture"],
                        training_context=evaluator.training_context,
                        seed=evaluator.seed,
                        latency_context=evaluator.latency_context,
                        madds=info["madds"],
                        params=info["params"],
                        target=info["target"],
                        from_ledger=info["from_ledger"],
                        search=self._name,
                    )
                )
        self._log(infos, rewards)
        self._observer.round_done(number, infos, rewards, time.perf_counter() - self._began)

    def _log(self, infos: Infos, rewards: Sequence[float]) -> None:
        feasible = [(i, r) for i, r in zip(infos, rewards, strict=True) if i["status"] == "ok"]
        self._best_reward = max(self._best_reward, *rewards)
        self.logger.record("search/best_reward", self._best_reward)
        self.logger.record("search/mean_reward", sum(rewards) / len(rewards))
        self.logger.record("search/infeasible", len(infos) - len(feasible))
        self.logger.record("search/from_ledger", sum(info["from_ledger"] for info in infos))
        if feasible:
            unit = feasible[0][0]["cost_unit"]
            name = "latency_ms" if unit == "ms" else "madds"
            self.logger.record("search/accuracy", sum(i["accuracy"] for i, _ in feasible) / len(feasible))
            self.logger.record(f"search/{name}", sum(i["cost"] for i, _ in feasible) / len(feasible))
        self.logger.dump(self.model.num_timesteps)  # an update may learn from several rounds


def _search(settings: SearchSettings, run: Path, evaluator: ProxyEvaluator, observer: SearchObserver) -> SearchResult:
    envs = make_sb3_vec_env(settings.round_size, evaluator=evaluator, **settings.env_kwargs())
    target = float(envs.get_attr("targets")[0][0])
    decisions = len(evaluator.space.decisions)
    checkpoint = latest_checkpoint(run)
    if checkpoint is None:
        arguments = ppo_settings(envs, settings.budget, seed=settings.seed)
        model = PPO(**arguments, tensorboard_log=str(run / "tensorboard"))
    else:
        model = load_checkpoint(checkpoint, envs)
        model.tensorboard_log = str(run / "tensorboard")  # the directory may have been moved
    done, name = model.num_timesteps // decisions, read_search_name(run)
    lost = [e.candidate.choices for e in evaluator.ledger.evaluations(name) if _is_lost(e)]
    for start in range(0, len(lost), settings.round_size):
        evaluator.evaluate(lost[start : start + settings.round_size])
    outcomes = derive_outcomes(evaluator.ledger.evaluations(name), _reward(settings))
    earlier = [outcome for outcome in outcomes if outcome.number < done]
    observer.begin(settings, target, evaluator.cost_unit, earlier)
    evaluator.on_training = observer.trained
    left = settings.budget * decisions - model.num_timesteps
    if left > 0:
        recorder = _RoundRecorder(settings, run, evaluator, observer, earlier)
        model.learn(left, callback=recorder, tb_log_name="PPO", reset_num_timesteps=False)
        save_checkpoint(run, model)
    return read_outcomes(run)


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


def _unmake(run: Path) -> None:
    """Nothing was paid for: with the mistake put right, the same command may use the same directory."""
    with contextlib.suppress(OSError):
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
