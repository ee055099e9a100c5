"""The trainings of an audit: one line each in a table that is appended as soon as a training is paid for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from akd_gym.ledger_records import TrainingRecord
from akd_gym.table_file import TableFile, appending, read_table

TRAININGS_FILE = "trainings.csv"
PROXY, FULL = "proxy", "full"

_HEADER = ("kind", "epochs", "architecture", "seed", "status", "accuracy", "loss", "seconds", "reason")


class Training(NamedTuple):
    """What is trained.

    Attributes:
        kind: `"proxy"`, by the search's recipe and judged on mini-val, or `"full"`.
        epochs: The recipe's own, or others.
        architecture: Canonical string.
        seed: Of initial weights and order of images.
    """

    kind: str
    epochs: int
    architecture: str
    seed: int


def read_trainings(path: Path) -> dict[Training, TrainingRecord]:
    """All whole lines, see `read_table`.

    Raises:
        CorruptFileError: A line is damaged, or a training is there twice.
        StorageError: The file cannot be read.
    """
    return dict(read_table(path, _HEADER, _parse, lambda row: row[0], "it is trained"))


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
        # In full: what is concluded from the table must be what was concluded when it was made.
        numbers = ["" if value is None else repr(value) for value in (record.accuracy, record.loss, record.seconds)]
        line = [*training, record.status, *numbers, record.reason or ""]
        self._table.add([line])


def _parse(line: list[str]) -> tuple[Training, TrainingRecord]:
    kind, epochs, architecture, seed, status, accuracy, loss, seconds, reason = line
    if kind not in (PROXY, FULL):
        raise ValueError(f"kind must be {PROXY} or {FULL}, but is {kind!r}")
    training = Training(kind, int(epochs), architecture, int(seed))
    return training, TrainingRecord(
        status,
        reason or None,
        accuracy=float(accuracy) if accuracy else None,
        loss=float(loss) if loss else None,
        seconds=float(seconds),
        epochs=training.epochs,
    )
