"""How much of what could be had a search's Pareto front has: its hypervolume, and how it grew over the search.

Hypervolumes can be compared between searches of one unit of cost, with one reference point.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from akd_gym.analysis.competition import HYPERVOLUME_COST, hypervolume
from akd_gym.analysis.formats import cost_in_words
from akd_gym.analysis.panels import SERIES, feasible_of
from akd_gym.analysis.runs import SearchRun
from akd_gym.analysis.style import INK, finish
from akd_gym.errors import InvalidSettingError


@dataclass(frozen=True, eq=False)
class HypervolumeCurve:
    """The hypervolume of the Pareto front after each candidate of a search.

    Attributes:
        name: Of the search.
        numbers: Of the candidates, shape (n,).
        values: Share of the box from cost 0 to `reference_cost` and from accuracy 0 to 1 that the architectures so far
            dominate, shape (n,); never falls. 0 until one is feasible and cheaper than `reference_cost`.
        reference_cost: In `unit`.
        unit: `"ms"` or `"madds"`.
    """

    name: str
    numbers: NDArray[np.int64]
    values: NDArray[np.float64]
    reference_cost: float
    unit: str

    @property
    def final(self) -> float:
        """Of the whole search, as far as it has come."""
        return float(self.values[-1])


def hypervolume_curve(run: SearchRun, reference_cost: float | None = None) -> HypervolumeCurve:
    """How the hypervolume of a search grew.

    Accuracies are those that the search was shown, so a front is in part made of lucky trainings; the more candidates
    a search has, the more so.

    Args:
        run: Finished or not.
        reference_cost: Where the box ends, in the search's unit; if None at twice its target.

    Raises:
        InvalidSettingError: No candidate is feasible, or a reference cost that is not positive.
    """
    feasible_of(run.outcomes)
    reference = HYPERVOLUME_COST * run.target if reference_cost is None else reference_cost
    if not 0 < reference < np.inf:
        raise InvalidSettingError(f"`reference_cost` must be positive and finite, but got {reference}.")
    values = np.zeros(len(run.outcomes))
    costs, accuracies = np.empty(0), np.empty(0)  # of the front so far, with some that it has left behind
    for i, (cost, accuracy) in enumerate(zip(run.costs.tolist(), run.accuracies.tolist(), strict=True)):
        values[i] = values[i - 1] if i else 0.0
        if run.feasible[i] and not ((costs <= cost) & (accuracies >= accuracy)).any():
            beaten = (costs >= cost) & (accuracies <= accuracy)
            costs, accuracies = np.append(costs[~beaten], cost), np.append(accuracies[~beaten], accuracy)
            values[i] = hypervolume(accuracies, costs, reference)
    numbers = np.array([outcome.number for outcome in run.outcomes])
    return HypervolumeCurve(run.name, numbers, values, reference, run.unit)


def hypervolume_figure(curves: Sequence[HypervolumeCurve], *, title: str = "") -> Figure:
    """Hypervolume over the candidates of one or more searches.

    Args:
        curves: Of one reference cost; see `hypervolume_curve`.
        title: Above the figure.

    Raises:
        InvalidSettingError: There is no curve, or their reference points differ.
    """
    points = {(curve.reference_cost, curve.unit) for curve in curves}
    if len(points) != 1:
        got = ", ".join(cost_in_words(*point) for point in sorted(points)) or "no curve"
        raise InvalidSettingError(
            f"Hypervolumes must share one reference cost to be compared, but got {got}. Give `reference_cost`."
        )
    [(reference, unit)] = points
    figure = Figure(figsize=(7.2, 3.8), layout="constrained")
    axes = figure.add_subplot()
    for i, curve in enumerate(curves):
        axes.step(
            curve.numbers + 1,
            curve.values,
            where="post",
            color=SERIES[i % len(SERIES)],
            linestyle=("solid", (0, (5, 1.5)), (0, (1.5, 1)))[i // len(SERIES) % 3],
            linewidth=1.8,
            label=f"{curve.name}: {curve.final:.3f}",
        )
    axes.set_xlabel("candidates evaluated")
    axes.set_ylabel(f"hypervolume up to {cost_in_words(reference, unit)}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    if len(curves) <= 12:
        axes.legend(loc="lower right", fontsize=8.5, frameon=False, labelcolor=INK)
    else:
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=7.5, frameon=False, labelcolor=INK)
    lows = [curve.values[curve.values > 0].min() for curve in curves if curve.final > 0]
    if lows:
        tops = max(curve.final for curve in curves)
        margin = 0.06 * ((tops - min(lows)) or tops)
        axes.set_ylim(min(lows) - margin, tops + margin)
    finish(figure, [axes], title)
    return figure
