"""Figure 8: means of the best within a band, intervals that mean what they say, and a picture of all of it."""

import numpy as np
import pytest
from scipy import stats

from akd_gym.analysis.differences import group_differences, search_differences
from akd_gym.analysis.differences_figure import differences_figure
from akd_gym.analysis.figure_files import write_figure
from akd_gym.analysis.pareto import Band, within_band
from akd_gym.errors import InvalidSettingError
from akd_gym.space import Decision, SearchSpace, make_space

SMALL = make_space("akd", "small").skeleton
TINY = SearchSpace(
    "tiny", [Decision(1, "skip_op", ("none", "identity", "identity+se")), Decision(2, "kernel", (3, 5, 7))], SMALL
)


def feature(found, block, role, option=None):
    [one] = [f for f in found.features if (f.block, f.role, f.option) == (block, role, option)]
    return one


def tiny_run(made_run, choices, accuracies=None, costs=None, **settings):
    count = len(choices)
    return made_run(costs or [1.0] * count, accuracies or [0.5] * count, choices=choices, space=TINY, **settings)


def test_means_by_hand(made_run):
    """Of the first the three best of four in the band count, each architecture once; of the second there are two."""
    first = tiny_run(
        made_run,
        [(2, 0), (2, 0), (2, 1), (2, 2), (1, 0), (0, 2), (0, 1)],
        accuracies=[0.6, 0.9, 0.7, 0.8, 0.5, 0.99, None],
        costs=[1.0, 1.0, 1.1, 0.9, 1.0, 1.2, 1.0],
        name="one",
    )
    second = tiny_run(made_run, [(0, 0), (2, 0)], name="two")
    found = search_differences(first, second, best=3)
    assert found.counts == (3, 2)
    se, kernel = feature(found, 1, "skip_op", "identity+se"), feature(found, 2, "kernel")
    assert se.means == (1.0, 0.5)
    assert kernel.means == (5.0, 3.0)
    assert (kernel.difference, kernel.span, se.span) == (2.0, 4.0, 1.0)
    assert feature(found, 1, "skip_op", "none").difference == -0.5
    assert found.band == Band(1.0, 0.1)
    assert "only 2 of two, of 3 asked for" in found.caption
    assert "one, of 3" not in found.caption
    assert "joins an identity with squeeze-and-excite" in found.caption


def test_a_share_has_the_interval_of_a_share(made_run):
    """300 students of which 40 % have an option against 300 of which 60 % do."""
    rng = np.random.default_rng(0)
    akd = make_space("akd", "small")

    def run(share):
        choices = [akd.sample(rng) for _ in range(300)]
        return made_run(
            [1.0] * 300, [0.5] * 300, choices=[(int(i < 300 * share), *c[1:]) for i, c in enumerate(choices)]
        )

    found = search_differences(run(0.4), run(0.6), Band(1, 0.1))
    assert len(found.features) == 77
    own = feature(found, 1, "conv_op", "sepconv")
    reach = 1.96 * np.sqrt(2 * 0.24 / 300)
    assert (own.low, own.high) == pytest.approx((-0.2 - reach, -0.2 + reach), abs=0.01)
    assert own.is_apart
    others = [f for f in found.features if f.block > 1]
    assert sum(f.is_apart for f in others) < 0.15 * len(others)  # both sides are drawn alike there
    assert search_differences(run(0.5), run(0.5), Band(1, 0.1)).left_out == ()


def test_a_search_does_not_differ_from_itself(bench_run):
    found = search_differences(bench_run, bench_run, Band(bench_run.target, bench_run.target), best=50)
    assert found.counts == (50, 50)
    assert all(f.difference == 0 and not f.is_apart for f in found.features)
    best = within_band(bench_run.outcomes, found.band)[:50]
    share = np.mean([bench_run.evaluations[o.number].candidate.choices[0] == 2 for o in best])
    assert feature(found, 1, "conv_op", "mbconv3").means[0] == pytest.approx(share)


