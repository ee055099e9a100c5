"""Tables and figures of a competition: what is written and drawn is what the runs came to."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from akd_gym.analysis.competition import AgentRun, standings
from akd_gym.analysis.competition_figures import (
    COLOURED,
    LEAST_REGRET,
    agent_colours,
    evaluations_figure,
    scores_figure,
    seconds_figure,
    spread,
    write_both,
)
from akd_gym.analysis.competition_tables import (
    CURVE_COLUMNS,
    LEADERBOARD_HEAD,
    SCORE_COLUMNS,
    leaderboard_markdown,
    reasons,
    terminal_table,
    write_curves_csv,
    write_scores_csv,
)
from akd_gym.errors import InvalidSettingError, StorageError

BEST = 0.8


def make_run(agent, seed, values, reason=None, seconds=None):
    count = len(values)
    return AgentRun(
        agent,
        seed,
        reason,
        np.tile(np.arange(35) % 2, (count, 1)),
        np.array(values, float),
        np.array(values, float),
        np.full(count, 0.7),
        np.ones(count),
        np.arange(1.0, count + 1) if seconds is None else np.array(seconds),
        float(count),
    )


@pytest.fixture
def runs():
    rng = np.random.default_rng(0)
    found = [make_run("random", seed, 0.5 + 0.1 * rng.random(20)) for seed in range(4)]
    found += [make_run("my:own", seed, [0.5, 0.7, 0.6, 0.7 + 0.01 * seed]) for seed in range(4)]
    return [*found, make_run("bad", 0, [], "ValueError: a | b"), make_run("bad", 1, [0.6], "ValueError: a | b")]


@pytest.fixture
def found(runs):
    return standings(runs, BEST, target=1.0)


def read(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_curves_are_written_where_they_change(runs, tmp_path):
    rows = read(write_curves_csv(tmp_path / "curves.csv", runs, BEST))
    assert tuple(rows[0]) == CURVE_COLUMNS
    own = [row for row in rows if (row["agent"], row["seed"]) == ("my:own", "0")]
    assert [(row["evaluation"], float(row["value"])) for row in own] == [("1", 0.5), ("2", 0.7), ("4", 0.7)]
    assert float(own[1]["regret"]) == pytest.approx(0.1)
    assert float(own[2]["seconds"]) == 4


def test_scores_are_written_for_all_runs(runs, tmp_path):
    rows = read(write_scores_csv(tmp_path / "scores.csv", runs, BEST, target=1.0))
    assert tuple(rows[0]) == SCORE_COLUMNS
    assert len(rows) == len(runs)
    row = next(row for row in rows if (row["agent"], row["seed"]) == ("my:own", "3"))
    assert (row["evaluations"], row["distinct"], row["found_at"], row["disqualified"]) == ("4", "1", "4", "")
    assert float(row["value"]) == pytest.approx(0.73)
    assert float(row["hypervolume"]) == pytest.approx(0.7 * (2 - 1) / 2)
    assert row["choices"].split() == [str(i % 2) for i in range(35)]
    dead = next(row for row in rows if (row["agent"], row["seed"]) == ("bad", "0"))
    assert (dead["disqualified"], dead["evaluations"], dead["value"]) == ("ValueError: a | b", "0", "")


def test_the_leaderboard_is_a_markdown_table_with_reasons_below(found):
    head, rule, first, second, *rest = leaderboard_markdown(found).splitlines()
    assert [cell.strip() for cell in head.strip("|").split("|")] == list(LEADERBOARD_HEAD)
    assert {len(line.strip("|").split("|")) for line in (rule, first, second)} == {len(LEADERBOARD_HEAD)}
    assert first.startswith("| 1 | `my:own` | 4 | 0.0850 (")  # the mean of 0.71 and 0.72 is missing 0.085
    assert second.startswith("| 2 | `random` | 4 |")
    assert "- `bad`, 2 of 2 runs:" in rest
    assert "  - seeds 0, 1: `ValueError: a | b`" in rest


def test_reasons_are_told_once(found):
    assert reasons(found[-1]) == [("seeds 0, 1", "ValueError: a | b")]


def test_the_terminals_table_fits_80_columns(found):
    console = Console(width=80, file=io.StringIO())
    console.print(terminal_table(found, "four evaluations"))
    text = console.file.getvalue()
    assert "…" not in text
    assert next(line for line in text.splitlines() if "my:own" in line).split()[:3] == ["1", "my:own", "0.0850"]
    assert "bad" not in text


def lines_of(figure, colour):
    return [line for line in figure.axes[0].lines if line.get_color() == colour and len(line.get_xdata()) > 2]


def test_regret_is_drawn_against_evaluations(runs, found):
    figure = evaluations_figure(runs, found, BEST, title="a competition")
    axes = figure.axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    [line] = lines_of(figure, agent_colours(found)["my:own"])
    assert line.get_xdata().tolist() == [1, 2, 3, 4]
    assert line.get_ydata() == pytest.approx([0.3, 0.1, 0.1, 0.085])
    assert {text.get_text() for text in axes.texts} == {"my:own", "random"}
    assert len(axes.collections) == 2  # an interval for each


def test_regret_is_drawn_against_the_agents_own_seconds(runs, found):
    figure = seconds_figure(runs, found, BEST)
    [line] = lines_of(figure, agent_colours(found)["my:own"])
    x, y = line.get_xdata(), line.get_ydata()
    assert (x[0], x[-1]) == pytest.approx((1, 4))
    assert (y[0], y[-1]) == pytest.approx((0.3, 0.085))
    assert y[np.searchsorted(x, 2.5)] == pytest.approx(0.1)


def test_no_regret_can_be_drawn_too(tmp_path):
    runs = [make_run("random", 0, [0.5, BEST], seconds=[0.0, 0.0])]
    found = standings(runs, BEST, 1.0)
    assert lines_of(evaluations_figure(runs, found, BEST), agent_colours(found)["random"]) == []
    for figure in (evaluations_figure(runs, found, BEST), seconds_figure(runs, found, BEST), scores_figure(found)):
        assert all(path.stat().st_size for path in write_both(tmp_path, "none", figure))
    ends = [line.get_ydata()[-1] for line in evaluations_figure(runs, found, BEST).axes[0].lines]
    assert LEAST_REGRET in ends


def test_scores_are_drawn_by_place(found):
    left, right = scores_figure(found).axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["my:own", "random"]
    dots = [line for line in left.lines if line.get_marker() == "o"]
    assert dots[0].get_xdata()[0] == pytest.approx(0.085)
    assert [line.get_xdata()[0] for line in right.lines if line.get_marker() == "o"] == [1.0]


def test_figures_are_written_as_png_and_the_same_svg_again(runs, found, tmp_path):
    png, svg = write_both(tmp_path, "regret", evaluations_figure(runs, found, BEST))
    with Image.open(png) as picture:
        assert picture.width > 1000
    before = svg.read_bytes()
    assert b"my:own" in before  # as text
    write_both(tmp_path, "regret", evaluations_figure(runs, found, BEST))
    assert svg.read_bytes() == before
    with pytest.raises(StorageError):
        write_both(tmp_path / "nowhere", "regret", scores_figure(found))


def test_the_first_few_agents_have_colours_of_their_own():
    many = [make_run(name, 0, [value]) for name, value in (("ppo", 0.7), ("random", 0.3))]
    many += [make_run(f"agent{i}", 0, [0.6 - 0.01 * i]) for i in range(8)]
    colours = agent_colours(standings(many, BEST, 1.0))
    own = [colours["ppo"], *(colours[f"agent{i}"] for i in range(COLOURED - 1)), colours["random"]]
    assert len(set(own)) == COLOURED + 1
    assert {colours[f"agent{i}"] for i in range(COLOURED - 1, 8)}.isdisjoint(own)
    again = agent_colours(standings([make_run("ppo", 0, [0.1]), make_run("random", 0, [0.3])], BEST, 1.0))
    assert again["ppo"] == colours["ppo"]


def test_names_are_moved_apart_as_little_as_may_be():
    assert spread([0.9, 0.1], 0.1) == [0.9, 0.1]
    assert spread([0.5, 0.5], 0.2) == pytest.approx([0.4, 0.6])
    assert spread([0.5, 0.5, 0.65], 0.2) == pytest.approx(
        [0.35, 0.55, 0.75]
    )  # the third is reached, and moves with them
    assert spread([], 0.1) == []


def test_without_a_placed_agent_there_is_nothing_to_draw():
    failed = standings([make_run("bad", 0, [], "no")], BEST, 1.0)
    with pytest.raises(InvalidSettingError, match="all are disqualified"):
        scores_figure(failed)
