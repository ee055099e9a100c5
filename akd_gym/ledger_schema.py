"""How a ledger's file is laid out: its tables, and the key and checksum that every row carries.

A row is found by its key: 16 bytes of BLAKE2b of the values that make it unique. An index over those values
themselves would repeat every architecture string and make the file twice as large.

A row's checksum is the CRC-32 of `json.dumps([table, *values])`. SQLite checks the shape of its pages, not
what is in them; with the checksum a flipped bit in an accuracy is found when it is read, and a row that was
cut out of a damaged file is known to be whole and to belong to its table.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from json.encoder import encode_basestring_ascii
from typing import Any

SCHEMA_VERSION = 1
APPLICATION_ID = 0x414B4447  # "AKDG" in the header of the file, so that other SQLite files are told apart
PAGE_SIZE = 4096

Value = str | int | float | None


_CASTS: dict[str, Callable[[Any], Value]] = {
    "REAL": lambda value: None if value is None else float(value),
    "INTEGER": lambda value: None if value is None else int(value),
    "TEXT": lambda value: None if value is None else str(value).encode("utf-8", "replace").decode(),
}


@dataclass(frozen=True)
class Table:
    """One table: its columns as (name, SQL type), and which of them, in order, make a row unique."""

    name: str
    columns: tuple[tuple[str, str], ...]
    key: tuple[str, ...]

    @property
    def column_names(self) -> tuple[str, ...]:
        """The columns without the checksum, in order."""
        return tuple(name for name, _ in self.columns)

    @property
    def create_sql(self) -> str:
        """The statement that creates the table."""
        columns = ", ".join(f"{name} {kind}" for name, kind in self.columns)
        return f"CREATE TABLE {self.name} ({columns}, checksum INTEGER NOT NULL, key BLOB NOT NULL UNIQUE)"

    @cached_property
    def insert_sql(self) -> str:
        """The statement that adds a row unless its key is there already: the first one wins."""
        names = (*self.column_names, "checksum", "key")
        marks = ", ".join("?" * len(names))
        return f"INSERT INTO {self.name} ({', '.join(names)}) VALUES ({marks}) ON CONFLICT DO NOTHING"

    @cached_property
    def select_sql(self) -> str:
        """The statement that reads rows, to be followed by a condition."""
        return f"SELECT {', '.join((*self.column_names, 'checksum'))} FROM {self.name}"

    @cached_property
    def find_sql(self) -> str:
        """The statement that reads the row of a digest."""
        return f"{self.select_sql} WHERE key = ?"

    def row(self, *values: Any) -> tuple[Value | bytes, ...]:
        """The values as SQLite stores them (Python numbers, valid UTF-8), then the checksum and the key."""
        plain = tuple([cast(value) for value, cast in zip(values, self._casts, strict=True)])
        return (*plain, self.checksum(plain), _digest([plain[i] for i in self._key_columns]))

    def digest(self, *key: Any) -> bytes:
        """The 16 bytes under which the row of a key is found."""
        return _digest([self._casts[i](value) for value, i in zip(key, self._key_columns, strict=True)])

    @cached_property
    def _key_columns(self) -> tuple[int, ...]:
        return tuple(self.column_names.index(name) for name in self.key)

    @cached_property
    def _casts(self) -> tuple[Callable[[Any], Value], ...]:
        """What makes a value its column's Python type.

        SQLite would keep NumPy's numbers as blobs, and a checksum tells 3 from 3.0.
        """
        return tuple(_CASTS[kind.split()[0]] for _, kind in self.columns)

    def checksum(self, values: Sequence[Value]) -> int:
        """The CRC-32 of a row's values."""
        return zlib.crc32(_json((self.name, *values)))

    def is_whole(self, row: Sequence[Value]) -> bool:
        """Whether the values of a row, as selected, fit the checksum that ends it."""
        return row[-1] == self.checksum(row[:-1])


CONTEXTS = Table(
    "contexts",
    (("hash", "TEXT NOT NULL UNIQUE"), ("identity", "TEXT NOT NULL"), ("created", "TEXT NOT NULL")),
    ("hash",),
)
TRAININGS = Table(
    "trainings",
    (
        ("context", "TEXT NOT NULL REFERENCES contexts (hash)"),
        ("architecture", "TEXT NOT NULL"),
        ("seed", "INTEGER NOT NULL"),
        ("status", "TEXT NOT NULL"),
        ("reason", "TEXT"),
        ("detail", "TEXT"),
        ("accuracy", "REAL"),
        ("loss", "REAL"),
        ("seconds", "REAL NOT NULL"),
        ("epochs", "INTEGER NOT NULL"),
        ("created", "TEXT NOT NULL"),
    ),
    ("context", "architecture", "seed"),
)
LATENCIES = Table(
    "latencies",
    (
        ("context", "TEXT NOT NULL REFERENCES contexts (hash)"),
        ("architecture", "TEXT NOT NULL"),
        ("latency_ms", "REAL"),
        ("record", "TEXT NOT NULL"),
        ("created", "TEXT NOT NULL"),
    ),
    ("context", "architecture"),
)
CANDIDATES = Table(
    "candidates",
    (
        ("search", "TEXT NOT NULL"),
        ("number", "INTEGER NOT NULL"),
        ("round", "INTEGER NOT NULL"),
        ("choices", "TEXT NOT NULL"),
        ("architecture", "TEXT NOT NULL"),
        ("training_context", "TEXT NOT NULL REFERENCES contexts (hash)"),
        ("seed", "INTEGER NOT NULL"),
        ("latency_context", "TEXT REFERENCES contexts (hash)"),
        ("madds", "INTEGER NOT NULL"),
        ("params", "INTEGER NOT NULL"),
        ("target", "REAL"),
        ("from_ledger", "INTEGER NOT NULL"),
        ("created", "TEXT NOT NULL"),
    ),
    ("search", "number"),
)
TABLES = (CONTEXTS, TRAININGS, LATENCIES, CANDIDATES)


def _digest(key: Sequence[Value]) -> bytes:
    return hashlib.blake2b(_json(key), digest_size=16).digest()


def _json(values: Sequence[Value]) -> bytes:
    """What `json.dumps` makes of a list of finite values, in a fifth of the time: a look-up needs it twice."""
    texts = [
        encode_basestring_ascii(value) if isinstance(value, str) else "null" if value is None else repr(value)
        for value in values
    ]
    return f"[{', '.join(texts)}]".encode()
