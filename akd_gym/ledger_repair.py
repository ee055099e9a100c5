"""Salvaging what is whole from a damaged ledger.

The pages of the file, and of the write-ahead log beside it, are read one by one without SQLite, which gives
up at the first that does not fit. Every page that looks like a leaf of a table is taken apart; a row counts
if its checksum says that it is whole. So neither the header nor the tree of pages above the rows needs to
have survived. Rows are only ever added to a ledger, so whatever whole row lies in the file is a true one.

Reference: SQLite's database file format - https://www.sqlite.org/fileformat2.html
"""

from __future__ import annotations

import fcntl
import mmap
import os
import sqlite3
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from akd_gym.errors import CorruptFileError, StorageError
from akd_gym.ledger import Ledger
from akd_gym.ledger_file import translated
from akd_gym.ledger_schema import PAGE_SIZE, TABLES, Table, Value

_LEAF = 0x0D
_WAL_HEADER, _FRAME_HEADER = 32, 24
_SHARED_LOCK = (
    510,
    0x40000002,
)  # length and start of the bytes that every process with an open database locks
_INTEGER_BYTES = (0, 1, 2, 3, 4, 6, 8)  # by serial type


@dataclass(frozen=True)
class RepairReport:
    """What a repair found.

    Args:
        path: The ledger.
        damaged: Where the damaged file lies now; None if the ledger was whole and nothing was changed.
        rows: How many whole rows each table has.
        missing: How many rows of each table are known to be lost. Rows at a table's end may be lost unknown.
    """

    path: Path
    damaged: Path | None
    rows: dict[str, int]
    missing: dict[str, int]

    def __str__(self) -> str:
        rows = ", ".join(f"{count} {name}" for name, count in self.rows.items())
        if self.damaged is None:
            return f"{self.path}: whole ({rows})"
        lost = ", ".join(f"{count} {name}" for name, count in self.missing.items() if count) or "nothing"
        return f"{self.path}: salvaged {rows}; lost: at least {lost}; the damaged file is now {self.damaged}"


def repair_ledger(path: str | Path) -> RepairReport:
    """Checks a ledger thoroughly and, if it is damaged, puts a fresh one with every whole row in its place.

    The damaged file is kept beside it as `NAME.damaged` (`NAME.damaged.2`, ...), with its log `...-wal`.

    Raises:
        StorageError: It is missing, in use by another process, or the fresh one cannot be written.
        SchemaVersionError: A newer version of this package wrote it.
        InvalidSettingError: It is a database of another program.
        CorruptFileError: It holds no whole row at all; nothing was changed.
    """
    path = Path(path).absolute()
    if not path.is_file():
        raise StorageError(f"`{path}` must be a ledger to be repaired, but there is no such file.")
    try:
        return RepairReport(path, None, _whole_counts(path), {table.name: 0 for table in TABLES})
    except CorruptFileError:
        pass
    fresh = path.with_name(f"{path.name}.repairing")
    try:
        with path.open("r+b") as file:
            _lock(file.fileno(), path)  # held until the file is closed, so nothing is added meanwhile
            fresh.unlink(missing_ok=True)
            rows, missing = _salvage(file.fileno(), _log(path), fresh)
            if not any(rows.values()):
                fresh.unlink()
                raise CorruptFileError(f"`{path}` holds no whole row of a ledger; nothing was changed.")
            kept = _swap(path, fresh)
    except OSError as error:
        if isinstance(error, (CorruptFileError, StorageError)):
            raise
        raise StorageError(f"The ledger `{path}` cannot be repaired: {error}.") from error
    return RepairReport(path, kept, rows, missing)


def _whole_counts(path: Path) -> dict[str, int]:
    """The rows of each table, every one of them and the file around them checked."""
    with Ledger.open(path, read_only=True) as ledger:
        ledger.check()
        return ledger.counts()


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, *_SHARED_LOCK)
    except OSError as error:
        raise StorageError(
            f"`{path}` must not be in use to be repaired, but another process has it open. End that first."
        ) from error


