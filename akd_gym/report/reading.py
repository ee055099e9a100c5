"""Run directories as the report sees them: the search, its settings, and what the ledger says of where it ran."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from akd_gym.agents.runs import read_run
from akd_gym.agents.settings import SearchSettings, read_search_name, read_settings, run_ledger
from akd_gym.analysis.runs import SearchRun
from akd_gym.errors import InvalidSettingError
from akd_gym.ledger import Ledger

_NOT_OF_THE_SETTING = ("seed", "ledger", "workers", "warm_start", "audit", "schema_version")


@dataclass(frozen=True)
class ReportedRun:
    """A search and all that its page says of it.

    Args:
        folder: The run directory, as it was given.
        settings: Of the search.
        search: Its candidates.
        identities: What its trainings and latencies depended on (see `Ledger.context`), in order of first use.
    """

    folder: Path
    settings: SearchSettings
    search: SearchRun = field(repr=False)
    identities: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)

    def identities_of(self, kind: str) -> list[Mapping[str, Any]]:
        """Those of `"training"`, or of `"latency"` whatever the device."""
        return [one for one in self.identities if (one.get("kind") == "training") == (kind == "training")]


def read_reported_runs(folders: Sequence[Path]) -> list[ReportedRun]:
    """Reads searches, finished or still running, and tells apart those whose directories have the same name.

    Raises:
        InvalidSettingError: There is none, or one is given twice.
        RunMismatchError: One is no run directory, or nothing was evaluated in it yet.
        SchemaVersionError: A newer version of this package wrote it.
        CorruptFileError: Its settings or its ledger are damaged.
        StorageError: Its ledger cannot be read.
    """
    return [read_reported_run(folder, name) for folder, name in zip(folders, distinct_names(folders), strict=True)]


def read_reported_run(folder: Path, name: str) -> ReportedRun:
    """Reads one search.

    Raises:
        RunMismatchError, SchemaVersionError, CorruptFileError, StorageError: See `read_reported_runs`.
    """
    settings = read_settings(folder)
    search = read_run(folder, name)
    candidates = [evaluation.candidate for evaluation in search.evaluations]
    contexts = dict.fromkeys(c.training_context for c in candidates)
    contexts |= dict.fromkeys(c.latency_context for c in candidates if c.latency_context is not None)
    with Ledger.open(run_ledger(settings, folder), read_only=True) as ledger:
        found = [ledger.identity(context) for context in contexts]
    return ReportedRun(folder, settings, search, tuple(one for one in found if one is not None))


def has_begun(folder: Path) -> bool:
    """Whether a search has evaluated anything yet.

    Raises:
        RunMismatchError: `folder` is no run directory.
        SchemaVersionError, CorruptFileError, StorageError: See `read_reported_runs`.
    """
    settings = read_settings(folder)
    path = run_ledger(settings, folder)
    if not path.exists():
        return False
    with Ledger.open(path, read_only=True) as ledger:
        return next(ledger.candidates(read_search_name(folder)), None) is not None


def by_setting(runs: Sequence[ReportedRun]) -> list[list[ReportedRun]]:
    """Searches that are alike in all but the seed, and in what changes no result, together; in the order given."""
    groups: dict[str, list[ReportedRun]] = {}
    for run in runs:
        plain = run.settings.to_json()
        setting = {name: value for name, value in plain.items() if name not in _NOT_OF_THE_SETTING}
        groups.setdefault(json.dumps(setting, sort_keys=True), []).append(run)
    return list(groups.values())


def distinct_names(folders: Sequence[Path]) -> list[str]:
    """The name of each directory, with as many of those above it as tell it from the others.

    Raises:
        InvalidSettingError: There is none, or one is given twice.
    """
    whole = [folder.resolve() for folder in folders]
    if not whole:
        raise InvalidSettingError("At least one run directory must be given, but got none.")
    if twice := [str(folder) for folder in folders if whole.count(folder.resolve()) > 1]:
        raise InvalidSettingError(f"Every run must be given once, but got {' and '.join(twice)} for the same one.")
    for depth in itertools.count(1):
        names = ["/".join(path.parts[-depth:]) for path in whole]
        if len(set(names)) == len(names):
            return [_shortest(path, name, names, whole) for path, name in zip(whole, names, strict=True)]
    raise AssertionError("distinct paths differ somewhere")


def _shortest(path: Path, name: str, names: Sequence[str], whole: Sequence[Path]) -> str:
    """A name without the directories above it where the last one is no other run's."""
    alone = sum(other.name == path.name for other in whole) == 1
    return path.name if alone and path.name not in names else name
