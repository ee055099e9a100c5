"""Aggregates over few seeds, each with the interval that so few seeds leave: the measures of rliable.

Paper: Deep Reinforcement Learning at the Edge of the Statistical Precipice - https://arxiv.org/abs/2108.13264

Scores come in *strata*, one array of seeds a task (here: a competition). Intervals are percentiles of a stratified
bootstrap: seeds are drawn anew within each stratum, never across. Everything is deterministic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from akd_gym.errors import InvalidSettingError

REPLICATES = 10_000
"""Bootstrap replicates of an interval."""

LEVEL = 0.95

_SEED = 2108_13264


class Interval(NamedTuple):
    """An estimate and its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


Strata = Sequence[ArrayLike] | NDArray[np.float64]


def interquartile_mean(scores: ArrayLike, axis: int | None = None) -> Any:
    """The mean of the middle half: a quarter of the scores, rounded down, is left out at either end.

    Less moved by one lucky seed than the mean, and less wasteful than the median (section 4.3 of the paper).

    Args:
        scores: Any shape.
        axis: Over which; None for all of them together.
    """
    from scipy import stats  # here: it takes its time, and the processes that agents run in have no use for it

    return stats.trim_mean(np.asarray(scores, dtype=np.float64), 0.25, axis=axis)


def resampled_means(strata: Strata, replicates: int = REPLICATES, stream: int = 0) -> NDArray[np.float64]:
    """The interquartile means of bootstrap replicates of the scores.

    Args:
        strata: Scores by task; not necessarily equally many.
        replicates: How many.
        stream: Of random numbers: scores that are to vary independently of each other get each their own.

    Returns:
        Shape (replicates,).

    Raises:
        InvalidSettingError: There are no scores.
    """
    rng = np.random.default_rng([_SEED, stream])
    drawn = [scores[rng.integers(len(scores), size=(replicates, len(scores)))] for scores in _arrays(strata)]
    return np.asarray(interquartile_mean(np.concatenate(drawn, axis=1), axis=1))


def interval_of_mean(strata: Strata) -> Interval:
    """The interquartile mean of the scores of all strata together.

    Raises:
        InvalidSettingError: There are no scores.
    """
    low, high = percentiles(resampled_means(strata))
    return Interval(float(interquartile_mean(np.concatenate(_arrays(strata)))), float(low), float(high))


def mean_curves(
    curves: ArrayLike, replicates: int = 2_000
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The interquartile mean at each point of some curves; seeds are drawn with their whole curves.

    Args:
        curves: Shape (seeds, points).
        replicates: Of the bootstrap.

    Returns:
        Means, lower and upper ends of their intervals, each of shape (points,).
    """
    values = np.asarray(curves, dtype=np.float64)
    drawn = np.random.default_rng([_SEED]).integers(len(values), size=(replicates, len(values)))
    low, high = np.empty(values.shape[1]), np.empty(values.shape[1])
    for points in np.array_split(np.arange(values.shape[1]), max(1, values.shape[1] // 32)):  # so that it fits a cache
        means = interquartile_mean(values[:, points][drawn], axis=1)
        low[points], high[points] = percentiles(means)
    return np.asarray(interquartile_mean(values, axis=0)), low, high


def probability_of_improvement(strata: Strata, others: Strata) -> Interval:
    """How probable it is that a run of the one scores more than a run of the other; a tie counts half.

    The mean over tasks of the Mann-Whitney U statistic divided by the number of pairs (section 4.3 of the paper).
    Distinct from 0.5 if the interval does not hold it.

    Args:
        strata: Scores of the one by task, more is better.
        others: Of the other, for the same tasks.

    Raises:
        InvalidSettingError: Not the same number of tasks, or no scores.
    """
    ones, twos = _arrays(strata), _arrays(others)
    if len(ones) != len(twos):
        raise InvalidSettingError(f"Both must have scores for the same tasks, but got {len(ones)} and {len(twos)}.")
    rng = np.random.default_rng([_SEED])
    values, replicates = np.zeros(len(ones)), np.zeros(REPLICATES)
    for task, (x, y) in enumerate(zip(ones, twos, strict=True)):
        wins = (x[:, None] > y) + 0.5 * (x[:, None] == y)  # its mean is U / (n * m)
        values[task] = wins.mean()
        weights_x = rng.multinomial(len(x), np.full(len(x), 1 / len(x)), size=REPLICATES) / len(x)
        weights_y = rng.multinomial(len(y), np.full(len(y), 1 / len(y)), size=REPLICATES) / len(y)
        replicates += ((weights_x @ wins) * weights_y).sum(axis=1) / len(ones)
    low, high = percentiles(replicates)
    return Interval(float(values.mean()), float(low), float(high))


def places(competitors: Sequence[Strata]) -> list[tuple[int, int, int]]:
    """Each one's place by its interquartile mean, and the range of places that 95 % of the replicates give it.

    Args:
        competitors: Scores by task of each, more is better.

    Returns:
        Place from 1, best and worst place, for each. Equal means share the better place.
    """
    from scipy import stats  # here: see `interquartile_mean`

    if not competitors:
        return []
    means = np.array([float(interquartile_mean(np.concatenate(_arrays(strata)))) for strata in competitors])
    replicates = np.stack([resampled_means(strata, stream=index) for index, strata in enumerate(competitors)])
    low, high = percentiles(stats.rankdata(-replicates, method="min", axis=0), axis=1, method="inverted_cdf")
    ranks = stats.rankdata(-means, method="min")
    return [(int(r), int(b), int(w)) for r, b, w in zip(ranks, low, high, strict=True)]


def percentiles(replicates: NDArray[Any], axis: int = 0, method: Any = "linear") -> NDArray[np.float64]:
    """The two ends between which 95 % of bootstrap replicates lie, stacked first."""
    tail = (1 - LEVEL) / 2
    return np.asarray(np.quantile(replicates, [tail, 1 - tail], axis=axis, method=method))


def _arrays(strata: Strata) -> list[NDArray[np.float64]]:
    arrays = [np.asarray(scores, dtype=np.float64).ravel() for scores in strata]
    if not arrays or not all(len(scores) for scores in arrays):
        raise InvalidSettingError("Every task must have at least one score, but one has none.")
    return arrays
