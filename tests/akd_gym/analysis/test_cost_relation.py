"""Multiply-adds against latency: regression, band, rank correlation, and what latency varies by at equal ones."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy import stats

from akd_gym.analysis.cost_relation import cost_relation
from akd_gym.errors import InvalidSettingError


def drawn(relation):
    figure = Figure(layout="constrained")
    axes = figure.add_subplot()
    relation.draw(axes)
    return axes


def test_a_fan_by_hand(made_run):
    """Slopes 2, 3 and 4 M/ms from the point (1 ms, 0), each at 2, 3 and 4 ms: the line has the slope in the middle."""
    latencies = np.repeat([2.0, 3.0, 4.0], 3)
    madds = ((latencies - 1) * np.tile([2e6, 3e6, 4e6], 3)).astype(int)
    relation = cost_relation(made_run(latencies, [0.7] * 9, madds=madds))
    assert relation.slope.value == pytest.approx(3e6)
    assert relation.intercept == pytest.approx(-3e6)
    assert relation.slope.low < 3e6 < relation.slope.high
    band = relation.band
    assert (band.offset_ms, band.low, band.high, band.share) == pytest.approx((1.0, 2e6, 4e6, 1.0))
    assert band.ratio == pytest.approx(2)
    assert relation.tau.value == pytest.approx(stats.kendalltau(latencies, madds).statistic)
    assert "(latency - 1 ms)" in relation.caption

    axes = drawn(relation)
    lines = {line.get_label(): line for line in axes.lines}
    line = lines[f"line, R² {relation.r_squared:.2f}"]
    assert np.polyfit(line.get_xdata(), line.get_ydata(), 1) == pytest.approx([3, -3])
    edge = lines["band, 100 % inside"]
    assert np.polyfit(edge.get_xdata(), edge.get_ydata(), 1) == pytest.approx([2, -2])
    assert [1.0, 1.0] in [list(line.get_xdata()) for line in axes.lines]  # the target
    low, high = axes.get_xlim()
    assert low < 1.0 < 4.0 < high


def test_students_faster_than_the_fans_point_lie_outside_the_band(made_run):
    """The line through 99 points far right of 10 ms meets zero there; one student is faster than that."""
    latencies = [*np.linspace(20, 60, 99), 9.5]
    madds = [*((np.linspace(20, 60, 99) - 10) * 5e6).astype(int), 1_000_000]
    relation = cost_relation(made_run(latencies, [0.7] * 100, madds=madds))
    assert relation.band.offset_ms > 9.5
    assert relation.band.share <= 0.99


def test_it_is_the_regression_of_scipy(bench_run):
    relation = cost_relation(bench_run)
    found = stats.linregress(relation.latencies_ms, relation.madds)
    assert relation.slope.value == pytest.approx(found.slope)
    assert relation.intercept == pytest.approx(found.intercept)
    assert relation.r_squared == pytest.approx(found.rvalue**2)
    # The bootstrap and the textbook agree on how sure the slope is.
    assert relation.slope.high - relation.slope.low == pytest.approx(2 * 1.96 * found.stderr, rel=0.5)
    assert len(relation.madds) == len({o.architecture for o in bench_run.outcomes if o.feasible})
    assert 0.95 <= relation.band.share < 1
    assert 0.5 < relation.tau.low < relation.tau.value < relation.tau.high < 1


def test_latency_varies_at_equal_madds_as_much_as_was_put_in(made_run):
    rng = np.random.default_rng(1)
    madds = np.repeat(np.linspace(1e6, 9e6, 300).astype(int), 2)  # pairs of the same multiply-adds
    latencies = (madds / 1e6) ** 0.7 * np.exp(rng.normal(scale=0.1, size=600))
    found = cost_relation(made_run(latencies, [0.7] * 600, madds=madds)).variation
    assert found.deviation.value == pytest.approx(0.1, rel=0.1)
    assert found.deviation.low < 0.1 < found.deviation.high
    # 95 % of the differences of two such students lie below 1.96 * sqrt(2) deviations
    assert found.ratio_95 == pytest.approx(np.exp(1.96 * np.sqrt(2) * 0.1), rel=0.05)


def test_an_architecture_counts_once_and_failures_do_not(made_run):
    run = made_run(
        [1.0, 2.0, 2.5, 3.0, 4.0, None],
        [0.5, 0.5, 0.5, 0.5, None, 0.5],
        madds=[10, 20, 20, 30, 40, 50],
        choices=[(operator, *[0] * 34) for operator in (0, 1, 1, 2, 3, 3)],
    )
    relation = cost_relation(run)
    assert relation.latencies_ms.tolist() == [1.0, 2.0, 3.0]
    assert relation.madds.tolist() == [10, 20, 30]
    assert relation.tau == (1, 1, 1)
    assert relation.variation is None  # no two within 1 % of multiply-adds


def test_a_falling_relation_has_no_band(made_run):
    relation = cost_relation(made_run([3.0, 2.0, 1.0], [0.5] * 3, madds=[10, 20, 30]))
    assert relation.band is None
    assert "band" not in relation.caption
    assert not any("band" in str(line.get_label()) for line in drawn(relation).lines)


@pytest.mark.parametrize("costs", [[1.0], [1.0, 2.0], [2.0, 2.0, 2.0, 2.0], [None, None, 1.0, 2.0]])
def test_too_few_to_relate_are_refused(made_run, costs):
    with pytest.raises(InvalidSettingError, match="at least 3 feasible architectures of different latencies"):
        cost_relation(made_run(costs, [0.5] * len(costs)))


def test_a_search_without_latencies_is_refused(bench_run_of_madds):
    with pytest.raises(InvalidSettingError, match=r"must have measured latencies.*its cost is multiply-adds"):
        cost_relation(bench_run_of_madds)
