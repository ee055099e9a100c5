"""Tables of comma-separated values that grow line by line: readable by anything, and by plain diffs."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeVar

from akd_gym.errors import CorruptFileError, StorageError

Row = TypeVar("Row")


def read_table(
    path: Path,
    header: Sequence[str],
    parse: Callable[[list[str]], Row],
    key: Callable[[Row], Hashable],
    again: str,
) -> list[Row]:
    """All whole lines; a last one that was cut off, as by a loss of power, is left out.

    Args:
        path: Of the table; one that is not there yet has no lines.
        header: Names of the columns.
        parse: Makes a row of a line; raises ValueError for what is none.
        key: What no two lines may share.
        again: What happens once a damaged line is taken out, for the message.

    Raises:
        CorruptFileError: Another line is damaged, or repeats a key.
        StorageError: The file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except UnicodeDecodeError as error:
        raise CorruptFileError(f"{path} must be a table in UTF-8, but: {error}.") from error
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror or error}.") from error
    whole = text[: text.rfind("\n") + 1]
    lines = csv.reader(io.StringIO(whole))
    if whole and next(lines) != list(header):
        raise CorruptFileError(f"{path} must begin with the line {','.join(header)!r}.")
    rows: dict[Hashable, Row] = {}
    for number, line in enumerate(lines, 2):
        try:
            row = parse(line)
        except ValueError as error:
            raise CorruptFileError(
                f"Line {number} of {path} is damaged: {error}. Take the line out; {again} again."
            ) from error
        if key(row) in rows:
            raise CorruptFileError(f"Line {number} of {path} repeats {key(row)}. Take one of the two out.")
        rows[key(row)] = row
    return list(rows.values())


@contextmanager
def appending(path: Path, header: Sequence[str]) -> Iterator[TableFile]:
    """Opens a table for more lines; makes it, and cuts off a last line that is not whole.

    Raises:
        StorageError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
            if file.seek(0, io.SEEK_END) == 0:
                file.write((",".join(header) + "\n").encode())
            yield TableFile(file)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}.") from error


class TableFile:
    """An open table; made by `appending`."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def add(self, lines: Iterable[Sequence[object]]) -> None:
        """Appends lines; they are on the disk when this returns."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(lines)
        self._file.write(text.getvalue().encode())
        self._file.flush()
        os.fsync(self._file.fileno())
