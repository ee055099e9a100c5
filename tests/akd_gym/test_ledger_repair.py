"""Repair: damaged ledgers give up every row that is whole, and nothing else."""

import random
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from akd_gym.errors import CorruptFileError, InvalidSettingError, SchemaVersionError, StorageError
from akd_gym.ledger import Candidate, Ledger, TrainingRecord
from akd_gym.ledger_repair import repair_ledger
from akd_gym.ledger_schema import PAGE_SIZE, SCHEMA_VERSION

ROWS = 400
TASK, DEVICE = {"task": 1}, {"device": 1}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "ledger.sqlite"
    with Ledger.open(path) as ledger:
        fill(ledger)
    return path


@pytest.fixture
def path(whole, tmp_path):
    return Path(shutil.copy(whole, tmp_path))


def training(i):
    if i % 10 == 0:
        return TrainingRecord("infeasible", "diverged", "x" * (3000 + i), created="now")
    return TrainingRecord("ok", accuracy=i / ROWS, seconds=float(i), epochs=5, created="now")  # whole numbers too


def latency(i):
    samples = [0.5 + j / 1000 for j in range(300 if i % 4 else 1500)]  # some need several overflow pages
    return {"verdict": "ok", "kind": "host", "min_ms": 0.5 + i, "samples_ms": samples}


def candidate(i, task, device):
    return Candidate(i, i, (1, 2, 3), f"a{i}", task, 0, device, i * 10**7, 2**40, None, created="now")


def fill(ledger):
    task, device = ledger.context(TASK), ledger.context(DEVICE)
    with ledger.transaction():
        for i in range(ROWS):
            ledger.add_training(task, f"a{i}", 0, training(i))
            ledger.add_latency(device, f"a{i}", latency(i))
            ledger.add_candidate(candidate(i, task, device))


def contents(path):
    """Everything in a ledger, each row checked against what was stored."""
    with Ledger.open(path) as ledger:
        ledger.check()
        task, device = ledger.context(TASK), ledger.context(DEVICE)
        trainings = {architecture: record for _, architecture, _, record in ledger.trainings(task)}
        latencies = {f"a{i}": ledger.find_latency(device, f"a{i}") for i in range(ROWS)}
        candidates = list(ledger.candidates())
    assert all(record == training(int(name[1:])) for name, record in trainings.items())
    assert all(record in (None, latency(int(name[1:]))) for name, record in latencies.items())
    assert all(c == candidate(c.number, task, device) for c in candidates)
    return {
        "contexts": 2,
        "trainings": len(trainings),
        "latencies": sum(record is not None for record in latencies.values()),
        "candidates": len(candidates),
    }


FULL = {"contexts": 2, "trainings": ROWS, "latencies": ROWS, "candidates": ROWS}


def test_a_whole_ledger_is_left_alone(path):
    before = path.read_bytes()
    report = repair_ledger(path)
    assert (report.damaged, report.rows) == (None, FULL)
    assert str(report) == f"{path}: whole (2 contexts, {ROWS} trainings, {ROWS} latencies, {ROWS} candidates)"
    assert not any(report.missing.values())
    assert path.read_bytes() == before
    assert not list(path.parent.glob("*.damaged*"))
    assert not list(path.parent.glob("*.repairing"))


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: b"\xff" * 100 + data[100:], id="header"),
        pytest.param(lambda data: b"\0" * PAGE_SIZE + data[PAGE_SIZE:], id="whole first page: header and schema"),
        pytest.param(lambda data: b"".join(without_trees(data)), id="every page that is not a leaf of a table"),
    ],
)
def test_rows_survive_what_only_leads_to_them(path, damage):
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CorruptFileError, match="akd repair"):
        Ledger.open(path)
    report = repair_ledger(path)
    assert report.rows == FULL
    assert contents(path) == FULL


def without_trees(data):
    """Zeroes interior and index pages, known by their first byte (that of an overflow page is 0 here)."""
    for start in range(0, len(data), PAGE_SIZE):
        page = data[start : start + PAGE_SIZE]
        yield b"\0" * PAGE_SIZE if page[0] in (0x02, 0x05, 0x0A) else page


