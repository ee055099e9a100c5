"""Kendall's tau-b: scipy's value, and an interval that resampling by hand gives too."""

import numpy as np
import pytest
from scipy import stats

from akd_gym.analysis.rank_correlation import kendall_tau
from akd_gym.errors import InvalidSettingError


def correlated(count, decimals=None):
    rng = np.random.default_rng(count)
    x = rng.normal(size=count)
    y = x + rng.normal(size=count)
    return (x, y) if decimals is None else (x.round(decimals), y.round(decimals))


def test_a_value_by_hand():
    # 6 pairs: (1,1)-(2,3), (1,1)-(3,2), (1,1)-(4,4), (2,3)-(4,4), (3,2)-(4,4) agree, (2,3)-(3,2) does not
    assert kendall_tau([1, 2, 3, 4], [1, 3, 2, 4]).value == pytest.approx((5 - 1) / 6)
    # a tie in x: 4 pairs agree, 1 does not, and of 6 pairs 5 are untied in x, 6 in y
    assert kendall_tau([1, 2, 2, 4], [1, 3, 2, 4]).value == pytest.approx(5 / np.sqrt(5 * 6))
    assert kendall_tau([1, 2, 3], [3, 2, 1]) == (-1, -1, -1)
    assert kendall_tau([1, 2, 3], [10, 20, 30]) == (1, 1, 1)


@pytest.mark.parametrize("count", [12, 150, 1001, 2300])
def test_it_is_that_of_scipy_with_ties_and_without(count):
    for decimals in (None, 1):
        x, y = correlated(count, decimals)
        assert kendall_tau(x, y).value == pytest.approx(stats.kendalltau(x, y).statistic)


@pytest.mark.parametrize("count", [40, 1001])
def test_the_interval_is_that_of_resampling(count):
    """On either side of the number of points from which replicates are taken to first order."""
    x, y = correlated(count, 1)
    rng = np.random.default_rng(0)
    drawn = [rng.integers(count, size=count) for _ in range(1000 if count < 100 else 400)]
    low, high = np.quantile([stats.kendalltau(x[rows], y[rows]).statistic for rows in drawn], [0.025, 0.975])
    found = kendall_tau(x, y)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.15 * (high - low))
    assert kendall_tau(x, y) == found


def test_what_cannot_be_ranked_is_refused():
    with pytest.raises(InvalidSettingError, match="the same in all 3"):
        kendall_tau([1, 2, 3], [5, 5, 5])
    with pytest.raises(InvalidSettingError, match="the same in all 0"):
        kendall_tau([], [])
    with pytest.raises(InvalidSettingError, match="must be finite"):
        kendall_tau([1, np.nan], [1, 2])
    with pytest.raises(InvalidSettingError, match="as long as each other"):
        kendall_tau([1, 2], [1, 2, 3])
