"""`akd export --format`: files measured by running them, on real images."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from akd_gym.space import make_space

SPACE = make_space("akd", "small")
ARCHITECTURE = str(SPACE.network(tuple(0 for _ in SPACE.decisions)))
OTHER = str(SPACE.network(SPACE.reference))


@pytest.fixture(scope="module")
def trained(akd, own_cache, tmp_path_factory):
    """The folder of a student that has learned something."""
    out = tmp_path_factory.mktemp("trained") / "student"
    options = ["--method=hard", "--epochs=3", "--train-size=2000", "--batch-size=64", "--out", out]
    result = akd("train", ARCHITECTURE, *options)
    assert result.status == 0, result
    return out


def run_tflite(path, images):
    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    [inputs], [outputs] = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.set_tensor(inputs["index"], images)
    interpreter.invoke()
    return interpreter.get_tensor(outputs["index"])


def test_an_int8_file_is_a_fraction_of_the_size_at_nearly_the_accuracy(akd, trained, tmp_path):
    weights, out = trained / "student.safetensors", tmp_path / "student.int8.tflite"
    options = ["--data=fashion", "--images=400", "--calibration-images=64", "--out", out]
    result = akd("export", ARCHITECTURE, "--weights", weights, "--format=int8", *options)
    assert result.status == 0, result
    record = json.loads((tmp_path / "student.int8.json").read_text())
    assert (record["architecture"], record["part"], record["images"]) == (ARCHITECTURE, "test", 400)
    full, small = record["files"]["float32"], record["files"]["int8"]
    assert (full["file"], small["file"]) == ("student.float32.tflite", "student.int8.tflite")
    for file in (full, small):
        content = (tmp_path / file["file"]).read_bytes()
        assert (file["bytes"], file["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
        assert f"{100 * file['accuracy']:.2f} %" in result.out
    assert small["bytes"] < 0.6 * full["bytes"]  # of so small a student the operators are a good part
    assert full["agreement"] == 1
    assert small["agreement"] > 0.85
    assert abs(small["accuracy"] - full["accuracy"]) < 0.1
    answers = run_tflite(out, np.zeros((1, 28, 28, 1), np.float32))
    assert answers.shape == (1, 10)
    assert answers.dtype == np.float32


def test_a_float16_file_answers_like_the_float32_file(akd, trained, tmp_path):
    weights = trained / "student.safetensors"
    options = ["--format=float16", "--data=fashion", "--images=300", "--out", tmp_path / "half.tflite"]
    assert akd("export", ARCHITECTURE, "--weights", weights, *options).status == 0
    half = json.loads((tmp_path / "half.json").read_text())["files"]["float16"]
    assert half["agreement"] > 0.99


def test_a_float32_file_is_as_accurate_as_the_network(akd, trained, tmp_path):
    weights = trained / "student.safetensors"
    options = ["--data=fashion", "--out", tmp_path / "full.tflite"]
    assert akd("export", ARCHITECTURE, "--weights", weights, *options).status == 0
    record = json.loads((tmp_path / "full.json").read_text())
    trained_as = json.loads((trained / "record.json").read_text())
    assert record["images"] == 5000
    assert record["files"]["float32"]["accuracy"] == pytest.approx(trained_as["test_accuracy"], abs=2 / 5000)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full.json", "full.tflite"]


def test_int8_of_random_weights_is_there_to_be_measured(akd, tmp_path):
    out = tmp_path / "x.tflite"
    result = akd("export", OTHER, "--format=int8", "--data=fashion", "--calibration-images=8", "--out", out)
    assert "int8, random weights" in result.out
    assert run_tflite(out, np.zeros((1, 28, 28, 1), np.float32)).shape == (1, 10)


def test_formats_that_cannot_be(akd, trained, tmp_path):
    weights, out = trained / "student.safetensors", ["--out", tmp_path / "x.tflite"]
    int8 = ["--weights", weights, "--format=int8", *out]
    assert "`format` int8 must have images to be calibrated with" in akd("export", ARCHITECTURE, *int8).error
    assert "Unknown data set 'fashin'" in akd("export", ARCHITECTURE, *int8, "--data=fashin").error
    int8.append("--data=fashion")
    assert f"holds weights of '{ARCHITECTURE}'" in akd("export", OTHER, *int8).error
    assert "must be at least 1, but got 0" in akd("export", ARCHITECTURE, *int8, "--calibration-images=0").error
    many = akd("export", ARCHITECTURE, *int8, "--calibration-images=99999").error
    assert "number of calibration images must be from 1 to the 10,000 there are, but got 99999" in many
    many = akd("export", ARCHITECTURE, *int8, "--images=99999").error
    assert "number of images must be from 1 to the 5,000 there are, but got 99999" in many
    assert list(tmp_path.iterdir()) == []


def test_data_of_other_classes_is_refused(akd, trained, tmp_path):
    for part in ("cat", "dog"):
        (tmp_path / "images" / part).mkdir(parents=True)
        for number in range(4):
            Image.new("L", (28, 28), 60 * number).save(tmp_path / "images" / part / f"{number}.png")
    weights, data = trained / "student.safetensors", f"--data=imagefolder:{tmp_path / 'images'}"
    error = akd("export", ARCHITECTURE, "--weights", weights, data, "--out", tmp_path / "x.tflite").error
    assert "must have the classes and channels that" in error
    assert "has 2 and" in error
