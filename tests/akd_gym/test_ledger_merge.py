from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from akd_gym.errors import CorruptFileError, InvalidSettingError, SchemaVersionError, StorageError
from akd_gym.ledger import Candidate, Ledger, TrainingRecord
from akd_gym.ledger_merge import copy_evaluations, merge_ledgers
from akd_gym.ledger_schema import CANDIDATES, LATENCIES

ASSETS = Path(__file__).parents[1] / "assets"
TASK = {"kind": "training", "teacher": "a"}
OTHER_TASK = {"kind": "training", "teacher": "b"}
DEVICE = {"kind": "host", "device": "cpu"}


def latency(ms: float) -> dict[str, Any]:
    return {"verdict": "ok", "kind": "phone", "median_ms": ms, "latency_ms": ms}


def trained(accuracy: float, **changes: Any) -> TrainingRecord:
    return TrainingRecord("ok", accuracy=accuracy, **changes)


@pytest.fixture
def one(tmp_path: Path) -> Path:
    """Three trainings under two contexts, two latencies, a search of two candidates."""
    return make(tmp_path / "one.sqlite", "first", {"x": 0.5, "y": 0.6}, {"x": 1.0, "y": 2.0})


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """Shares `y` with `one`, and has another latency for it."""
    return make(tmp_path / "two.sqlite", "second", {"y": 0.6, "z": 0.7}, {"y": 2.5, "z": 3.0})


def make(path: Path, search: str, accuracies: dict[str, float], latencies: dict[str, float]) -> Path:
    with Ledger.open(path) as ledger:
        task, other, device = (ledger.context(identity) for identity in (TASK, OTHER_TASK, DEVICE))
        for number, (name, accuracy) in enumerate(accuracies.items()):
            ledger.add_training(task, name, 0, trained(accuracy))
            ledger.add_candidate(Candidate(number, 0, (number,), name, task, 0, device, 10, 5, 1.0, search=search))
        ledger.add_training(other, "x", 0, trained(0.9))
        for name, ms in latencies.items():
            ledger.add_latency(device, name, latency(ms))
    return path


def content(path: Path) -> dict[str, list[Any]]:
    """Everything but when it was stored."""
    with Ledger.open(path, read_only=True) as ledger:
        return {
            "trainings": [(teacher(ledger, c), a, s, r.accuracy) for c, a, s, r in ledger.trainings()],
            "latencies": [(row[1], row[2]) for row in ledger.rows(LATENCIES)],
            "candidates": [(row[0], row[1], row[4]) for row in ledger.rows(CANDIDATES)],
        }


def teacher(ledger: Ledger, context: str) -> str:
    return str((ledger.identity(context) or {})["teacher"])


def test_everything_of_all_is_there_and_the_first_result_stays(one: Path, two: Path, tmp_path: Path) -> None:
    report = merge_ledgers([one, two], tmp_path / "all.sqlite")
    assert content(tmp_path / "all.sqlite") == {
        "trainings": [("a", "x", 0, 0.5), ("a", "y", 0, 0.6), ("b", "x", 0, 0.9), ("a", "z", 0, 0.7)],
        "latencies": [("x", 1.0), ("y", 2.0), ("z", 3.0)],
        "candidates": [("first", 0, "x"), ("first", 1, "y"), ("second", 0, "y"), ("second", 1, "z")],
    }
    assert report.added == {"contexts": 3, "trainings": 4, "latencies": 3, "candidates": 4}
    assert report.known == {"contexts": 3, "trainings": 2, "latencies": 0, "candidates": 0}
    assert report.conflicting == {"contexts": 0, "trainings": 0, "latencies": 1, "candidates": 0}
    assert str(report) == (
        f"{tmp_path}/all.sqlite: 4 trainings, 3 latencies, 4 candidates added; 2 were there already; another result "
        "was there first, and kept, for 1 latencies"
    )


def test_merging_twice_changes_nothing(one: Path, two: Path, tmp_path: Path) -> None:
    merged = tmp_path / "all.sqlite"
    merge_ledgers([one, two], merged)
    before = content(merged)
    report = merge_ledgers([two, one], merged)
    assert content(merged) == before
    assert set(report.added.values()) == {0}


