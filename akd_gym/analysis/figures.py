"""Figures of a finished or running search, after the paper's Figure 4: what was found, and how the search went.

Nothing here touches pyplot, so that figures can be made from any thread and leave no state behind.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from akd_gym.analysis.outcomes import Outcome
from akd_gym.analysis.pareto import pareto_outcomes
from akd_gym.analysis.style import FAINT, INK, finish
from akd_gym.errors import InvalidSettingError
from akd_gym.files import write_atomically
from akd_gym.reward import Reward

_BLUE, _FAILED, _TARGET = "#0072b2", "#d55e00", "#cc79a7"  # Okabe and Ito
_COLOURS = "viridis"  # its lightness rises evenly, so it survives grey printing and colour blindness


def accuracy_cost_figure(outcomes: Sequence[Outcome], *, reward: Reward | None = None, title: str = "") -> Figure:
    """Accuracy against cost of every candidate, with the Pareto front and the target (Figure 4 B).

    Candidates are coloured by when they came up. Infeasible ones whose cost is known stand at the lower edge.

    Args:
        outcomes: Of one search, by number.
        reward: Draws its lines of equal reward behind the points.
        title: Above the figure.

    Raises:
        InvalidSettingError: No outcome is feasible.
    """
    feasible = [o for o in outcomes if o.feasible]
    if not feasible:
        raise InvalidSettingError(
            f"At least one candidate must be feasible for a figure, but all {len(outcomes)} failed."
        )
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    axes = figure.add_subplot()
    cost, accuracy = _costs(feasible), _accuracies(feasible)
    failed = [o for o in outcomes if not o.feasible]
    target = feasible[-1].target * _cost_scale(feasible)

    _limit(axes, np.append(cost, target), accuracy)
    if reward is not None:
        _reward_lines(axes, reward, target)
    axes.axvline(target, color=_TARGET, linestyle=(0, (4, 3)), linewidth=1.4, zorder=2)
    axes.annotate(
        f" target {target:.3g}",
        (target, 1),
        xycoords=("data", "axes fraction"),
        xytext=(2, -4),
        textcoords="offset points",
        color=_TARGET,
        va="top",
        fontsize=9,
        bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1},
    )
    points = axes.scatter(
        cost,
        accuracy,
        c=[o.number for o in feasible],
        cmap=_COLOURS,
        s=26 if len(feasible) < 400 else 9,
        alpha=0.9,
        linewidths=0.4,
        edgecolors="white",
        zorder=3,
    )
    front = pareto_outcomes(outcomes)
    axes.step(
        _costs(front),
        _accuracies(front),
        where="post",
        color=INK,
        linewidth=1.3,
        zorder=4,
        label=f"Pareto front ({len(front)} students)",
    )
    axes.scatter(_costs(front), _accuracies(front), s=44, facecolors="none", edgecolors=INK, linewidths=1.1, zorder=5)
    best = max(feasible, key=lambda o: o.reward)
    axes.plot(
        _costs([best]),
        _accuracies([best]),
        marker="*",
        markersize=15,
        color="#f0e442",
        markeredgecolor=INK,
        linestyle="none",
        zorder=6,
        label=f"best reward {best.reward:.3f}",
    )
    if failed:
        known = _costs([o for o in failed if o.cost is not None])
        unknown = f", {len(failed) - len(known)} of unknown cost" if len(known) < len(failed) else ""
        axes.plot(
            known,
            np.full(len(known), 0.02),
            "|",
            transform=axes.get_xaxis_transform(),
            color=_FAILED,
            markersize=9,
            markeredgewidth=1.5,
            zorder=5,
            label=f"infeasible ({len(failed)}{unknown})",
        )
    axes.set_xlabel(_cost_label(feasible))
    axes.set_ylabel("accuracy of the proxy task (%)")
    axes.legend(loc="lower right", fontsize=9, frameon=True, framealpha=0.9, edgecolor=FAINT)
    bar = figure.colorbar(points, ax=axes, pad=0.015, aspect=30)
    bar.set_label("candidate", color=INK)
    bar.outline.set_visible(False)
    bar.ax.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    finish(figure, [axes], title)
    return figure


def progress_figure(outcomes: Sequence[Outcome], *, window: int | None = None, title: str = "") -> Figure:
    """Reward, accuracy and cost over the candidates of a search, with moving means (Figure 4 C and D).

    Args:
        outcomes: Of one search, by number.
        window: Candidates in a moving mean; if None a tenth of them, but from 5 to 200.
        title: Above the figure.

    Raises:
        InvalidSettingError: No outcome is feasible.
    """
    feasible = [o for o in outcomes if o.feasible]
    if not feasible:
        raise InvalidSettingError(
            f"At least one candidate must be feasible for a figure, but all {len(outcomes)} failed."
        )
    window = window or max(5, min(200, len(outcomes) // 10))
    figure = Figure(figsize=(7.2, 6.4), layout="constrained")
    rows = figure.subplots(3, 1, sharex=True)
    numbers = np.array([o.number for o in feasible])
    rewards = np.array([o.reward for o in feasible])
    panels = ((rewards, "reward"), (_accuracies(feasible), "accuracy (%)"), (_costs(feasible), _cost_label(feasible)))
    for axes, (values, label) in zip(rows, panels, strict=True):
        size, alpha = (18, 0.5) if len(values) < 400 else (4, 0.35)
        axes.scatter(numbers, values, s=size, color=_BLUE, alpha=alpha, linewidths=0, zorder=2)
        axes.plot(
            numbers,
            moving_mean(values, window),
            color=_BLUE,
            linewidth=2,
            zorder=3,
            label=f"mean of the last {window}",
        )
        axes.set_ylabel(label)
        axes.margins(x=0.02, y=0.12)
    rows[0].step(
        numbers,
        np.maximum.accumulate(rewards),
        where="post",
        color=INK,
        linewidth=1.2,
        label="best so far",
        zorder=3,
    )
    failed = [o.number for o in outcomes if not o.feasible]
    if failed:
        rows[0].plot(
            failed,
            np.full(len(failed), 0.05),
            "|",
            transform=rows[0].get_xaxis_transform(),
            color=_FAILED,
            markersize=9,
            markeredgewidth=1.5 if len(failed) < 60 else 0.4,
            label=f"infeasible ({len(failed)})",
        )
    target = feasible[-1].target * _cost_scale(feasible)
    rows[2].axhline(target, color=_TARGET, linestyle=(0, (4, 3)), linewidth=1.4, label=f"target {target:.3g}")
    for axes in (rows[0], rows[2]):
        axes.legend(loc="lower right", bbox_to_anchor=(1, 0.97), ncols=3, fontsize=8.5, frameon=False)
    rows[2].set_xlabel("candidate")
    rows[2].xaxis.set_major_locator(MaxNLocator(integer=True))
    finish(figure, list(rows), title)
    return figure


def write_figure(path: str | Path, figure: Figure, dpi: int = 160) -> Path:
    """Writes a figure as a PNG, whole or not at all.

    Raises:
        StorageError: It cannot be written; an old file is as it was.
    """
    content = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(content, format="png", dpi=dpi, facecolor="white")
    return write_atomically(path, content.getvalue())


def moving_mean(values: Sequence[float] | NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """The mean of each value and those before it, at most `window` in all; shape (n,)."""
    sums = np.concatenate([[0.0], np.cumsum(np.asarray(values, dtype=np.float64))])
    ends = np.arange(1, len(sums))
    starts = np.maximum(0, ends - window)
    return (sums[ends] - sums[starts]) / (ends - starts)


def _costs(outcomes: Sequence[Outcome]) -> NDArray[np.float64]:
    """In the unit of the axis: ms, or millions of multiply-adds."""
    scale = _cost_scale(outcomes)
    return np.array([o.cost for o in outcomes], dtype=np.float64) * scale


def _accuracies(outcomes: Sequence[Outcome]) -> NDArray[np.float64]:
    return np.array([o.accuracy for o in outcomes], dtype=np.float64) * 100


def _cost_scale(outcomes: Sequence[Outcome]) -> float:
    return 1.0 if not outcomes or outcomes[0].unit == "ms" else 1e-6


def _cost_label(outcomes: Sequence[Outcome]) -> str:
    return "latency (ms)" if outcomes[0].unit == "ms" else "multiply-adds (M)"


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
        margin = 0.05 * (float(np.ptp(costs)) or costs.max())
        axes.set_xlim(costs.min() - margin, costs.max() + margin)
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
