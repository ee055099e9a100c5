"""The raw table of AKDBench: one line a training, appended as soon as it is paid for.

A file of comma-separated values with a header, so that it can be read by anything and grows by plain diffs.
"""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from akd_gym.bench.plan import Training
from akd_gym.errors import CorruptFileError, StorageError
from akd_gym.ledger_records import TrainingRecord

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
    """All whole lines; a last one that was cut off, as by a loss of power, is left out.

    Raises:
        CorruptFileError: Another line is damaged, or a training is there twice.
        StorageError: The file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"{path} cannot be read: {error}.") from error
    whole = text[: text.rfind("\n") + 1]
    lines = csv.reader(io.StringIO(whole))
    if whole and tuple(next(lines)) != _HEADER:
        raise CorruptFileError(f"{path} must begin with the line {','.join(_HEADER)!r}.")
    rows: dict[Training, TrainedRow] = {}
    for number, line in enumerate(lines, 2):
        try:
            row = _parse(line)
        except ValueError as error:
            raise CorruptFileError(
                f"Line {number} of {path} must be a training, but: {error}. Take the line out; it is trained again."
            ) from error
        if row.training in rows:
            raise CorruptFileError(f"Line {number} of {path} repeats {row.training}. Take one of the two out.")
        rows[row.training] = row
    return list(rows.values())


@contextmanager
def appending(path: Path) -> Iterator[TrainingsFile]:
    """Opens the table for more lines; makes it, and cuts off a last line that is not whole.

    Raises:
        StorageError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
            if file.tell() == 0 or file.seek(0, io.SEEK_END) == 0:
                file.write((",".join(_HEADER) + "\n").encode())
            yield TrainingsFile(file)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}.") from error


class TrainingsFile:
    """An open table; made by `appending`."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def add(self, rows: Iterable[tuple[Training, TrainingRecord]]) -> None:
        """Appends lines; they are on the disk when this returns."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        for training, record in rows:
            accuracy = "" if record.accuracy is None else f"{record.accuracy:.6f}"
            loss = "" if record.loss is None else f"{record.loss:.5f}"
            writer.writerow([*training, record.status, accuracy, loss, f"{record.seconds:.2f}", record.reason or ""])
        self._file.write(text.getvalue().encode())
        self._file.flush()
        os.fsync(self._file.fileno())


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