def test_into_one_of_them(one: Path, two: Path) -> None:
    merge_ledgers([one, two, two], one)
    assert len(content(one)["trainings"]) == 4
    assert len(content(two)["trainings"]) == 3


@pytest.mark.parametrize(
    ("record", "conflicts"),
    [(trained(0.5, seconds=99.0), 0), (trained(0.51), 1), (TrainingRecord("infeasible", "diverged"), 1)],
)
def test_results_conflict_and_what_they_cost_does_not(
    record: TrainingRecord, conflicts: int, one: Path, tmp_path: Path
) -> None:
    with Ledger.open(tmp_path / "two.sqlite") as ledger:
        ledger.add_training(ledger.context(TASK), "x", 0, record)
    report = merge_ledgers([tmp_path / "two.sqlite"], one)
    assert report.conflicting["trainings"] == conflicts
    assert report.known["trainings"] == 1 - conflicts
    assert content(one)["trainings"][0] == ("a", "x", 0, 0.5)


def test_a_damaged_one_is_refused_before_anything_is_written(one: Path, two: Path, tmp_path: Path) -> None:
    connection = sqlite3.connect(two)
    connection.execute("UPDATE trainings SET accuracy = 0.99 WHERE architecture = 'z'")
    connection.commit()
    connection.close()
    with pytest.raises(CorruptFileError, match=r"two\.sqlite` is damaged.*`akd repair"):
        merge_ledgers([one, two], tmp_path / "all.sqlite")
    assert not (tmp_path / "all.sqlite").exists()
    before = content(one)
    with pytest.raises(CorruptFileError, match=r"two\.sqlite"):
        merge_ledgers([one], two)
    assert content(one) == before


def test_what_cannot_be_merged(one: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidSettingError, match="at least one ledger"):
        merge_ledgers([], tmp_path / "all.sqlite")
    with pytest.raises(StorageError, match="there is no such file"):
        merge_ledgers([one, tmp_path / "nothing.sqlite"], tmp_path / "all.sqlite")
    (tmp_path / "text").write_text("no ledger at all, but long enough to be looked at as if it were one " * 9)
    with pytest.raises(CorruptFileError, match="text` is damaged"):
        merge_ledgers([one, tmp_path / "text"], tmp_path / "all.sqlite")
    newer = make(tmp_path / "newer.sqlite", "s", {}, {})
    connection = sqlite3.connect(newer)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(SchemaVersionError):
        merge_ledgers([one, newer], tmp_path / "all.sqlite")
    assert not (tmp_path / "all.sqlite").exists()


def test_an_old_ledger_can_be_merged(tmp_path: Path) -> None:
    path = Path(shutil.copy(ASSETS / "ledger-v1.sqlite", tmp_path))
    with Ledger.open(path, read_only=True) as old:
        counts = old.counts()
    report = merge_ledgers([path], tmp_path / "all.sqlite")
    assert report.added == counts
    with Ledger.open(tmp_path / "all.sqlite", read_only=True) as ledger:
        ledger.check()
        assert ledger.counts() == counts


def test_evaluations_of_some_contexts_and_a_seed_are_copied(one: Path, tmp_path: Path) -> None:
    with Ledger.open(one) as source, Ledger.open(tmp_path / "target.sqlite") as target:
        task, device = target.context(TASK), target.context(DEVICE)
        source.add_training(task, "x", 7, trained(0.55))
        target.add_latency(device, "y", latency(9.0))
        assert copy_evaluations(source, target, [task, device], seed=0) == {"trainings": 2, "latencies": 2}
        assert [(a, s) for _, a, s, _ in target.trainings()] == [("x", 0), ("y", 0)]
        kept = target.find_latency(device, "y")
        assert kept is not None
        assert kept["latency_ms"] == 9.0
        assert target.counts()["candidates"] == 0
        assert copy_evaluations(source, target, [], seed=0) == {"trainings": 0, "latencies": 0}
