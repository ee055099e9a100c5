"""`akd audit`: the numbers, the budget, stopping and going on, and what cannot be audited."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from .conftest import Akd

SHORT = ("--count", 6, "--seeds", 2, "--neighbours", 5, "--epochs", 1)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, akd: Akd, small_fashion: Path, tiny: list[str]) -> Path:
    run = tmp_path_factory.mktemp("searched") / "run"
    data = f"--data=fashion-mnist:{small_fashion}"
    options = ["--agent=random", "--teacher=shipped:resnet", "--cost=madds", "--budget=8", "--workers=1", *tiny]
    result = akd("search", data, *options, "--run", run)
    assert result.status == 0, result
    return run


@pytest.fixture
def copied(searched: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(searched, tmp_path / "run"))


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory, akd: Akd, searched: Path) -> tuple[Path, str]:
    """An audited run, and what was printed."""
    run = Path(shutil.copytree(searched, tmp_path_factory.mktemp("audited") / "run"))
    result = akd("audit", run, *SHORT)
    assert result.status == 0, result
    return run, " ".join(result.out.split())


def test_an_audit_says_its_budget_and_then_what_it_found(audited: tuple[Path, str]) -> None:
    run, out = audited
    assert "Auditing run: 6 of its students, 2 epochs against 1 epoch of full training." in out
    assert "23 trainings to do; 6 more are there already." in out
    for line in (
        "6 x proxy, 2 epochs",
        "5 x proxy, 2 epochs, of neighbours",
        "6 x longer proxy, 4",
        "6 x full training, 1",
    ):
        assert line in out
    assert "6 students, trained fully" in out
    assert "Kendall tau of search and full training" in out
    assert "What more seconds a candidate bring" in out
    assert "- Of two students, full training agrees with the search" in out
    assert f"Written: {run}/audit/audit.json, {run}/audit/audit.png" in out
    document = json.loads((run / "audit" / "audit.json").read_text())
    assert len(document["students"]) == document["findings"]["students"] == 6
    with Image.open(run / "audit" / "audit.png") as picture:
        assert picture.width > 2000


def test_a_finished_audit_is_shown_again(akd: Akd, audited: tuple[Path, str], tmp_path: Path) -> None:
    run = shutil.copytree(audited[0], tmp_path / "run")
    (run / "audit" / "audit.json").unlink()
    result = akd("audit", run, *SHORT)
    assert "0 trainings to do; 29 more are there already." in result.out
    written = [(folder / "audit" / "audit.json").read_text() for folder in (audited[0], run)]
    assert written[0] == written[1]


def test_an_infeasible_full_training_is_named_and_left_out(akd: Akd, audited: tuple[Path, str], tmp_path: Path) -> None:
    run = shutil.copytree(audited[0], tmp_path / "run")
    table = run / "audit" / "trainings.csv"
    *others, last = table.read_text().splitlines()
    kind, epochs, name, seed, _, _, _, seconds, _ = last.split(",")
    failed = ",".join([kind, epochs, name, seed, "infeasible", "", "", seconds, "diverged"])
    table.write_text("\n".join([*others, failed]) + "\n")
    result = akd("audit", run, *SHORT)
    assert result.status == 0, result
    assert f"infeasible (diverged), full training, 1 epoch: {name}" in " ".join(result.out.split())
    assert "5 students, trained fully" in result.out
    assert json.loads((run / "audit" / "audit.json").read_text())["findings"]["students"] == 5


def test_a_stopped_audit_keeps_what_is_paid_and_goes_on(akd: Akd, copied: Path) -> None:
    words = ["audit", str(copied), "--count", "5", "--seeds", "1", "--neighbours", "0", "--epochs", "1"]
    code = "import sys; from akd_gym.cli import main; sys.exit(main())"
    table = copied / "audit" / "trainings.csv"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words], stdout=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "160"}
    )
    while process.poll() is None and (not table.exists() or table.read_bytes().count(b"\n") < 3):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate()
    assert process.returncode == 130, out
    assert "Stopped. Every training so far is kept; the same command goes on." in out
    paid = table.read_bytes().count(b"\n") - 1
    assert 2 <= paid < 10
    result = akd(*words)
    assert f"{10 - paid} trainings to do; {5 + paid} more are there already." in result.out
    assert result.status == 0, result


def test_a_dry_run_trains_nothing(akd: Akd, copied: Path) -> None:
    result = akd("audit", copied, *SHORT, "--dry-run")
    assert result.status == 0, result
    assert "23 trainings to do" in result.out
    assert "About" in result.out
    assert not (copied / "audit").exists()


def test_of_a_bench_run_the_answers_are_audited(akd: Akd, tmp_path: Path) -> None:
    run = tmp_path / "bench"
    assert akd("search", "--evaluator=bench", "--agent=random", "--budget=20", "--run", run).status == 0
    result = akd("audit", run, "--dry-run", "--count", 6, "--seeds", 2, "--neighbours", 0)
    assert "6 of its students, AKDBench's answers against 60 epochs of full training." in result.out
    assert "24 trainings to do." in result.out  # 12 on the proxy, 6 of twice its length, 6 full ones


def test_no_run_directory(akd: Akd, tmp_path: Path) -> None:
    assert "must be the directory of a search, but it has no settings.json" in akd("audit", tmp_path).error


def test_more_students_than_there_are(akd: Akd, searched: Path) -> None:
    error = akd("audit", searched, "--count", 9).error
    assert "9 students are asked for, but the search in" in error
    assert "among 8 candidates. Ask for fewer." in error


def test_too_few_students(akd: Akd, tmp_path: Path) -> None:
    run = tmp_path / "few"
    assert akd("search", "--evaluator=bench", "--agent=random", "--budget=3", "--run", run).status == 0
    error = akd("audit", run).error
    assert "An audit needs 5 students or more" in error
    assert "has 3 distinct feasible ones among 3 candidates. Search on, or audit another run." in error


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [("--count", 2, "`count` must be at least 5, but got 2"), ("--workers", 0, "`workers` must be at least 1")],
)
def test_settings_that_cannot_work(akd: Akd, copied: Path, option: str, value: int, error: str) -> None:
    assert error in akd("audit", copied, option, value).error


def test_a_teacher_that_is_gone(akd: Akd, copied: Path) -> None:
    path = copied / "settings.json"
    gone = f"file:{copied}/gone.safetensors@torchvision:resnet18"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"teacher": gone}))
    assert "gone.safetensors" in akd("audit", copied, *SHORT).error
