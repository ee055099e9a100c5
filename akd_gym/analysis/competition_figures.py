"""Figures of a competition: best-so-far regret by evaluations and by time, and what it came to.

The first few agents by place, and random search, have a colour and an interval; the others are grey lines, so that
twenty agents can still be read. Every line bears its name. Nothing here touches pyplot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray

from akd_gym.analysis.aggregates import Interval, mean_curves
from akd_gym.analysis.competition import RANDOM, AgentRun, Standing, standing_runs, value_curve, value_over_time
from akd_gym.analysis.figure_files import write_figure
from akd_gym.analysis.style import FAINT, INK, SOFT, finish
from akd_gym.errors import InvalidSettingError

COLOURED = 6
"""Agents that have a colour, besides random search."""

LEAST_REGRET = 1e-4
"""What smaller regrets are drawn as: a hundredth of a point of accuracy, far below the noise of one training."""

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito
_PREFERRED = dict(zip(("ppo", "rnn", "evolution", "reinforce", "tpe", "local_search"), _COLOURS, strict=True))
_GREY = "#a3aab2"
_POINTS = 160
_SPAN = 200  # the first evaluations say nothing yet: curves begin at one two-hundredth
_GAP = 0.042  # between names, in heights of the panel

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Where, and the value of each seed there: shapes (points,) and (seeds, points)."""


