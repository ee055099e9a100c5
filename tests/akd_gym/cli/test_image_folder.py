"""The whole way on a folder of JPEGs at 224 pixels: search, full training, export; the pictures streamed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from ai_edge_litert.interpreter import Interpreter
from torchvision import models

from akd_gym.agents.search import read_outcomes


@pytest.fixture(scope="module")
def folder(write_photographs: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 pictures of 224 to 290 pixels, one of them cut short."""
    root = write_photographs(tmp_path_factory.mktemp("folder"), 200, 224, 290)
    broken = root / "train" / "above" / "017.jpg"
    broken.write_bytes(broken.read_bytes()[:-3000])
    return root


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> str:
    """ImageNet's kind of network, untrained."""
    path = tmp_path_factory.mktemp("teacher") / "resnet18.pt"
    torch.manual_seed(0)
    torch.save(models.resnet18(num_classes=2).state_dict(), path)
    return f"file:{path}@torchvision:resnet18"


@pytest.mark.slow
def test_from_search_to_the_exported_student(akd, folder: Path, teacher: str, tmp_path: Path) -> None:
    data = f"imagefolder:{folder}?stream&skip"
    recipe = {"epochs": 1, "warmup-epochs": 0.5, "batch-size": 16, "train-size": 48, "val-size": 24, "crop-area": 0.3}
    options = [
        "--data",
        data,
        "--teacher",
        teacher,
        "--cost=madds",
        "--skeleton=small",
        "--workers=1",
        "--agent=random",
    ]
    chosen = [f"--recipe.{name}={value}" for name, value in recipe.items()]
    found = akd("search", *options, *chosen, "--agent=random", "--budget=2", "--run", tmp_path / "run")
    assert found.status == 0, found
    outcomes = [outcome for outcome in read_outcomes(tmp_path / "run").outcomes if outcome.feasible]
    assert len(outcomes) == 2
    student = min(outcomes, key=lambda outcome: outcome.madds).architecture

    own = ["--data", data, "--teacher", teacher, "--crop-area=0.3", "--epochs=1", "--batch-size=16"]
    sizes = ["--train-size=64", "--val-size=32", "--eval-every=1", "--out", tmp_path / "trained"]
    trained = akd("train", student, *own, *sizes)
    assert trained.status == 0, trained
    record = json.loads((tmp_path / "trained" / "record.json").read_text())
    assert record["recipe"]["crop_area"] == 0.3
    assert 0 <= record["test_accuracy"] <= 1

    weights, file = tmp_path / "trained" / "student.safetensors", tmp_path / "student.tflite"
    exported = akd("export", student, "--weights", weights, "--data", data, "--images=20", "--out", file)
    assert exported.status == 0, exported
    interpreter = Interpreter(model_path=str(file))
    assert interpreter.get_input_details()[0]["shape"].tolist() == [1, 224, 224, 3]
    assert interpreter.get_output_details()[0]["shape"].tolist() == [1, 2]
