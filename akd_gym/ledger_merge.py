"""One ledger out of several: what any of them has paid for is then free for all.

Rows are the same wherever they lie: keyed by what they depend on, never changed. So merging is adding those that are
not there yet, and doing it twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from akd_gym.errors import InvalidSettingError
from akd_gym.ledger import Ledger
from akd_gym.ledger_schema import CONTEXTS, LATENCIES, TABLES, TRAININGS, Table

_RESULTS = {
    "trainings": ("status", "reason", "accuracy", "loss", "epochs"),
    "latencies": ("latency_ms",),
    "candidates": ("choices", "architecture", "training_context", "seed", "latency_context", "target"),
    "contexts": ("identity",),
}
"""What two rows of one key must agree in; the rest says when they were made and what they cost."""


@dataclass
class MergeReport:
    """What a merge did.

    Attributes:
        path: The ledger merged into.
        added: New rows, by table.
        known: Rows that were there already, with the same result.
        conflicting: Rows for which another result was there already, and was kept.
    """

    path: Path
    added: dict[str, int] = field(default_factory=lambda: {table.name: 0 for table in TABLES})
    known: dict[str, int] = field(default_factory=lambda: {table.name: 0 for table in TABLES})
    conflicting: dict[str, int] = field(default_factory=lambda: {table.name: 0 for table in TABLES})

    def __str__(self) -> str:
        shown = [table.name for table in TABLES if table is not CONTEXTS]
        added = ", ".join(f"{self.added[name]} {name}" for name in shown)
        text = f"{self.path}: {added} added; {sum(self.known[name] for name in shown)} were there already"
        conflicts = ", ".join(f"{self.conflicting[name]} {name}" for name in shown if self.conflicting[name])
        return text + (f"; another result was there first, and kept, for {conflicts}" if conflicts else "")


def merge_ledgers(sources: Sequence[str | Path], into: str | Path) -> MergeReport:
    """Add everything that ledgers hold to one of them, or to a new one: trainings, latencies, and the searches.

    All are checked whole before anything is written. Each source is added in one piece or not at all.

    Args:
        sources: Ledgers; one that is `into` itself is passed over.
        into: Where to; made if it is not there.

    Raises:
        InvalidSettingError: There is no source.
        CorruptFileError: One of them is damaged; nothing was merged.
        SchemaVersionError: A newer version of this package wrote one; nothing was merged.
        StorageError: One is missing or `into` cannot be written.
    """
    target_path = Path(into).absolute()
    paths = list(dict.fromkeys(path for source in sources if (path := Path(source).absolute()) != target_path))
    if not sources:
        raise InvalidSettingError("`sources` must name at least one ledger, but is empty.")
    for path in [*paths, *([target_path] if target_path.exists() else [])]:
        with Ledger.open(path, read_only=True) as ledger:
            ledger.check()
    report = MergeReport(target_path)
    with Ledger.open(target_path) as target:
        for path in paths:
            with Ledger.open(path, read_only=True) as source, target.transaction():
                for table in TABLES:
                    for row in source.rows(table):
                        _add(target, table, row, report)
    return report


def copy_evaluations(source: Ledger, target: Ledger, contexts: Collection[str], seed: int) -> dict[str, int]:
    """Copy the trainings with a seed and the latencies of some contexts, but for those that are there already.

    Args:
        source: Where from.
        target: Where to; the contexts are registered there.
        contexts: Their hashes.
        seed: Of the trainings.

    Returns:
        How many `"trainings"` and `"latencies"` of these the source has.
    """
    counts = {TRAININGS.name: 0, LATENCIES.name: 0}
    seed_place = TRAININGS.column_names.index("seed")
    with target.transaction():
        for table in (TRAININGS, LATENCIES):
            for row in source.rows(table):
                if row[0] in contexts and (table is LATENCIES or row[seed_place] == seed):
                    target.add_row(table, row)
                    counts[table.name] += 1
    return counts


def _add(target: Ledger, table: Table, row: tuple[Any, ...], report: MergeReport) -> None:
    first = target.add_row(table, row)
    if first is None:
        report.added[table.name] += 1
        return
    places = [table.column_names.index(name) for name in _RESULTS[table.name]]
    same = all(first[place] == row[place] for place in places)
    (report.known if same else report.conflicting)[table.name] += 1
