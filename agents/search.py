"""A whole search with PPO: rounds of candidates, checkpoints, progress, and what was found at the end."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback

from akd_gym.agents.checkpoints import latest_checkpoint, load_checkpoint, save_checkpoint
from akd_gym.agents.ppo import ppo_settings
from akd_gym.agents.settings import SearchSettings, read_settings
from akd_gym.analysis.files import write_atomically
from akd_gym.analysis.outcomes import Outcome, derive_outcomes
from akd_gym.envs.sb3 import make_sb3_vec_env
from akd_gym.errors import RunMismatchError, StorageError
from akd_gym.evaluation import Announce, ProxyEvaluator, make_evaluator
from akd_gym.ledger import Candidate, Ledger, TrainingRecord
from akd_gym.reward import Reward

Infos = Sequence[dict[str, Any]]


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

    def begin(self, settings: SearchSettings, target: float, unit: str, done: int) -> None:
        """The search begins, with `done` candidates behind it."""

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
    those of the beginning of the interrupted round, and what was already evaluated comes from the ledger.

    Args:
        settings: What to search.
        run: The run directory; made here unless `resume`.
        resume: Whether to go on with the search in `run`, whose settings must be these.
        announce: Told what takes time or space before it does.
        observer: Told how the search goes.

    Raises:
        RunMismatchError: If `run` holds another search, or holds one and `resume` is not set, or the reverse.
        StorageError: If `run` cannot be written.
        AKDGymError: See `make_evaluator`.
    """
    observer = observer or SearchObserver()
    _prepare(settings, run, resume)
    with Ledger.open(settings.ledger or run / "ledger.sqlite") as ledger:
        evaluator = make_evaluator(
            space=settings.space,
            skeleton=settings.skeleton,
            teacher=settings.teacher,
            data=settings.data,
            cost=settings.cost,
            latency=settings.latency,
            recipe=settings.recipe,
            seed=settings.seed,
            ledger=ledger,
            workers=settings.workers,
            device=settings.device,
            announce=announce,
        )
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
    with Ledger.open(settings.ledger or run / "ledger.sqlite", read_only=True) as ledger:
        outcomes = derive_outcomes(ledger.evaluations(_search_name(run)), _reward(settings))
    if not outcomes:
        raise RunMismatchError(f"The search in {run} must have evaluated a round, but it has not yet.")
    return SearchResult(outcomes, outcomes[-1].target, outcomes[-1].unit)


class _RoundRecorder(BaseCallback):
    """Puts every round into the ledger and every beginning of a round into a checkpoint."""

    def __init__(
        self, settings: SearchSettings, run: Path, evaluator: ProxyEvaluator, observer: SearchObserver
    ) -> None:
        super().__init__()
        self._settings, self._run, self._evaluator, self._observer = settings, run, evaluator, observer
        self._began = time.perf_counter()
        self._best_reward = -1.0

    def _on_rollout_start(self) -> None:
        save_checkpoint(self._run, self.model)
        self._began = time.perf_counter()

    def _on_step(self) -> bool:
        if self.locals["dones"][0]:
            self._record(self.locals["infos"], [float(r) for r in self.locals["rewards"]])
        return True

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
                        search=_search_name(self._run),
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
    observer.begin(settings, target, evaluator.cost_unit, model.num_timesteps // decisions)
    evaluator.on_training = observer.trained
    left = settings.budget * decisions - model.num_timesteps
    if left > 0:
        recorder = _RoundRecorder(settings, run, evaluator, observer)
        model.learn(left, callback=recorder, tb_log_name="PPO", reset_num_timesteps=False)
        save_checkpoint(run, model)
    return read_outcomes(run)


def _prepare(settings: SearchSettings, run: Path, resume: bool) -> None:
    path = run / "settings.json"
    if not path.exists():
        if resume:
            raise RunMismatchError(f"{run} must hold a search to resume, but it has no settings.json.")
        try:
            run.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"The run directory {run} cannot be made: {error.strerror}.") from error
        write_atomically(path, (json.dumps(settings.to_json(), indent=2) + "\n").encode())
        return
    found = read_settings(run)
    differing = sorted(k for k, v in found.to_json().items() if k != "workers" and v != settings.to_json()[k])
    if differing:
        raise RunMismatchError(
            f"{run} must hold a search of these settings, but differs in {', '.join(differing)}. "
            "Resume without other settings than --workers, or choose another run directory."
        )
    if not resume:
        raise RunMismatchError(f"{run} holds this search already. Continue it with `akd search --resume {run}`.")


def _reward(settings: SearchSettings) -> Reward:
    return Reward(settings.reward, settings.reward_weight)


def _search_name(run: Path) -> str:
    """A search's name in a ledger that several may share."""
    return run.resolve().name
