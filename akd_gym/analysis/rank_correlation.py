"""Kendall's rank correlation with an interval, fast enough for a search of 10,000 candidates."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from akd_gym.analysis.aggregates import Interval, percentiles
from akd_gym.errors import InvalidSettingError

_REPLICATES = 1_000
_SEED = 1938  # of Kendall's paper
_EXACT = 1_000  # points; with more, replicates are taken to first order
_ROWS = 128  # compared with all others at once: few enough for a cache


def kendall_tau(x: ArrayLike, y: ArrayLike) -> Interval:
    """Kendall's tau-b with its 95 % bootstrap interval over the pairs `(x, y)`; deterministic.

    tau-b is (concordant - discordant) / sqrt(untied in x * untied in y), each a sum over pairs of points. A
    replicate weighs points by how often they were drawn. Of more than 1,000 points its sums are taken to first order
    in what the weights differ from 1: that leaves out a term of the order of 1/n, and spares comparing all pairs anew.

    Args:
        x: Shape (n,), finite.
        y: Shape (n,), finite.

    Raises:
        InvalidSettingError: Unequal lengths, values that are not finite, or one of the two does not vary, so that
            there is nothing to rank.
    """
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise InvalidSettingError(f"`x` and `y` must be as long as each other, but got {a.shape} and {b.shape}.")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise InvalidSettingError("`x` and `y` must be finite; leave what was not measured out.")
    if len(a) == 0 or not (np.ptp(a) and np.ptp(b)):
        raise InvalidSettingError(
            f"Ranks can be compared where both values vary, but one of them is the same in all {len(a)}."
        )
    ranks = _ranks(a), _ranks(b)
    weights = _drawn_weights(len(a))
    if len(a) <= _EXACT:
        pairs = _compared(*ranks, slice(None)).astype(np.float32)
        whole = pairs.sum(axis=(1, 2))
        replicates = np.stack([((weights @ own) * weights).sum(axis=1) for own in pairs], axis=1)
    else:
        rows = [slice(start, start + _ROWS) for start in range(0, len(a), _ROWS)]
        sums = np.concatenate([_compared(*ranks, own).sum(axis=2, dtype=np.int64) for own in rows], axis=1)
        whole = sums.sum(axis=1)
        replicates = whole + 2 * ((weights - 1) @ sums.T)
    taus = _tau_b(replicates)
    low, high = percentiles(taus[np.isfinite(taus)])
    return Interval(float(_tau_b(whole)), float(low), float(high))


def _ranks(values: NDArray[np.float64]) -> NDArray[np.int32]:
    """Equal values have equal ranks."""
    return np.unique(values, return_inverse=True)[1].astype(np.int32)


def _drawn_weights(count: int) -> NDArray[np.float32]:
    """How often each point was drawn in each replicate; shape (replicates, count)."""
    rng = np.random.default_rng(_SEED)
    return np.stack(
        [np.bincount(rng.integers(count, size=count), minlength=count) for _ in range(_REPLICATES)], dtype=np.float32
    )


def _compared(x: NDArray[np.int32], y: NDArray[np.int32], rows: slice) -> NDArray[np.int8]:
    """Of some points with all: concordant (1) or discordant (-1), untied in x, untied in y; shape (3, rows, n)."""
    signs = [
        (values[rows, None] > values).view(np.int8) - (values[rows, None] < values).view(np.int8) for values in (x, y)
    ]
    return np.stack([signs[0] * signs[1], *map(np.abs, signs)])


def _tau_b(sums: NDArray[np.floating] | NDArray[np.int64]) -> NDArray[np.float64]:
    """From the three sums over all pairs, on the last axis; NaN of a replicate in which one value never varies."""
    values = sums.astype(np.float64)
    untied = np.sqrt(np.maximum(values[..., 1], 0) * np.maximum(values[..., 2], 0))
    return np.clip(np.divide(values[..., 0], untied, out=np.full_like(untied, np.nan), where=untied > 0), -1, 1)
