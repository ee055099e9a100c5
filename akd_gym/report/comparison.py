"""Searches side by side: their numbers, and what must be known before they are compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from akd_gym.analysis.competition import HYPERVOLUME_COST, hypervolume
from akd_gym.analysis.formats import cost_in_words, format_cost
from akd_gym.analysis.outcomes import Outcome
from akd_gym.analysis.pareto import pareto_outcomes
from akd_gym.analysis.shared import unshared_decisions
from akd_gym.report.description import Rows, device_of
from akd_gym.report.reading import ReportedRun

_FIRST_AND_LAST = 0.1


def summary_rows(runs: Sequence[ReportedRun]) -> list[Rows]:
    """The numbers of each search, with hypervolumes up to the same cost where costs have the same unit."""
    limits: dict[str, float] = {}
    for run in runs:
        unit = run.search.unit
        limits[unit] = max(limits.get(unit, 0.0), HYPERVOLUME_COST * run.search.target)
    return [_summary(run, limits[run.search.unit]) for run in runs]


def notes(runs: Sequence[ReportedRun]) -> list[str]:
    """What a reader must know: searches that are not finished, and what keeps several from being compared."""
    found = [_unfinished(run) for run in runs if _unfinished(run)]
    spaces = [run.search for run in runs]
    if left := unshared_decisions(spaces):
        names = " and ".join(dict.fromkeys(repr(search.space.name) for search in spaces))
        found.append(
            f"The searches are of different spaces ({names}): they are compared by accuracy and cost. "
            f"{len(left)} decisions are not the same in all."
        )
    if len({run.search.unit for run in runs}) > 1:
        found.append(
            "Some searches weigh accuracy against latency and some against multiply-adds: "
            "costs are shown as multiply-adds, which all have."
        )
    devices = {name for run in runs for e in run.search.evaluations if (name := device_of(e.latency))}
    if len(devices) > 1:
        found.append(f"Latencies come from different devices and cannot be compared: {', '.join(sorted(devices))}.")
    if len({_images(run) for run in runs}) > 1:
        found.append("The searches differ in data, split or training: their accuracies cannot be compared.")
    elif len({run.settings.evaluator for run in runs}) > 1:
        found.append("Some accuracies are of real trainings and some are AKDBench's.")
    if len({(run.search.target, run.search.reward) for run in runs}) > 1:
        found.append("The searches differ in target or reward: their rewards cannot be compared.")
    return found


def _summary(run: ReportedRun, limit: float) -> Rows:
    search = run.search
    outcomes, unit = search.outcomes, search.unit
    feasible = [o for o in outcomes if o.feasible]
    budget = f" of {search.budget:,}" if search.budget is not None else ""
    rows = [
        ("candidates", f"{len(outcomes):,}{budget}"),
        ("distinct architectures", f"{len({o.architecture for o in outcomes}):,}"),
        ("infeasible", _reasons(outcomes)),
    ]
    if not feasible:
        return rows
    best = max(feasible, key=lambda o: o.reward)
    rows += [
        ("best reward", f"{best.reward:.4f}"),
        ("its accuracy", _percent(best.accuracy)),
        ("its cost", cost_in_words(best.cost, unit)),
    ]
    within = [o for o in feasible if o.cost is not None and o.cost <= o.target]
    top = max(within, key=lambda o: o.accuracy or 0.0, default=None)
    rows.append(("most accurate within the target", "-" if top is None else _percent(top.accuracy)))
    if top is not None:
        rows.append(("its cost (within the target)", cost_in_words(top.cost, unit)))
    front = pareto_outcomes(outcomes)
    rows.append(("Pareto-best students", f"{len(front):,}"))
    covered = hypervolume(search.accuracies[search.feasible], search.costs[search.feasible], limit)
    rows.append((f"hypervolume up to {format_cost(limit, unit)}", f"{covered:.4f}"))
    count = max(1, round(_FIRST_AND_LAST * len(feasible)))
    first, last = (float(np.mean([o.reward for o in part])) for part in (feasible[:count], feasible[-count:]))
    rows.append(("mean reward, first and last tenth", f"{first:.4f} → {last:.4f}"))
    return rows


def _reasons(outcomes: Sequence[Outcome]) -> str:
    counts = Counter(o.reason for o in outcomes if o.reason is not None)
    if not counts:
        return "0"
    listed = ", ".join(f"{count:,} {reason}" for reason, count in counts.most_common())
    return f"{sum(counts.values()):,} ({listed})"


def _unfinished(run: ReportedRun) -> str:
    done, budget = len(run.search.outcomes), run.search.budget
    if budget is None or done >= budget:
        return ""
    return f"{run.search.name} has {done:,} of {budget:,} candidates: it is still running, or was stopped."


def _images(run: ReportedRun) -> Any:
    """What accuracies depend on besides the network, the teacher and the seed."""
    recipe = run.settings.recipe
    unlike: Callable[[str], bool] = lambda name: name not in ("temperature", "alpha", "time_limit_s")  # noqa: E731
    return run.settings.data, tuple((k, v) for k, v in vars(recipe).items() if unlike(k))


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.2f} %"
