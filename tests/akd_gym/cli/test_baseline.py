"""`akd baseline`: measured on this machine, written, and trained like any student."""

from __future__ import annotations

import csv
import json
import re

import pytest

from akd_gym.architecture import NetworkSpec
from akd_gym.baselines import baseline
from akd_gym.cost import count_cost

SMALL = ["--resolution=16", "--channels=1", "--classes=10"]


def test_measured_baselines_become_rows_of_a_table(akd, own_machine, tmp_path):
    table = tmp_path / "baselines.csv"
    options = [*SMALL, "--tolerance=0.2", "--out", table]
    first = akd("baseline", "mobilenet_v3_small", "--target-ms=0.3", *options)
    assert first.status == 0, first
    assert akd("baseline", "mobilenet_v2", "--target-ms=0.5", *options).status == 0
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["baseline"] for row in rows] == ["mobilenet_v3_small", "mobilenet_v2"]
    row = rows[0]
    spec = baseline("mobilenet_v3_small", float(row["ratio"]), undo_strides=2)  # images of 16 px
    assert row["architecture"] == str(spec)
    cost = count_cost(spec, 16, 1, 10)
    assert (int(row["madds"]), int(row["params"])) == (cost.madds, cost.params)
    assert row["is_met"] == "True"
    assert float(row["latency_ms"]) == pytest.approx(0.3, rel=0.2)
    assert re.search(r"^latency +\d.* ms \(host: ", first.out, re.MULTILINE)
    assert f"akd train '{spec}'" in first.out


@pytest.mark.slow
def test_a_baseline_trains_and_exports_like_any_student(akd, tmp_path):
    spec = baseline("mobilenet_v3_small", 0.1, undo_strides=3)
    options = ["--method=hard", "--epochs=1", "--train-size=64", "--out", tmp_path / "student"]
    assert akd("train", spec, *options).status == 0
    options = ["--weights", tmp_path / "student" / "student.safetensors", "--format=int8", "--data=fashion"]
    exported = akd("export", spec, *options, "--images=100", "--out", tmp_path / "student.tflite")
    assert exported.status == 0, exported


def test_json_holds_every_measurement(akd, own_machine, tmp_path):
    out = tmp_path / "b.json"
    words = ["baseline", "mnasnet_b1", "--target-ms=1", "--tolerance=0.3", "--undo-strides=0", *SMALL, "--out", out]
    assert akd(*words).status == 0
    data = json.loads(out.read_text())
    assert data["architecture"] in [trial["architecture"] for trial in data["trials"]]
    assert data["record"]["architecture"] == data["architecture"]
    assert data["record"]["kind"] == data["kind"] == "host"
    assert NetworkSpec.parse(data["architecture"]).stem_stride == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mobilenet_v4", "--target-ms=1"], "Unknown baseline 'mobilenet_v4'. Did you mean"),
        (["mobilenet_v2", "--target-ms=0"], "`target_ms` must be positive, but got 0.0."),
        (["mobilenet_v2", "--target-ms=1", "--tolerance=2"], "`tolerance` must be between 0 and 1"),
        (["mobilenet_v2", "--target-ms=1", "--resolution=0"], "`resolution` must be at least 1, but got 0."),
        (["mobilenet_v2", "--target-ms=1", "--undo-strides=9"], "`undo_strides` must be from 0 to the 5 strides"),
        (["mobilenet_v2", "--target-ms=1", "--latency=hots"], "Unknown latency source 'hots'. Did you mean 'host'?"),
        (["mobilenet_v2", "--target-ms=1", "--data=fashin"], "Unknown data set 'fashin'"),
        (["mobilenet_v2", "--target-ms=1", "--out=x.txt"], "`out` must end in .csv or .json, but got x.txt."),
    ],
)
def test_bad_settings_of_a_baseline(akd, words, message):
    assert message in akd("baseline", *words).error


def test_a_target_that_cannot_be_met_says_what_can(akd, own_machine):
    error = akd("baseline", "mobilenet_v3_small", "--target-ms=0.0001", *SMALL).error
    assert re.search(
        r"must be at least 0\.\d+, which it takes at its narrowest \(ratio 0\.05\), but got 0\.0001", error
    )


def test_a_table_of_other_columns_is_left_alone(akd, own_machine, tmp_path):
    (tmp_path / "b.csv").write_text("name,ms\na,1\n")
    words = ["mobilenet_v3_small", "--target-ms=0.3", "--tolerance=0.9", *SMALL, "--out", tmp_path / "b.csv"]
    assert "must be a table of `akd baseline` or a new file" in akd("baseline", *words).error
    assert (tmp_path / "b.csv").read_text() == "name,ms\na,1\n"
