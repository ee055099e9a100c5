"""Hypervolume over a search: by hand, at its end that of the front, and only comparable ones in one figure."""

import numpy as np
import pytest

from akd_gym.analysis.competition import hypervolume
from akd_gym.analysis.hypervolume import hypervolume_curve, hypervolume_figure
from akd_gym.errors import InvalidSettingError


def test_a_curve_by_hand(made_run):
    # The box ends at cost 2. After 0: (2 - 1) * 0.6 / 2. A failure changes nothing, nor does one that is dominated.
    # (0.5, 0.4) adds (1 - 0.5) * 0.4 / 2; (1, 0.8) takes the place of (1, 0.6); what costs 2 or more adds nothing.
    run = made_run([1.0, None, 1.5, 0.5, 1.0, 2.0], [0.6, 0.9, 0.5, 0.4, 0.8, 0.99])
    curve = hypervolume_curve(run)
    assert curve.reference_cost == 2.0
    assert curve.values == pytest.approx([0.3, 0.3, 0.3, 0.4, 0.5, 0.5])
    assert curve.numbers.tolist() == [0, 1, 2, 3, 4, 5]
    assert curve.final == pytest.approx(0.5)
    assert hypervolume_curve(run, reference_cost=4.0).final == pytest.approx((0.5 * 0.4 + 1 * 0.8 + 2 * 0.99) / 4)


def test_before_the_first_feasible_one_there_is_none(made_run):
    curve = hypervolume_curve(made_run([None, 5.0, 1.0, 1.0], [0.5, 0.9, 0.5, 0.5]))
    assert curve.values == pytest.approx([0, 0, 0.25, 0.25])
    hypervolume_figure([curve, hypervolume_curve(made_run([5.0], [0.9]))])


def test_after_each_candidate_it_is_that_of_the_candidates_so_far(bench_run):
    curve = hypervolume_curve(bench_run)
    ok = bench_run.feasible
    for count in (1, 2, 17, 80, len(ok)):
        known = ok[:count]
        expected = hypervolume(
            bench_run.accuracies[:count][known], bench_run.costs[:count][known], 2 * bench_run.target
        )
        assert curve.values[count - 1] == pytest.approx(expected)
    assert (np.diff(curve.values) >= 0).all()


def test_several_searches_are_drawn_over_their_candidates(made_run):
    curves = [hypervolume_curve(made_run([1.0, 0.5], [0.6, 0.6], name=f"search {i}")) for i in range(8)]
    axes = hypervolume_figure(curves, title="growth").axes[0]
    assert len({(line.get_color(), str(line.get_linestyle()), line.is_dashed()) for line in axes.lines}) == 8
    assert axes.lines[0].get_xdata().tolist() == [1, 2]
    assert axes.lines[0].get_ydata() == pytest.approx([0.3, 0.45])
    assert axes.lines[7].get_label() == "search 7: 0.450"


def test_what_cannot_be_compared_is_refused(made_run):
    one = hypervolume_curve(made_run([1.0], [0.6]))
    other = hypervolume_curve(made_run([1.0], [0.6], target=2.0))
    madds = hypervolume_curve(made_run([1.0], [0.6], unit="madds"))
    for curves in ([one, other], [one, madds]):
        with pytest.raises(InvalidSettingError, match=r"must share one reference cost.*Give `reference_cost`"):
            hypervolume_figure(curves)
    with pytest.raises(InvalidSettingError, match="no curve"):
        hypervolume_figure([])
    with pytest.raises(InvalidSettingError, match="`reference_cost` must be positive and finite, but got 0"):
        hypervolume_curve(made_run([1.0], [0.6]), reference_cost=0)
    with pytest.raises(InvalidSettingError, match="all 2 failed"):
        hypervolume_curve(made_run([None, 1.0], [0.6, None]))
