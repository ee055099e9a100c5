"""Two processes that train one student: what they do is what one does with the same batches."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from akd_gym.distributed import ALONE, is_first_process, is_launched, joined, local_device
from akd_gym.errors import InvalidSettingError

SCRIPT = Path(__file__).with_name("torchrun_script.py")

Torchrun = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def torchrun(own_cache: None) -> Torchrun:
    """Starts two processes by `torchrun`."""

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        return subprocess.run([*command, *map(str, words)], capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(SCRIPT))


@pytest.fixture(scope="module")
def together(torchrun: Torchrun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("together")
    done = torchrun(SCRIPT, "together", out)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.slow
@pytest.mark.parametrize("case", ["batch norm", "parts", "no norm", "own weights"])
def test_all_processes_have_the_weights_of_one_that_accumulates(
    case: str, together: Path, script: dict[str, Any]
) -> None:
    """To the last bit where each has one part: halves are exact, and two numbers have one sum."""
    first, second = (load_file(together / f"{case}{rank}.safetensors") for rank in (0, 1))
    alone = script["trained"](case, parts=2)
    assert first.keys() == second.keys() == alone.keys()
    assert ("method.project.weight" in alone) == (case == "own weights")
    for name, own in alone.items():
        assert torch.equal(first[name], second[name]), name
        if case == "parts":
            torch.testing.assert_close(first[name], own, rtol=1e-4, atol=1e-6)
        elif name == "loss":
            torch.testing.assert_close(first[name], own)
        else:
            assert torch.equal(first[name], own), name


@pytest.mark.slow
def test_without_batch_norm_they_are_those_of_the_whole_batch(together: Path, script: dict[str, Any]) -> None:
    first, alone = load_file(together / "no norm0.safetensors"), script["trained"]("no norm")
    for name, own in alone.items():
        torch.testing.assert_close(first[name], own, rtol=1e-4, atol=1e-6)
    assert first["network.classifier.weight"].abs().max() > 0.03  # they moved: they begin with a deviation of 0.01


@pytest.mark.slow
def test_a_batch_that_cannot_be_shared_out(together: Path) -> None:
    for rank in (0, 1):
        refusal = (together / f"refusal{rank}.txt").read_text()
        assert "`batch_size` (33) must be divisible by the parts that 2 processes" in refusal
    assert not (together / "refused").exists()


@pytest.mark.slow
def test_a_stopped_training_of_two_goes_on_to_the_same_result(
    torchrun: Torchrun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AKD_GYM_CACHE", str(tmp_path / "cache"))  # no soft labels are there yet
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    done = torchrun(SCRIPT, "whole", whole)
    assert done.returncode == 0, done.stderr
    accuracies = re.findall(r"accuracy (0\.\d\d?)", done.stdout)
    assert len(accuracies) == 2
    assert len(set(accuracies)) == 1  # the first process's, told to all
    assert done.stdout.count("view 2 of 2 done") == 1  # soft labels are computed once, and only the first speaks
    stopped = torchrun(SCRIPT, "stopped", broken)
    assert stopped.returncode != 0
    assert "Process 1 stops, because another process of the training did" in stopped.stderr
    assert not (broken / "record.json").exists()
    resumed = torchrun(SCRIPT, "resumed", broken)
    assert resumed.returncode == 0, resumed.stderr
    for name in ("student.safetensors", "record.json", "README.md"):
        assert (broken / name).read_bytes() == (whole / name).read_bytes()
    assert json.loads((whole / "record.json").read_text())["processes"] == 2
    events = EventAccumulator(str(broken / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [1, 2]


@pytest.mark.slow
def test_the_command_in_two_processes(torchrun: Torchrun, script: dict[str, Any], tmp_path: Path) -> None:
    words = ["-m", "akd_gym", "train", script["SPEC"], "--method=hard", "--epochs=2", "--train-size=128"]
    done = torchrun(*words, "--batch-size=32", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("mini-val") == 2  # an evaluation after the first epoch, and the table, once
    assert done.stdout.count("weights  ") == 1


def test_a_process_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "8")  # of somebody else: nothing of `torchrun`
    assert not is_launched()
    assert is_first_process()
    assert local_device("cuda") == "cuda"
    with joined(torch.device("cpu")) as peers:
        assert peers is ALONE
    module = torch.nn.Linear(1, 1)
    assert ALONE.replicate(module, 1, False) is module
    assert ALONE.from_first(lambda: 3) == 3


def test_each_process_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "3", "RANK": "3"}.items():
        monkeypatch.setenv(name, value)
    assert not is_first_process()
    assert local_device("cuda") == "cuda:3"
    assert local_device("cpu") == "cpu"
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InvalidSettingError, match=r"at most one process a GPU, of which this machine has 2, .* 4`"):
        local_device("cuda")
