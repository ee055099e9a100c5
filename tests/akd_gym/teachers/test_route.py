"""The anchors beside a teacher: found in order, and named where one is missing or of another training."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from akd_gym.data import TaskData, load_data
from akd_gym.errors import CorruptFileError, TeacherError
from akd_gym.teachers import Teacher, load_teacher
from akd_gym.teachers.loading import load_embedder
from akd_gym.teachers.networks import build_teacher_network
from akd_gym.teachers.route import anchor_path, load_route


@pytest.fixture(scope="module")
def data() -> TaskData:
    return load_data(train_size=50, val_size=50, test_size=0)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A teacher of one's own with three anchors, whose weights are those of seeds 1, 2, 3 and 0."""
    path = tmp_path / "mine.safetensors"
    for seed in range(4):
        torch.manual_seed(seed)
        save_file(build_teacher_network("resnet", 10, 1, 28).state_dict(), anchor_path(path, seed) if seed else path)
    return path


def load(name: str, data: TaskData) -> Teacher:
    teacher = load_teacher(name, data)
    assert teacher is not None
    return teacher


def test_names() -> None:
    assert anchor_path(Path("a/resnet.safetensors"), 2) == Path("a/resnet.anchor2.safetensors")


def test_the_route_ends_with_the_teacher(weights: Path, data: TaskData) -> None:
    teacher = load(f"file:{weights}@resnet", data)
    route = load_route(teacher, data)
    assert [Path(anchor.name.partition(":")[2].partition("@")[0]).name for anchor in route] == [
        "mine.anchor1.safetensors",
        "mine.anchor2.safetensors",
        "mine.anchor3.safetensors",
        "mine.safetensors",
    ]
    assert route[-1] is teacher
    images = data.train.images[:2]
    for seed, anchor in zip((1, 2, 3, 0), route, strict=True):
        torch.manual_seed(seed)
        network = build_teacher_network("resnet", 10, 1, 28).eval()
        with torch.no_grad():
            expected = network((images.float() / 255 - data.mean[0]) / data.std[0])
        assert torch.allclose(anchor.logits(images), expected, atol=1e-5)


def test_other_files_beside_it_are_no_anchors(weights: Path, data: TaskData) -> None:
    for name in ("other.anchor4.safetensors", "mine.anchor4.pt", "mine.anchorX.safetensors"):
        (weights.parent / name).touch()
    assert len(load_route(load(f"file:{weights}@resnet", data), data)) == 4


def test_a_missing_anchor_is_named(weights: Path, data: TaskData) -> None:
    anchor_path(weights, 2).unlink()
    with pytest.raises(
        TeacherError, match=r"3 anchors before the teacher, but .*mine\.anchor2\.safetensors is missing"
    ):
        load_route(load(f"file:{weights}@resnet", data), data)


def test_a_record_tells_which_anchors_there_must_be(weights: Path, data: TaskData) -> None:
    record = weights.with_suffix(".json")
    record.write_text(json.dumps({"anchors": [{"sha256": "0" * 64}]}), encoding="utf-8")
    teacher = load(f"file:{weights}@resnet", data)
    with pytest.raises(CorruptFileError, match=r"mine\.anchor1\.safetensors is not the anchor that .*mine\.json"):
        load_route(teacher, data)
    for number in (1, 2, 3):
        anchor_path(weights, number).unlink()
    with pytest.raises(TeacherError, match=r"has 1 anchors.*mine\.anchor1\.safetensors is missing: put it back, or"):
        load_route(teacher, data)


def test_the_shipped_residual_network_has_a_route_from_easy_to_hard(data: TaskData) -> None:
    teacher = load("shipped:resnet", data)
    route = load_route(teacher, data)
    assert [Path(anchor.name).name for anchor in route[:-1]] == [
        f"resnet.anchor{number}.safetensors@resnet" for number in (1, 2, 3)
    ]
    assert route[-1] is teacher
    pool = load_data(train_size=2000, val_size=50, test_size=0)
    accuracies = [
        float((anchor.logits(pool.train.images).argmax(1) == pool.train.labels).float().mean()) for anchor in route
    ]
    assert accuracies == sorted(accuracies)
    assert accuracies[-1] - accuracies[0] > 0.03


@pytest.mark.parametrize("name", ["shipped:inception", "shipped:mixer"])
def test_the_other_shipped_teachers_have_none(name: str, data: TaskData) -> None:
    with pytest.raises(TeacherError, match=rf"'{name}' has no anchors.*shipped:resnet has them.*--anchors 4"):
        load_route(load(name, data), data)


def test_a_teacher_without_anchors_says_how_to_make_them(weights: Path, data: TaskData) -> None:
    alone = weights.parent / "alone" / "mine.safetensors"
    alone.parent.mkdir()
    shutil.copy(weights, alone)
    with pytest.raises(TeacherError, match=r"has no anchors beside it.*--anchors 4.*NAME\.anchor1\.safetensors"):
        load_route(load(f"file:{alone}@resnet", data), data)


def test_an_anchor_that_scales_pictures_otherwise_is_refused(weights: Path, data: TaskData) -> None:
    """A record beside the teacher alone: its anchors would see other pixels than it does."""
    scaling = json.dumps({"mean": [0.5], "std": [0.5]})
    weights.with_suffix(".json").write_text(scaling, encoding="utf-8")
    with pytest.raises(
        TeacherError, match=r"must scale pictures as its teacher does .*into mine\.anchor1\.json beside"
    ):
        load_route(load(f"file:{weights}@resnet", data), data)
    for number in (1, 2, 3):
        anchor_path(weights, number).with_suffix(".json").write_text(scaling, encoding="utf-8")
    assert len(load_route(load(f"file:{weights}@resnet", data), data)) == 4


def test_a_teacher_of_embeddings_has_a_route_too(weights: Path, data: TaskData) -> None:
    """It was trained for ten classes, which are not those of the people here."""
    people = replace(data, num_classes=12, class_names=tuple("abcdefghijkl"))
    teacher = load_embedder(f"file:{weights}@resnet", in_channels=1, resolution=28, mean=data.mean, std=data.std)
    route = load_route(teacher, people)
    assert len(route) == 4
    assert {anchor.feature_dim for anchor in route} == {96}


def test_an_ensemble_goes_side_by_side(weights: Path, data: TaskData) -> None:
    other = weights.parent / "other" / "mine.safetensors"
    shutil.copytree(weights.parent, other.parent, ignore=shutil.ignore_patterns("other"))
    both = load(f"file:{weights}@resnet+file:{other}@resnet", data)
    route = load_route(both, data)
    assert [anchor.name.count("anchor") for anchor in route] == [2, 2, 2, 0]
    anchor_path(other, 3).unlink()
    with pytest.raises(TeacherError, match="must have equally many anchors, but they have 4, 3, themselves"):
        load_route(both, data)
    with pytest.raises(TeacherError, match="'shipped:mixer' has no anchors"):
        load_route(load(f"file:{weights}@resnet+shipped:mixer", data), data)
