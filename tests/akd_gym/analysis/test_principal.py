"""A plane whose components are known, the ways of searches in it, and Figures 5 to 7 as they are drawn."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from akd_gym.analysis.figure_files import write_figure
from akd_gym.analysis.principal import principal_plane, range_scaled
from akd_gym.analysis.principal_figure import principal_figure, stages_figure
from akd_gym.errors import InvalidSettingError
from akd_gym.space import Decision, SearchSpace, make_space

# Kernels 3 and 5 are 0 and 1 when scaled, filters 0.75, 1 and 1.25 are 0, 0.5 and 1.
SPACE = SearchSpace(
    "two",
    [Decision(1, "kernel", (3, 5)), Decision(1, "filters", (0.75, 1.0, 1.25))],
    make_space("akd", "small").skeleton,
)
CHOICES = [(0, 0), (1, 0), (0, 1), (1, 1), (0, 1), (1, 1), (0, 2), (1, 2)]


@pytest.fixture
def run_of(made_run):
    def make(choices, name="made", space=SPACE):
        return made_run([1.0] * len(choices), [0.5] * len(choices), name=name, choices=choices, space=space)

    return make


@pytest.fixture(scope="module")
def policies(made_run):
    """Two searches of 200 in the space `akd` that start alike and come to prefer different options."""
    space, rng = make_space("akd", "small"), np.random.default_rng(0)

    def make(name, favourite):
        certain = np.linspace(0, 0.9, 200)
        taken = [
            tuple(
                favourite % len(d.options) if rng.random() < c else int(rng.integers(len(d.options)))
                for d in space.decisions
            )
            for c in certain
        ]
        return made_run([1.0] * 200, [0.5] * 200, name=name, choices=taken)

    return [make("first", 0), make("second", 1)]


def test_components_and_their_shares_are_those_of_the_scaled_features(run_of):
    plane = principal_plane([run_of(CHOICES)], windows=2)
    assert plane.features == ("block1.kernel", "block1.filters")
    # The kernel's variance is 1/4 and that of the filters 1/8: in their own units it would be 1 and 1/32.
    assert plane.explained == pytest.approx([2 / 3, 1 / 3])
    assert plane.components == pytest.approx(np.eye(2))
    expected = np.array([(k - 0.5, f / 2 - 0.5) for k, f in CHOICES])
    assert plane.paths[0].points == pytest.approx(expected)
    assert plane.paths[0].windows == pytest.approx(np.array([[0, -0.25], [0, 0.25]]))
    assert plane.top_loadings(1, 1) == [("block1.filters", pytest.approx(1.0))]


def test_every_search_counts_the_same_however_long(run_of):
    short, long = run_of([(0, 0), (0, 2)]), run_of([(1, 0), (1, 2)] * 50)
    plane = principal_plane([short, long])
    # Two thirds of the variance would be 2 % if the hundred candidates outweighed the two.
    assert plane.explained == pytest.approx([0.5, 0.5])
    assert np.sort(np.abs(plane.paths[0].points), axis=1) == pytest.approx(0.5)
    assert np.sort(np.abs(plane.paths[1].points), axis=1) == pytest.approx(0.5)


def test_a_way_goes_through_the_means_of_equal_parts(policies):
    plane = principal_plane(policies, windows=4)
    for path in plane.paths:
        assert path.windows == pytest.approx(
            np.stack([path.points[i : i + 50].mean(axis=0) for i in range(0, 200, 50)])
        )
        assert np.array_equal(path.end, path.points[180:])
    first, second = plane.paths
    apart = [np.linalg.norm(a - b) for a, b in zip(first.windows, second.windows, strict=True)]
    assert apart == sorted(apart)
    assert apart[-1] > 4 * apart[0]
    assert np.linalg.norm(plane.components, axis=1) == pytest.approx(1)
    loadings = plane.top_loadings(0)
    assert loadings == sorted(loadings, key=lambda one: -abs(one.weight))
    assert loadings[0].weight > 0


def test_a_search_of_few_candidates_has_a_window_each(run_of):
    plane = principal_plane([run_of(CHOICES[:3]), run_of(CHOICES)], windows=10)
    assert [len(path.windows) for path in plane.paths] == [3, 8]
    assert len(plane.paths[0].end) == 1


def test_spaces_are_compared_on_what_they_share(made_run):
    akd, mnas = (made_run([1.0] * 9, [0.5] * 9, space=make_space(name, "small")) for name in ("akd", "mnas"))
    assert len(principal_plane([akd, mnas]).features) == 49


def test_scaled_features_go_from_0_to_1_over_all_searches():
    one, other = range_scaled([np.array([[3.0, 7.0], [5.0, 7.0]]), np.array([[7.0, 7.0]])])
    assert one.tolist() == [[0, 0], [0.5, 0]]
    assert other.tolist() == [[1, 0]]


def test_what_spans_no_plane_is_refused(run_of):
    with pytest.raises(InvalidSettingError, match="at least two directions"):
        principal_plane([run_of([(0, 1), (1, 1)])])
    with pytest.raises(InvalidSettingError, match="`windows` must be at least 1"):
        principal_plane([run_of(CHOICES)], windows=0)


def test_the_figure_shows_candidates_ways_and_ends(policies):
    plane = principal_plane(policies)
    left, right = principal_figure(plane, title="Two searches").axes
    for axes, sizes in ((left, 200), (right, 20)):
        assert [len(cloud.get_offsets()) for cloud in axes.collections] == [sizes, sizes]
        assert axes.get_xlabel() == f"component 1 ({100 * plane.explained[0]:.1f} % of variance)"
        assert axes.get_ylabel() == f"component 2 ({100 * plane.explained[1]:.1f} % of variance)"
    handles, names = right.get_legend_handles_labels()
    assert names == ["first", "second"]
    for handle, path in zip(handles, plane.paths, strict=True):
        assert np.ravel(handle.get_xydata()) == pytest.approx(path.end.mean(axis=0))
    # In grey, and to the colour-blind, they differ by mark and dashes too.
    for look in ("get_color", "get_marker", "get_linestyle"):
        assert len({getattr(handle, look)() for handle in handles}) == 2


def test_searches_of_a_group_have_its_colour_and_marks_of_their_own(policies):
    plane = principal_plane([*policies, policies[0]])
    left, right = principal_figure(plane, groups=["a", "b", "a"]).axes
    ways = [line for line in left.get_lines() if len(line.get_xdata()) > 1 and line.get_linewidth() == 1.8]
    colours = [to_hex(way.get_color()) for way in ways]
    assert colours[0] == colours[2] != colours[1]
    ends = [line for line in right.get_lines() if line.get_markersize() == 9]
    assert len({end.get_marker() for end in ends}) == 3
    handles, names = right.get_legend_handles_labels()
    assert names == ["a (2 searches)", "b (1 search)"]
    assert [to_hex(handle.get_color()) for handle in handles] == colours[:2]
    with pytest.raises(InvalidSettingError, match="`groups` must be 3"):
        principal_figure(plane, groups=["a"])


def test_names_are_shown_whatever_is_in_them(run_of, tmp_path):
    plane = principal_plane([run_of(CHOICES, name=r"_$\frac$ <b>"), run_of(CHOICES, name="b")])
    for figure in (principal_figure(plane), stages_figure(plane, stages=2)):
        write_figure(tmp_path / "names.png", figure, dpi=50)  # as mathematics it could not be drawn
    _, names = principal_figure(plane).axes[1].get_legend_handles_labels()
    assert names == [r" _\$\frac\$ <b>", "b"]


def test_stages_show_each_part_of_the_searches_before_all_of_them(policies):
    plane = principal_plane(policies)
    panels = stages_figure(plane, stages=4).axes
    assert [axes.get_title() for axes in panels] == ["0 to 25 %", "25 to 50 %", "50 to 75 %", "75 to 100 %"]
    for stage, axes in enumerate(panels):
        clouds = [np.asarray(cloud.get_offsets()) for cloud in axes.collections]
        assert [len(cloud) for cloud in clouds] == [200, 200, 50, 50]
        assert clouds[2] == pytest.approx(plane.paths[0].points[50 * stage : 50 * stage + 50])
    with pytest.raises(InvalidSettingError, match="`stages` must be from 1 to the 200"):
        stages_figure(plane, stages=201)


def test_a_real_search_is_drawn_to_a_file_that_does_not_grow_with_it(bench_run, tmp_path):
    plane = principal_plane([bench_run])
    assert plane.explained.sum() < 1
    path = write_figure(tmp_path / "plane.pdf", principal_figure(plane), dpi=100)
    assert path.stat().st_size < 300_000
