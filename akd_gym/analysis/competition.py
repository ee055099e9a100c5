"""What the runs of a competition are worth: best-so-far curves, final scores, and the agents' places.

What counts is the *incumbent*: the architecture with the best reward that the agent was shown so far, which may have
been lucky. Its value is its noiseless reward, and its regret what that lacks of the best known one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from akd_gym.analysis.aggregates import (
    Interval,
    interquartile_mean,
    interval_of_mean,
    places,
    probability_of_improvement,
)
from akd_gym.analysis.pareto import pareto_front
from akd_gym.errors import InvalidSettingError

RANDOM = "random"
"""The agent that every competition has: what the others are measured by."""

HYPERVOLUME_COST = 2.0
"""Cost of the hypervolume's reference point, in targets; its accuracy is 0."""


@dataclass(frozen=True, eq=False)
class AgentRun:
    """What one agent did with one seed; arrays have one entry an evaluation, in order.

    Attributes:
        agent: Its name.
        seed: Of the agent, and of the noise that it saw.
        reason: Why the run is disqualified; None if it stands.
        choices: Architectures evaluated, shape (n, decisions).
        observed: Rewards that the agent was shown, shape (n,).
        values: Noiseless rewards, shape (n,).
        accuracies: Noiseless, fractions, shape (n,); NaN if infeasible.
        costs: Noiseless, shape (n,), in the unit of the target; NaN if infeasible.
        seconds: The agent's own until it asked for the evaluation, shape (n,): wall time without evaluations.
        total_seconds: The agent's own until it returned.
    """

    agent: str
    seed: int
    reason: str | None
    choices: NDArray[np.int64]
    observed: NDArray[np.float64]
    values: NDArray[np.float64]
    accuracies: NDArray[np.float64]
    costs: NDArray[np.float64]
    seconds: NDArray[np.float64]
    total_seconds: float

    @property
    def evaluations(self) -> int:
        """How many architectures were evaluated, repeats included."""
        return len(self.observed)

    @cached_property
    def incumbents(self) -> NDArray[np.int64]:
        """Index of the incumbent after each evaluation, shape (n,); of equal ones the first."""
        before = np.concatenate([[-np.inf], np.maximum.accumulate(self.observed)[:-1]])[: self.evaluations]
        return np.maximum.accumulate(np.where(self.observed > before, np.arange(self.evaluations), 0))

    @cached_property
    def incumbent_values(self) -> NDArray[np.float64]:
        """Noiseless reward of the incumbent after each evaluation, shape (n,)."""
        return self.values[self.incumbents]

    @property
    def value(self) -> float:
        """Noiseless reward of the last incumbent."""
        return float(self.incumbent_values[-1])

    def hypervolume(self, target: float) -> float:
        """See `hypervolume`; the reference point is at `HYPERVOLUME_COST` targets."""
        feasible = np.isfinite(self.accuracies) & np.isfinite(self.costs)
        return hypervolume(self.accuracies[feasible], self.costs[feasible], HYPERVOLUME_COST * target)


@dataclass(frozen=True)
class Standing:
    """How an agent did over its seeds. Means are interquartile, with 95 % intervals.

    Attributes:
        agent: Its name.
        seeds: Of its runs, those disqualified too.
        disqualified: `(seed, reason)` of runs that were; with one of them an agent has no place.
        place: From 1, by regret, with the best and worst place that the seeds leave; None without a place.
        regret: Of the last incumbent; None, as all that follows, if no run stands.
        value: Noiseless reward of the last incumbent.
        score: 0 is random search's mean value at this budget, 1 the best known one; None if that is random's.
        observed: The best reward shown.
        hypervolume: See `hypervolume`.
        over_random: Probability that a run of it ends better than one of random search; None for that itself.
        over_best: The same against the best of the others.
        evaluations: Mean used.
        distinct: Mean share of them that were not repeats of the same choices.
        agent_seconds: Mean of the agent's own.
    """

    agent: str
    seeds: tuple[int, ...]
    disqualified: tuple[tuple[int, str], ...]
    place: tuple[int, int, int] | None = None
    regret: Interval | None = None
    value: float | None = None
    score: Interval | None = None
    observed: float | None = None
    hypervolume: float | None = None
    over_random: Interval | None = None
    over_best: Interval | None = None
    evaluations: float | None = None
    distinct: float | None = None
    agent_seconds: float | None = None


def hypervolume(accuracies: NDArray[np.float64], costs: NDArray[np.float64], reference_cost: float) -> float:
    """The share of the box from cost 0 to `reference_cost` and accuracy 0 to 1 that the architectures dominate.

    That is the hypervolume with the reference point (`reference_cost`, accuracy 0), divided by the box.

    Args:
        accuracies: Fractions, shape (n,).
        costs: Shape (n,); what costs more than the reference point adds nothing.
        reference_cost: In the unit of the costs.
    """
    front = pareto_front(costs.tolist(), accuracies.tolist())
    front = front[costs[front] < reference_cost]
    widths = np.diff(np.append(costs[front], reference_cost))
    return float((widths * accuracies[front]).sum() / reference_cost)


def value_curve(run: AgentRun, evaluations: NDArray[np.int64]) -> NDArray[np.float64]:
    """The incumbent's value after so many evaluations (each at least 1); an agent that stopped keeps its last one."""
    return run.incumbent_values[np.minimum(evaluations, run.evaluations) - 1]


