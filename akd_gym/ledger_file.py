"""Opening a ledger's file: is it ours, whole, and of a version we know; and what SQLite's errors mean."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

from akd_gym.errors import (
    AKDGymError,
    CorruptFileError,
    InvalidSettingError,
    SchemaVersionError,
    StorageError,
)
from akd_gym.ledger_schema import APPLICATION_ID, PAGE_SIZE, SCHEMA_VERSION, TABLES

CHECKED_BYTES = 16 * 2**20
"""Files up to this size are checked whole when opened (0.3 s at most). Of larger ones only the header and the
length are checked, then each row when it is read; `akd repair` checks everything."""

_CACHE_KIB = 16 * 2**10  # enough for the upper levels of every index at a million rows

_ADVICE = {
    "is full": "Free some space and go on; what was stored before is whole.",
    "readonly": "Make the file and its directory writable, or open it with `read_only=True`.",
    "unable to open": "Its directory must exist and be writable.",
    "disk I/O": "The disk may be full or failing; what was stored before is whole.",
    "locked": "Another process has kept it busy for longer than `busy_timeout_s`.",
}


def connect(path: Path, read_only: bool, busy_timeout_s: float) -> sqlite3.Connection:
    """Connects to a ledger, in autocommit mode, and creates it unless it is there or `read_only`.

    Raises:
        SchemaVersionError, CorruptFileError, InvalidSettingError, StorageError: See `Ledger.open`.
    """
    if read_only and not path.is_file():
        raise StorageError(f"`{path}` must be an existing ledger to be read, but there is no such file.")
    try:
        connection = _opened(path, read_only, busy_timeout_s)
        try:
            _prepare(connection, path, read_only, busy_timeout_s)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise translated(error, path) from error
    return connection


def damaged(path: Path, report: str) -> CorruptFileError:
    """The error that names a damaged ledger and its cure."""
    report = report.splitlines()[-1]  # SQLite's first line only says which database
    return CorruptFileError(
        f"The ledger `{path}` is damaged: {report}. `akd repair {path.parent}` salvages every whole row and "
        "keeps the damaged file."
    )


def translated(error: sqlite3.Error, path: Path) -> AKDGymError | sqlite3.Error:
    """The error of ours that one of SQLite's means; told by its text, as Python 3.10 has no error codes."""
    text = str(error)
    if isinstance(error, sqlite3.ProgrammingError):
        return error
    if any(sign in text for sign in ("malformed", "not a database", "unsupported file format", "Could not decode")):
        return damaged(path, text)
    if "FOREIGN KEY" in text:
        return InvalidSettingError("A context must be registered by `Ledger.context` before it is used.")
    advice = next((advice for sign, advice in _ADVICE.items() if sign in text), "")
    return StorageError(f"The ledger `{path}` cannot be used: {text}. {advice}".rstrip())


def _opened(path: Path, read_only: bool, busy_timeout_s: float) -> sqlite3.Connection:
    uri = f"{path.as_uri()}?mode={'ro' if read_only else 'rwc'}"
    connection = sqlite3.connect(uri, timeout=busy_timeout_s, isolation_level=None, uri=True)
    try:
        if not read_only:
            connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
    except sqlite3.Error as error:
        connection.close()
        log = path.with_name(f"{path.name}-wal")
        no_room = "unable to open" in str(error) or "readonly" in str(error)
        if not (read_only and no_room) or (log.exists() and log.stat().st_size):
            raise
        # A directory that cannot be written has no room for the `-shm` file. Without a log beside it, the
        # file is complete in itself and nobody is writing.
        connection = sqlite3.connect(f"{uri}&immutable=1", isolation_level=None, uri=True)
    return connection


def _prepare(connection: sqlite3.Connection, path: Path, read_only: bool, busy_timeout_s: float) -> None:
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    version = _pragma(connection, "user_version")
    ours = _pragma(connection, "application_id") == APPLICATION_ID
    if not ours and connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
        raise InvalidSettingError(f"`{path}` must be a ledger, but is a database of another program.")
    if ours and version > SCHEMA_VERSION:
        raise SchemaVersionError(
            f"`{path}` must have ledger schema {SCHEMA_VERSION} or older, but has {version}: a newer akd_gym "
            "wrote it. Upgrade akd_gym to open it; nothing was changed."
        )
    if not ours and read_only:
        raise damaged(path, "it is empty")
    if not read_only:
        _use_write_ahead_log(connection, busy_timeout_s)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        if not ours:
            _create(connection)
    if _pragma(connection, "page_count") * PAGE_SIZE <= CHECKED_BYTES:
        report = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if report != "ok":
            raise damaged(path, report)


def _use_write_ahead_log(connection: sqlite3.Connection, busy_timeout_s: float) -> None:
    """Switches a new file's journal mode; SQLite itself does not wait when another process does the same."""
    deadline = time.monotonic() + busy_timeout_s
    while _pragma(connection, "journal_mode") != "wal":
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _create(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        if _pragma(connection, "application_id") != APPLICATION_ID:  # else another process was faster
            for table in TABLES:
                connection.execute(table.create_sql)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _pragma(connection: sqlite3.Connection, name: str) -> Any:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]
