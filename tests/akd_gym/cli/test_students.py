from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter
from safetensors.torch import load_file

from akd_gym.agents.search import read_outcomes
from akd_gym.agents.settings import SearchSettings, write_settings
from akd_gym.architecture import NetworkSpec
from akd_gym.space import make_space
from akd_gym.students import load_student

SPACE = make_space("akd", "small")
ARCHITECTURE = str(SPACE.network(tuple(0 for _ in SPACE.decisions)))
OTHER = str(SPACE.network(SPACE.reference))
BAD = {
    "malformed": ("stem ir_r1 head", "Every token must look like 'stem_k3_s2_c32', but got 'stem'."),
    "incomplete": ("cn_r1", "An architecture is 'stem_... BLOCK ... head_...', but got 'cn_r1'."),
    "operator": (ARCHITECTURE.replace(" cn_", " zz_", 1), "zz_"),
}


def number(label, out):
    return float(re.search(rf"^{label} +([\d.]+)", out, re.MULTILINE)[1])


# akd evaluate


def test_evaluate_reproduces_a_search_to_the_digit(akd, finished):
    outcomes = read_outcomes(finished.run).outcomes
    for outcome in (outcomes[0], outcomes[-1]):
        result = akd("evaluate", outcome.architecture, "--like", finished.run)
        assert result.status == 0
        assert f"accuracy  {100 * outcome.accuracy:.4f} %\n" in result.out
        assert f"          {100 * outcome.accuracy:.4f} % in {finished.run}\n" in result.out
        assert number("seconds", result.out) > 0  # trained, not looked up


def test_another_seed_is_another_training(akd, finished, tmp_path):
    """So the numbers above are no constant."""
    outcomes = read_outcomes(finished.run).outcomes[:4]
    accuracies = [
        number("accuracy", akd("evaluate", o.architecture, "--like", finished.run, "--seed", 1).out) for o in outcomes
    ]
    assert accuracies != [round(100 * o.accuracy, 4) for o in outcomes]


def test_evaluate_never_looks_up_what_it_is_to_check(akd, tiny, tmp_path):
    options = ["--teacher=none", "--cost=madds", *tiny, "--ledger", tmp_path / "shared.sqlite"]
    assert akd("search", *options, "--workers=1", "--budget=4", "--round-size=4", "--run", tmp_path / "run").status == 0
    name = read_outcomes(tmp_path / "run").outcomes[0].architecture
    assert number("seconds", akd("evaluate", name, "--like", tmp_path / "run").out) > 0
    assert number("seconds", akd("evaluate", name, *options).out) == 0  # asked for by name, a ledger is used


@pytest.mark.slow
def test_evaluate_measures_latency(akd, tiny, own_machine):
    result = akd("evaluate", ARCHITECTURE, "--teacher=none", *tiny)
    assert result.status == 0, result
    assert re.search(r"^latency +\d+\.\d+ ms \(host: .+\)$", result.out, re.MULTILINE)


def test_an_infeasible_student_is_an_error(akd, tiny):
    options = ["--teacher=none", "--cost=madds", *tiny, "--recipe.learning-rate=1e30"]
    assert akd("evaluate", ARCHITECTURE, *options).error.startswith("diverged")


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("command", ["evaluate", "train", "export"])
def test_a_malformed_architecture(akd, tmp_path, command, bad):
    text, message = BAD[bad]
    options = [] if command == "evaluate" else ["--out", tmp_path / "out"]
    assert message in akd(command, text, *options).error
    assert not (tmp_path / "out").exists()


def test_an_architecture_of_another_space(akd, tiny):
    mnas = make_space("mnas", "mnasnet")
    foreign = str(mnas.network(mnas.reference))
    error = akd("evaluate", foreign, "--teacher=none", "--cost=madds", *tiny).error
    assert "The architecture is not of the space 'akd' with skeleton 'small'" in error


def test_evaluate_like_what_is_no_search(akd, tmp_path):
    assert "must be the directory of a search" in akd("evaluate", ARCHITECTURE, "--like", tmp_path).error
    write_settings(tmp_path, SearchSettings())
    (tmp_path / "settings.json").write_text("{")
    assert "settings.json must hold the settings of a search" in akd("evaluate", OTHER, "--like", tmp_path).error


# akd train

QUICK = ["--epochs=3", "--train-size=128", "--batch-size=32"]


@pytest.fixture(scope="module")
def trained(akd, own_cache, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "student"
    result = akd("train", ARCHITECTURE, *QUICK, "--teacher=shipped:resnet", "--out", out)
    assert result.status == 0, result
    return out, result.out


def test_train_writes_student_and_record(trained):
    out, text = trained
    record = json.loads((out / "record.json").read_text())
    assert (record["architecture"], record["teacher"], record["recipe"]["epochs"]) == (
        ARCHITECTURE,
        "shipped:resnet",
        3,
    )
    for part, name in (("val", "mini-val"), ("test", "test")):
        top1, top5 = (f"{100 * record[f'{part}_{what}']:.2f} %" for what in ("accuracy", "top5"))
        assert re.search(rf"^ *{name} +{re.escape(top1)} +{re.escape(top5)}", text, re.MULTILINE), text
    assert str(out / "student.safetensors") in text


def test_hard_labels_take_no_teacher(akd, tmp_path):
    result = akd("train", ARCHITECTURE, "--epochs=1", "--train-size=64", "--method=hard", "--out", tmp_path / "hard")
    assert result.status == 0
    assert "Soft labels" not in result.out
    assert json.loads((tmp_path / "hard" / "record.json").read_text())["teacher"] is None


@pytest.mark.slow
def test_train_goes_on_after_a_kill_to_the_same_result(akd, trained, tmp_path):
    out = tmp_path / "student"
    words = ["train", ARCHITECTURE, *QUICK, "--teacher=shipped:resnet", "--out", str(out)]
    code = "import sys; from akd_gym.cli import main; sys.exit(main())"
    process = subprocess.Popen([sys.executable, "-c", code, *words], stdout=subprocess.DEVNULL)
    while process.poll() is None and not (out / "checkpoint.safetensors").exists():
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "record.json").exists(), "it was not killed in time"
    assert akd(*words).status == 0
    assert (out / "record.json").read_bytes() == (trained[0] / "record.json").read_bytes()
    weights = [load_file(folder / "student.safetensors") for folder in (out, trained[0])]
    torch.testing.assert_close(*weights, rtol=0, atol=0)


