"""Figure 4: what its panels hold, what they draw, and which are left out."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from akd_gym.agents.recording import SearchObserver
from akd_gym.agents.runs import read_run
from akd_gym.agents.search import run_search
from akd_gym.agents.settings import settings_for
from akd_gym.analysis.cost_histogram import cost_histogram
from akd_gym.analysis.figure_files import write_figure
from akd_gym.analysis.pareto import pareto_outcomes
from akd_gym.analysis.progress import moving_mean, progress
from akd_gym.analysis.search_figures import panel_figure, search_figure, search_panels
from akd_gym.analysis.trade_off import trade_off
from akd_gym.errors import InvalidSettingError


def letters(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts if len(text.get_text()) == 1]


def test_all_five_panels_of_a_real_search(bench_run, tmp_path):
    panels = search_panels(bench_run, window=20)
    assert list(panels.by_letter) == ["A", "B", "C", "D", "E"]
    assert panels.left_out is None
    assert panels.histogram.counts.sum() == bench_run.feasible.sum()
    assert list(panels.trade_off.front) == pareto_outcomes(bench_run.outcomes)
    assert panels.cost.values == pytest.approx(bench_run.costs[bench_run.feasible])
    assert panels.accuracy.values == pytest.approx(bench_run.accuracies[bench_run.feasible])
    assert panels.accuracy.means == pytest.approx(moving_mean(panels.accuracy.values, 20))
    figure = search_figure(panels, title="a search")
    assert letters(figure) == ["A", "B", "C", "D", "E"]
    assert figure.get_suptitle() == "a search"
    with Image.open(write_figure(tmp_path / "figure.png", figure, dpi=40)) as image:
        assert image.size == (400, 256)
        assert np.asarray(image.convert("L")).std() > 10  # not a blank page
    for letter in panels.by_letter:
        assert f"({letter}) " in panels.caption


def test_where_costs_are_multiply_adds_the_fifth_is_left_out_with_the_reason(bench_run_of_madds):
    panels = search_panels(bench_run_of_madds)
    assert list(panels.by_letter) == ["A", "B", "C", "D"]
    assert "its cost is multiply-adds" in panels.left_out
    figure = search_figure(panels)
    assert letters(figure) == ["A", "B", "C", "D"]
    assert "its cost is" in figure.get_supxlabel().replace("\n", " ")
    assert "(E) is left out: The search" in panels.caption
    histogram, trade, cost = (next(a for a in figure.axes if a.texts and a.texts[-1].get_text() == c) for c in "ABC")
    assert histogram.get_xlabel() == trade.get_xlabel() == cost.get_ylabel() == "multiply-adds (M)"
    assert histogram.get_xlim()[1] < 100  # millions


@pytest.mark.parametrize("letter", "ABCDE")
def test_a_panel_alone_is_a_figure(bench_run, letter):
    panel = search_panels(bench_run).by_letter[letter]
    axes = panel_figure(panel, title=letter).axes[0]
    assert axes.get_xlabel()
    assert axes.get_ylabel()
    assert panel.caption.endswith(".")


def test_a_search_can_be_seen_while_it_runs(tmp_path):
    seen = []

    class Watcher(SearchObserver):
        def round_done(self, number, infos, rewards, seconds):
            panels = search_panels(read_run(tmp_path))
            seen.append((len(panels.cost.numbers), panels.left_out))
            search_figure(panels)

    settings = settings_for(evaluator="bench")
    settings = dataclasses.replace(settings, agent="random", teacher="shipped:resnet", budget=6, round_size=2)
    run_search(settings, tmp_path, observer=Watcher())
    assert [count for count, _ in seen] == [2, 4, 6]
    assert "has 2" in seen[0][1]
    assert seen[1][1] is None


def test_the_histogram_by_hand(made_run):
    run = made_run([0.95, 1.0, 1.1, 3.0, None], [0.5, 0.5, 0.5, 0.5, 0.5])
    found = cost_histogram(run.outcomes)
    assert found.costs.tolist() == [0.95, 1.0, 1.1, 3.0]
    assert (found.counts.sum(), found.infeasible, found.target) == (4, 1, 1.0)
    assert (found.edges[0], found.edges[-1]) == (0.95, 3.0)
    assert found.near_target == 0.75  # 1.1 is 10 % off, and counts
    assert "4 candidates (1 infeasible ones left out)" in found.caption
    axes = panel_figure(found).axes[0]
    assert [1.0, 1.0] in [list(line.get_xdata()) for line in axes.lines]
    bars = axes.patches[0].get_data()
    assert bars.values.tolist() == found.counts.tolist()
    assert bars.edges == pytest.approx(found.edges)


def test_a_tail_does_not_make_a_thousand_bins(made_run):
    costs = [*np.random.default_rng(0).normal(1, 0.01, 900), *np.linspace(1, 2, 99), 3.0]
    found = cost_histogram(made_run(costs, [0.5] * 1000).outcomes)
    assert len(found.counts) == 60
    assert found.counts.sum() == 1000


def test_one_candidate_is_enough(made_run, tmp_path):
    panels = search_panels(made_run([0.4], [0.7]))
    assert panels.histogram.counts.tolist() == [1]
    assert panels.histogram.edges == pytest.approx([0.38, 0.42])
    assert "at least 3 feasible architectures" in panels.left_out
    assert write_figure(tmp_path / "one.png", search_figure(panels), dpi=40).stat().st_size > 3000


def test_ties_are_no_hindrance(made_run, tmp_path):
    panels = search_panels(made_run([0.4] * 5, [0.7] * 5, madds=[7] * 5))
    assert len(panels.trade_off.front) == 1
    assert panels.trade_off.best.number == 0
    assert write_figure(tmp_path / "ties.png", search_figure(panels), dpi=40).stat().st_size > 3000


def test_failures_are_marked_and_never_drawn_as_numbers(made_run):
    run = made_run([0.4, None, 0.6, 0.8], [0.7, 0.7, None, 0.71])
    panel = progress(run.outcomes, "accuracy", 2)
    assert panel.numbers.tolist() == [0, 3]
    assert panel.infeasible.tolist() == [1, 2]
    assert panel.means == pytest.approx([0.7, 0.705])
    handles, names = panel_figure(panel).axes[0].get_legend_handles_labels()
    assert dict(zip(names, handles, strict=True))["infeasible (2)"].get_xdata().tolist() == [1, 2]
    handles, names = panel_figure(trade_off(run.outcomes)).axes[0].get_legend_handles_labels()
    assert dict(zip(names, handles, strict=True))["infeasible (2, 1 of unknown cost)"].get_xdata().tolist() == [0.6]


def test_a_search_of_failures_is_refused(made_run):
    run = made_run([None, 0.5], [0.7, None])
    for make in (search_panels, lambda run: cost_histogram(run.outcomes), lambda run: trade_off(run.outcomes)):
        with pytest.raises(InvalidSettingError, match=r"At least one candidate must be feasible.*all 2 failed"):
            make(run)
    with pytest.raises(InvalidSettingError, match="`window` must be at least 1 candidate, but got 0"):
        search_panels(made_run([0.5], [0.5]), window=0)


def test_a_cloud_of_thousands_is_a_picture_inside_a_vector_file(made_run, tmp_path):
    rng = np.random.default_rng(0)
    run = made_run(0.5 + rng.random(2100), 0.6 + 0.1 * rng.random(2100), madds=rng.integers(1e6, 2e6, 2100))
    path = write_figure(tmp_path / "large.svg", search_figure(search_panels(run)), dpi=60)
    assert path.read_text().count("<image") >= 4  # B, C, D and E
    assert path.stat().st_size < 1_000_000
