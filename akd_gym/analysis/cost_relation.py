"""How multiply-adds and latency go together over the students of a search: the paper's Figure 4 E and section 5.3.

The paper finds by "a simple linear regression" that 3.4 (latency - 7) <= mFLOPS <= 10.47 (latency - 7), latency in ms:
two lines through one point, where the regression says that a network of no multiply-adds would lie, and between them
nearly all models, the further apart the larger these are. It does not say how many lie outside, nor how the slopes were
chosen. Here the point is that of our regression, and the slopes leave out at most 2.5 % of the students on either side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from akd_gym.analysis.aggregates import Interval, percentiles
from akd_gym.analysis.outcomes import distinct
from akd_gym.analysis.panels import BLUE, MANY_POINTS, limit_around, mark_target, percent, point_size
from akd_gym.analysis.rank_correlation import kendall_tau
from akd_gym.analysis.runs import SearchRun
from akd_gym.analysis.style import INK, SOFT
from akd_gym.errors import InvalidSettingError

PAPER_BAND_RATIO = 10.47 / 3.4
"""How many times as many multiply-adds the upper edge of the paper's band has as the lower one, at equal latency."""

_LEAST = 3  # students: a line through two explains everything
_SAME_MADDS = 0.01
_REPLICATES = 1_000
_SEED = 53  # of the section


@dataclass(frozen=True)
class RegressionBand:
    """`low * (latency - offset_ms) <= multiply-adds <= high * (latency - offset_ms)`, as in section 5.3.

    Attributes:
        offset_ms: Where the regression line meets zero multiply-adds; below 0 where the line does so.
        low: Multiply-adds a millisecond.
        high: Multiply-adds a millisecond.
        share: Of the students that lie inside. Those that are faster than `offset_ms` lie outside.
    """

    offset_ms: float
    low: float
    high: float
    share: float

    @property
    def ratio(self) -> float:
        """How many times as many multiply-adds the upper edge has as the lower one, at equal latency."""
        return self.high / self.low


@dataclass(frozen=True)
class LatencyVariation:
    """What latency still varies by at equal multiply-adds.

    From students that are neighbours in the order of their multiply-adds and differ by at most 1 % in them. What of it
    is noise of the measurements is part of it.

    Attributes:
        pairs: Of such neighbours.
        deviation: Standard deviation of the logarithm of latency, so about a share of it: the root of half the mean
            squared difference (Rice, 1984), which supposes no shape of the relation.
        ratio_95: 95 % of the pairs differ by at most this factor.
    """

    pairs: int
    deviation: Interval
    ratio_95: float


@dataclass(frozen=True, eq=False)
class CostRelation:
    """Multiply-adds against latency (Figure 4 E); of each architecture once.

    Intervals are bootstraps over architectures. Those of one search depend on each other, as the agent learned from the
    earlier ones: the intervals say how much these architectures settle, not what another search would give.

    Attributes:
        latencies_ms: Shape (n,).
        madds: Shape (n,).
        target_ms: Of the search.
        slope: Of the regression of multiply-adds on latency: multiply-adds a millisecond.
        intercept: Multiply-adds at a latency of 0.
        r_squared: Share of the variance of multiply-adds that latency explains by a line, or the other way round.
        tau: Kendall's tau-b.
        band: None where the regression does not rise, or no student is slower than where it meets zero.
        variation: None where no two students have nearly the same multiply-adds.
    """

    latencies_ms: NDArray[np.float64]
    madds: NDArray[np.float64]
    target_ms: float
    slope: Interval
    intercept: float
    r_squared: float
    tau: Interval
    band: RegressionBand | None
    variation: LatencyVariation | None

    @property
    def caption(self) -> str:
        """What is seen, in sentences without markup."""
        tau, slope = self.tau, self.slope
        sentences = [
            f"Multiply-adds against latency of {len(self.madds):,} distinct architectures. Kendall's tau-b is "
            f"{tau.value:.3f} [{tau.low:.3f}, {tau.high:.3f}]. The regression line rises by {slope.value / 1e6:.3g} "
            f"[{slope.low / 1e6:.3g}, {slope.high / 1e6:.3g}] M multiply-adds a millisecond (R² {self.r_squared:.2f})."
        ]
        if self.band is not None:
            band, sign = self.band, "-" if self.band.offset_ms >= 0 else "+"
            beyond = f"(latency {sign} {abs(band.offset_ms):.2g} ms)"
            sentences.append(
                f"The band is {band.low / 1e6:.3g} {beyond} <= multiply-adds (M) <= {band.high / 1e6:.3g} {beyond}, "
                f"with {percent(band.share, 1)} of them inside; its edges are a factor of {band.ratio:.2f} apart, "
                f"those of the paper {PAPER_BAND_RATIO:.2f}."
            )
        if self.variation is not None:
            varied, deviation = self.variation, Interval(*(100 * value for value in self.variation.deviation))
            sentences.append(
                f"At equal multiply-adds (within {percent(_SAME_MADDS)}; {varied.pairs:,} pairs) latency has a "
                f"standard deviation of {deviation.value:.1f} % [{deviation.low:.1f}, {deviation.high:.1f}]; 95 % of "
                f"the pairs differ by a factor of at most {varied.ratio_95:.2f}."
            )
        return " ".join(sentences)

    def draw(self, axes: Axes) -> None:
        """Points, the regression line, the band and the target."""
        x, y = self.latencies_ms, self.madds / 1e6
        many = len(x) > MANY_POINTS
        axes.scatter(
            x,
            y,
            s=1.5 if many else point_size(len(x), 18, 6),
            color=BLUE,
            alpha=0.35,
            linewidths=0,
            zorder=2,
            rasterized=many,
        )
        limit_around(axes, np.append(x, self.target_ms))
        ends = np.array(axes.get_xlim())
        if self.band is not None:
            band = self.band
            ends = np.array([max(ends[0], band.offset_ms), ends[1]])
            low, high = (slope / 1e6 * (ends - band.offset_ms) for slope in (band.low, band.high))
            axes.fill_between(ends, low, high, color=SOFT, alpha=0.14, linewidth=0, zorder=1)
            for edge, label in ((low, f"band, {percent(band.share)} inside"), (high, None)):
                axes.plot(ends, edge, color=INK, linewidth=0.9, linestyle=(0, (2, 2)), zorder=3, label=label)
        line = (self.slope.value * ends + self.intercept) / 1e6
        axes.plot(ends, line, color=INK, linewidth=1.6, zorder=4, label=f"line, R² {self.r_squared:.2f}")
        mark_target(axes, self.target_ms, "ms")
        axes.set_ylim(0, 1.08 * y.max())
        axes.set_xlabel("latency (ms)")
        axes.set_ylabel("multiply-adds (M)")
        axes.legend(
            loc="lower right",
            title=f"τ {self.tau.value:.2f} [{self.tau.low:.2f}, {self.tau.high:.2f}]",
            title_fontsize=8.5,
            labelcolor=INK,
            fontsize=8.5,
            handlelength=1.6,
            frameon=False,
            alignment="left",
        )


