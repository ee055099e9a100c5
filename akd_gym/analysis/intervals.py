"""Means over few repetitions, with Student's interval."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from akd_gym.errors import InvalidSettingError


class MeanInterval(NamedTuple):
    """A mean and its 95 % interval.

    Attributes:
        mean: Of the values.
        low: Lower end; NaN of a single value.
        high: Upper end; NaN of a single value.
        size: How many values.
    """

    mean: float
    low: float
    high: float
    size: int

    def __format__(self, spec: str) -> str:
        """As `1.20 (0.90 to 1.50)`; the specification is that of each number."""
        return f"{self.mean:{spec}} ({self.low:{spec}} to {self.high:{spec}})"


def mean_interval(values: ArrayLike) -> MeanInterval:
    """The mean of independent values with its 95 % interval of Student's t.

    Raises:
        InvalidSettingError: There are no values, or one is not finite.
    """
    from scipy import stats  # here: it takes its time

    array = np.asarray(values, dtype=np.float64).ravel()
    if not len(array) or not np.isfinite(array).all():
        raise InvalidSettingError(f"A mean needs finite values, at least one, but got {array.tolist()}.")
    mean = float(array.mean())
    if len(array) == 1:
        return MeanInterval(mean, float("nan"), float("nan"), 1)
    reach = float(array.std(ddof=1) / np.sqrt(len(array)) * stats.t.ppf(0.975, len(array) - 1))
    return MeanInterval(mean, mean - reach, mean + reach, len(array))