def test_truncated_file_keeps_its_first_rows(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3 + 100])
    report = repair_ledger(path)
    assert contents(path) == report.rows
    assert 0.4 * ROWS < report.rows["trainings"] < ROWS
    assert 0.4 * ROWS < report.rows["candidates"] < ROWS
    assert report.damaged.read_bytes() == data[: len(data) * 2 // 3 + 100]


@pytest.mark.parametrize("seed", range(3))
def test_flipped_bytes_lose_only_the_rows_they_hit(path, seed):
    rng = random.Random(seed)
    data = bytearray(path.read_bytes())
    for _ in range(20):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)
    report = repair_ledger(path)
    assert report.damaged.read_bytes() == data
    assert contents(path) == report.rows
    # Every flip can hit one row, or, in the head of a page, the rows of that page (at most 40 here).
    assert sum(FULL.values()) - sum(report.rows.values()) <= 20 * 40
    assert report.rows["trainings"] >= 0.8 * ROWS


def zero_a_leaf(path):
    data = path.read_bytes()
    start = data.index(b"a200") // PAGE_SIZE * PAGE_SIZE
    path.write_bytes(data[:start] + b"\0" * PAGE_SIZE + data[start + PAGE_SIZE :])


def test_missing_rows_are_counted(path):
    zero_a_leaf(path)
    report = repair_ledger(path)
    lost = {name: FULL[name] - report.rows[name] for name in FULL}
    assert report.missing == lost
    assert sum(lost.values()) > 0


def test_flipped_value_is_not_salvaged(path):
    data = path.read_bytes()
    where = data.index(b"diverged")
    path.write_bytes(data[:where] + b"Diverged" + data[where + 8 :])
    report = repair_ledger(path)
    assert report.rows == FULL | {"trainings": ROWS - 1}
    assert f"salvaged 2 contexts, {ROWS - 1} trainings" in str(report)
    assert f"lost: at least 1 trainings; the damaged file is now {path}.damaged" in str(report)
    assert contents(path) == report.rows


def test_rows_that_are_only_in_the_log_survive(path):
    program = """
        import os, sys
        from akd_gym.ledger import Ledger, TrainingRecord
        ledger = Ledger.open(sys.argv[1])
        context = ledger.context({"task": 1})
        record = TrainingRecord("ok", accuracy=0.5, detail="y" * 6000)
        for i in range(50):
            ledger.add_training(context, f"late{i}", 0, record)
        os.kill(os.getpid(), 9)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program), str(path)], check=False)
    assert path.with_name("ledger.sqlite-wal").stat().st_size > 50 * 6000
    zero_a_leaf(path)
    report = repair_ledger(path)
    assert report.rows["trainings"] == ROWS + 50 - report.missing["trainings"]
    with Ledger.open(path) as ledger:
        ledger.check()
        found = {architecture for _, architecture, _, _ in ledger.trainings()}
    assert {f"late{i}" for i in range(50)} <= found
    assert report.damaged.with_name("ledger.sqlite.damaged-wal").stat().st_size > 50 * 6000


def test_goes_on_after_repair_and_keeps_each_damaged_file(path):
    for name in ("ledger.sqlite.damaged", "ledger.sqlite.damaged.2"):
        path.write_bytes(b"\xff" * 100 + path.read_bytes()[100:])
        assert repair_ledger(path).damaged.name == name
        with Ledger.open(path) as ledger:
            assert ledger.add_training(ledger.context(TASK), "a1", 0, training(7)) == training(1)
            assert ledger.add_training(ledger.context(TASK), f"after {name}", 0, training(1)) == training(1)


def test_refuses_while_another_process_has_it_open(path):
    program = """
        import sys
        from akd_gym.ledger import Ledger
        with Ledger.open(sys.argv[1]):
            print("open", flush=True)
            sys.stdin.read()
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "open\n"
        data = path.read_bytes()
        path.write_bytes(data[:-PAGE_SIZE] + b"\xff" * PAGE_SIZE)
        with pytest.raises(StorageError, match="another process has it open"):
            repair_ledger(path)
        process.stdin.close()
        process.wait(timeout=60)
    assert repair_ledger(path).damaged is not None


def test_refuses_what_it_cannot_repair(tmp_path, path):
    with pytest.raises(StorageError, match="no such file"):
        repair_ledger(tmp_path / "missing.sqlite")

    text = tmp_path / "notes.sqlite"
    text.write_text("not a ledger " * 1000)
    with pytest.raises(CorruptFileError, match="no whole row"):
        repair_ledger(text)
    assert text.read_text() == "not a ledger " * 1000

    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE cookies (name)")
    connection.close()
    with pytest.raises(InvalidSettingError, match="another program"):
        repair_ledger(other)

    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(SchemaVersionError, match="newer"):
        repair_ledger(path)
    assert not list(tmp_path.glob("*.damaged*"))
    assert not list(tmp_path.glob("*.repairing"))
