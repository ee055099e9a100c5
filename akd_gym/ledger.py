"""The ledger: every evaluation ever paid for, in one SQLite file.

Trainings and latencies are kept apart, each under its *context*: the hash of everything else that its result
depends on (space, task, teacher, recipe; or device, runtime, protocol). The candidates of a search point to
them. A row is on the disk when `add_*` returns (write-ahead log, `synchronous=FULL`), is never changed
afterwards, and carries a checksum that is verified whenever it is read.

One process writes while others read; several may write (each waits its turn). The file must lie on a local
disk: SQLite's write-ahead log does not work over network file systems.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from akd_gym.ledger_file import connect, damaged, translated
from akd_gym.ledger_records import (
    Candidate,
    EvaluatedCandidate,
    TrainingRecord,
    canonical_json,
    latency_ms,
    utc_now,
)
from akd_gym.ledger_schema import CANDIDATES, CONTEXTS, LATENCIES, TABLES, TRAININGS, Table

__all__ = ["Candidate", "EvaluatedCandidate", "Ledger", "TrainingRecord"]

_T = TypeVar("_T")


class Ledger:
    """An open ledger; made by `Ledger.open`, closed by `close` or at the end of a `with` block.

    A ledger belongs to the thread that opened it. A process that forks must open its own.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self.path = path

    @classmethod
    def open(cls, path: str | Path, read_only: bool = False, busy_timeout_s: float = 30.0) -> Ledger:
        """Opens a ledger, and creates it unless it is there or `read_only`.

        Args:
            path: The file. Beside it SQLite keeps `-wal` and `-shm` while the ledger is open.
            read_only: Never write; works on a read-only disk too.
            busy_timeout_s: How long a write waits for another process to end its own.

        Raises:
            SchemaVersionError: A newer version of this package wrote it.
            CorruptFileError: It is damaged; `akd repair` salvages what is whole.
            InvalidSettingError: It is a database of another program.
            StorageError: It is missing and `read_only`, or its place cannot be written.
        """
        path = Path(path).absolute()
        return cls(connect(path, read_only, busy_timeout_s), path)

    def close(self) -> None:
        """Closes the file; the last process to do so folds the write-ahead log into it."""
        try:
            self._connection.close()
        except sqlite3.Error as error:
            raise translated(error, self.path) from error

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything added inside is on the disk when the block ends, all of it or, if it fails, nothing."""
        if self._connection.in_transaction:
            yield
            return
        self._execute("BEGIN IMMEDIATE")
        try:
            yield
            self._execute("COMMIT")
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    # Contexts

    def context(self, identity: Mapping[str, Any]) -> str:
        """Registers what a kind of result depends on.

        Args:
            identity: Plain JSON; equal identities give equal hashes whatever the order of their keys.

        Returns:
            The first 16 hexadecimal digits of the SHA-256 of the identity's canonical JSON.

        Raises:
            InvalidSettingError: Not plain JSON.
            StorageError: It cannot be written.
        """
        text = canonical_json(identity, "identity")
        key = hashlib.sha256(text.encode()).hexdigest()[:16]
        if self.identity(key) is None:
            self._add(CONTEXTS, key, text, utc_now())
        return key

    def identity(self, context: str) -> dict[str, Any] | None:
        """The identity that a context's hash stands for; None if it is not registered."""
        row = self._find(CONTEXTS, context)
        return None if row is None else json.loads(str(row[1]))

    # Trainings

    def add_training(self, context: str, architecture: str, seed: int, record: TrainingRecord) -> TrainingRecord:
        """Stores a training unless there is one already.

        Returns:
            What the ledger holds now: the record, or the one that was there first.

        Raises:
            InvalidSettingError: The context is not registered.
            StorageError: It cannot be written; what was stored before is whole.
        """
        self._add(TRAININGS, context, architecture, seed, *vars(record).values())
        return self._present(self.find_training(context, architecture, seed))

    def add_trainings(self, rows: Iterable[tuple[str, str, int, TrainingRecord]]) -> int:
        """Stores many trainings (context, architecture, seed, record) in one transaction.

        Returns:
            How many were new.
        """
        before = self._connection.total_changes
        encoded = (TRAININGS.row(c, a, s, *vars(record).values()) for c, a, s, record in rows)
        with self.transaction():
            try:
                self._connection.executemany(TRAININGS.insert_sql, encoded)
            except sqlite3.Error as error:
                raise translated(error, self.path) from error
        return self._connection.total_changes - before

    def find_training(self, context: str, architecture: str, seed: int) -> TrainingRecord | None:
        """The training of an architecture under a context and seed; None if nobody paid for it yet."""
        row = self._find(TRAININGS, context, architecture, seed)
        return None if row is None else TrainingRecord(*row[3:-1])

    def trainings(self, context: str | None = None) -> Iterator[tuple[str, str, int, TrainingRecord]]:
        """All trainings (context, architecture, seed, record), of one context or of all, oldest first."""
        where, values = ("", ()) if context is None else ("WHERE context = ?", (context,))
        for row in self._select(TRAININGS, f"{where} ORDER BY rowid", values):
            yield row[0], row[1], row[2], TrainingRecord(*row[3:-1])

    # Latencies

    def add_latency(self, context: str, architecture: str, record: Mapping[str, Any]) -> dict[str, Any]:
        """Stores a latency record unless there is one already.

        Args:
            context: Of the device and protocol.
            architecture: The canonical string.
            record: A `LatencyRecord` as a dict: plain JSON with a `"verdict"`, `"ok"` or `"failed"`, and the number
                that `latency_ms` finds in it.

        Returns:
            What the ledger holds now: the record, or the one that was there first.

        Raises:
            InvalidSettingError: The context is not registered, or the record is not as said.
            StorageError: It cannot be written; what was stored before is whole.
        """
        text = canonical_json(record, "record")
        self._add(LATENCIES, context, architecture, latency_ms(record), text, utc_now())
        return self._present(self.find_latency(context, architecture))

    def find_latency(self, context: str, architecture: str) -> dict[str, Any] | None:
        """The latency record of an architecture under a context; None if it was not measured yet."""
        row = self._find(LATENCIES, context, architecture)
        return None if row is None else json.loads(row[3])

    # Candidates

    def add_candidate(self, candidate: Candidate) -> Candidate:
        """Stores a candidate of a search unless its number is taken already.

        Returns:
            What the ledger holds now: the candidate, or the one that was there first.

        Raises:
            InvalidSettingError: One of its contexts is not registered.
            StorageError: It cannot be written; what was stored before is whole.
        """
        c = candidate
        self._add(
            CANDIDATES,
            *(c.search, c.number, c.round, json.dumps([int(choice) for choice in c.choices]), c.architecture),
            *(c.training_context, c.seed, c.latency_context, c.madds, c.params, c.target, c.from_ledger),
            c.created,
        )
        row = self._find(CANDIDATES, c.search, c.number)
        return _candidate(self._present(row))

    def candidates(self, search: str = "") -> Iterator[Candidate]:
        """The trajectory of a search, by number; architectures repeat as often as they were proposed."""
        for row in self._select(CANDIDATES, "WHERE search = ? ORDER BY number", (search,)):
            yield _candidate(row)

    def evaluations(self, search: str = "") -> Iterator[EvaluatedCandidate]:
        """The trajectory of a search together with each candidate's training and latency."""
        for candidate in self.candidates(search):
            c = candidate
            yield EvaluatedCandidate(
                candidate,
                self.find_training(c.training_context, c.architecture, c.seed),
                self.find_latency(c.latency_context, c.architecture) if c.latency_context else None,
            )

    def counts(self) -> dict[str, int]:
        """How many rows each table has."""
        return {t.name: self._execute(f"SELECT count(*) FROM {t.name}").fetchone()[0] for t in TABLES}

    def rows(self, table: Table) -> Iterator[tuple[Any, ...]]:
        """All rows of a table as they are stored, oldest first: what copying takes from one ledger to another."""
        for row in self._select(table, "ORDER BY rowid", ()):
            yield row[:-1]

    def add_row(self, table: Table, row: Sequence[Any]) -> tuple[Any, ...] | None:
        """Stores a row of another ledger unless its key is there already.

        Returns:
            The row that was there first; None if this one is new.

        Raises:
            InvalidSettingError: Its context is not registered.
            StorageError: It cannot be written.
        """
        found = self._find(table, *(row[table.column_names.index(name)] for name in table.key))
        if found is not None:
            return found[:-1]
        self._add(table, *row)
        return None

    def check(self) -> None:
        """Checks every page and every row, which takes a few seconds for each 100 MB.

        Raises:
            CorruptFileError: The ledger is damaged.
        """
        report = self._execute("PRAGMA integrity_check(1)").fetchone()[0]
        if report != "ok":
            raise damaged(self.path, report)
        for table in TABLES:
            for _ in self._select(table, "", ()):
                pass

    # Rows in and out

    def _execute(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        try:
            return self._connection.execute(sql, values)
        except sqlite3.Error as error:
            raise translated(error, self.path) from error

    def _add(self, table: Table, *values: Any) -> None:
        self._execute(table.insert_sql, table.row(*values))

    def _find(self, table: Table, *key: Any) -> tuple[Any, ...] | None:
        """The whole row of a key, the checksum last."""
        try:
            row = self._connection.execute(table.find_sql, (table.digest(*key),)).fetchone()
        except sqlite3.Error as error:
            raise translated(error, self.path) from error
        return None if row is None else self._whole(table, row)

    def _select(self, table: Table, clause: str, values: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
        """Yields whole rows, the checksum last."""
        rows = self._execute(f"{table.select_sql} {clause}", values)
        while True:
            try:
                row = rows.fetchone()
            except sqlite3.Error as error:
                raise translated(error, self.path) from error
            if row is None:
                return
            yield self._whole(table, row)

    def _whole(self, table: Table, row: tuple[Any, ...]) -> tuple[Any, ...]:
        if not table.is_whole(row):
            raise damaged(self.path, f"a row of {table.name} does not fit its checksum")
        return row

    def _present(self, found: _T | None) -> _T:
        if found is None:
            raise damaged(self.path, "a row that was just written cannot be found")
        return found


def _candidate(row: Sequence[Any]) -> Candidate:
    search, number, round_, choices, architecture, training_context, seed, *rest, created, _ = row
    latency_context, madds, params, target, from_ledger = rest
    return Candidate(
        *(number, round_, tuple(json.loads(choices)), architecture, training_context, seed, latency_context),
        *(madds, params, target, bool(from_ledger), search, created),
    )
