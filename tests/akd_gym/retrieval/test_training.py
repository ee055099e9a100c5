"""Training of embedders: they learn what the teacher says, stop and go on, and are told apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from akd_gym.architecture import NetworkSpec
from akd_gym.errors import CorruptFileError, InvalidSettingError, RunMismatchError, TeacherError, UnknownNameError
from akd_gym.retrieval.embedders import StudentEmbedder, embed
from akd_gym.retrieval.identities import FaceTask, load_faces, split_faces
from akd_gym.retrieval.study import FACE_RECIPE
from akd_gym.retrieval.teachers import load_embedding_teacher
from akd_gym.retrieval.training import Place, load_student, train_embedder, train_embedding_teacher
from akd_gym.students import STUDENT
from akd_gym.teachers import Teacher

SPEC = NetworkSpec.parse("stem_k3_s2_c8 cn_r1_k3_s2_c16_noskip ir_r1_k3_s2_e2_c16_id head_c24").canonical()
OTHER = NetworkSpec.parse("stem_k3_s2_c8 cn_r1_k3_s2_c16_noskip head_c24").canonical()
RECIPE = replace(FACE_RECIPE, epochs=6, warmup_epochs=1.0, batch_size=10, views=2)
PLACE = Place(torch.device("cpu"))


class Stopped(BaseException):
    """Ctrl-C."""


def stop_after(last: int) -> Callable[[int, float], None]:
    def on_epoch(epoch: int, loss: float) -> None:
        if epoch == last:
            raise Stopped

    return on_epoch


@pytest.fixture(scope="module")
def task(faces_folder: Path) -> FaceTask:
    return split_faces(load_faces(f"faces:{faces_folder}"), 0.5)


@pytest.fixture(scope="module")
def teacher(task: FaceTask, tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    out = tmp_path_factory.mktemp("teacher")
    recipe = replace(RECIPE, epochs=24)
    loaded = load_embedding_teacher("trained:resnet", task.data, recipe, out, place=PLACE)
    assert loaded is not None
    return loaded


def trained(task: FaceTask, out: Path, **options) -> StudentEmbedder:
    settings = {"method": "features", "teacher": None, "place": PLACE} | options
    return train_embedder(SPEC, task.data, settings.pop("recipe", RECIPE), out, **settings)


@pytest.mark.parametrize(("method", "most"), [("features", 0.5), ("cc", 0.8), ("rco", 0.95)])
def test_a_student_learns_what_the_teacher_says(
    method: str, most: float, task: FaceTask, teacher: Teacher, tmp_path: Path
) -> None:
    """In 80 steps, at most so much is left of the error of always answering the mean; RCO has the last 20 of them."""
    losses: dict[int, float] = {}
    recipe = replace(RECIPE, epochs=40, warmup_epochs=2.0)
    student = trained(
        task, tmp_path, method=method, teacher=teacher, recipe=recipe, on_epoch=lambda e, x: losses.update({e: x})
    )
    assert student.layer == "outputs"
    theirs = embed(teacher.features, task.data.train, PLACE.device)
    ours = embed(student, task.data.train, PLACE.device)
    assert ours.shape == theirs.shape == (20, teacher.feature_dim)
    spread = (theirs - theirs.mean(0)).square().sum(1).mean()
    assert (ours - theirs).square().sum(1).mean() < most * spread
    if method != "rco":  # its target changes on the way
        assert losses[40] < 0.7 * losses[1]


def test_hard_labels_embed_by_the_penultimate_layer(task: FaceTask, tmp_path: Path) -> None:
    student = trained(task, tmp_path, method="hard")
    assert (student.layer, student.network.classifier.out_features) == ("penultimate", task.data.num_classes)
    assert embed(student, task.gallery, PLACE.device).shape == (20, 24)


def test_a_stopped_training_ends_with_the_weights_of_an_unbroken_one(
    task: FaceTask, teacher: Teacher, tmp_path: Path
) -> None:
    trained(task, tmp_path / "whole", teacher=teacher)
    with pytest.raises(Stopped):
        trained(task, tmp_path / "broken", teacher=teacher, on_epoch=stop_after(3))
    epochs: list[int] = []
    trained(task, tmp_path / "broken", teacher=teacher, on_epoch=lambda epoch, _: epochs.append(epoch))
    assert epochs == [4, 5, 6]
    ours, theirs = (load_file(tmp_path / name / STUDENT) for name in ("broken", "whole"))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    for changes in (
        {"method": "cc"},
        {"recipe": replace(RECIPE, learning_rate=0.2)},
        {"place": Place(PLACE.device, 1)},
    ):
        with pytest.raises(RunMismatchError, match="holds the checkpoint of a training with other"):
            trained(task, tmp_path / "broken", teacher=teacher, **changes)


def test_a_student_from_its_file(task: FaceTask, teacher: Teacher, tmp_path: Path) -> None:
    for method in ("features", "hard"):
        student = trained(task, tmp_path / method, method=method, teacher=teacher)
        loaded = load_student(tmp_path / method / STUDENT, SPEC, task.data, PLACE.device)
        assert loaded.layer == student.layer
        assert torch.equal(embed(loaded, task.gallery, PLACE.device), embed(student, task.gallery, PLACE.device))
    path = tmp_path / "hard" / STUDENT
    with pytest.raises(RunMismatchError, match=r"holds weights of 'stem_.*not of 'stem_"):
        load_student(path, OTHER, task.data, PLACE.device)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CorruptFileError, match="must be a student that `akd retrieve` or `akd train` wrote"):
        load_student(path, SPEC, task.data, PLACE.device)


def test_weights_that_saw_who_is_looked_for(faces_folder: Path, task: FaceTask, tmp_path: Path) -> None:
    trained(task, tmp_path, method="hard")
    other = split_faces(load_faces(f"faces:{faces_folder}"), 0.5, seed=1)
    unseen = len(set(task.data.class_names) - set(other.data.class_names))
    assert unseen
    with pytest.raises(RunMismatchError, match=f"was trained on {unseen} people who are not those to train on here"):
        load_student(tmp_path / STUDENT, SPEC, other.data, PLACE.device)
    big = split_faces(load_faces(f"faces:{faces_folder}", resolution=32), 0.5)
    with pytest.raises(RunMismatchError, match=r"takes pictures of 1 channels and 24 px, but .* have 1 and 32"):
        load_student(tmp_path / STUDENT, SPEC, big.data, PLACE.device)


def test_a_student_of_akd_train(task: FaceTask, tmp_path: Path) -> None:
    """It says its classes and neither its people nor a layer."""
    trained(task, tmp_path, method="hard")
    about = {"architecture": str(SPEC), "classes": json.dumps(["a", "b", "c", "d"]), "mean": "[0.1]", "std": "[0.2]"}
    save_file(load_file(tmp_path / STUDENT), tmp_path / "own", about | {"resolution": "24", "channels": "1"})
    student = load_student(tmp_path / "own", SPEC, task.data, PLACE.device)
    assert (student.layer, student.data.mean, student.data.std) == ("penultimate", (0.1,), (0.2,))


def test_a_teacher_trained_here(task: FaceTask, tmp_path: Path) -> None:
    teacher = train_embedding_teacher("resnet", task.data, RECIPE, tmp_path, place=PLACE)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint.safetensors",
        *(f"resnet.anchor{number}.safetensors" for number in (1, 2, 3)),
        "resnet.safetensors",
    ]
    assert teacher.features(task.gallery.images).shape == (20, teacher.feature_dim)
    again = train_embedding_teacher("resnet", task.data, RECIPE, tmp_path, place=PLACE, on_epoch=stop_after(1))
    assert again.weights_hash == teacher.weights_hash


def test_teachers_that_cannot_teach(task: FaceTask, teacher: Teacher, tmp_path: Path) -> None:
    for name, error, message in (
        ("dlib:faces", UnknownNameError, "Unknown teacher 'dlib:faces'. Did you mean 'dlib:face'"),
        ("trained:resnext", UnknownNameError, "Did you mean 'trained:resnet'"),
        ("somebody", UnknownNameError, "Unknown teacher 'somebody'"),
        (f"file:{tmp_path}/no.safetensors@resnet", TeacherError, "no.safetensors"),
    ):
        with pytest.raises(error, match=message):
            load_embedding_teacher(name, task.data, RECIPE, tmp_path, place=PLACE)
    assert load_embedding_teacher("none", task.data, RECIPE, tmp_path, place=PLACE) is None
    with pytest.raises(TeacherError, match="needs a teacher"):
        trained(task, tmp_path / "out")
    with pytest.raises(InvalidSettingError, match="must be one for embeddings"):
        trained(task, tmp_path / "out", method="kd", teacher=teacher)
    shipped = load_embedding_teacher("shipped:mixer", task.data, RECIPE, tmp_path, place=PLACE)
    with pytest.raises(TeacherError, match="RCO needs"):
        trained(task, tmp_path / "out", method="rco", teacher=shipped)


def test_an_ensemble_embeds_side_by_side(task: FaceTask, tmp_path: Path) -> None:
    names = ("trained:resnet", "trained:inception")
    both, *alone = (
        load_embedding_teacher(name, task.data, RECIPE, tmp_path, place=PLACE) for name in ("+".join(names), *names)
    )
    assert both is not None
    pictures = task.gallery.images
    expected = torch.cat([member.features(pictures) for member in alone if member is not None], 1)
    torch.testing.assert_close(both.features(pictures), expected)
    student = trained(task, tmp_path / "out", teacher=both)
    assert student.network.classifier.out_features == both.feature_dim == expected.shape[1]
