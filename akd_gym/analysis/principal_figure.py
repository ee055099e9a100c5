"""Pictures of searches on their way through the plane of their principal components (Figures 5 to 7)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from akd_gym.analysis.panels import SERIES, percent
from akd_gym.analysis.principal import END, PrincipalPlane
from akd_gym.analysis.style import FAINT, INK, finish
from akd_gym.errors import InvalidSettingError

_MARKERS = ("o", "^", "s", "D", "v", "P")  # tell apart in grey what colours do otherwise
_DASHES = ("solid", (0, (5, 2)), (0, (1.5, 1.5)), (0, (5, 2, 1.5, 2)), (0, (8, 2)), (0, (3, 1)))
_HOLDS_90 = 2.146  # standard deviations around a normal distribution in the plane that 90 % of it lies within

Array = NDArray[np.float64]


def principal_figure(plane: PrincipalPlane, *, groups: Sequence[str] | None = None, title: str = "") -> Figure:
    """Where searches moved, and where they ended (Figures 6 and 7).

    On the left every candidate, and the way of each search through the means of its windows, whose marks grow. On the
    right the last tenth of each, with the ellipse that would hold 90 % of a normal distribution.

    Args:
        plane: Of the searches.
        groups: What each search is coloured by, such as its teacher; by default each has its own colour.
        title: Above the figure.

    Raises:
        InvalidSettingError: Groups that are not as many as the searches.
    """
    looks = _looks(plane, groups)
    figure = Figure(figsize=(9.6, 4.7), layout="constrained")
    left, right = figure.subplots(1, 2)
    for path, (colour, marker, _) in zip(plane.paths, looks, strict=True):
        _cloud(left, path.points, colour, marker, 0.22 if len(path.points) < 3000 else 0.1)
        _cloud(right, path.end, colour, marker, 0.55)
    for path, (colour, marker, dashes) in zip(plane.paths, looks, strict=True):
        x, y = path.windows.T
        left.plot(x, y, color="white", linewidth=4, zorder=4)
        left.plot(x, y, color=colour, linewidth=1.8, linestyle=dashes, zorder=5)
        for size, (across, up) in zip(np.linspace(4, 10, len(x)), path.windows, strict=True):
            left.plot(across, up, marker, color=colour, markersize=size, markeredgecolor="white", zorder=6)
        _ellipse(right, path.end, colour, dashes)
        right.plot(
            *path.end.mean(axis=0),
            marker,
            color=colour,
            markersize=9,
            markeredgecolor="white",
            linestyle=dashes,
            linewidth=1.8,
            zorder=6,
            label=_literal(path.name) if groups is None else None,
        )
    for group in dict.fromkeys(groups or ()):
        colour = looks[list(groups or ()).index(group)][0]
        count = list(groups or ()).count(group)
        right.plot([], [], color=colour, linewidth=3, label=f"{_literal(group)} ({count} search{'es' * (count > 1)})")
    first = np.concatenate([path.points[: max(1, round(END * len(path.points)))] for path in plane.paths])
    _ellipse(left, first, INK, (0, (1, 1.5)))
    left.plot([], [], color=INK, linestyle=(0, (1, 1.5)), label="first tenth, all searches")
    left.set_title("all candidates, and the way of their means", fontsize=10, color=INK)
    right.set_title("the last tenth", fontsize=10, color=INK)
    left.legend(fontsize=8.5, frameon=True, framealpha=0.85, edgecolor="none")
    right.legend(fontsize=8.5, frameon=True, framealpha=0.85, edgecolor="none")
    for axes in (left, right):
        axes.set_aspect("equal", adjustable="datalim")  # distances mean the same across and up
        axes.set_xlabel(_axis_text(plane, 0))
        axes.set_ylabel(_axis_text(plane, 1))
        _tick(axes)
    finish(figure, (left, right), title)
    return figure


def stages_figure(
    plane: PrincipalPlane, *, stages: int = 5, groups: Sequence[str] | None = None, title: str = ""
) -> Figure:
    """How searches came apart: their candidates in equal stages, a panel each (Figure 5).

    Args:
        plane: Of the searches.
        stages: Panels.
        groups: As in `principal_figure`.
        title: Above the figure.

    Raises:
        InvalidSettingError: Fewer than one stage, more than a search has candidates, or groups that do not fit.
    """
    fewest = min(len(path.points) for path in plane.paths)
    if not 1 <= stages <= fewest:
        raise InvalidSettingError(f"`stages` must be from 1 to the {fewest} candidates of a search, but got {stages}.")
    looks = _looks(plane, groups)
    figure = Figure(figsize=(2.3 * stages + 0.6, 3.1), layout="constrained")
    panels = figure.subplots(1, stages, sharex=True, sharey=True, squeeze=False)[0]
    for stage, axes in enumerate(panels):
        for path, (_, marker, _) in zip(plane.paths, looks, strict=True):
            _cloud(axes, path.points, FAINT, marker, 0.15)
        for path, (colour, marker, dashes) in zip(plane.paths, looks, strict=True):
            own = np.array_split(path.points, stages)[stage]
            _cloud(axes, own, colour, marker, 0.4)
            _ellipse(axes, own, colour, dashes)
            axes.plot([], [], marker, color=colour, label=_literal(path.name), linestyle=dashes, markersize=5)
        ends = f"{100 * stage / stages:.0f} to {percent((stage + 1) / stages)}"
        axes.set_title(ends, fontsize=10, color=INK)
        axes.set_aspect("equal")
        _tick(axes)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=min(6, len(names)), fontsize=8.5, frameon=False)
    panels[stages // 2].set_xlabel(_axis_text(plane, 0))
    panels[0].set_ylabel(_axis_text(plane, 1))
    finish(figure, panels, title)
    return figure


def _looks(plane: PrincipalPlane, groups: Sequence[str] | None) -> list[tuple[str, str, Any]]:
    """Colour, marker and dashes of each search: a group has a colour, a search its own marker and dashes."""
    groups = [path.name for path in plane.paths] if groups is None else groups
    if len(groups) != len(plane.paths):
        raise InvalidSettingError(f"`groups` must be {len(plane.paths)}, one a search, but got {len(groups)}.")
    order = list(dict.fromkeys(groups))
    looks = []
    for index, group in enumerate(groups):
        colour = order.index(group)
        turn = index + index // len(_MARKERS)  # of searches with a colour in common, each has its own
        looks.append((SERIES[colour % len(SERIES)], _MARKERS[turn % len(_MARKERS)], _DASHES[turn % len(_DASHES)]))
    return looks


def _literal(name: str) -> str:
    """A name for a legend, whatever it is: matplotlib hides what begins with `_`, and reads `$` as mathematics."""
    return (" " if name.startswith("_") else "") + name.replace("$", r"\$")


def _cloud(axes: Axes, points: Array, colour: str, marker: str, alpha: float) -> None:
    """Many points; as pixels even in an SVG or PDF, which would otherwise hold each of them."""
    size = 16 if len(points) < 400 else 7
    axes.scatter(
        points[:, 0],
        points[:, 1],
        s=size,
        c=colour,
        marker=marker,
        alpha=alpha,
        linewidths=0,
        zorder=2,
        rasterized=True,
    )


def _ellipse(axes: Axes, points: Array, colour: str, dashes: Any) -> None:
    if len(points) < 3:
        return
    variances, vectors = np.linalg.eigh(np.cov(points.T))
    width, height = 2 * _HOLDS_90 * np.sqrt(np.maximum(variances, 0))
    angle = float(np.degrees(np.arctan2(vectors[1, 0], vectors[0, 0])))
    look = {"facecolor": "none", "edgecolor": colour, "linestyle": dashes, "linewidth": 1.5, "zorder": 3}
    axes.add_patch(Ellipse(tuple(points.mean(axis=0)), width, height, angle=angle, **look))


def _axis_text(plane: PrincipalPlane, component: int) -> str:
    return f"component {component + 1} ({percent(plane.explained[component], 1)} of variance)"


def _tick(axes: Axes) -> None:
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
