"""Equation 1 and the winning ratio by hand, and intervals that hold what they promise."""

import numpy as np
import pytest

from akd_gym.analysis.gains import gain_rise, relative_gain
from akd_gym.errors import InvalidSettingError


def test_equation_1_and_the_ratio_of_the_paper():
    found = relative_gain([0.70, 0.72, 0.71], [0.65, 0.70, 0.70], [0.69, 0.70, 0.70], [0.66, 0.68, 0.67])
    assert found.akd == pytest.approx([0.05, 0.02, 0.01])
    assert found.nas == pytest.approx([0.03, 0.02, 0.03])
    assert found.gain.value == pytest.approx(0.08 / 3 - 0.08 / 3, abs=1e-12)
    assert (found.wins, found.ties) == (1, 1)
    assert found.paper_ratio == "1 / (3-1)"
    # Of the nine pairs: 0.05 wins 3, 0.02 ties with one and loses 2, 0.01 loses all.
    assert found.winning.value == pytest.approx(3.5 / 9)


def test_a_clear_gain_has_an_interval_above_zero():
    rng = np.random.default_rng(0)
    found = relative_gain(0.7 + rng.normal(0, 0.01, 20), np.full(20, 0.68), 0.7 + rng.normal(0, 0.01, 20), [0.71] * 20)
    assert 0 < found.gain.low < found.gain.value < found.gain.high
    assert found.winning.low > 0.5
    assert found.paper_ratio == f"{found.wins} / 20"


def test_architectures_that_were_not_drawn_in_pairs_have_no_pairs():
    found = relative_gain([0.7, 0.8], [0.6, 0.6], [0.7, 0.7, 0.7], [0.6, 0.65, 0.65])
    assert found.wins is found.ties is None
    assert found.winning.value == pytest.approx(5.5 / 6)
    assert found.paper_ratio == "92%"


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(1)
    of_gain = of_winning = of_rise = 0
    for _ in range(50):
        stages = [
            relative_gain(rng.normal(0.72, 0.01, 20), np.full(20, 0.7), rng.normal(0.71, 0.01, 20), np.full(20, 0.7))
            for _ in range(2)
        ]
        of_gain += stages[0].gain.low <= 0.01 <= stages[0].gain.high
        of_winning += stages[0].winning.low <= 0.7602 <= stages[0].winning.high  # Phi(1 / sqrt 2)
        rise = gain_rise(*stages)
        of_rise += rise.low <= 0 <= rise.high
    assert min(of_gain, of_winning, of_rise) >= 42
    assert min(of_gain, of_rise) < 50


def test_a_rise_is_the_difference_of_two_stages():
    first = relative_gain([0.70, 0.71], [0.70, 0.70], [0.70, 0.71], [0.70, 0.70])
    last = relative_gain([0.75, 0.76], [0.70, 0.70], [0.70, 0.71], [0.70, 0.70])
    rise = gain_rise(first, last)
    assert rise.value == pytest.approx(0.05)
    assert (rise.low, rise.high) == (pytest.approx(0.035, abs=0.006), pytest.approx(0.065, abs=0.006))
    assert gain_rise(first, last) == rise


def test_the_same_seed_does_not_pair_what_is_independent():
    """Both sides with equal numbers: drawn together, their difference would not vary at all."""
    gains = np.linspace(0, 0.1, 12)
    found = relative_gain(gains, np.zeros(12), gains, np.zeros(12))
    assert found.gain.low < -0.01 < 0.01 < found.gain.high


@pytest.mark.parametrize(
    ("akd_kd", "akd_cls", "message"),
    [
        ([0.7, 0.8], [0.7], "`akd_kd` and `akd_cls` must hold the same architectures"),
        ([0.7], [0.7], "at least two"),
        ([[0.7, 0.7]], [[0.7, 0.7]], "got shapes"),
        ([0.7, np.nan], [0.7, 0.7], "must be finite"),
    ],
)
def test_what_is_no_pair_of_trainings_is_refused(akd_kd, akd_cls, message):
    with pytest.raises(InvalidSettingError, match=message):
        relative_gain(akd_kd, akd_cls, [0.7, 0.7], [0.6, 0.6])
