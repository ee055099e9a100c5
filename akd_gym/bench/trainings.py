"""The raw table of AKDBench: one line a training, appended as soon as it is paid for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from akd_gym.bench.plan import Training
from akd_gym.ledger_records import TrainingRecord
from akd_gym.table_file import TableFile, appending, read_table

TRAININGS_FILE = "trainings.csv"

_HEADER = ("architecture", "signal", "seed", "status", "accuracy", "loss", "seconds", "reason")


class TrainedRow(NamedTuple):
    """One line.

    Attributes:
        training: What was trained.
        accuracy: On mini-val, a fraction; None if it was infeasible.
        loss: Of the last epoch; None if it was not finite.
        seconds: Paid.
        reason: Why it is infeasible; None if it is not.
    """

    training: Training
    accuracy: float | None
    loss: float | None
    seconds: float
    reason: str | None


def read_trainings(path: Path) -> list[TrainedRow]:
    """All whole lines, see `read_table`.

    Raises:
        CorruptFileError: A line is damaged, or a training is there twice.
        StorageError: The file cannot be read.
    """
    return read_table(path, _HEADER, _parse, lambda row: row.training, "it is trained")


@contextmanager
def appending_trainings(path: Path) -> Iterator[TrainingsFile]:
    """Opens the table for more lines, see `appending`.

    Raises:
        StorageError: It cannot be written.
    """
    with appending(path, _HEADER) as table:
        yield TrainingsFile(table)


class TrainingsFile:
    """An open table; made by `appending_trainings`."""

    def __init__(self, table: TableFile) -> None:
        self._table = table

    def add(self, training: Training, record: TrainingRecord) -> None:
        """Appends a line; it is on the disk when this returns."""
        accuracy = "" if record.accuracy is None else f"{record.accuracy:.6f}"
        loss = "" if record.loss is None else f"{record.loss:.5f}"
        line = [*training, record.status, accuracy, loss, f"{record.seconds:.2f}", record.reason or ""]
        self._table.add([line])


def _parse(line: list[str]) -> TrainedRow:
    architecture, signal, seed, status, accuracy, loss, seconds, reason = line
    row = TrainedRow(
        Training(architecture, signal, int(seed)),
        float(accuracy) if accuracy else None,
        float(loss) if loss else None,
        float(seconds),
        reason or None,
    )
    feasible = status == "ok" and row.reason is None and row.accuracy is not None and 0 <= row.accuracy <= 1
    infeasible = status == "infeasible" and row.reason is not None and row.accuracy is None
    if not (feasible or infeasible) or not math.isfinite(row.seconds):
        raise ValueError(f"status {status!r}, accuracy {accuracy!r} and reason {reason!r} do not fit together")
    return row
