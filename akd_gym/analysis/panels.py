"""What the panels of search figures share: their colours, axes of costs, and marks for targets and failures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from akd_gym.analysis.outcomes import Outcome
from akd_gym.analysis.style import INK
from akd_gym.errors import InvalidSettingError

BLUE, VERMILION, PURPLE, YELLOW = "#0072b2", "#d55e00", "#cc79a7", "#f0e442"  # Okabe and Ito

SERIES = (BLUE, VERMILION, "#009e73", PURPLE, "#e69f00", "#56b4e9")
"""One colour a search, where several are compared."""

DASHED = (0, (4, 3))

MANY_POINTS = 2_000
"""A cloud of more points is a picture inside SVG and PDF: one mark each would make files that no viewer opens."""


class Panel(Protocol):
    """What a figure is put together from: data that draws itself."""

    @property
    def caption(self) -> str:
        """What is seen, in sentences without markup."""

    def draw(self, axes: Axes) -> None:
        """Draws it, with labels and legend."""


def feasible_of(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The outcomes that have accuracy and cost.

    Raises:
        InvalidSettingError: There is none.
    """
    feasible = [o for o in outcomes if o.feasible]
    if not feasible:
        raise InvalidSettingError(
            f"At least one candidate must be feasible for a figure, but all {len(outcomes)} failed."
        )
    return feasible


def axis_scale(unit: str) -> float:
    """What costs are multiplied by on an axis: multiply-adds are shown in millions."""
    return 1.0 if unit == "ms" else 1e-6


def axis_label(unit: str) -> str:
    """Of an axis of costs."""
    return "latency (ms)" if unit == "ms" else "multiply-adds (M)"


def cost_name(unit: str) -> str:
    """How a sentence about costs begins."""
    return "Latency" if unit == "ms" else "Multiply-adds"


def and_infeasible(infeasible: int) -> str:
    """What captions add where candidates are left out."""
    return f" ({infeasible:,} infeasible ones left out)" if infeasible else ""


def percent(share: float, decimals: int = 0) -> str:
    """As captions write it: `45 %`."""
    return f"{100 * share:.{decimals}f} %"


def point_size(count: int, few: float, many: float) -> float:
    """A size, or an opacity, that suits a cloud of `count` points."""
    return few if count < 400 else many


def mark_infeasible(axes: Axes, positions: NDArray[np.float64] | NDArray[np.int64], label: str, height: float) -> None:
    """Strokes at the lower edge, at a height in shares of the panel's."""
    axes.plot(
        positions,
        np.full(len(positions), height),
        "|",
        transform=axes.get_xaxis_transform(),
        color=VERMILION,
        markersize=9,
        markeredgewidth=1.5 if len(positions) < 60 else 0.4,
        zorder=5,
        label=label,
    )


def mark_target(axes: Axes, target: float, unit: str) -> None:
    """A line at the target of the horizontal axis, whose limits must be set, with its value at the top."""
    position = target * axis_scale(unit)
    low, high = axes.get_xlim()
    left = position > low + 0.65 * (high - low)  # where there is room for the text
    axes.axvline(position, color=PURPLE, linestyle=DASHED, linewidth=1.4, zorder=2)
    axes.annotate(
        f"target {position:.3g}",
        (position, 1),
        xycoords=("data", "axes fraction"),
        xytext=(-5 if left else 5, -4),
        textcoords="offset points",
        color=PURPLE,
        va="top",
        ha="right" if left else "left",
        fontsize=9,
        bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1},
    )


def legend_above(axes: Axes, columns: int = 3) -> None:
    """A legend that stands on the panel, where it hides nothing."""
    axes.legend(
        loc="lower right",
        bbox_to_anchor=(1.01, 0.98),
        ncols=columns,
        fontsize=8.5,
        labelcolor=INK,
        frameon=False,
        handlelength=1.5,
        handletextpad=0.5,
        columnspacing=0.9,
    )


def limit_around(axes: Axes, costs: NDArray[np.float64]) -> None:
    """Limits the horizontal axis to some costs, in its unit, and a margin; one cost alone has one too."""
    margin = 0.05 * (float(np.ptp(costs)) or costs.max())
    axes.set_xlim(costs.min() - margin, costs.max() + margin)
