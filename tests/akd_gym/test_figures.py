"""Figures: what is drawn is what was found."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from akd_gym.analysis.figure_files import write_figure
from akd_gym.analysis.figures import accuracy_cost_figure, progress_figure
from akd_gym.analysis.outcomes import Outcome
from akd_gym.analysis.pareto import pareto_outcomes
from akd_gym.analysis.progress import moving_mean
from akd_gym.errors import InvalidSettingError, StorageError
from akd_gym.reward import Reward


def outcome(number, cost, accuracy, unit="ms", target=0.6):
    reason = None if accuracy is not None and cost is not None else "diverged"
    reward = Reward()(accuracy, cost, target)
    return Outcome(number, f"a{number}", accuracy, cost, unit, reward, target, reason, cost, 10**6, 10**4)


@pytest.fixture
def outcomes():
    rng = np.random.default_rng(0)
    found = [outcome(i, 0.4 + 0.6 * rng.random(), 0.7 + 0.1 * rng.random()) for i in range(40)]
    return [*found, outcome(40, 0.5, None), outcome(41, None, None)]


def labelled(axes):
    handles, labels = axes.get_legend_handles_labels()
    return dict(zip(labels, handles, strict=True))


def test_accuracy_cost_shows_every_candidate_the_front_the_best_and_the_target(outcomes):
    figure = accuracy_cost_figure(outcomes, reward=Reward(), title="a search")
    axes = figure.axes[0]
    feasible = outcomes[:40]
    points = np.asarray(axes.collections[-2].get_offsets())
    assert points == pytest.approx(np.array([(o.cost, 100 * o.accuracy) for o in feasible]))
    assert np.asarray(axes.collections[-2].get_array()).tolist() == list(range(40))

    front = pareto_outcomes(outcomes)
    drawn = labelled(axes)
    line = drawn[f"Pareto front ({len(front)} students)"]
    assert line.get_xdata() == pytest.approx([o.cost for o in front])
    best = max(feasible, key=lambda o: o.reward)
    star = drawn[f"best reward {best.reward:.3f}"]
    assert (star.get_xdata()[0], star.get_ydata()[0]) == pytest.approx((best.cost, 100 * best.accuracy))
    assert list(drawn["infeasible (2, 1 of unknown cost)"].get_xdata()) == [0.5]
    assert [0.6, 0.6] in [list(line.get_xdata()) for line in axes.lines]
    assert axes.get_xlabel() == "latency (ms)"
    low, high = axes.get_xlim()
    assert low < min(o.cost for o in feasible)
    assert high > max(o.cost for o in feasible)


def test_multiply_adds_are_shown_in_millions():
    figure = accuracy_cost_figure([outcome(i, 1e6 * (i + 1), 0.7, "madds", 3e6) for i in range(9)])
    axes = figure.axes[0]
    assert axes.get_xlabel() == "multiply-adds (M)"
    assert np.asarray(axes.collections[0].get_offsets())[:, 0].tolist() == list(range(1, 10))
    assert [3, 3] in [list(line.get_xdata()) for line in axes.lines]
    assert axes.get_xscale() == "log"  # a range of 1 to 9


def test_progress_shows_means_and_the_best_so_far(outcomes):
    reward_axes, accuracy_axes, cost_axes = progress_figure(outcomes, window=5).axes
    rewards = [o.reward for o in outcomes[:40]]
    drawn = labelled(reward_axes)
    assert drawn["best so far"].get_ydata() == pytest.approx(np.maximum.accumulate(rewards))
    assert drawn["mean of 5"].get_ydata()[10] == pytest.approx(np.mean(rewards[6:11]))
    assert list(drawn["infeasible (2)"].get_xdata()) == [40, 41]
    assert labelled(accuracy_axes)["mean of 5"].get_ydata()[0] == pytest.approx(100 * outcomes[0].accuracy)
    assert labelled(cost_axes)["target 0.6"].get_ydata()[0] == 0.6


@pytest.mark.parametrize("make", [accuracy_cost_figure, progress_figure])
def test_one_candidate_is_enough_and_none_is_refused(make, tmp_path):
    path = write_figure(tmp_path / "one.png", make([outcome(0, 0.5, 0.7)]), dpi=50)
    assert Image.open(path).size[0] == 360
    with pytest.raises(InvalidSettingError, match="all 1 failed"):
        make([outcome(0, 0.5, None)])
    with pytest.raises(InvalidSettingError, match="all 0 failed"):
        make([])


def test_png_is_written_whole_or_not_at_all(outcomes, tmp_path):
    figure = accuracy_cost_figure(outcomes)
    path = write_figure(tmp_path / "figure.png", figure)
    with Image.open(path) as image:
        assert image.size == (2160, 1380)
        assert np.asarray(image.convert("L")).std() > 10  # not a blank page
    with pytest.raises(StorageError, match="cannot be written"):
        write_figure(tmp_path / "missing" / "figure.png", figure)
    assert [p.name for p in tmp_path.iterdir()] == ["figure.png"]


def test_moving_mean_by_hand():
    assert moving_mean([2.0, 4.0, 6.0, 0.0], 2).tolist() == [2.0, 3.0, 5.0, 3.0]
    assert moving_mean([2.0, 4.0, 6.0, 0.0], 9).tolist() == [2.0, 3.0, 4.0, 3.0]
    assert moving_mean([], 3).tolist() == []
    with pytest.raises(InvalidSettingError, match="`window` must be at least 1 candidate, but got 0"):
        moving_mean([2.0], 0)


def test_figures_leave_pyplot_alone():
    code = (
        "import sys, akd_gym.analysis.drawing, akd_gym.analysis.search_figures, akd_gym.analysis.differences_figure, "
        "akd_gym.analysis.hypervolume, akd_gym.analysis.figures, akd_gym.analysis.figure_files; "
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
