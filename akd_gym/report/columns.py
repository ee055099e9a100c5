"""A search as columns of plain JSON, small enough that tens of thousands of candidates fit into a page.

Architectures are kept once each, as places in a list of tokens that all searches share: `" ".join` of the tokens is
the string again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from akd_gym.report.commands import training_words
from akd_gym.report.description import device_of, input_resolution
from akd_gym.report.reading import ReportedRun

ARCHITECTURE, FOLDER = 0, 1
"""Places that the page fills in the words of a training command."""


class Index:
    """Distinct values in the order they came, each with its place."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}

    def place(self, value: str) -> int:
        """The place of a value, a new one at the end."""
        return self._places.setdefault(value, len(self._places))

    def values(self) -> list[str]:
        """All values by place."""
        return list(self._places)


def run_columns(run: ReportedRun, tokens: Index) -> dict[str, Any]:
    """One search.

    Args:
        run: The search.
        tokens: Shared by the searches of a page; grows.
    """
    search = run.search
    architectures, reasons, devices = Index(), Index(), Index()
    columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    madds: list[int] = []
    params: list[int] = []
    for outcome, evaluation in zip(search.outcomes, search.evaluations, strict=True):
        place = architectures.place(outcome.architecture)
        if place == len(madds):
            madds.append(outcome.madds)
            params.append(outcome.params)
        device = device_of(evaluation.latency)
        row = (
            *(outcome.number, place, outcome.accuracy, outcome.latency_ms, outcome.reward),
            None if outcome.reason is None else reasons.place(outcome.reason),
            None if device is None else devices.place(device),
        )
        for column, value in zip(columns.values(), row, strict=True):
            column.append(value)
    return {
        "name": search.name,
        "folder": str(run.folder),
        "unit": search.unit,
        "target": search.target,
        "budget": search.budget,
        "resolution": input_resolution(run),
        "train": _command(run),
        "reasons": reasons.values(),
        "devices": devices.values(),
        "architectures": [[tokens.place(t) for t in text.split(" ")] for text in architectures.values()],
        "madds": madds,
        "params": params,
        **columns,
    }


_COLUMNS = ("number", "architecture", "accuracy", "latency_ms", "reward", "reason", "device")


def _command(run: ReportedRun) -> Sequence[str | int]:
    """The words of the command that trains a student, with numbers where the architecture and the folder go."""
    words: list[str | int] = [*training_words("", run.settings, "")]
    words[2] = ARCHITECTURE
    words[words.index("--out") + 1] = FOLDER
    return words