def test_train_refuses_the_checkpoint_of_another_training(akd, trained):
    words = ["train", ARCHITECTURE, *QUICK, "--teacher=shipped:resnet", "--out", trained[0], "--seed=1"]
    assert "holds the checkpoint of a training with other seed" in akd(*words).error


def test_a_damaged_checkpoint_is_named(akd, tmp_path):
    (tmp_path / "checkpoint.safetensors").write_bytes(b"\0" * 100)
    error = akd("train", ARCHITECTURE, *QUICK, "--method=hard", "--out", tmp_path).error
    assert f"The checkpoint {tmp_path}/checkpoint.safetensors is damaged" in error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--teacher=none"], "`method` kd must have a teacher, but got `teacher` none."),
        (["--teacher=shipped:resnext"], "Unknown teacher"),
        (["--data=fashin"], "Unknown data set 'fashin'. Did you mean 'fashion'?"),
        (["--epochs=0"], "`epochs` must be at least 1, but got 0."),
        (["--epochs=-2"], "`epochs` must be at least 1, but got -2."),
        (["--train-size=99999"], "at most the 12000 images of 'fashion'"),
        (["--method=hard", "--device=tpu"], "`device` must be one that torch can use here"),
        (["--method=hard", "--learning-rate=1e30", *QUICK[1:], "--epochs=1"], "diverged"),
    ],
)
def test_bad_settings_of_a_training(akd, tmp_path, options, message):
    assert message in akd("train", ARCHITECTURE, *options, "--out", tmp_path / "out").error


def test_a_folder_that_cannot_be_made(akd, tmp_path):
    (tmp_path / "file").touch()
    error = akd("train", ARCHITECTURE, "--method=hard", *QUICK, "--out", tmp_path / "file" / "out").error
    assert "cannot be made: Not a directory" in error


@pytest.mark.slow
def test_a_full_disk_keeps_the_last_checkpoint(akd_process, tmp_path, trained):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))"
    error = akd_process("train", ARCHITECTURE, *QUICK, "--method=hard", "--out", tmp_path / "o", before=limit).error
    assert "checkpoint.safetensors` cannot be written: File too large" in error
    assert [path.name for path in (tmp_path / "o").iterdir()] == ["tensorboard"]


# akd export


def run_tflite(path, images):
    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    [inputs], [outputs] = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.set_tensor(inputs["index"], images)
    interpreter.invoke()
    return interpreter.get_tensor(outputs["index"])


def test_an_exported_student_answers_as_in_torch(akd, trained, tmp_path):
    weights = trained[0] / "student.safetensors"
    result = akd("export", ARCHITECTURE, "--weights", weights, "--out", tmp_path / "student.tflite")
    assert result.status == 0
    assert f"weights of {weights}" in result.out
    network, _ = load_student(weights, NetworkSpec.parse(ARCHITECTURE))
    images = torch.randn(1, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network(images).numpy()
    answers = run_tflite(tmp_path / "student.tflite", images.permute(0, 2, 3, 1).contiguous().numpy())
    np.testing.assert_allclose(answers, expected, rtol=1e-3, atol=1e-4)


def test_random_weights_at_any_size(akd, tmp_path):
    options = ["--resolution=32", "--channels=3", "--classes=7", "--out", tmp_path / "x.tflite"]
    result = akd("export", OTHER, *options)
    assert "random weights" in result.out
    answers = run_tflite(tmp_path / "x.tflite", np.zeros((1, 32, 32, 3), np.float32))
    assert answers.shape == (1, 7)


def test_weights_that_do_not_belong(akd, trained, tmp_path):
    weights = trained[0] / "student.safetensors"
    out = ["--out", tmp_path / "x.tflite"]
    assert f"holds weights of '{ARCHITECTURE}', not of" in akd("export", OTHER, "--weights", weights, *out).error
    checkpoint = trained[0] / "checkpoint.safetensors"
    assert "must be a student that `akd train` wrote" in akd("export", OTHER, "--weights", checkpoint, *out).error
    assert "nothing must be a student" in akd("export", OTHER, "--weights", tmp_path / "nothing", *out).error
    assert "`classes` must be at least 1" in akd("export", OTHER, "--classes=0", *out).error
    (tmp_path / "file").touch()
    assert "cannot be written" in akd("export", OTHER, "--out", tmp_path / "file" / "x.tflite").error
    assert not (tmp_path / "x.tflite").exists()
