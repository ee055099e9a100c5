"""What a ledger's rows hold: the records, their tables, and the key and checksum that every row carries.

A row is found by its key: 16 bytes of BLAKE2b of the values that make it unique. An index over those values
themselves would repeat every architecture string and make the file twice as large.

A row's checksum is the CRC-32 of `json.dumps([table, *values])`. SQLite checks the shape of its pages, not
what is in them; with the checksum a flipped bit in an accuracy is found when it is read, and a row that was
cut out of a damaged file is known to be whole and to belong to its table.
"""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property
from typing import Any

from akd_gym.errors import InvalidSettingError

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
        return zlib.crc32(json.dumps([self.name, *values]).encode())

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


def utc_now() -> str:
    """The time now, as stored: ISO 8601 in UTC, to the millisecond."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def canonical_json(mapping: Mapping[str, Any], name: str) -> str:
    """A mapping as the one JSON text that equal mappings share: sorted keys, no spaces, no NaN.

    Args:
        mapping: Strings, numbers, booleans, None, and sequences and mappings of them.
        name: What the mapping is, for the message.

    Raises:
        InvalidSettingError: It holds something that JSON cannot express.
    """
    try:
        return json.dumps(dict(mapping), sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidSettingError(f"`{name}` must be plain JSON (no NaN, no objects): {error}.") from error


@dataclass(frozen=True)
class TrainingRecord:
    """What training a candidate gave.

    Args:
        status: `"ok"` or `"infeasible"`.
        reason: A short stable code where infeasible (see `InfeasibleCandidateError`), else None.
        detail: What happened, in words.
        accuracy: Fraction in [0, 1]; None unless `"ok"`.
        loss: Of the last epoch; None if there is none or it was not finite.
        seconds: Paid for training and evaluating.
        epochs: Trained.
        created: ISO 8601, UTC.

    Raises:
        InvalidSettingError: An accuracy, status and reason that do not fit together.
    """

    status: str
    reason: str | None = None
    detail: str | None = None
    accuracy: float | None = None
    loss: float | None = None
    seconds: float = 0.0
    epochs: int = 0
    created: str = field(default_factory=utc_now)

    def __post_init__(self) -> None:
        if self.status == "ok":
            if self.accuracy is None or not 0 <= self.accuracy <= 1 or self.reason is not None:
                raise InvalidSettingError(
                    "A training that is ok must have an `accuracy` in [0, 1] and no `reason`, "
                    f"but got accuracy {self.accuracy} and reason {self.reason!r}."
                )
        elif self.status == "infeasible":
            if self.accuracy is not None or not self.reason:
                raise InvalidSettingError(
                    "An infeasible training must have a `reason` and no `accuracy`, "
                    f"but got reason {self.reason!r} and accuracy {self.accuracy}."
                )
        else:
            raise InvalidSettingError(f"`status` must be 'ok' or 'infeasible', but got {self.status!r}.")
        for name, value in (("loss", self.loss), ("seconds", self.seconds)):
            if value is not None and not math.isfinite(value):
                raise InvalidSettingError(f"`{name}` must be finite, but got {value}.")


@dataclass(frozen=True)
class Candidate:
    """One candidate of a search's trajectory, in the order they were proposed; architectures may repeat.

    Args:
        number: From 0, unique within its search.
        round: The round (of candidates evaluated together) it belongs to.
        choices: One option index a decision.
        architecture: The canonical string.
        training_context: `Ledger.context` of the task and recipe.
        seed: Of the training.
        latency_context: `Ledger.context` of the device and protocol; None where multiply-adds are the cost.
        madds: Multiply-adds of one image.
        params: Parameters.
        target: What it should have cost, in ms or, where multiply-adds are the cost, in those.
        from_ledger: Whether it was known before, and so cost nothing.
        search: Which search, where several share the ledger.
        created: ISO 8601, UTC.
    """

    number: int
    round: int
    choices: tuple[int, ...]
    architecture: str
    training_context: str
    seed: int
    latency_context: str | None
    madds: int
    params: int
    target: float | None
    from_ledger: bool = False
    search: str = ""
    created: str = field(default_factory=utc_now)


@dataclass(frozen=True)
class EvaluatedCandidate:
    """A candidate with what is known of it: its training and its latency, where there are such rows."""

    candidate: Candidate
    training: TrainingRecord | None
    latency_ms: float | None
    latency: dict[str, Any] | None

    @property
    def cost(self) -> float | None:
        """In `cost_unit`; None if it could not be measured."""
        return self.latency_ms if self.candidate.latency_context else float(self.candidate.madds)

    @property
    def cost_unit(self) -> str:
        """`"ms"` or `"madds"`."""
        return "ms" if self.candidate.latency_context else "madds"

    @property
    def accuracy(self) -> float | None:
        """Fraction in [0, 1]; None unless it was trained."""
        return self.training.accuracy if self.training else None

    @property
    def reason(self) -> str | None:
        """Why it is infeasible; None if it is not."""
        if self.training is None:
            return "not_trained" if self.cost is not None else self._latency_reason
        return self.training.reason or (self._latency_reason if self.cost is None else None)

    @property
    def status(self) -> str:
        """`"ok"` or `"infeasible"`."""
        return "ok" if self.reason is None else "infeasible"

    @property
    def _latency_reason(self) -> str:
        return str((self.latency or {}).get("reason") or "unmeasurable")


def _digest(key: list[Value]) -> bytes:
    return hashlib.blake2b(json.dumps(key).encode(), digest_size=16).digest()