def _salvage(descriptor: int, log: Path, fresh: Path) -> tuple[dict[str, int], dict[str, int]]:
    """Writes every whole row into a fresh ledger; returns the rows and the known gaps of each table."""
    Ledger.open(fresh).close()
    connection = sqlite3.connect(fresh, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = DELETE")  # one file when done; the next opening makes it WAL
        connection.execute("BEGIN")
        for rowid, table, values in _whole_rows(_Pages(descriptor, log)):
            names = "rowid, " + ", ".join((*table.column_names, "checksum", "key"))
            marks = ", ".join("?" * (len(table.columns) + 3))
            connection.execute(
                f"INSERT INTO {table.name} ({names}) VALUES ({marks}) ON CONFLICT DO NOTHING",
                (rowid, *table.row(*values)),
            )
        connection.execute("COMMIT")
        rows, missing = {}, {}
        for table in TABLES:
            count, last = connection.execute(f"SELECT count(*), coalesce(max(rowid), 0) FROM {table.name}").fetchone()
            rows[table.name], missing[table.name] = count, last - count
        return rows, missing
    except sqlite3.Error as error:
        raise translated(error, fresh) from error
    finally:
        connection.close()


def _swap(path: Path, fresh: Path) -> Path:
    """Puts the fresh file in the damaged one's place, which keeps a name of its own."""
    number = 1
    kept = path.with_name(f"{path.name}.damaged")
    while kept.exists():
        number += 1
        kept = path.with_name(f"{path.name}.damaged.{number}")
    os.link(path, kept)  # a second name first, so that there is a ledger at `path` at every moment
    if _log(path).exists():
        _log(path).rename(_log(kept))
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
    fresh.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return kept


def _log(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


class _Pages:
    """The pages of a ledger and of its log, whatever state they are in."""

    def __init__(self, descriptor: int, log: Path) -> None:
        size = os.fstat(descriptor).st_size
        self._file: mmap.mmap | bytes = mmap.mmap(descriptor, size, prot=mmap.PROT_READ) if size else b""
        self._size = size
        self._log = log.read_bytes() if log.exists() else b""
        self._frames: dict[int, list[int]] = {}
        for start in range(_WAL_HEADER, len(self._log) - _FRAME_HEADER, _FRAME_HEADER + PAGE_SIZE):
            number = int.from_bytes(self._log[start : start + 4], "big")
            self._frames.setdefault(number, []).append(start + _FRAME_HEADER)

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """Every version of every page, with its number (from 1)."""
        for number in range(1, -(-self._size // PAGE_SIZE) + 1):
            yield number, self._main(number)
        for number, starts in self._frames.items():
            for start in starts:
                yield number, self._log[start : start + PAGE_SIZE].ljust(PAGE_SIZE, b"\0")

    def latest(self, number: int) -> bytes:
        """The newest version of a page; empty if there is none."""
        if number in self._frames:
            start = self._frames[number][-1]
            return self._log[start : start + PAGE_SIZE].ljust(PAGE_SIZE, b"\0")
        return self._main(number)

    def _main(self, number: int) -> bytes:
        page = bytes(self._file[(number - 1) * PAGE_SIZE : number * PAGE_SIZE]) if number > 0 else b""
        return page.ljust(PAGE_SIZE, b"\0") if page else b""


def _whole_rows(pages: _Pages) -> Iterator[tuple[int, Table, list[Value]]]:
    """The row number, table and values of every row in the leaf pages whose checksum fits."""
    by_width: dict[int, list[Table]] = {}
    for table in TABLES:
        by_width.setdefault(len(table.columns) + 2, []).append(table)
    for number, page in pages:
        header = 100 if number == 1 else 0
        if page[header] != _LEAF:
            continue
        cells = int.from_bytes(page[header + 3 : header + 5], "big")
        for i in range(min(cells, PAGE_SIZE // 2)):
            pointer = header + 8 + 2 * i
            try:
                rowid, record = _cell(page, int.from_bytes(page[pointer : pointer + 2], "big"), pages)
                values = _values(record)
            except (IndexError, ValueError, struct.error):
                continue  # not a cell any more
            for table in by_width.get(len(values), ()):
                row = _typed(table, values[:-1])
                if row is not None and table.is_whole(row):
                    yield rowid, table, row[:-1]


def _cell(page: bytes, start: int, pages: _Pages) -> tuple[int, bytes]:
    """A table leaf cell's row number and record, put together from its overflow pages."""
    size, start = _varint(page, start)
    rowid, start = _varint(page, start)
    most = PAGE_SIZE - 35
    if size <= most:
        return rowid, page[start : start + size]
    if size > 2**30:
        raise ValueError("no record is that long")
    least = (PAGE_SIZE - 12) * 32 // 255 - 23
    local = least + (size - least) % (PAGE_SIZE - 4)
    if local > most:
        local = least
    parts, length = [page[start : start + local]], local
    following = int.from_bytes(page[start + local : start + local + 4], "big")
    while length < size:
        overflow = pages.latest(following)
        if not overflow:
            raise ValueError("an overflow page is missing")
        following = int.from_bytes(overflow[:4], "big")
        parts.append(overflow[4 : 4 + size - length])
        length += len(parts[-1])
    return rowid, b"".join(parts)


def _values(record: bytes) -> list[Value | bytes]:
    """The values of a record: a header of serial types, then the content."""
    end, position = _varint(record, 0)
    content = end
    values: list[Value | bytes] = []
    while position < end:
        kind, position = _varint(record, position)
        if kind == 0:
            values.append(None)
        elif kind <= 6:
            width = _INTEGER_BYTES[kind]
            values.append(int.from_bytes(_cut(record, content, width), "big", signed=True))
            content += width
        elif kind == 7:
            values.append(struct.unpack(">d", _cut(record, content, 8))[0])
            content += 8
        elif kind in (8, 9):
            values.append(kind - 8)
        elif kind >= 12:
            width = (kind - 12) // 2
            raw = _cut(record, content, width)
            values.append(raw.decode() if kind % 2 else raw)
            content += width
        else:
            raise ValueError(f"there is no serial type {kind}")
    return values


def _typed(table: Table, values: list[Value | bytes]) -> list[Value] | None:
    """The values as SQLite would give them: it stores a whole number in a REAL column as an integer."""
    row: list[Value] = []
    kinds = [kind for _, kind in table.columns] + ["INTEGER"]
    for value, kind in zip(values, kinds, strict=True):
        if isinstance(value, bytes):
            return None
        row.append(float(value) if kind.startswith("REAL") and isinstance(value, int) else value)
    return row


def _cut(record: bytes, start: int, width: int) -> bytes:
    if start + width > len(record):
        raise ValueError("the record ends early")
    return record[start : start + width]


def _varint(data: bytes, start: int) -> tuple[int, int]:
    """A big-endian number of 7 bits a byte (8 in the ninth), and where it ends."""
    value = 0
    for i in range(8):
        byte = data[start + i]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, start + i + 1
    return value << 8 | data[start + 8], start + 9
