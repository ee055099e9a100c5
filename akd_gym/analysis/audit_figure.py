"""The figure of an audited proxy: against full training, between neighbours, and for more seconds a candidate."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

from akd_gym.analysis.panels import BLUE, DASHED, VERMILION, YELLOW
from akd_gym.analysis.style import FAINT, INK, SOFT, finish

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PricedTau:
    """Kendall's tau of one way to spend seconds on a candidate, with its 95 % interval."""

    name: str
    seconds: float
    tau: float
    low: float
    high: float


@dataclass(frozen=True)
class ProxyAudit:
    """What is drawn of an audit; accuracies are fractions.

    Attributes:
        proxy: What the search saw of n students, shape (n,).
        full: Their accuracies after full training, shape (n,).
        proxy_std: Standard deviation over seeds of one proxy training; None where it is not known.
        full_error: Standard errors of `full`, shape (n,).
        judged_on: What `full` is an accuracy on, such as `"test set"`.
        agreement: The rank correlation in words.
        pairs: Proxy accuracies of students one decision apart, shape (m, 2); none are not drawn.
        pairs_note: How alike they are, in words.
        choices: Ways to spend seconds, the first being the proxy as it is; none are not drawn.
        ceiling: The tau that noise alone would leave a single training; None where it is not known.
    """

    proxy: Array
    full: Array
    proxy_std: float | None
    full_error: Array
    judged_on: str
    agreement: str
    pairs: Array
    pairs_note: str
    choices: Sequence[PricedTau]
    ceiling: float | None


def proxy_audit_figure(audit: ProxyAudit, title: str = "") -> Figure:
    """Proxy against full accuracy with error bars, the proxy's best and the fully best marked; and what else is known.

    Args:
        audit: What was found, of two students or more.
        title: Above the figure.
    """
    optional = [draw for draw, is_there in ((_pairs, len(audit.pairs)), (_prices, audit.choices)) if is_there]
    widths = [1.2, *([1.0] * len(optional))]
    figure = Figure(figsize=(1.0 + 3.6 * sum(widths), 4.4), layout=ConstrainedLayoutEngine(wspace=0.06))
    panels = figure.subplots(1, len(widths), width_ratios=widths, squeeze=False)[0]
    for axes, draw in zip(panels, (_agreement, *optional), strict=True):
        draw(axes, audit)
    finish(figure, list(panels), title)
    return figure


def _agreement(axes: Axes, audit: ProxyAudit) -> None:
    """Points and whiskers; the best by either training."""
    proxy, full = 100 * audit.proxy, 100 * audit.full
    axes.errorbar(
        proxy,
        full,
        xerr=None if audit.proxy_std is None else 100 * audit.proxy_std,
        yerr=100 * audit.full_error,
        fmt="o",
        markersize=6,
        color=BLUE,
        ecolor=FAINT,
        elinewidth=1.3,
        markeredgecolor="white",
        markeredgewidth=0.6,
        zorder=2,
    )
    best, fully = int(np.argmax(proxy)), int(np.argmax(full))
    axes.plot(
        proxy[fully], full[fully], "o", markersize=13, markerfacecolor="none", markeredgecolor=VERMILION,
        markeredgewidth=1.6, zorder=3, label="best by full training",
    )  # fmt: skip
    axes.plot(
        proxy[best], full[best], "*", markersize=15, color=YELLOW, markeredgecolor=INK, zorder=4,
        label="best by the proxy",
    )  # fmt: skip
    axes.set_xlabel("accuracy that the search saw (%)")
    axes.set_ylabel(f"accuracy after full training, {audit.judged_on} (%)")
    axes.set_title(audit.agreement, fontsize=10, color=INK)
    axes.margins(0.08)
    # Below the panel, as points may lie anywhere in it.
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2, fontsize=8.5, frameon=False)


def _pairs(axes: Axes, audit: ProxyAudit) -> None:
    """Students and their neighbours on the same scale, about the diagonal."""
    pairs = 100 * audit.pairs
    low, high = float(pairs.min()), float(pairs.max())
    margin = 0.06 * ((high - low) or 1.0)
    ends = (low - margin, high + margin)
    axes.plot(ends, ends, color=FAINT, linewidth=1.3, zorder=1)
    axes.scatter(pairs[:, 0], pairs[:, 1], s=34, color=BLUE, linewidths=0.6, edgecolors="white", zorder=2)
    axes.set_xlim(ends)
    axes.set_ylim(ends)
    axes.set_xlabel("proxy accuracy of a student (%)")
    axes.set_ylabel("of one a decision beside it (%)")
    axes.set_title(audit.pairs_note, fontsize=10, color=INK)


def _prices(axes: Axes, audit: ProxyAudit) -> None:
    """What more seconds a candidate bring. Twice the epochs cost about what two seeds do: places are no scale."""
    for place, choice in enumerate(audit.choices):
        colour = BLUE if place == 0 else SOFT
        axes.vlines(place, choice.low, choice.high, color=colour, linewidth=1.6, zorder=2)
        axes.plot(place, choice.tau, "o", markersize=7, color=colour, zorder=3)
    axes.axhline(audit.choices[0].tau, color=BLUE, linewidth=0.8, alpha=0.5, zorder=1)
    axes.axhline(0, color=FAINT, linewidth=1, zorder=0)
    if audit.ceiling is not None:
        axes.axhline(
            audit.ceiling,
            color=SOFT,
            linestyle=DASHED,
            linewidth=1.2,
            zorder=1,
            label="one training at best, by noise",
        )
        axes.legend(loc="upper right", fontsize=8.5, frameon=False, borderaxespad=0)
    labels = [f"{textwrap.fill(choice.name, 10)}\n{choice.seconds:.3g} s" for choice in audit.choices]
    axes.set_xticks(range(len(labels)), labels)
    axes.set_xlim(-0.5, len(labels) - 0.5)
    axes.set_ylim(min(0.0, *(choice.low for choice in audit.choices)) - 0.05, 1.18)  # room for the legend
    axes.set_xlabel("what judges a candidate, and its cost")
    axes.set_ylabel("Kendall tau with full training")
    axes.set_title("a dearer proxy", fontsize=10, color=INK)
