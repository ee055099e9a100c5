"""How the costs of a search's candidates are spread around its target: the paper's Figure 4 A."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from akd_gym.analysis.formats import cost_in_words
from akd_gym.analysis.outcomes import Outcome
from akd_gym.analysis.panels import (
    BLUE,
    and_infeasible,
    axis_label,
    axis_scale,
    cost_name,
    feasible_of,
    limit_around,
    mark_target,
    percent,
)

_MOST_BINS = 60
_NEAR_TARGET = 0.1


@dataclass(frozen=True, eq=False)
class CostHistogram:
    """How the costs of a search's candidates are spread around the target (Figure 4 A).

    Attributes:
        costs: Of the feasible candidates, repeats too, shape (n,), in `unit`.
        edges: Of the bins, shape (bins + 1,), in `unit`.
        counts: Candidates in each bin, shape (bins,).
        target: In `unit`.
        unit: `"ms"` or `"madds"`.
        infeasible: Candidates left out.
    """

    costs: NDArray[np.float64]
    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    target: float
    unit: str
    infeasible: int

    @property
    def near_target(self) -> float:
        """Share of the candidates within 10 % of the target."""
        return float((np.abs(self.costs / self.target - 1) <= _NEAR_TARGET * (1 + 1e-12)).mean())

    @property
    def caption(self) -> str:
        """What is seen, in sentences without markup."""
        return (
            f"{cost_name(self.unit)} of {len(self.costs):,} candidates{and_infeasible(self.infeasible)}. The dashed "
            f"line is the target, {cost_in_words(self.target, self.unit)}; {percent(self.near_target)} of the "
            f"candidates lie within {percent(_NEAR_TARGET)} of it."
        )

    def draw(self, axes: Axes) -> None:
        """Bars, and the target."""
        scale = axis_scale(self.unit)
        axes.stairs(self.counts, self.edges * scale, fill=True, color=BLUE, alpha=0.85, linewidth=0)
        axes.set_ylim(0, 1.12 * self.counts.max())
        limit_around(axes, np.append(self.edges, self.target) * scale)
        mark_target(axes, self.target, self.unit)
        axes.set_xlabel(axis_label(self.unit))
        axes.set_ylabel("candidates")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))


def cost_histogram(outcomes: Sequence[Outcome]) -> CostHistogram:
    """How the costs of a search are spread (Figure 4 A), in bins of a width that suits how many there are.

    Raises:
        InvalidSettingError: No outcome is feasible.
    """
    feasible = feasible_of(outcomes)
    costs = np.array([o.cost for o in feasible], dtype=np.float64)
    if np.ptp(costs) == 0:
        edges = costs[0] * np.array([0.95, 1.05])
    else:
        edges = np.histogram_bin_edges(costs, "auto")
        if len(edges) > _MOST_BINS + 1:
            edges = np.histogram_bin_edges(costs, _MOST_BINS)
    counts = np.histogram(costs, edges)[0]
    last = feasible[-1]
    return CostHistogram(costs, edges, counts, last.target, last.unit, len(outcomes) - len(feasible))
