"""Full training of one student: to the same weights with or without a break, and what is kept of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from akd_gym.data import TaskData, load_data
from akd_gym.errors import CorruptFileError, InfeasibleCandidateError, RunMismatchError, StorageError
from akd_gym.full_training import CHECKPOINT, train_fully
from akd_gym.recipes import Recipe
from akd_gym.space import make_space
from akd_gym.student_answers import evaluate
from akd_gym.students import RECORD, STUDENT, load_student
from akd_gym.teachers.networks import build_teacher_network

SPACE = make_space("akd", "small")
SPEC = SPACE.network((1, 1, 0, 0, 0) * 7)
OTHER = SPACE.network((1, 0, 0, 0, 0) * 7)
TEACHERS = pytest.mark.parametrize("teacher", [None, "shipped:resnet"], ids=["hard", "kd"])


class Stopped(BaseException):
    """Ctrl-C, or the power."""


def stop_after(last: int) -> Callable[[int, float], None]:
    def on_epoch(epoch: int, loss: float) -> None:
        if epoch == last:
            raise Stopped

    return on_epoch


@pytest.fixture(scope="module")
def data() -> TaskData:
    return load_data(train_size=128, val_size=100, test_size=150)


@pytest.fixture
def recipe(tiny_recipe: Recipe) -> Recipe:
    """4 epochs over 2 views."""
    return replace(tiny_recipe, epochs=4, views=2)


def strict_json(path: Path) -> dict[str, Any]:
    def refuse(text: str) -> None:
        raise ValueError(f"{text} is not JSON.")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


@TEACHERS
def test_a_stopped_training_ends_with_the_weights_of_an_unbroken_one(
    teacher: str | None, data: TaskData, recipe: Recipe, tmp_path: Path
) -> None:
    whole = train_fully(SPEC, data, recipe, tmp_path / "whole", teacher=teacher)
    for last in (1, 3):
        with pytest.raises(Stopped):
            train_fully(SPEC, data, recipe, tmp_path / "broken", teacher=teacher, on_epoch=stop_after(last))
    assert not (tmp_path / "broken" / STUDENT).exists()
    epochs: list[int] = []
    resumed = train_fully(
        SPEC, data, recipe, tmp_path / "broken", teacher=teacher, on_epoch=lambda epoch, _: epochs.append(epoch)
    )
    assert epochs == [4]
    assert replace(resumed, student=whole.student) == whole
    ours, theirs = load_file(resumed.student), load_file(whole.student)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert strict_json(tmp_path / "broken" / RECORD) == strict_json(tmp_path / "whole" / RECORD)


def test_a_finished_training_is_not_paid_for_again(data: TaskData, recipe: Recipe, tmp_path: Path) -> None:
    first = train_fully(SPEC, data, recipe, tmp_path)
    record = strict_json(tmp_path / RECORD)
    again = train_fully(SPEC, data, recipe, tmp_path, on_epoch=stop_after(1))
    assert again == first
    assert strict_json(tmp_path / RECORD) == record


def test_a_teacher_and_a_seed_make_other_students(data: TaskData, recipe: Recipe, tmp_path: Path) -> None:
    settings: list[dict[str, Any]] = [{}, {"seed": 1}, {"teacher": "shipped:resnet"}]
    losses = [train_fully(SPEC, data, recipe, tmp_path / str(n), **s).loss for n, s in enumerate(settings)]
    assert len(set(losses)) == 3


@TEACHERS
def test_student_and_record_say_what_was_trained(
    teacher: str | None, data: TaskData, recipe: Recipe, tmp_path: Path
) -> None:
    result = train_fully(SPEC, data, recipe, tmp_path, teacher=teacher, seed=3)
    assert result.student == tmp_path / STUDENT
    network, about = load_student(result.student, SPEC)
    assert not network.training
    assert evaluate(network, data.val, data) == result.val_accuracy
    assert data.test is not None
    assert evaluate(network, data.test, data) == result.test_accuracy
    assert json.loads(about["classes"]) == list(data.class_names)
    assert (json.loads(about["mean"]), json.loads(about["std"])) == (list(data.mean), list(data.std))
    assert (about["resolution"], about["channels"]) == ("28", "1")

    record = strict_json(tmp_path / RECORD)
    assert record["schema_version"] == 1
    content = result.student.read_bytes()
    assert record["files"] == {STUDENT: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}}
    assert (record["train_images"], record["val_images"], record["test_images"]) == (128, 100, 150)
    assert (record["val_top5"], record["test_top5"]) == (result.val_top5, result.test_top5)
    assert (record["resolution"], record["channels"], record["classes"]) == (28, 1, list(data.class_names))
    assert (record["architecture"], record["teacher"], record["seed"]) == (str(SPEC), teacher, 3)
    assert (record["data"], record["fingerprint"]) == ("fashion", data.fingerprint)
    assert (record["val_accuracy"], record["test_accuracy"]) == (result.val_accuracy, result.test_accuracy)
    assert record["loss"] == result.loss
    assert record["params"] == sum(p.numel() for p in network.parameters())
    assert ("alpha" in record["recipe"]) == (teacher is not None)


def test_data_without_a_test_set(data: TaskData, recipe: Recipe, tmp_path: Path) -> None:
    result = train_fully(SPEC, replace(data, test=None), replace(recipe, epochs=2), tmp_path)
    assert result.test_accuracy is None
    assert result.test_top5 is None
    record = strict_json(tmp_path / RECORD)
    assert [record[f"test_{what}"] for what in ("accuracy", "top5", "images")] == [None] * 3


def test_the_checkpoint_of_another_training_is_refused_and_kept(data: TaskData, recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        train_fully(SPEC, data, recipe, tmp_path, on_epoch=stop_after(1))
    before = (tmp_path / CHECKPOINT).read_bytes()
    for expected, spec, other_recipe, options in [
        ("architecture", OTHER, recipe, {}),
        ("recipe", SPEC, replace(recipe, learning_rate=0.2), {}),
        ("seed", SPEC, recipe, {"seed": 1}),
        ("method, recipe, teacher, teacher_weights", SPEC, recipe, {"teacher": "shipped:resnet"}),
    ]:
        with pytest.raises(RunMismatchError, match=f"a training with other {expected}: take another"):
            train_fully(spec, data, other_recipe, tmp_path, **options)
    changed = replace(data, fingerprint="other pictures under the same name")
    with pytest.raises(RunMismatchError, match="with other fingerprint"):
        train_fully(SPEC, changed, recipe, tmp_path)
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    train_fully(SPEC, data, recipe, tmp_path, teacher="none")  # another name of None


def test_a_teacher_whose_file_changed_is_another_teacher(data: TaskData, recipe: Recipe, tmp_path: Path) -> None:
    own = tmp_path / "own.safetensors"
    teacher = f"file:{own}@resnet"
    torch.manual_seed(0)
    save_file(build_teacher_network("resnet", 10, 1, 28).state_dict(), own)
    with pytest.raises(Stopped):
        train_fully(SPEC, data, recipe, tmp_path / "out", teacher=teacher, on_epoch=stop_after(1))
    save_file(build_teacher_network("resnet", 10, 1, 28).state_dict(), own)
    with pytest.raises(RunMismatchError, match="with other teacher_weights: take another"):
        train_fully(SPEC, data, recipe, tmp_path / "out", teacher=teacher)


@pytest.mark.parametrize("damage", ["truncated", "empty", "not ours", "no file"])
def test_a_damaged_checkpoint_is_named(damage: str, data: TaskData, recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        train_fully(SPEC, data, recipe, tmp_path, on_epoch=stop_after(1))
    path = tmp_path / CHECKPOINT
    content = path.read_bytes()
    if damage == "not ours":
        save_file(load_file(path), path)  # without what it says of itself
    elif damage == "no file":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(content[:-100] if damage == "truncated" else b"")
    with pytest.raises(CorruptFileError, match=r"checkpoint\.safetensors is damaged .*remove it to begin anew"):
        train_fully(SPEC, data, recipe, tmp_path)


def test_a_student_that_cannot_be_loaded_is_named(data: TaskData, recipe: Recipe, tmp_path: Path) -> None:
    student = train_fully(SPEC, data, replace(recipe, epochs=2), tmp_path).student
    with pytest.raises(RunMismatchError, match=r"holds weights of 'stem_.*not of 'stem_"):
        load_student(student, OTHER)
    content = bytearray(student.read_bytes())
    content[-1] ^= 1
    student.write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"must have the SHA-256 that record\.json beside it says"):
        load_student(student, SPEC)
    alone = tmp_path / "alone"
    alone.mkdir()
    student = student.rename(alone / STUDENT)
    load_student(student, SPEC)  # where nothing says what it should be
    student.write_bytes(student.read_bytes()[:-100])
    with pytest.raises(CorruptFileError, match="must be a student that `akd train` wrote"):
        load_student(student, SPEC)
    with pytest.raises(CorruptFileError, match="must be a student that `akd train` wrote"):
        load_student(tmp_path / "nowhere.safetensors", SPEC)


def test_what_ends_a_training(data: TaskData, recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(InfeasibleCandidateError, match="diverged"):
        train_fully(SPEC, data, replace(recipe, learning_rate=1e30), tmp_path / "diverged")
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be made"):
        train_fully(SPEC, data, recipe, tmp_path / "file" / "out")