def evaluations_figure(
    runs: Sequence[AgentRun], standings: Sequence[Standing], best_value: float, *, title: str = ""
) -> Figure:
    """Best-so-far regret against evaluations, with 95 % intervals.

    Args:
        runs: Of one competition.
        standings: Their places.
        best_value: Best known noiseless reward.
        title: Above the figure.

    Raises:
        InvalidSettingError: No agent has a place.
    """

    def curve(own: list[AgentRun]) -> Curve:
        most = max(run.evaluations for run in own)
        points = np.unique(np.geomspace(max(1, most // _SPAN), most, _POINTS).round().astype(np.int64))
        return points.astype(np.float64), np.stack([value_curve(run, points) for run in own])

    return _regret_figure(runs, standings, best_value, curve, "evaluations", title)


def seconds_figure(
    runs: Sequence[AgentRun], standings: Sequence[Standing], best_value: float, *, title: str = ""
) -> Figure:
    """Best-so-far regret against the agent's own seconds, those of evaluations left out; else as the other one.

    Raises:
        InvalidSettingError: No agent has a place.
    """

    def curve(own: list[AgentRun]) -> Curve:
        first, last = max(run.seconds[0] for run in own), max(run.seconds[-1] for run in own)
        first = max(first, 1e-3)
        points = np.geomspace(first, max(last, first * 1.01), _POINTS)
        return points, np.stack([value_over_time(run, points) for run in own])

    return _regret_figure(runs, standings, best_value, curve, "seconds of the agent's own", title)


def scores_figure(standings: Sequence[Standing], *, title: str = "") -> Figure:
    """Final regret, and the probability to end better than random search, with 95 % intervals, by place.

    Raises:
        InvalidSettingError: No agent has a place.
    """
    placed = _placed(standings)
    figure = Figure(figsize=(7.6, 1.1 + 0.3 * len(placed)), layout=_layout())
    left, right = figure.subplots(1, 2, sharey=True)
    colours = agent_colours(standings)
    for row, standing in enumerate(placed):
        colour = colours[standing.agent]
        if standing.regret is not None:
            shown = Interval(*(max(value, LEAST_REGRET) for value in standing.regret))
            _dot(left, row, shown, colour)
        if standing.over_random is not None:
            _dot(right, row, standing.over_random, colour)
    left.set_xscale("log")
    _plain_log(left, "x")
    left.set_yticks(range(len(placed)), [standing.agent for standing in placed])
    left.set_ylim(len(placed) - 0.5, -0.5)
    left.set_xlabel("regret at the end")
    right.set_xlim(-0.02, 1.02)
    right.axvline(0.5, color=SOFT, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    right.set_xlabel("probability to end better than random search")
    for axes in (left, right):
        axes.grid(axis="y", color=FAINT, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
    finish(figure, [left, right], title)
    return figure


def write_both(folder: Path, name: str, figure: Figure) -> list[Path]:
    """Writes a figure as PNG and as SVG, each whole or not at all.

    Raises:
        StorageError: One cannot be written; an old file is as it was.
    """
    return [write_figure(folder / f"{name}{suffix}", figure) for suffix in (".png", ".svg")]


def agent_colours(standings: Sequence[Standing]) -> dict[str, str]:
    """A colour an agent: the first few by place each their own, random search ink, the others grey.

    The package's own agents have the same one in every figure, unless an agent before them has taken it.
    """
    placed = [standing.agent for standing in standings if standing.place is not None]
    first = [agent for agent in placed if agent != RANDOM][:COLOURED]
    colours = dict.fromkeys(placed, _GREY)
    colours.update({agent: _PREFERRED[agent] for agent in first if agent in _PREFERRED})
    left = iter([colour for colour in _COLOURS if colour not in colours.values()])
    colours.update({agent: next(left) for agent in first if agent not in _PREFERRED})
    return colours | ({RANDOM: INK} if RANDOM in placed else {})


def spread(positions: Sequence[float], gap: float) -> list[float]:
    """Positions moved as little as may be until each is at least `gap` from the next, in their order."""
    order = np.argsort(positions, kind="stable")
    groups: list[list[float]] = []  # each holds where its members want to be
    for index in order:
        groups.append([float(positions[index])])
        while len(groups) > 1 and _start(groups[-1], gap) - _end(groups[-2], gap) < gap - 1e-12:
            groups[-2:] = [groups[-2] + groups[-1]]
    flat = [_start(group, gap) + gap * place for group in groups for place in range(len(group))]
    result = [0.0] * len(flat)
    for index, position in zip(order.tolist(), flat, strict=True):
        result[index] = position
    return result


def _start(group: list[float], gap: float) -> float:
    return sum(group) / len(group) - gap * (len(group) - 1) / 2


def _end(group: list[float], gap: float) -> float:
    return _start(group, gap) + gap * (len(group) - 1)


def _regret_figure(
    runs: Sequence[AgentRun],
    standings: Sequence[Standing],
    best_value: float,
    curve: Callable[[list[AgentRun]], Curve],
    label: str,
    title: str,
) -> Figure:
    agents, colours = standing_runs(runs), agent_colours(standings)
    figure = Figure(figsize=(7.6, 4.8), layout=_layout())
    axes = figure.add_subplot()
    ends: list[tuple[str, float, float]] = []
    for standing in reversed(_placed(standings)):  # the best on top
        points, values = curve(agents[standing.agent])
        means, low, high = (np.maximum(part, LEAST_REGRET) for part in mean_curves(best_value - values))
        colour = colours[standing.agent]
        is_coloured, dashes = colour != _GREY, (0, (4, 2)) if standing.agent == RANDOM else "solid"
        axes.plot(
            points,
            means,
            color=colour,
            linewidth=1.8 if is_coloured else 0.9,
            linestyle=dashes,
            zorder=3 if is_coloured else 2,
        )
        if is_coloured:
            axes.fill_between(points, low, high, color=colour, alpha=0.11, linewidth=0, zorder=1)
        axes.plot(points[-1], means[-1], "o", color=colour, markersize=4 if is_coloured else 2.5, zorder=4)
        ends.append((standing.agent, float(points[-1]), float(means[-1])))
    axes.set_xscale("log")
    axes.set_yscale("log")
    _plain_log(axes, "x")
    _plain_log(axes, "y")
    axes.margins(x=0.01)
    axes.set_xlabel(label)
    axes.set_ylabel("regret of the best architecture so far")
    axes.grid(color=FAINT, linewidth=0.5, alpha=0.7)
    axes.set_axisbelow(True)
    _name_lines(axes, ends, colours)
    finish(figure, [axes], title)
    return figure


def _name_lines(axes: Axes, ends: Sequence[tuple[str, float, float]], colours: dict[str, str]) -> None:
    """Names at the right, each with a thin line to the end of its curve."""
    axes.set_xlim(axes.get_xlim())
    axes.set_ylim(axes.get_ylim())
    low, high = np.log(axes.get_ylim())
    heights = [(np.log(value) - low) / (high - low) for _, _, value in ends]
    for (agent, x, value), height in zip(ends, spread(heights, _GAP), strict=True):
        colour = colours[agent]
        label_at = np.exp(low + height * (high - low))
        across = axes.get_yaxis_transform()
        right = axes.get_xlim()[1]
        axes.plot([x, right], [value, value], color=colour, linewidth=0.6, linestyle=(0, (1, 2)), zorder=1)
        axes.plot([1, 1.025], [value, label_at], color=colour, linewidth=0.6, transform=across, clip_on=False)
        axes.text(
            1.03,
            label_at,
            agent,
            color=SOFT if colour == _GREY else colour,
            fontsize=8.5,
            va="center",
            transform=across,
            fontweight="normal" if colour == _GREY else "bold",
        )


def _layout() -> ConstrainedLayoutEngine:
    """With a little white around what is drawn."""
    return ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08)


def _placed(standings: Sequence[Standing]) -> list[Standing]:
    placed = [standing for standing in standings if standing.place is not None]
    if not placed:
        raise InvalidSettingError("At least one agent must have a place for a figure, but all are disqualified.")
    return placed


def _dot(axes: Axes, row: int, interval: Interval, colour: str) -> None:
    axes.plot([interval.low, interval.high], [row, row], color=colour, linewidth=2, solid_capstyle="butt", zorder=2)
    axes.plot(interval.value, row, "o", color=colour, markersize=5.5, zorder=3)


def _plain_log(axes: Axes, which: Literal["x", "y"]) -> None:
    """Ticks of a logarithmic axis, as many as it has room for, as plain numbers."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = (axes.get_xlim if which == "x" else axes.get_ylim)()
    decades = np.log10(high / low)
    axis.set_major_locator(
        LogLocator(10, subs=(1, 2, 3, 4, 5, 7) if decades < 1 else (1, 2, 5) if decades < 2 else (1,))
    )
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis=which, which="minor", length=0)
