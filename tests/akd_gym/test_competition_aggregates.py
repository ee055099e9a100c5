"""Interquartile means, bootstrap intervals, probabilities of improvement: values derived by hand, and scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from akd_gym.analysis.aggregates import (
    Interval,
    interquartile_mean,
    interval_of_mean,
    mean_curves,
    places,
    probability_of_improvement,
    resampled_means,
)
from akd_gym.errors import InvalidSettingError


def test_the_interquartile_mean_leaves_out_a_quarter_at_either_end():
    assert interquartile_mean([100, 1, 2, 3, 4, 5, 6, -100]) == pytest.approx((2 + 3 + 4 + 5) / 4)
    assert interquartile_mean(range(10)) == pytest.approx((2 + 3 + 4 + 5 + 6 + 7) / 6)  # 2.5 of ten, rounded down
    assert interquartile_mean([1, 2, 6]) == pytest.approx(3)  # of three there is no quarter
    both = np.array([[9, 1, 2, 0], [0, 30, 20, 99]])
    assert interquartile_mean(both, axis=1) == pytest.approx([1.5, 25])


def test_the_interval_is_that_of_scipys_bootstrap():
    scores = np.random.default_rng(3).normal(5.0, 1.0, size=10)
    found = interval_of_mean([scores])
    theirs = stats.bootstrap(
        (scores,), lambda x, axis: stats.trim_mean(x, 0.25, axis=axis), method="percentile", n_resamples=9999, rng=1
    ).confidence_interval
    assert found.value == pytest.approx(stats.trim_mean(scores, 0.25))
    assert found.low == pytest.approx(theirs.low, abs=0.04)
    assert found.high == pytest.approx(theirs.high, abs=0.04)
    assert found.low < found.value < found.high


def test_seeds_are_drawn_within_their_stratum_only():
    # However one draws within them, half of the scores are 0 and half are 1; across, the mean would vary.
    assert interval_of_mean([np.zeros(8), np.ones(8)]) == Interval(0.5, 0.5, 0.5)
    assert np.ptp(resampled_means([np.repeat([0.0, 1.0], 8)])) > 0.5


def test_intervals_repeat_and_streams_differ():
    scores = [np.arange(10.0)]
    assert interval_of_mean(scores) == interval_of_mean(scores)
    assert not np.array_equal(resampled_means(scores), resampled_means(scores, stream=1))


def test_intervals_narrow_with_more_seeds():
    rng = np.random.default_rng(0)
    few, many = (interval_of_mean([rng.normal(size=count)]) for count in (10, 1000))
    assert many.high - many.low < (few.high - few.low) / 4


def test_the_mean_of_curves_is_taken_at_each_point():
    curves = np.array([[0.0, 1.0], [2.0, 1.0], [4.0, 1.0], [100.0, 1.0]])
    means, low, high = mean_curves(curves)
    assert means == pytest.approx([3.0, 1.0])
    assert (low[1], high[1]) == (1.0, 1.0)
    assert low[0] < 3.0 < high[0] <= 100.0


def test_the_intervals_of_curves_are_those_of_their_points():
    curves = np.random.default_rng(1).normal(size=(10, 3))
    _, low, high = mean_curves(curves, replicates=20_000)
    for point in range(3):
        alone = interval_of_mean([curves[:, point]])
        assert (low[point], high[point]) == pytest.approx((alone.low, alone.high), abs=0.06)


def test_the_probability_of_improvement_counts_pairs():
    # Of the pairs (1, 2), (1, 3), (3, 2), (3, 3) one is won and one is tied.
    assert probability_of_improvement([[1, 3]], [[2, 3]]).value == 1.5 / 4
    rng = np.random.default_rng(2)
    one, other = rng.integers(20, size=10), rng.integers(3, 23, size=7)
    statistic = stats.mannwhitneyu(one, other).statistic
    found = probability_of_improvement([one], [other])
    assert found.value == pytest.approx(statistic / (10 * 7))
    assert found.low <= found.value <= found.high
    assert probability_of_improvement([other], [one]).value == pytest.approx(1 - found.value)


def test_its_interval_is_that_of_drawing_seeds_anew():
    rng = np.random.default_rng(5)
    one, other = rng.normal(0.5, 1, 10), rng.normal(0, 1, 10)
    drawn = []
    for _ in range(4000):
        x, y = rng.choice(one, 10), rng.choice(other, 10)
        drawn.append((x[:, None] > y).mean())
    found = probability_of_improvement([one], [other])
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.03)


def test_the_probability_of_improvement_is_the_mean_over_tasks():
    assert probability_of_improvement([[2, 2], [0]], [[1], [1, 1, 1]]) == Interval(0.5, 0.5, 0.5)
    assert probability_of_improvement([[2, 3]], [[1, 0]]) == Interval(1.0, 1.0, 1.0)


def test_places_follow_the_means_and_say_how_sure_they_are():
    apart = places([[[1.0, 1.1, 0.9]], [[9.0, 9.1, 8.9]], [[5.0, 5.1, 4.9]]])
    assert apart == [(3, 3, 3), (1, 1, 1), (2, 2, 2)]
    close = places([[[1.0, 5.0, 3.0, 9.0]], [[2.0, 4.0, 3.5, 8.5]], [[-90.0, -91.0, -92.0, -90.0]]])
    assert [(best, worst) for _, best, worst in close] == [(1, 2), (1, 2), (3, 3)]
    assert places([[[1.0]], [[1.0]]]) == [(1, 1, 1), (1, 1, 1)]  # equal ones share a place
    assert places([]) == []


@pytest.mark.parametrize("strata", [[], [[]], [[1.0], []]])
def test_a_task_without_scores_is_refused(strata):
    with pytest.raises(InvalidSettingError, match="at least one score"):
        interval_of_mean(strata)


def test_other_tasks_cannot_be_compared():
    with pytest.raises(InvalidSettingError, match="the same tasks, but got 2 and 1"):
        probability_of_improvement([[1.0], [2.0]], [[1.0]])