def value_over_time(run: AgentRun, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """The incumbent's value after so many of the agent's own seconds; NaN before its first evaluation."""
    done = np.searchsorted(run.seconds, seconds, side="right")
    return np.where(done > 0, run.incumbent_values[np.maximum(done, 1) - 1], np.nan)


def by_agent(runs: Sequence[AgentRun]) -> dict[str, list[AgentRun]]:
    """The runs of each agent by seed; agents by name."""
    agents: dict[str, list[AgentRun]] = {}
    for run in sorted(runs, key=lambda run: (run.agent, run.seed)):
        agents.setdefault(run.agent, []).append(run)
    return agents


def standing_runs(runs: Sequence[AgentRun]) -> dict[str, list[AgentRun]]:
    """The runs of each agent of which none is disqualified; agents by name."""
    return {name: own for name, own in by_agent(runs).items() if all(run.reason is None for run in own)}


def standings(runs: Sequence[AgentRun], best_value: float, target: float) -> list[Standing]:
    """Where the agents stand: those with a place first, by place, then those with a disqualified run, by name.

    An agent has a place only if all of its runs stand: leaving out the seeds on which it failed would make the
    others look better than it is.

    Args:
        runs: All runs of a competition.
        best_value: Best known noiseless reward; at least that of any run.
        target: T, in the unit of the costs.

    Raises:
        InvalidSettingError: There is no run, or one is better than the best known.
    """
    if not runs:
        raise InvalidSettingError("A competition must have at least one run to be judged, but has none.")
    best_found = max((float(run.values.max()) for run in runs if run.evaluations), default=best_value)
    if best_found > best_value:
        raise InvalidSettingError(
            f"`best_value` must be at least the best of the runs, {best_found}, but got {best_value}."
        )
    agents = by_agent(runs)
    values = {name: [[run.value for run in own]] for name, own in standing_runs(runs).items()}
    ranked = dict(zip(values, places(list(values.values())), strict=True))
    order = sorted(ranked, key=lambda name: (ranked[name][0], name))
    placed = [
        _standing(name, agents[name], best_value, target, values, ranked[name], _rival(order, name)) for name in order
    ]
    return placed + [_without_place(name, own) for name, own in agents.items() if name not in values]


@dataclass(frozen=True)
class OverallStanding:
    """How an agent did over several competitions; each is a task, and its scores a stratum.

    Attributes:
        agent: Its name.
        place: From 1, by score, with the best and worst place that the seeds leave.
        score: Interquartile mean of the normalised scores of all runs.
        over_random: Mean over competitions of the probability to end better than random search; None for that itself.
    """

    agent: str
    place: tuple[int, int, int]
    score: Interval
    over_random: Interval | None


def overall_standings(competitions: Sequence[tuple[Sequence[AgentRun], float]]) -> list[OverallStanding]:
    """Where the agents stand that have a place, as has random search, in all competitions; by place.

    Args:
        competitions: The runs of each, and its best known value.
    """
    scores: list[dict[str, list[float]]] = []
    for runs, best_value in competitions:
        values = {name: [run.value for run in own] for name, own in standing_runs(runs).items()}
        baseline = float(np.mean(values[RANDOM])) if RANDOM in values else best_value
        if not baseline < best_value:
            return []
        scores.append({n: [(v - baseline) / (best_value - baseline) for v in own] for n, own in values.items()})
    agents = sorted(set.intersection(*(set(one) for one in scores))) if scores else []
    strata = {agent: [one[agent] for one in scores] for agent in agents}
    found = [
        OverallStanding(
            agent,
            place,
            interval_of_mean(own),
            None if agent == RANDOM else probability_of_improvement(own, strata[RANDOM]),
        )
        for (agent, own), place in zip(strata.items(), places(list(strata.values())), strict=True)
    ]
    return sorted(found, key=lambda standing: (standing.place[0], standing.agent))


def _standing(
    name: str,
    runs: list[AgentRun],
    best_value: float,
    target: float,
    values: dict[str, list[list[float]]],
    place: tuple[int, int, int],
    rival: str | None,
) -> Standing:
    own = values[name]
    baseline = float(np.mean(values[RANDOM])) if RANDOM in values else best_value
    scores = (np.array(own) - baseline) / (best_value - baseline) if best_value > baseline else None
    return Standing(
        agent=name,
        seeds=tuple(run.seed for run in runs),
        disqualified=(),
        place=place,
        regret=interval_of_mean(best_value - np.array(own)),
        value=float(interquartile_mean(own)),
        score=None if scores is None else interval_of_mean(scores),
        observed=float(interquartile_mean([run.observed.max() for run in runs])),
        hypervolume=float(interquartile_mean([run.hypervolume(target) for run in runs])),
        over_random=(probability_of_improvement(own, values[RANDOM]) if RANDOM in values and name != RANDOM else None),
        over_best=None if rival is None else probability_of_improvement(own, values[rival]),
        evaluations=float(np.mean([run.evaluations for run in runs])),
        distinct=float(np.mean([len(np.unique(run.choices, axis=0)) / run.evaluations for run in runs])),
        agent_seconds=float(np.mean([run.total_seconds for run in runs])),
    )


def _without_place(name: str, runs: list[AgentRun]) -> Standing:
    failed = tuple((run.seed, run.reason) for run in runs if run.reason is not None)
    return Standing(name, tuple(run.seed for run in runs), failed)


def _rival(order: Sequence[str], name: str) -> str | None:
    """The best-placed of the others."""
    return next((other for other in order if other != name), None)