def cost_relation(run: SearchRun) -> CostRelation:
    """How multiply-adds and latency go together over a search's students (Figure 4 E, section 5.3).

    Raises:
        InvalidSettingError: The search has no latencies, its cost being multiply-adds, or fewer than 3 feasible
            architectures that differ in both.
    """
    if run.unit != "ms":
        raise InvalidSettingError(
            f"The search {run.name!r} must have measured latencies to relate them to multiply-adds, but its cost is "
            "multiply-adds and it has none."
        )
    found = distinct(run.outcomes)
    x = np.array([o.latency_ms for o in found], dtype=np.float64)
    y = np.array([o.madds for o in found], dtype=np.float64)
    fewest = min(len(np.unique(x)), len(np.unique(y)))
    if fewest < _LEAST:
        raise InvalidSettingError(
            f"The search {run.name!r} must have at least {_LEAST} feasible architectures of different latencies and "
            f"multiply-adds for a regression, but has {fewest}. Let it evaluate more."
        )
    slope = float(_slopes(x, y, np.ones((1, len(x))))[0])
    rng = np.random.default_rng(_SEED)
    drawn = [np.bincount(rng.integers(len(x), size=len(x)), minlength=len(x)) for _ in range(_REPLICATES)]
    slopes = _slopes(x, y, np.stack(drawn))
    return CostRelation(
        latencies_ms=x,
        madds=y,
        target_ms=run.target,
        slope=Interval(slope, *map(float, percentiles(slopes[np.isfinite(slopes)]))),
        intercept=float(y.mean() - slope * x.mean()),
        r_squared=float(np.corrcoef(x, y)[0, 1] ** 2),
        tau=kendall_tau(x, y),
        band=_band(x, y, slope),
        variation=_variation(x, y),
    )


def _slopes(x: NDArray[np.float64], y: NDArray[np.float64], weights: NDArray) -> NDArray[np.float64]:
    """Least-squares slopes of y on x for rows of weights; NaN where the weighted x do not vary."""
    # Centred on the whole mean first, as the moments of large numbers would cancel.
    a, b = x - x.mean(), y - y.mean()
    totals = weights.sum(axis=1)
    means_a, means_b = weights @ a / totals, weights @ b / totals
    variance = weights @ (a * a) / totals - means_a**2
    covariance = weights @ (a * b) / totals - means_a * means_b
    varied = variance > 1e-12 * a.var()
    return np.divide(covariance, variance, out=np.full(len(weights), np.nan), where=varied)


def _band(x: NDArray[np.float64], y: NDArray[np.float64], slope: float) -> RegressionBand | None:
    if slope <= 0:
        return None
    offset = float(x.mean() - y.mean() / slope)
    right = x > offset
    slopes = y[right] / (x[right] - offset)
    low, high = np.quantile(slopes, 0.025, method="lower"), np.quantile(slopes, 0.975, method="higher")
    inside = right & (y >= low * (x - offset) * (1 - 1e-9)) & (y <= high * (x - offset) * (1 + 1e-9))
    return RegressionBand(offset, float(low), float(high), float(inside.mean()))


def _variation(x: NDArray[np.float64], y: NDArray[np.float64]) -> LatencyVariation | None:
    order = np.argsort(y, kind="stable")  # among equal ones as they came up, which latency has no part in
    near = np.diff(y[order]) <= _SAME_MADDS * y[order][:-1]
    differences = np.abs(np.diff(np.log(x[order])))[near]
    if not len(differences):
        return None
    squares = differences**2 / 2
    rng = np.random.default_rng(_SEED)
    drawn = [squares[rng.integers(len(squares), size=len(squares))].mean() for _ in range(_REPLICATES)]
    low, high = percentiles(np.sqrt(drawn))
    deviation = Interval(float(np.sqrt(squares.mean())), float(low), float(high))
    return LatencyVariation(len(squares), deviation, float(np.exp(np.quantile(differences, 0.95))))
