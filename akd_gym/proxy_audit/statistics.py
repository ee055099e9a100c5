"""Rank correlation and its relatives, with bootstrap intervals, for few students and noisy trainings."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

DRAWS = 2000
_PAIRS_AT_ONCE = 1_000_000  # of students, over draws: bounds the memory
_TINY = 1e-12  # beside any variance of accuracies; below it there is none but rounding

Statistic = Callable[[Array, Array], Array]
"""Of each row of two arrays (draws, n); shape (draws,)."""


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval; None where it is undefined.

    Attributes:
        value: Of the sample as it is.
        low: Percentile of the bootstrap.
        high: Likewise.
    """

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Repeatability:
    """How far one training tells students apart: two-way analysis of variance of students and seeds.

    What a seed adds to all students alike ranks none of them before another, and counts neither as noise nor as
    spread.

    Attributes:
        students: Trained with every seed.
        seeds: How many.
        seed_std: Standard deviation that a student's accuracy has over seeds, a fraction.
        student_std: Standard deviation of the students' true accuracies, likewise.
        share: Of the variance of single trainings that is the students'; 1 is perfectly repeatable (the intraclass
            correlation ICC(3,1) of Shrout and Fleiss, 1979).
    """

    students: int
    seeds: int
    seed_std: float
    student_std: float
    share: float


def kendall_taus(one: Array, other: Array) -> Array:
    """Kendall's tau-b of each row of two arrays (draws, n); NaN where all are equal."""
    step = max(1, _PAIRS_AT_ONCE // one.shape[1] ** 2)
    starts = range(0, len(one), step)
    return np.concatenate([_kendall_taus(one[start : start + step], other[start : start + step]) for start in starts])


def _kendall_taus(one: Array, other: Array) -> Array:
    first, second = (np.sign(values[:, :, None] - values[:, None, :]) for values in (one, other))
    return _ratio((first * second).sum((1, 2)), np.sqrt((first**2).sum((1, 2)) * (second**2).sum((1, 2))))


def _ratio(above: Array, below: Array) -> Array:
    return np.divide(above, below, out=np.full_like(below, np.nan), where=below > _TINY)


def correlations(one: Array, other: Array) -> Array:
    """Pearson's correlation of each row of two arrays (draws, n); NaN where all are equal."""
    first, second = (values - values.mean(1, keepdims=True) for values in (one, other))
    return _ratio((first * second).sum(1), np.sqrt((first**2).sum(1) * (second**2).sum(1)))


def concordances(one: Array, other: Array) -> Array:
    """Lin's concordance correlation (1989) of each row of two arrays (draws, n); NaN where all are equal.

    It is 1 minus the mean square difference of pairs over that of pairs made at random: the share of the variance that
    the two of a pair have in common.
    """
    apart = one.var(1) + other.var(1) + (one.mean(1) - other.mean(1)) ** 2
    return 1 - _ratio(((one - other) ** 2).mean(1), apart)


def of_two(statistic: Statistic, one: Array, other: Array) -> float:
    """A statistic of rows, of two arrays (n,)."""
    return float(statistic(one[None], other[None])[0])


def resampled_rows(count: int) -> NDArray[np.int64]:
    """Bootstrap samples of `count` students, always the same; shape (`DRAWS`, count)."""
    return np.random.default_rng(0).integers(count, size=(DRAWS, count))


def estimate(value: float, draws: Array) -> Estimate:
    """A value with the percentile interval of its bootstrap draws, as far as these are defined."""
    defined = draws[np.isfinite(draws)]
    if not np.isfinite(value) or not len(defined):
        return Estimate(None, None, None)
    low, high = np.percentile(defined, [2.5, 97.5]).tolist()
    return Estimate(float(value), low, high)


def estimate_of_two(statistic: Statistic, one: Array, other: Array) -> Estimate:
    """A statistic of two arrays (n,) with its interval over students."""
    rows = resampled_rows(len(one))
    return estimate(of_two(statistic, one, other), statistic(one[rows], other[rows]))


def agreement(one: Array, other: Array) -> float | None:
    """Share of the pairs of students that both arrays (n,) order alike, of those that both order; None if none are."""
    signs = np.sign(one[:, None] - one) * np.sign(other[:, None] - other)
    alike, apart = int((signs > 0).sum()), int((signs < 0).sum())
    return alike / (alike + apart) if alike + apart else None


def best_at_random(values: Array, count: int) -> float:
    """Expected largest of `count` of the values (n,), drawn without replacement."""
    ordered = np.sort(values)
    ways = [math.comb(place, count - 1) for place in range(len(ordered))]  # that this one is the largest
    return float(np.dot(ordered, ways) / math.comb(len(ordered), count))


def repeatability(runs: Array) -> Repeatability | None:
    """From accuracies (seeds, students), all finite; None for fewer than two of either."""
    seeds, students = runs.shape
    if min(seeds, students) < 2:
        return None
    of_student = runs.mean(0)
    rest = runs - of_student - runs.mean(1, keepdims=True) + runs.mean()
    noise = float((rest**2).sum()) / ((seeds - 1) * (students - 1))
    between = seeds * float(of_student.var(ddof=1))
    true = max(0.0, (between - noise) / seeds)
    whole = true + noise
    return Repeatability(students, seeds, noise**0.5, true**0.5, true / whole if whole > 0 else 0.0)


def noise_ceiling(proxy: Array, full: Array) -> float | None:
    """The tau that seed noise alone would leave, were both trainings to order the students alike.

    Students' true accuracies are taken to be their means over seeds, drawn together as far as noise has spread them;
    one proxy training and the mean of the full ones are drawn about them, normally.

    Args:
        proxy: Accuracies (seeds, students), at least two of each.
        full: Likewise; of one seed only, its noise is unknown and left out.

    Returns:
        Mean over draws; None where it is undefined.
    """
    noise = repeatability(proxy)
    if noise is None or not noise.student_std:
        return None
    means = proxy.mean(0)
    truth = (means - means.mean()) / means.std(ddof=1)
    rng = np.random.default_rng(1)
    shape = (DRAWS, len(truth))
    seen = truth + rng.normal(size=shape) * (noise.seed_std / noise.student_std)
    target = np.broadcast_to(truth, shape)
    full_noise = repeatability(full)
    if full_noise is not None:
        if not full_noise.student_std:
            return None
        of_mean = full_noise.seed_std / full_noise.seeds**0.5
        target = truth + rng.normal(size=shape) * (of_mean / full_noise.student_std)
    found = float(np.nanmean(kendall_taus(seen, target)))
    return found if np.isfinite(found) else None


def permutation_p(statistic: Statistic, one: Array, other: Array) -> float | None:
    """How often pairs made at random have as large a statistic as the real ones; one-sided. None where undefined."""
    real = of_two(statistic, one, other)
    if not np.isfinite(real):
        return None
    shuffled = np.random.default_rng(2).permuted(np.broadcast_to(other, (DRAWS, len(other))), axis=1)
    drawn = statistic(np.broadcast_to(one, shuffled.shape), shuffled)
    return (1 + int((drawn >= real - _TINY).sum())) / (1 + DRAWS)
