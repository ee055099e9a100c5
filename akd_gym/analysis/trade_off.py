"""What costs buy in accuracy, with the Pareto front: the paper's Figure 4 B."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from akd_gym.analysis.formats import cost_in_words
from akd_gym.analysis.outcomes import Outcome
from akd_gym.analysis.panels import (
    DASHED,
    MANY_POINTS,
    PURPLE,
    YELLOW,
    and_infeasible,
    axis_label,
    axis_scale,
    cost_name,
    feasible_of,
    legend_above,
    limit_around,
    mark_infeasible,
    point_size,
)
from akd_gym.analysis.pareto import pareto_outcomes
from akd_gym.analysis.style import FAINT, INK, SOFT
from akd_gym.reward import Reward

_BY_NUMBER = "viridis"  # its lightness rises evenly, so it survives grey printing and colour blindness


@dataclass(frozen=True, eq=False)
class TradeOff:
    """Accuracy against cost of every candidate, with the Pareto front and the target (Figure 4 B).

    Attributes:
        outcomes: Of one search, by number.
        front: The Pareto-best of them, by rising cost.
        reward: Its lines of equal reward are drawn behind the points; None for none.
    """

    outcomes: tuple[Outcome, ...]
    front: tuple[Outcome, ...]
    reward: Reward | None = None

    @property
    def feasible(self) -> list[Outcome]:
        """Those with accuracy and cost."""
        return [o for o in self.outcomes if o.feasible]

    @property
    def best(self) -> Outcome:
        """Of the highest reward; of equal ones the first."""
        return max(self.feasible, key=lambda o: o.reward)

    @property
    def caption(self) -> str:
        """What is seen, in sentences without markup."""
        feasible, best = self.feasible, self.best
        target = cost_in_words(feasible[-1].target, best.unit)
        lines = "" if self.reward is None else " Grey lines join points of equal reward."
        return (
            f"Accuracy of the proxy task against {cost_name(best.unit).lower()} of {len(feasible):,} candidates"
            f"{and_infeasible(len(self.outcomes) - len(feasible))}, coloured by when they came up; {len(self.front)} "
            f"of them are the Pareto front. The dashed line is the target, {target}; the star is "
            f"the best reward, {best.reward:.3f}.{lines}"
        )

    def draw(self, axes: Axes) -> None:
        """Points with a colour bar; infeasible candidates whose cost is known stand at the lower edge."""
        feasible, front, best = self.feasible, self.front, self.best
        cost, accuracy = _costs(feasible), _accuracies(feasible)
        failed = [o for o in self.outcomes if not o.feasible]
        target = feasible[-1].target * axis_scale(best.unit)

        _limit(axes, np.append(cost, target), accuracy)
        if self.reward is not None:
            _reward_lines(axes, self.reward, target)
        axes.axvline(target, color=PURPLE, linestyle=DASHED, linewidth=1.4, zorder=2, label=f"target {target:.3g}")
        points = axes.scatter(
            cost,
            accuracy,
            c=[o.number for o in feasible],
            cmap=_BY_NUMBER,
            vmin=0,
            vmax=max(1, self.outcomes[-1].number),
            s=point_size(len(feasible), 26, 9),
            alpha=0.9,
            linewidths=0.4,
            edgecolors="white",
            zorder=3,
            rasterized=len(feasible) > MANY_POINTS,
        )
        axes.step(
            _costs(front),
            _accuracies(front),
            where="post",
            color=INK,
            linewidth=1.3,
            zorder=4,
            label=f"Pareto front ({len(front)} student{'s' * (len(front) != 1)})",
        )
        axes.scatter(
            _costs(front), _accuracies(front), s=40, facecolors="none", edgecolors=INK, linewidths=1.1, zorder=5
        )
        axes.plot(
            _costs([best]),
            _accuracies([best]),
            marker="*",
            markersize=14,
            color=YELLOW,
            markeredgecolor=INK,
            linestyle="none",
            zorder=6,
            label=f"best reward {best.reward:.3f}",
        )
        if failed:
            known = _costs([o for o in failed if o.cost is not None])
            unknown = f", {len(failed) - len(known)} of unknown cost" if len(known) < len(failed) else ""
            mark_infeasible(axes, known, f"infeasible ({len(failed)}{unknown})", height=0.02)
        axes.tick_params(which="minor", color=SOFT)
        axes.set_xlabel(axis_label(best.unit))
        axes.set_ylabel("accuracy of the proxy task (%)")
        legend_above(axes, columns=2)
        bar = axes.figure.colorbar(points, ax=axes, pad=0.015, aspect=30)
        bar.set_label("candidate", color=INK)
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=8.5, color=INK, labelcolor=INK)
        bar.ax.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))


def trade_off(outcomes: Sequence[Outcome], reward: Reward | None = None) -> TradeOff:
    """Accuracy against cost of a search, with its Pareto front (Figure 4 B).

    Args:
        outcomes: Of one search, by number.
        reward: For lines of equal reward.

    Raises:
        InvalidSettingError: No outcome is feasible.
    """
    feasible_of(outcomes)
    return TradeOff(tuple(outcomes), tuple(pareto_outcomes(outcomes)), reward)


def _costs(outcomes: Sequence[Outcome]) -> NDArray[np.float64]:
    """In the unit of the axis: ms, or millions of multiply-adds."""
    scale = axis_scale(outcomes[0].unit) if outcomes else 1.0
    return np.array([o.cost for o in outcomes], dtype=np.float64) * scale


def _accuracies(outcomes: Sequence[Outcome]) -> NDArray[np.float64]:
    return np.array([o.accuracy for o in outcomes], dtype=np.float64) * 100


def _limit(axes: Axes, costs: NDArray[np.float64], accuracies: NDArray[np.float64]) -> None:
    """Sets the limits by hand, as the lines of equal reward would stretch them; the costs' axis may be logarithmic."""
    if costs.max() / costs.min() > 4:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        margin = (costs.max() / costs.min()) ** 0.05
        axes.set_xlim(costs.min() / margin, costs.max() * margin)
    else:
        limit_around(axes, costs)
    margin = 0.08 * (float(np.ptp(accuracies)) or 1.0)
    axes.set_ylim(accuracies.min() - 1.5 * margin, min(100.0, accuracies.max() + margin))


def _reward_lines(axes: Axes, reward: Reward, target: float) -> None:
    """Lines of equal reward, unlabelled: the slope that the agent climbs."""
    costs = np.linspace(*axes.get_xlim(), 160) if axes.get_xscale() == "linear" else np.geomspace(*axes.get_xlim(), 160)
    low, high = axes.get_ylim()
    accuracies = np.linspace(max(low, 0.0), min(high, 100.0), 60)
    values = [[reward(a / 100, c, target) for c in costs] for a in accuracies]
    axes.contour(costs, accuracies, values, levels=9, colors=FAINT, linewidths=0.8, linestyles="solid", zorder=1)
    axes.plot([], [], color=FAINT, linewidth=0.8, label="equal reward")
