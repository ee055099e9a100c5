"""The paper's figures of searches as files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from akd_gym.analysis.competition import HYPERVOLUME_COST
from akd_gym.analysis.differences import SearchDifferences, group_differences, search_differences
from akd_gym.analysis.differences_figure import differences_figure
from akd_gym.analysis.figure_files import write_figure
from akd_gym.analysis.hypervolume import hypervolume_curve, hypervolume_figure
from akd_gym.analysis.principal import principal_plane
from akd_gym.analysis.principal_figure import principal_figure, stages_figure
from akd_gym.analysis.runs import SearchRun
from akd_gym.analysis.search_figures import search_figure, search_panels
from akd_gym.errors import InvalidSettingError, StorageError
from akd_gym.report.reading import ReportedRun, by_setting

FORMATS = (".png", ".svg", ".pdf")

Drawing = tuple[str, Callable[[], Figure]]
"""A file's name, and what makes its figure."""


class WrittenFigures(NamedTuple):
    """What was written.

    Attributes:
        paths: Of all files.
        left_out: By the name of a figure, why it could not be drawn.
    """

    paths: list[Path]
    left_out: dict[str, str]


def write_figures(folder: Path, runs: Sequence[ReportedRun]) -> WrittenFigures:
    """Writes Figure 4 of each search and, of several, Figures 5 to 8; each as PNG, SVG and PDF.

    Figure 8 compares two settings if there are two with several seeds each; else the first search with each other.

    Args:
        folder: Made if it is not there.
        runs: With distinct names.

    Raises:
        StorageError: They cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder} cannot be made: {error.strerror or error}.") from error
    written = WrittenFigures([], {})
    for name, draw in drawings(runs):
        try:
            figure = draw()
        except InvalidSettingError as error:
            written.left_out[name] = str(error)
            continue
        written.paths.extend(write_figure(folder / f"{name}{suffix}", figure) for suffix in FORMATS)
    return written


def drawings(runs: Sequence[ReportedRun]) -> Iterator[Drawing]:
    """The figures of searches by name, none of them drawn yet; `InvalidSettingError` if one cannot be.

    Args:
        runs: With distinct names.
    """
    searches = [run.search for run in runs]
    for search, name in zip(searches, _file_names(searches), strict=True):
        yield f"figure-4-{name}", partial(_figure_4, search)
    if len(runs) > 1:
        groups = _teachers(runs)
        yield "figure-5", lambda: stages_figure(principal_plane(searches), groups=groups)
        yield "figures-6-7", lambda: principal_figure(principal_plane(searches), groups=groups)
        yield from _differences(runs)
        yield "hypervolume", lambda: _hypervolumes(searches)


def _differences(runs: Sequence[ReportedRun]) -> Iterator[Drawing]:
    settings = [[run.search for run in group] for group in by_setting(runs)]
    if len(settings) == 2 and min(map(len, settings)) > 1:
        yield "figure-8", partial(_figure_8_of_settings, *settings)
        return
    first, *others = [run.search for run in runs]
    for other, name in zip(others, _file_names(others), strict=True):
        yield f"figure-8-{name}", partial(_figure_8_of_two, first, other)


def _figure_4(search: SearchRun) -> Figure:
    return search_figure(search_panels(search), title=search.name)


def _figure_8_of_two(first: SearchRun, other: SearchRun) -> Figure:
    return _titled(search_differences(first, other))


def _figure_8_of_settings(first: Sequence[SearchRun], second: Sequence[SearchRun]) -> Figure:
    one, two = (", ".join(search.name for search in side) for side in (first, second))
    return _titled(group_differences((one, two), first, second))


def _titled(found: SearchDifferences) -> Figure:
    return differences_figure(found, title=f"{found.names[0]} minus {found.names[1]}")


def _hypervolumes(searches: Sequence[SearchRun]) -> Figure:
    limit = HYPERVOLUME_COST * max(search.target for search in searches)
    return hypervolume_figure([hypervolume_curve(search, limit) for search in searches])


def _teachers(runs: Sequence[ReportedRun]) -> list[str] | None:
    """What searches are coloured by: their teachers, where there are several and one of them has several searches."""
    teachers = [run.settings.teacher for run in runs]
    return teachers if 1 < len(set(teachers)) < len(teachers) else None


def _file_names(searches: Sequence[SearchRun]) -> list[str]:
    """The searches' names as parts of a file's name; those that become equal are numbered."""
    names = [re.sub(r"[^\w.-]+", "-", search.name) for search in searches]
    return [f"{name}-{i}" if names.count(name) > 1 else name for i, name in enumerate(names)]
