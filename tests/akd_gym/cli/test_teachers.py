"""`akd teacher`: the list of those that ship, and training one that a search then takes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from akd_gym.cli import main
from akd_gym.data import load_data
from akd_gym.teachers import load_teacher


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """200 pictures of two classes, 28 px: dark and bright."""
    rng = np.random.default_rng(0)
    for label, base in (("dark", 40), ("bright", 200)):
        folder = tmp_path / "photos" / label
        folder.mkdir(parents=True)
        for index in range(100):
            pixels = np.clip(rng.normal(base, 20, (28, 28, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{index}.png")
    return tmp_path / "photos"


def test_the_list_shows_every_shipped_teacher_with_its_accuracy(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["teacher", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in ("resnet", "inception", "mixer"):
        row = next(line for line in lines if f"shipped:{name}" in line)
        assert 0.85 < float(row.split()[2]) / 100 < 1


def test_a_trained_teacher_is_a_teacher(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = ["--data", f"imagefolder:{photos}", "--student-train-size", "60", "--student-val-size", "40"]
    out = ["--out", str(tmp_path / "out"), "--epochs", "3", "--batch-size", "20", "--anchors", "2"]
    assert main(["teacher", "train", "--name", "resnet", *data, *out]) == 0
    assert f"file:{tmp_path}/out/resnet.safetensors@resnet" in capsys.readouterr().out.replace("\n", "")
    record = json.loads((tmp_path / "out" / "resnet.json").read_text())
    assert record["trained_on"].startswith("100 training images")
    assert [anchor["file"] for anchor in record["anchors"]] == ["resnet.anchor1.safetensors"]
    task = load_data(f"imagefolder:{photos}", train_size=60, val_size=40)
    teacher = load_teacher(f"file:{tmp_path}/out/resnet.safetensors@resnet", task)
    assert teacher is not None
    assert load_teacher(f"file:{tmp_path}/out/resnet.anchor1.safetensors@resnet", task) is not None
    answers = teacher.logits(task.train.images).argmax(1)
    assert (answers == task.train.labels).float().mean() > 0.9  # bright is not dark


def test_bad_settings_are_said_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["teacher", "train", "--name", "resnt"]) == 1
    assert "Did you mean 'resnet'?" in capsys.readouterr().err
