"""The card says what the record says, and what it tells a reader to do works."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from akd_gym.architecture import NetworkSpec
from akd_gym.cli import main
from akd_gym.data import load_data
from akd_gym.full_training import CARD, train_fully
from akd_gym.model_card import model_card
from akd_gym.recipes import Recipe
from akd_gym.students import RECORD, STUDENT

ARCHITECTURE = (
    "stem_k3_s2_c8 cn_r1_k3_s1_c8_id ir_r2_k5_s2_e3_c12_se0.25_id ds_r1_k3_s1_c16_pool head_c24"  # 28 px: 14, 14, 7, 7
)


@pytest.fixture(scope="module")
def folder(own_cache: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("student")
    recipe = Recipe(epochs=2, warmup_epochs=1, batch_size=32, ema_decay=0.9)
    data = load_data(train_size=64, val_size=50, test_size=70)
    train_fully(NetworkSpec.parse(ARCHITECTURE), data, recipe, out, teacher="shipped:resnet", seed=3)
    return out


@pytest.fixture(scope="module")
def record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / RECORD).read_text())


def cells(card: str, first: str) -> list[str]:
    """The row of a table that begins with a cell."""
    [row] = [line for line in card.splitlines() if line.startswith(f"| {first} |")]
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_the_card_says_what_the_record_says(folder: Path, record: dict[str, Any]) -> None:
    card = (folder / CARD).read_text()
    assert card == model_card(record)
    assert card.startswith("# A student for fashion, distilled from shipped:resnet\n")
    assert cells(card, "test")[1:] == [
        "70", f"{100 * record['test_accuracy']:.2f} %", f"{100 * record['test_top5']:.2f} %",
    ]  # fmt: skip
    assert f"| 50 | {100 * record['val_accuracy']:.2f} % | {100 * record['val_top5']:.2f} % |" in card
    assert cells(card, "stem")[-1] == "8 x 14 x 14"
    assert cells(card, "2") == ["2", "inverted residual x3", "2", "5", "2", "identity", "0.25", "12 x 7 x 7"]
    assert cells(card, "3")[-3:] == ["pool", "", "16 x 7 x 7"]
    assert cells(card, "classifier")[-1] == "10"
    assert cells(card, "`ema_decay`") == ["`ema_decay`", "0.9"]
    assert cells(card, "parameters")[1] == f"{record['params']:,}"
    assert cells(card, "latency")[1] == "not measured: `akd measure`"
    sha256 = hashlib.sha256((folder / STUDENT).read_bytes()).hexdigest()
    assert cells(card, f"`{STUDENT}`")[1:] == [f"{(folder / STUDENT).stat().st_size:,}", f"`{sha256}`"]


def test_its_python_runs(folder: Path, record: dict[str, Any]) -> None:
    [code] = re.findall(r"```python\n(.*?)```", (folder / CARD).read_text(), re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.stdout.strip() in record["classes"], done.stderr


def test_its_command_exports(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [line] = re.findall(r"^akd export .*$", (folder / CARD).read_text(), re.MULTILINE)
    monkeypatch.chdir(folder)
    assert main(shlex.split(line)[1:]) == 0
    assert (folder / "student.tflite").stat().st_size > 0


def test_what_may_be_missing(record: dict[str, Any]) -> None:
    names = [f"class {number}" for number in range(30)]
    bare = record | {"teacher": None, "method": "hard", "test_accuracy": None, "val_top5": None, "classes": names}
    card = model_card(bare)
    assert card.startswith("# A student for fashion\n")
    assert not [line for line in card.splitlines() if line.startswith("| test |")]
    assert cells(card, "teacher") == ["teacher", "none"]
    assert cells(card, "classes") == ["classes", "30"]
    assert f"| 50 | {100 * record['val_accuracy']:.2f} % | - |" in card


def test_a_latency(record: dict[str, Any]) -> None:
    latency = {
        "verdict": "ok", "median_ms": 0.04271, "kind": "host", "device": "A CPU", "runtime": "litert",
        "runtime_version": "1.4", "threads": 1, "created": "2026-01-01T00:00:00Z", "reason": None,
    }  # fmt: skip
    row = cells(model_card(record | {"latency": latency}), "latency")[1]
    assert row == "0.04271 ms (host: A CPU, litert 1.4, 1 thread, 2026-01-01T00:00:00Z)"
    failed = latency | {"verdict": "failed", "median_ms": None, "reason": "timeout after 60 s"}
    assert cells(model_card(record | {"latency": failed}), "latency")[1] == "none, timeout after 60 s"
