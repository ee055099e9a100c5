"""The records of a search: every round that its task evaluates goes into the ledger, whoever proposed it.

An agent that was stopped is played again from an earlier point, or from the beginning. Its candidates are then in the
ledger already, evaluations and all; they must be the same ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from akd_gym.agents.settings import SearchSettings
from akd_gym.analysis.outcomes import Outcome
from akd_gym.errors import BudgetExceededError, RunMismatchError
from akd_gym.evaluation import ProxyEvaluator
from akd_gym.ledger import Candidate, TrainingRecord
from akd_gym.reward import INFEASIBLE_REWARD

Infos = Sequence[dict[str, Any]]

Log = Callable[[Mapping[str, float], int], None]
"""Told of a round's numbers, by name, and of how many candidates the search has played."""


class SearchObserver:
    """Told what happens during a search; the command line shows it. Every method does nothing here."""

    def begin(self, settings: SearchSettings, target: float, unit: str, earlier: Sequence[Outcome]) -> None:
        """The search begins, or goes on with the `earlier` candidates behind it."""

    def trained(self, architecture: str, record: TrainingRecord) -> None:
        """One student has been trained."""

    def round_done(self, number: int, infos: Infos, rewards: Sequence[float], seconds: float) -> None:
        """All candidates of a round have been evaluated."""


class SearchRecorder:
    """The `watch` of a search's task: keeps candidates, holds agents to the budget, and tells how it goes.

    Args:
        evaluator: Of the task; candidates go into its ledger.
        name: The search's, in the ledger.
        budget: Candidates that may be played in all.
        observer: Told of every round.
        log: Told of every round's numbers.
        earlier: What has been played and shown before.
        played: Candidates that the agent stands behind; those after them and among the `earlier` are played again.
        rounds: Rounds that the agent stands behind.

    Attributes:
        played: Candidates played so far.
    """

    def __init__(
        self,
        evaluator: ProxyEvaluator,
        name: str,
        budget: int,
        *,
        observer: SearchObserver,
        log: Log,
        earlier: Sequence[Outcome] = (),
        played: int = 0,
        rounds: int = 0,
    ) -> None:
        self._evaluator, self._name, self._budget = evaluator, name, budget
        self._observer, self._log = observer, log
        self._shown = max((outcome.number + 1 for outcome in earlier), default=0)
        self._best_reward = max((outcome.reward for outcome in earlier), default=INFEASIBLE_REWARD)
        self.played, self._rounds = played, rounds
        self._began = time.perf_counter()

    def before(self, count: int) -> None:
        """See `RoundWatch.before`.

        Raises:
            BudgetExceededError: If fewer than `count` are left.
        """
        if self.played + count > self._budget:
            raise BudgetExceededError(self._budget, self.played, count)

    def after(self, rewards: Sequence[float], infos: Infos) -> None:
        """See `RoundWatch.after`.

        Raises:
            RunMismatchError: If the ledger holds another candidate in a place.
            StorageError: If the ledger cannot be written.
        """
        ledger = self._evaluator.ledger
        with ledger.transaction():
            for number, info in enumerate(infos, self.played):
                kept = ledger.add_candidate(self._candidate(number, info))
                if kept.choices != tuple(info["choices"]):
                    raise _mismatch(number)
        number, self.played, self._rounds = self._rounds, self.played + len(infos), self._rounds + 1
        if self.played > self._shown:
            self._best_reward = max(self._best_reward, *rewards)
            self._log(self._numbers(infos, rewards), self.played)
            self._observer.round_done(number, infos, rewards, time.perf_counter() - self._began)
        self._began = time.perf_counter()

    def _candidate(self, number: int, info: Mapping[str, Any]) -> Candidate:
        evaluator = self._evaluator
        return Candidate(
            number=number,
            round=self._rounds,
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

    def _numbers(self, infos: Infos, rewards: Sequence[float]) -> dict[str, float]:
        feasible = [info for info in infos if info["status"] == "ok"]
        numbers: dict[str, float] = {
            "search/best_reward": self._best_reward,
            "search/mean_reward": sum(rewards) / len(rewards),
            "search/infeasible": len(infos) - len(feasible),
            "search/from_ledger": sum(info["from_ledger"] for info in infos),
        }
        if feasible:
            name = "latency_ms" if feasible[0]["cost_unit"] == "ms" else "madds"
            numbers["search/accuracy"] = sum(info["accuracy"] for info in feasible) / len(feasible)
            numbers[f"search/{name}"] = sum(info["cost"] for info in feasible) / len(feasible)
        return numbers


def _mismatch(number: int) -> RunMismatchError:
    return RunMismatchError(
        f"The agent must play what it played before, but candidate {number} is not the one in the ledger: another "
        "version of a package, another machine, or a repaired ledger makes it choose otherwise. Nothing is lost: go "
        "on where it began, or begin a new search with `--warm-start` on this run, which finds its evaluations here."
    )
