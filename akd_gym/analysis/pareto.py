"""The students worth having: none is both cheaper and more accurate.

The paper picks its results from the models close to the Pareto curve (section 3.3, Figure 4 B) and compares
them within bands of latency such as 15±1 ms (Table 5).
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from akd_gym.analysis.outcomes import Outcome, distinct
from akd_gym.errors import InvalidSettingError
from akd_gym.files import write_atomically

PARETO_COLUMNS = (
    *("number", "architecture", "accuracy", "cost", "unit"),
    *("latency_ms", "madds", "params", "reward"),
)

_MULTIPLES = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9}
_NUMBER = r"([0-9]+(?:\.[0-9]*)?(?:[eE][0-9]+)?)([kKMG]?)"
_BAND = re.compile(rf"{_NUMBER}(?:ms)?(?:±|\+-|\+/-){_NUMBER}(%|ms)?")


def pareto_front(costs: Sequence[float], accuracies: Sequence[float]) -> NDArray[np.int64]:
    """The points that no other point beats: none is at most as costly and at least as accurate.

    Args:
        costs: Shape (n,), lower is better.
        accuracies: Shape (n,), higher is better.

    Returns:
        Indices by rising cost, so by rising accuracy too. Of equal points the first one counts.

    Raises:
        InvalidSettingError: Unequal lengths, or values that are not finite.
    """
    cost, accuracy = np.asarray(costs, dtype=np.float64), np.asarray(accuracies, dtype=np.float64)
    if cost.ndim != 1 or cost.shape != accuracy.shape:
        raise InvalidSettingError(
            f"`costs` and `accuracies` must be as long as each other, but got {cost.shape} and {accuracy.shape}."
        )
    if not (np.isfinite(cost).all() and np.isfinite(accuracy).all()):
        raise InvalidSettingError("`costs` and `accuracies` must be finite; leave infeasible candidates out.")
    order = np.lexsort((np.arange(len(cost)), -accuracy, cost))
    best_before = np.concatenate([[-np.inf], np.maximum.accumulate(accuracy[order])[:-1]])
    return order[accuracy[order] > best_before[: len(order)]].astype(np.int64)


def pareto_outcomes(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """The Pareto-best architectures of a search, by rising cost."""
    candidates = distinct(outcomes)
    front = pareto_front([o.cost or 0.0 for o in candidates], [o.accuracy or 0.0 for o in candidates])
    return [candidates[i] for i in front]


@dataclass(frozen=True)
class Band:
    """A range of costs, `centre` ± `tolerance`, ends included.

    Raises:
        InvalidSettingError: A centre that is not positive, or a tolerance that is negative.
    """

    centre: float
    tolerance: float

    def __post_init__(self) -> None:
        if not (self.centre > 0 and self.tolerance >= 0 and math.isfinite(self.centre + self.tolerance)):
            raise InvalidSettingError(
                "A band must have a positive centre and a tolerance of at least 0, "
                f"but got {self.centre} and {self.tolerance}."
            )

    @classmethod
    def parse(cls, text: str) -> Band:
        """Reads `15+-1`, `15±1`, `15±1ms`, `15±10%`, `300M±20M` (k, M and G multiply).

        Raises:
            InvalidSettingError: The text is none of these.
        """
        match = _BAND.fullmatch(re.sub(r"\s", "", text))
        if match is None:
            raise InvalidSettingError(
                f"A band of costs must read like '15+-1', '15±10%' or '300M+-20M', but got {text!r}."
            )
        centre = float(match[1]) * _MULTIPLES[match[2]]
        tolerance = float(match[3]) * _MULTIPLES[match[4]]
        return cls(centre, tolerance * centre / 100 if match[5] == "%" else tolerance)

    def __contains__(self, cost: float) -> bool:
        return abs(cost - self.centre) <= self.tolerance * (1 + 1e-12)

    def __str__(self) -> str:
        return f"{self.centre:g}±{self.tolerance:g}"


def within_band(outcomes: Iterable[Outcome], band: Band) -> list[Outcome]:
    """The architectures whose cost lies in a band, the most accurate first, of equal ones the cheapest."""
    inside = [o for o in distinct(outcomes) if o.cost is not None and o.cost in band]
    return sorted(inside, key=lambda o: (-(o.accuracy or 0.0), o.cost or 0.0))


def write_pareto_csv(path: str | Path, outcomes: Iterable[Outcome]) -> Path:
    """Writes outcomes as a CSV file of `PARETO_COLUMNS`: accuracy a fraction, latency in ms.

    Raises:
        StorageError: It cannot be written; an old file is as it was.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(PARETO_COLUMNS)
    for outcome in outcomes:
        values = (getattr(outcome, column) for column in PARETO_COLUMNS)
        writer.writerow(["" if value is None else value for value in values])
    return write_atomically(path, text.getvalue().encode())
