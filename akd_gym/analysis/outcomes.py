"""What became of each candidate of a search, with the reward derived from what is stored."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from akd_gym.errors import InvalidSettingError
from akd_gym.ledger_records import EvaluatedCandidate
from akd_gym.reward import Reward


@dataclass(frozen=True)
class Outcome:
    """One candidate as reports show it.

    Args:
        number: Its place in the search, from 0.
        architecture: The canonical string.
        accuracy: Fraction in [0, 1]; None unless it was trained.
        cost: In `unit`; None if it could not be measured.
        unit: `"ms"` or `"madds"`.
        reward: Under the target it was searched with, or another one.
        target: That target, in `unit`.
        reason: Why it is infeasible; None if it is not.
        latency_ms: Where it was measured.
        madds: Multiply-adds of one image.
        params: Parameters.
    """

    number: int
    architecture: str
    accuracy: float | None
    cost: float | None
    unit: str
    reward: float
    target: float
    reason: str | None
    latency_ms: float | None
    madds: int
    params: int

    @property
    def feasible(self) -> bool:
        """Whether it was trained and measured, so that accuracy and cost are numbers."""
        return self.reason is None


def derive_outcomes(
    evaluations: Iterable[EvaluatedCandidate], reward: Reward, target: float | None = None
) -> list[Outcome]:
    """Derives the reward of every candidate of a search, of the search's own or of any other kind.

    Args:
        evaluations: From `Ledger.evaluations`.
        reward: How accuracy and cost are weighed.
        target: The target cost; each candidate's own if None.

    Raises:
        InvalidSettingError: A candidate without a target of its own, and none given.
    """
    outcomes = []
    for evaluation in evaluations:
        candidate = evaluation.candidate
        own = candidate.target if target is None else target
        if own is None:
            raise InvalidSettingError(
                f"`target` must be given, as candidate {candidate.number} was stored without one."
            )
        infeasible = evaluation.reason is not None
        outcomes.append(
            Outcome(
                number=candidate.number,
                architecture=candidate.architecture,
                accuracy=evaluation.accuracy,
                cost=evaluation.cost,
                unit=evaluation.cost_unit,
                reward=reward(None if infeasible else evaluation.accuracy, evaluation.cost, own),
                target=own,
                reason=evaluation.reason,
                latency_ms=evaluation.latency_ms,
                madds=candidate.madds,
                params=candidate.params,
            )
        )
    return outcomes


def distinct(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """The feasible outcomes, each architecture once, where it first came up."""
    first: dict[str, Outcome] = {}
    for outcome in outcomes:
        if outcome.feasible:
            first.setdefault(outcome.architecture, outcome)
    return list(first.values())