def test_what_is_apart_over_searches_is_apart_by_welch(made_run):
    def run(identities):
        """3 architectures without a skip, and some with an identity."""
        return tiny_run(made_run, [(0, 0), (0, 1), (0, 2), *((1, kernel) for kernel in range(identities))])

    found = group_differences(("KD", "hard"), [run(3), run(2), run(3)], [run(1), run(0)])
    shares = [[3 / 6, 2 / 5, 3 / 6], [1 / 4, 0]]
    own = feature(found, 1, "skip_op", "identity")
    assert own.means == pytest.approx((np.mean(shares[0]), np.mean(shares[1])))
    expected = stats.ttest_ind(*shares, equal_var=False).confidence_interval(0.95)
    assert (own.low, own.high) == pytest.approx((expected.low, expected.high))
    never = feature(found, 1, "skip_op", "identity+se")
    assert np.isnan([never.low, never.high]).all()
    assert not never.is_apart
    assert found.over == "searches"
    assert "Welch's t over 3 and 2 searches" in found.caption
    assert found.counts == (17, 7)


def test_spaces_are_compared_on_what_they_share(made_run, tmp_path):
    akd = made_run([1.0] * 20, [0.5] * 20, name="akd")
    mnas = made_run([1.0] * 20, [0.5] * 20, space=make_space("mnas", "small"), name="mnas")
    found = search_differences(akd, mnas)
    assert len(found.features) == 49
    assert "block1.skip_op" in found.left_out
    assert "block7.se" in found.left_out
    assert "Left out, as the spaces differ in them: block1.skip_op" in found.caption
    assert "squeeze-and-excite" not in found.caption
    assert "Identity + SE" not in differences_figure(found).get_supxlabel()


def test_the_picture_has_a_column_a_block_and_a_row_an_option(made_run, tmp_path):
    found = search_differences(
        tiny_run(made_run, [(2, 0), (2, 1), (2, 2)], name="one"),
        tiny_run(made_run, [(0, 0), (0, 1), (0, 2)], name="two"),
    )
    figure = differences_figure(found, title="Figure 8")
    assert [axes.get_title() for axes in figure.axes] == ["block 1", "block 2"]
    rows = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert rows == ["no skip", "identity", "identity + SE", "kernel size"]
    marks = {line.get_ydata()[0]: line for line in figure.axes[0].lines if line.get_marker() in tuple("^vo")}
    assert [(marks[row].get_xdata()[0], marks[row].get_marker()) for row in (0, 1, 2)] == [
        (-1, "v"),
        (0, "o"),
        (1, "^"),
    ]
    assert "← more in two (3)" in figure.get_supxlabel()
    assert "more in one (3) →" in figure.get_supxlabel()
    assert "Identity + SE is one option of the skip" in figure.get_supxlabel()
    assert write_figure(tmp_path / "eight.svg", figure).stat().st_size > 10_000


def test_one_student_a_side_is_enough(made_run):
    found = search_differences(tiny_run(made_run, [(1, 2)]), tiny_run(made_run, [(1, 0)]))
    assert feature(found, 2, "kernel").difference == 4
    differences_figure(found)
    same = search_differences(tiny_run(made_run, [(1, 2)]), tiny_run(made_run, [(1, 2)]))
    assert differences_figure(same).axes[0].get_xlim()[1] > 0


def test_what_cannot_be_compared_is_refused(made_run):
    run = tiny_run(made_run, [(0, 0)], name="one")
    dear = tiny_run(made_run, [(0, 0), (0, 1)], costs=[3.0, 4.0], name="dear")
    with pytest.raises(
        InvalidSettingError, match=r"band 1±0\.1 ms, but 'dear' has none: they cost 3\.000 ms to 4\.000 ms"
    ):
        search_differences(run, dear)
    with pytest.raises(InvalidSettingError, match="'failed' has none: no candidate is feasible"):
        search_differences(run, tiny_run(made_run, [(0, 0)], accuracies=[None], name="failed"))
    with pytest.raises(InvalidSettingError, match=r"`band` must be given where targets differ.*'one' at 1\.000 ms"):
        search_differences(run, tiny_run(made_run, [(0, 0)], target=2.0))
    with pytest.raises(InvalidSettingError, match=r"same unit of cost.*'one' has 'ms'.*'madds'"):
        search_differences(run, tiny_run(made_run, [(0, 0)], unit="madds"))
    with pytest.raises(InvalidSettingError, match="`best` must be at least 1"):
        search_differences(run, run, best=0)
    other = SearchSpace("other", [Decision(1, "layers", (0, 1))], SMALL)
    with pytest.raises(InvalidSettingError, match="share none"):
        search_differences(run, made_run([1.0], [0.5], choices=[(0,)], space=other))
    with pytest.raises(InvalidSettingError, match=r"at least 2 searches.*have 2 and 1"):
        group_differences(("a", "b"), [run, run], [run])
