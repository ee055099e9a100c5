"""Whether the searches of a report end in different places, as far as there are enough of them to say so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TypeVar

from akd_gym.analysis.separability import (
    Separability,
    separability_of_pairs,
    separability_of_searches,
    separability_of_two,
)
from akd_gym.errors import InvalidSettingError
from akd_gym.report.reading import ReportedRun, by_setting

_T = TypeVar("_T")


@dataclass(frozen=True)
class Separation:
    """Two sides of a comparison.

    Attributes:
        names: Of the searches on either side.
        found: The finding, or why there is none.
    """

    names: tuple[str, str]
    found: Separability | str

    @property
    def label(self) -> str:
        """What was compared."""
        return f"{self.names[0]} against {self.names[1]}"

    @property
    def text(self) -> str:
        """What was found."""
        found = self.found
        if isinstance(found, str):
            return f"not tested: {found}"
        units = "blocks" if found.exchanged == "blocks" else "searches"
        return (
            f"{found.accuracy:.1%} of held-out candidates told apart (by chance {found.chance.low:.1%} to "
            f"{found.chance.high:.1%}), p = {found.p_value:.2g} (at best {found.smallest_p:.2g} with {found.units[0]} "
            f"and {found.units[1]} {units})"
        )


MEANING = (
    "A classifier learns from the networks that the searches end with whose they are, and is judged on others. p says "
    "how often it would do as well by chance. Of two single searches it speaks of these two alone: what made them "
    "differ, a teacher or a seed, only several searches of each setting can say."
)
"""How to read separations, in sentences without markup."""


def separations(runs: Sequence[ReportedRun]) -> list[Separation]:
    """Of every two settings with several seeds, or else of every two searches, whether they can be told apart."""
    settings = [group for group in by_setting(runs) if len(group) > 1]
    if len(settings) > 1:
        sides = combinations(settings, 2)
        return [Separation((_named(one), _named(two)), _tested(_of_settings, one, two)) for one, two in sides]
    pairs = combinations([run.search for run in runs], 2)
    return [Separation((one.name, two.name), _tested(separability_of_two, one, two)) for one, two in pairs]


def _of_settings(ones: Sequence[ReportedRun], others: Sequence[ReportedRun]) -> Separability:
    by_seed = [{run.settings.seed: run.search for run in side} for side in (ones, others)]
    if by_seed[0].keys() == by_seed[1].keys() and len(by_seed[0]) == len(ones) == len(others):
        return separability_of_pairs([(search, by_seed[1][seed]) for seed, search in by_seed[0].items()])
    return separability_of_searches([run.search for run in ones], [run.search for run in others])


def _tested(test: Callable[[_T, _T], Separability], one: _T, other: _T) -> Separability | str:
    try:
        return test(one, other)
    except InvalidSettingError as error:
        return str(error)


def _named(runs: Sequence[ReportedRun]) -> str:
    return " and ".join(run.search.name for run in runs)
