from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from akd_gym.agents.search import read_outcomes
from akd_gym.ledger import Ledger


@pytest.fixture
def run(finished, tmp_path):
    """A copy of a finished search to damage."""
    shutil.copytree(finished.run, tmp_path / "run")
    return tmp_path / "run"


def architectures(run):
    with Ledger.open(run / "ledger.sqlite", read_only=True) as ledger:
        return [architecture for _, architecture, _, _ in ledger.trainings()]


def test_what_is_whole_is_said_to_be(akd, run):
    result = akd("repair", run)
    assert result.status == 0
    assert "whole (1 contexts, 16 trainings, 0 latencies, 16 candidates)" in result.out
    assert "soft labels: all whole" in result.out
    assert "whole" in akd("repair", run / "ledger.sqlite").out


def damage(ledger, architecture, *, candidates):
    """Flips a bit in the rows that name an architecture: its training, or the candidates."""
    for extra in ("-wal", "-shm"):
        ledger.with_name(ledger.name + extra).unlink(missing_ok=True)
    content, rows = bytearray(ledger.read_bytes()), 0
    position = content.find(architecture.encode())
    while position >= 0:
        if (content[position - 1 : position] == b"]") == candidates:  # their choices come before it
            content[position + 4] ^= 0x05
            rows += 1
        position = content.find(architecture.encode(), position + 1)
    assert rows
    ledger.write_bytes(content)
    return bytes(content)


def test_a_lost_training_is_named_and_trained_again(akd, run):
    ledger = run / "ledger.sqlite"
    unbroken = [(o.number, o.architecture, o.accuracy) for o in read_outcomes(run).outcomes]
    content = damage(ledger, unbroken[5][1], candidates=False)
    for words in (["search", "--resume", run], ["finalists", run, "--within", "1M+-1M"]):
        error = akd(*words).error
        assert f"The ledger `{ledger}` is damaged" in error
        assert f"`akd repair {run}` salvages every whole row" in error
    result = akd("repair", run)
    assert result.status == 0
    assert "salvaged 1 contexts, 15 trainings, 0 latencies, 16 candidates; lost: at least 1 trainings" in result.out
    assert (run / "ledger.sqlite.damaged").read_bytes() == content
    assert len(architectures(run)) == 15

    assert akd("search", "--resume", run).status == 0
    assert [(o.number, o.architecture, o.accuracy) for o in read_outcomes(run).outcomes] == unbroken
    assert sorted(architectures(run)) == sorted(name for _, name, _ in unbroken)


def test_a_lost_candidate_is_missing_and_the_others_are_not(akd, run):
    unbroken = [(o.number, o.architecture, o.accuracy) for o in read_outcomes(run).outcomes]
    damage(run / "ledger.sqlite", unbroken[5][1], candidates=True)
    assert "is damaged" in akd("search", "--resume", run).error
    assert "lost: at least 1 candidates" in akd("repair", run).out
    assert akd("search", "--resume", run).status == 0
    found = [(o.number, o.architecture, o.accuracy) for o in read_outcomes(run).outcomes]
    assert found == unbroken[:5] + unbroken[6:]
    assert len(architectures(run)) == 16


def test_scattered_damage_never_shows_a_traceback(akd, run):
    ledger, rng = run / "ledger.sqlite", random.Random(0)
    for extra in ("-wal", "-shm"):
        ledger.with_name(ledger.name + extra).unlink(missing_ok=True)
    whole = ledger.read_bytes()
    for _ in range(12):
        content = bytearray(whole)
        for _ in range(8):
            content[rng.randrange(len(content))] ^= 0xFF
        ledger.write_bytes(content)
        result = akd("finalists", run, "--within", "1M+-1M")
        assert result.status == 0 or str(ledger) in result.error
        result = akd("repair", run)
        assert result.status == 0 or "whole row" in result.error
        for file in run.glob("ledger.sqlite*"):
            file.unlink()


def test_damaged_soft_labels_are_named_removed_and_computed_anew(akd, tiny_search, tmp_path):
    options = [*tiny_search, "--budget=4", "--recipe.augment-seed=77"]  # labels of their own
    cache = Path(os.environ["AKD_GYM_CACHE"], "soft_labels")
    before = set(cache.glob("*/*.safetensors"))
    assert akd(*options, "--run", tmp_path / "one").status == 0
    [victim, _] = sorted(set(cache.glob("*/*.safetensors")) - before)
    whole = victim.read_bytes()
    victim.write_bytes(whole[:-7] + bytes([whole[-7] ^ 1]) + whole[-6:])
    error = akd(*options, "--run", tmp_path / "two").error
    assert f"Soft-label file {victim} is damaged" in error
    assert "`akd repair` removes it" in error
    assert not (tmp_path / "two").exists()
    assert f"removed damaged soft labels {victim}" in akd("repair", tmp_path / "one").out
    assert not victim.exists()
    assert akd(*options, "--run", tmp_path / "two").status == 0
    assert victim.read_bytes() == whole
    results = [[(o.architecture, o.accuracy) for o in read_outcomes(tmp_path / n).outcomes] for n in ("one", "two")]
    assert results[0] == results[1]


def test_nothing_to_repair(akd, tmp_path):
    assert "must be a ledger to be repaired, but there is no such file" in akd("repair", tmp_path).error
    assert "there is no such file" in akd("repair", tmp_path / "nothing").error
    (tmp_path / "ledger.sqlite").write_bytes(b"nothing of ours" * 1000)
    assert "ledger.sqlite" in akd("repair", tmp_path).error
    assert (tmp_path / "ledger.sqlite").read_bytes() == b"nothing of ours" * 1000
