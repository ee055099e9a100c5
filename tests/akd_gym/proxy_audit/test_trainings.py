"""The table of an audit's trainings."""

from __future__ import annotations

from pathlib import Path

import pytest

from akd_gym.errors import CorruptFileError
from akd_gym.ledger_records import TrainingRecord
from akd_gym.proxy_audit.trainings import FULL, PROXY, Training, appending_trainings, read_trainings

NAME = "conv3_s1_c8 ds_r1_k3_s1_c8_id head16"
ROWS = {
    Training(PROXY, 5, NAME, 0): TrainingRecord("ok", accuracy=0.75, loss=1.25, seconds=3.5, epochs=5),
    Training(PROXY, 5, NAME, 1): TrainingRecord("infeasible", "diverged", "the loss was nan", seconds=1.0),
    Training(FULL, 60, NAME, 0): TrainingRecord("ok", accuracy=6095 / 7904, loss=0.5, seconds=100.0, epochs=60),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with appending_trainings(tmp_path / "new" / "trainings.csv") as table:
        for training, record in ROWS.items():
            table.add(training, record)
    return tmp_path / "new" / "trainings.csv"


def test_what_is_written_is_read(path: Path) -> None:
    found = read_trainings(path)
    assert list(found) == list(ROWS)
    for training, record in ROWS.items():
        kept = found[training]
        for name in ("status", "reason", "accuracy", "loss", "seconds"):
            assert getattr(kept, name) == getattr(record, name)


def test_none_yet(tmp_path: Path) -> None:
    assert read_trainings(tmp_path / "trainings.csv") == {}


def test_a_line_cut_off_is_left_out_and_written_over(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])  # killed in the middle of the last line
    assert list(read_trainings(path)) == list(ROWS)[:2]
    last = list(ROWS)[2]
    with appending_trainings(path) as table:
        table.add(last, ROWS[last])
    assert list(read_trainings(path)) == list(ROWS)


@pytest.mark.parametrize(
    ("old", "new"),
    [("0.75,", ","), ("0.75,", "7.5,"), ("diverged", ""), (",3.5,", ",inf,"), ("full,60", "half,60")],
)
def test_a_damaged_line_is_named(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(CorruptFileError, match=r"Line \d of .*trainings.csv is damaged.* it is trained again"):
        read_trainings(path)


def test_a_training_is_there_once(path: Path) -> None:
    path.write_text(path.read_text() + path.read_text().splitlines()[1] + "\n")
    with pytest.raises(CorruptFileError, match=r"Line 5 .* repeats"):
        read_trainings(path)
