"""The student that a search is remembered for: its most accurate near the target, kept as a line of a table.

So a study goes on elsewhere with the students that it began with, where the same search might end in others: a policy's
arithmetic differs from machine to machine in the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from akd_gym.analysis.pareto import Band, within_band
from akd_gym.analysis.runs import SearchRun
from akd_gym.architecture import NetworkSpec
from akd_gym.errors import InvalidSettingError
from akd_gym.table_file import appending, read_table

_HEADER = (
    *("teacher", "cost", "target_ratio", "seed", "budget", "tolerance", "benchmark"),
    *("architecture", "proxy_accuracy", "value", "madds"),
)


class BenchSearch(NamedTuple):
    """A search on AKDBench, and how near its target the student must be.

    Attributes:
        teacher: Whose students, `"none"` for hard labels.
        cost: `"latency"` or `"madds"`.
        target_ratio: The target in terms of the reference architecture's cost.
        seed: Of the agent and of the noise.
        budget: Candidates.
        tolerance: Half the width of the band around the target, as a share of it.
        benchmark: The first letters of AKDBench's hash.
    """

    teacher: str
    cost: str
    target_ratio: float
    seed: int
    budget: int
    tolerance: float
    benchmark: str


class Finalist(NamedTuple):
    """What a search found.

    Attributes:
        search: Which.
        architecture: The canonical string.
        proxy_accuracy: As the search saw it, a fraction.
        value: What it costs, in ms or multiply-adds.
        madds: Multiply-adds of one image.
    """

    search: BenchSearch
    architecture: str
    proxy_accuracy: float
    value: float
    madds: int

    @property
    def spec(self) -> NetworkSpec:
        """The network."""
        return NetworkSpec.parse(self.architecture)


def find_finalists(
    searches: Sequence[BenchSearch], table: Path, run: Callable[[BenchSearch], SearchRun]
) -> list[Finalist]:
    """The finalists of searches, of those that are not in the table by running them.

    Raises:
        InvalidSettingError: A search found no student within its band.
        CorruptFileError: The table is damaged.
        StorageError: It cannot be read or written.
    """
    known = {row.search: row for row in read_table(table, _HEADER, _parse, lambda row: row.search, "it is searched")}
    with appending(table, _HEADER) as file:
        for search in searches:
            if search not in known:
                known[search] = _choose(search, run(search))
                file.add([[*known[search].search, *known[search][1:]]])
    return [known[search] for search in searches]


def _choose(search: BenchSearch, run: SearchRun) -> Finalist:
    found = within_band(run.outcomes, Band(run.target, search.tolerance * run.target))
    if not found:
        raise InvalidSettingError(
            f"The search {run.name} must have a student within {100 * search.tolerance:g} % of its target, but has "
            "none: give it a larger `--search-budget`, or widen the band with `--tolerance`."
        )
    best = found[0]
    assert best.accuracy is not None
    assert best.cost is not None
    return Finalist(search, str(NetworkSpec.parse(best.architecture).canonical()), best.accuracy, best.cost, best.madds)


def _parse(line: list[str]) -> Finalist:
    teacher, cost, ratio, seed, budget, tolerance, benchmark, architecture, accuracy, value, madds = line
    search = BenchSearch(teacher, cost, float(ratio), int(seed), int(budget), float(tolerance), benchmark)
    return Finalist(search, architecture, float(accuracy), float(value), int(madds))
