"""How reward, accuracy or cost went over a search, with moving means: the paper's Figure 4 C and D."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from akd_gym.analysis.formats import cost_in_words
from akd_gym.analysis.outcomes import Outcome
from akd_gym.analysis.panels import (
    BLUE,
    DASHED,
    MANY_POINTS,
    PURPLE,
    and_infeasible,
    axis_label,
    axis_scale,
    cost_name,
    feasible_of,
    legend_above,
    mark_infeasible,
    point_size,
)
from akd_gym.analysis.style import INK
from akd_gym.errors import InvalidSettingError

Quantity = Literal["reward", "accuracy", "cost"]


@dataclass(frozen=True, eq=False)
class Progress:
    """One quantity over the candidates of a search, with its moving mean (Figure 4 C and D).

    Attributes:
        quantity: `"reward"`, `"accuracy"` or `"cost"`.
        numbers: Of the feasible candidates, shape (n,).
        values: Shape (n,): a reward, a fraction, or a cost in `unit`.
        means: Of each value and those before it, at most `window` in all; shape (n,).
        window: Candidates in a mean.
        infeasible: Numbers of the others.
        target: In `unit`.
        unit: `"ms"` or `"madds"`.
    """

    quantity: Quantity
    numbers: NDArray[np.int64]
    values: NDArray[np.float64]
    means: NDArray[np.float64]
    window: int
    infeasible: NDArray[np.int64]
    target: float
    unit: str

    @property
    def caption(self) -> str:
        """What is seen, in sentences without markup."""
        name = cost_name(self.unit) if self.quantity == "cost" else self.quantity.capitalize()
        extra = {
            "reward": " The black line is the best so far.",
            "accuracy": "",
            "cost": f" The dashed line is the target, {cost_in_words(self.target, self.unit)}.",
        }
        return (
            f"{name} of {len(self.numbers):,} candidates{and_infeasible(len(self.infeasible))} in the order they came "
            f"up; the line is the mean of the last {self.window} up to each.{extra[self.quantity]}"
        )

    def draw(self, axes: Axes) -> None:
        """Points and means; for rewards the best so far too, for costs the target."""
        scale, name = {
            "reward": (1.0, "reward"),
            "accuracy": (100.0, "accuracy (%)"),
            "cost": (axis_scale(self.unit), axis_label(self.unit)),
        }[self.quantity]
        many = len(self.numbers) > MANY_POINTS
        axes.scatter(
            self.numbers,
            self.values * scale,
            s=1.5 if many else point_size(len(self.numbers), 18, 4),
            color=BLUE,
            alpha=point_size(len(self.numbers), 0.5, 0.35),
            linewidths=0,
            zorder=2,
            rasterized=many,
        )
        if many:  # a thin edge, so that it is seen on a dense cloud
            axes.plot(self.numbers, self.means * scale, color="white", linewidth=3.4, zorder=3)
        axes.plot(self.numbers, self.means * scale, color=BLUE, linewidth=2, zorder=3, label=f"mean of {self.window}")
        if self.quantity == "reward":
            best = np.maximum.accumulate(self.values)
            axes.step(self.numbers, best, where="post", color=INK, linewidth=1.2, label="best so far", zorder=3)
        if self.quantity == "cost":
            target = self.target * scale
            axes.axhline(
                target, color=PURPLE, linestyle=DASHED, linewidth=1.4, label=f"target {target:.3g}", zorder=2.5
            )
        if len(self.infeasible):
            mark_infeasible(axes, self.infeasible, f"infeasible ({len(self.infeasible)})", height=0.05)
        axes.set_ylabel(name)
        axes.set_xlabel("candidate")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        axes.margins(x=0.02, y=0.12)
        if len(self.numbers) + len(self.infeasible) == 1:
            axes.set_xlim(self.numbers[0] - 1, self.numbers[0] + 1)
        legend_above(axes)


def progress(outcomes: Sequence[Outcome], quantity: Quantity, window: int | None = None) -> Progress:
    """One quantity over a search, with its moving mean (Figure 4 C and D).

    Args:
        outcomes: Of one search, by number.
        quantity: Which.
        window: Candidates in a mean; if None a tenth of them, but from 5 to 200.

    Raises:
        InvalidSettingError: No outcome is feasible, or a window of less than one candidate.
    """
    feasible = feasible_of(outcomes)
    if window is None:
        window = max(5, min(200, len(outcomes) // 10))
    values = np.array([getattr(o, quantity) for o in feasible], dtype=np.float64)
    return Progress(
        quantity=quantity,
        numbers=np.array([o.number for o in feasible]),
        values=values,
        means=moving_mean(values, window),
        window=window,
        infeasible=np.array([o.number for o in outcomes if not o.feasible], dtype=np.int64),
        target=feasible[-1].target,
        unit=feasible[-1].unit,
    )


def moving_mean(values: Sequence[float] | NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """The mean of each value and those before it, at most `window` in all; shape (n,).

    Raises:
        InvalidSettingError: `window` is less than 1.
    """
    if window < 1:
        raise InvalidSettingError(f"`window` must be at least 1 candidate, but got {window}.")
    sums = np.concatenate([[0.0], np.cumsum(np.asarray(values, dtype=np.float64))])
    ends = np.arange(1, len(sums))
    starts = np.maximum(0, ends - window)
    return (sums[ends] - sums[starts]) / (ends - starts)
