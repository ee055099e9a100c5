"""Numbers of an audit, against values worked out by hand and against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kendalltau

from akd_gym.proxy_audit.statistics import (
    Estimate,
    agreement,
    best_at_random,
    concordances,
    correlations,
    estimate,
    estimate_of_two,
    kendall_taus,
    noise_ceiling,
    of_two,
    permutation_p,
    repeatability,
)

nan = float("nan")


def test_kendall_is_scipys_tau_b_with_ties_too() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.integers(6, size=(2, 40, 200)).astype(float)  # more than are compared at once
    expected = [kendalltau(a, b).statistic for a, b in zip(one, other, strict=True)]
    assert kendall_taus(one, other) == pytest.approx(expected)


def test_kendall_by_hand() -> None:
    # Of the six pairs, only (2, 1) is the other way round: (5 - 1) / 6.
    assert of_two(kendall_taus, np.array([1.0, 2, 3, 4]), np.array([2.0, 1, 3, 4])) == pytest.approx(4 / 6)


def test_kendall_of_what_is_all_equal_is_undefined() -> None:
    assert np.isnan(of_two(kendall_taus, np.ones(4), np.arange(4.0)))
    assert estimate_of_two(kendall_taus, np.ones(4), np.arange(4.0)) == Estimate(None, None, None)


def test_an_interval_narrows_with_students_and_holds_the_value() -> None:
    rng = np.random.default_rng(1)
    widths = []
    for count in (10, 160):
        truth = rng.normal(size=count)
        found = estimate_of_two(kendall_taus, truth, truth + rng.normal(size=count))
        assert found.low < found.value < found.high
        widths.append(found.high - found.low)
    assert widths[1] < widths[0] / 2


def test_an_estimate_leaves_undefined_draws_out() -> None:
    draws = np.array([nan, *np.linspace(0, 1, 41)])
    assert estimate(0.5, draws) == Estimate(0.5, pytest.approx(0.025), pytest.approx(0.975))


def test_repeatability_by_hand() -> None:
    # Two seeds, the second adding 1 to all; then +1 and -1 on two of the three students beyond that.
    runs = np.array([[0.0, 4.0, 8.0], [2.0, 4.0, 9.0]])
    # Means of students 1, 4, 8.5, of seeds 4 and 5, of all 4.5. What neither explains: -0.5, 0.5, 0 and the opposite.
    noise = 4 * 0.25 / (1 * 2)
    true = np.var([1, 4, 8.5], ddof=1) - noise / 2
    found = repeatability(runs)
    assert (found.students, found.seeds) == (3, 2)
    assert found.seed_std == pytest.approx(noise**0.5)
    assert found.student_std == pytest.approx(true**0.5)
    assert found.share == pytest.approx(true / (true + noise))


def test_a_shift_of_all_students_is_no_noise() -> None:
    found = repeatability(np.array([[0.1, 0.2, 0.4], [0.3, 0.4, 0.6]]))
    assert found.seed_std == pytest.approx(0, abs=1e-9)
    assert found.share == pytest.approx(1)


def test_equal_students_have_no_share() -> None:
    assert repeatability(np.full((2, 3), 0.5)).share == 0


def test_one_seed_or_one_student_says_nothing_of_noise() -> None:
    assert repeatability(np.zeros((1, 5))) is None
    assert repeatability(np.zeros((3, 1))) is None
    assert noise_ceiling(np.zeros((1, 5)), np.zeros((1, 5))) is None


def test_without_noise_the_ceiling_is_one_and_with_noise_alone_there_is_none() -> None:
    truth = np.linspace(0.7, 0.8, 8)
    assert noise_ceiling(np.stack([truth, truth + 0.01]), truth[None]) == pytest.approx(1)
    crossed = np.array([[0.0, 1.0], [1.0, 0.0]])  # the seeds contradict each other
    assert noise_ceiling(crossed, crossed) is None


def test_the_ceiling_is_that_of_two_normal_variables() -> None:
    # As much noise as spread: the correlation is sqrt(1/2), and Kendall's tau 2/pi asin of it.
    rng = np.random.default_rng(2)
    truth = rng.normal(size=120)
    noise = rng.normal(size=(60, 120))
    found = noise_ceiling(truth + noise, truth[None])
    assert found == pytest.approx(2 / np.pi * np.arcsin(0.5**0.5), abs=0.06)


def test_noise_of_full_training_lowers_the_ceiling() -> None:
    rng = np.random.default_rng(3)
    truth = rng.normal(size=40)
    proxy, full = truth + 0.3 * rng.normal(size=(2, 3, 40))
    assert noise_ceiling(proxy, full) < noise_ceiling(proxy, full[:1]) - 0.02


def test_concordance_by_hand() -> None:
    one, other = np.array([0.0, 1.0, 2.0]), np.array([1.0, 2.0, 3.0])
    # Squared differences: 1 each; of the nine random pairs 1, 4, 9, 0, 1, 4, 1, 0, 1: 7/3 in the mean.
    assert of_two(concordances, one, other) == pytest.approx(1 - 1 / (21 / 9))
    assert of_two(concordances, one, one) == 1
    assert np.isnan(of_two(concordances, np.ones(3), np.ones(3)))


def test_correlation_of_what_does_not_vary_is_undefined() -> None:
    assert np.isnan(of_two(correlations, np.ones(3), np.arange(3.0)))
    assert of_two(correlations, np.arange(3.0), -np.arange(3.0)) == pytest.approx(-1)


def test_agreement_counts_the_pairs_that_both_order() -> None:
    one, other = np.array([1.0, 2, 3, 3]), np.array([2.0, 1, 3, 4])
    assert agreement(one, other) == pytest.approx(4 / 5)  # the last two are equal in one of them
    assert agreement(np.ones(3), np.arange(3.0)) is None


def test_best_at_random_by_hand() -> None:
    values = np.array([3.0, 1.0, 2.0])
    assert best_at_random(values, 1) == pytest.approx(2)
    assert best_at_random(values, 2) == pytest.approx((2 + 3 + 3) / 3)  # of the pairs 12, 13, 23
    assert best_at_random(values, 3) == pytest.approx(3)


def test_a_permutation_test_knows_order_from_chance() -> None:
    values = np.arange(6.0)
    # Only one of 720 orders is as good; the draws meet it a few times.
    assert permutation_p(kendall_taus, values, values) < 0.01
    assert permutation_p(kendall_taus, values, -values) == 1
    assert permutation_p(kendall_taus, values, np.ones(6)) is None
