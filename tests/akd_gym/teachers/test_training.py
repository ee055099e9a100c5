"""Training of teachers: which images they see, resuming, the record, and what is refused."""

import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from akd_gym.data import load_data
from akd_gym.errors import (
    CorruptFileError,
    DataError,
    InvalidSettingError,
    RunMismatchError,
    StorageError,
    TeacherError,
    UnknownNameError,
)
from akd_gym.image_sources import embedded_source_indices
from akd_gym.images import ImageSet
from akd_gym.teachers import NetworkTeacher, load_teacher
from akd_gym.teachers.records import judge
from akd_gym.teachers.route import anchor_path, load_route
from akd_gym.teachers.settings import (
    SHIPPED_RECIPES,
    TEACHER_ASSETS,
    TEACHER_NETWORKS,
    TeacherTrainingSettings,
    complete,
    training_identity,
)
from akd_gym.teachers.training import anchor_steps, one_cycle, running_average, teacher_images, train_teacher


def write_idx(path: Path, array: np.ndarray) -> None:
    header = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(header + array.tobytes())


@pytest.fixture(scope="module")
def trained(small_fashion: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The weights of one training, and what it said."""
    said: list[str] = []
    return train_teacher(small_settings(small_fashion, tmp_path_factory.mktemp("whole")), said.append), said


@pytest.fixture
def settings(small_fashion: Path, tmp_path: Path) -> TeacherTrainingSettings:
    return small_settings(small_fashion, tmp_path / "out")


def small_settings(small_fashion: Path, out: Path) -> TeacherTrainingSettings:
    return TeacherTrainingSettings(
        data=f"fashion-mnist:{small_fashion}",
        student_train_size=200,
        student_val_size=100,
        out=out,
        epochs=2,
        batch_size=25,
        average_steps=5,
    )


def quiet(_: str) -> None:
    pass


def test_a_teacher_learns_and_its_record_holds(
    settings: TeacherTrainingSettings, trained: tuple[Path, list[str]]
) -> None:
    path, said = trained
    record = json.loads(path.with_suffix(".json").read_text())
    assert record["held_out"]["students"]["images"] == 300
    assert record["held_out"]["students"]["accuracy"] > 0.5
    assert record["trained_on"].startswith("400 training images")
    assert (record["recipe"]["epochs"], record["recipe"]["batch_size"], record["recipe"]["seed"]) == (2, 25, 0)
    assert [scores["epoch"] for scores in record["history_on_students_images"]] == [1, 2]
    assert any("min left" in line for line in said)

    data = load_data(settings.data, train_size=200, val_size=100)
    teacher = load_teacher(f"file:{path}@resnet", data)
    assert teacher is not None
    assert teacher.weights_hash == record["weights_hash"]
    _, _, unseen = teacher_images(settings, quiet)
    assert judge(teacher, *unseen["students"])["accuracy"] == record["held_out"]["students"]["accuracy"]


def test_a_stopped_training_goes_on_to_the_same_weights(
    settings: TeacherTrainingSettings, trained: tuple[Path, list[str]]
) -> None:
    whole = load_file(trained[0])
    train_teacher(replace(settings, stop_epoch=1), quiet)
    said: list[str] = []
    resumed = load_file(train_teacher(settings, said.append))
    assert "resnet: going on after epoch 1 of 2" in said
    assert not any("epoch 1 of 2, step" in line for line in said)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_a_checkpoint_of_other_settings_is_kept(settings: TeacherTrainingSettings) -> None:
    train_teacher(replace(settings, stop_epoch=1), quiet)
    with pytest.raises(RunMismatchError, match="belongs to other settings"):
        train_teacher(replace(settings, seed=1), quiet)
    checkpoint = settings.out / "resnet.checkpoint.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(CorruptFileError, match=r"resnet\.checkpoint\.pt is damaged"):
        train_teacher(settings, quiet)


class Stopped(BaseException):
    """Ctrl-C, or the power."""


def test_anchors_lie_evenly_on_the_way_to_the_same_teacher(
    settings: TeacherTrainingSettings, trained: tuple[Path, list[str]]
) -> None:
    """32 steps: anchors after 8, 16 and 24 of them, of which only the second is the end of an epoch."""
    said: list[str] = []
    path = train_teacher(replace(settings, anchors=4), said.append)
    assert "Its 3 anchors lie beside it, for `--method rco`" in said
    whole, ours = load_file(trained[0]), load_file(path)
    assert all(torch.equal(whole[key], ours[key]) for key in whole)
    record = json.loads(path.with_suffix(".json").read_text())
    assert [anchor["step"] for anchor in record["anchors"]] == [8, 16, 24]
    assert [anchor["file"] for anchor in record["anchors"]] == [f"resnet.anchor{n}.safetensors" for n in (1, 2, 3)]
    assert record["recipe"]["anchors"] == 4
    data = load_data(settings.data, train_size=200, val_size=100)
    teacher = load_teacher(f"file:{path}@resnet", data)
    assert teacher is not None
    route = load_route(teacher, data)
    assert [anchor.weights_hash for anchor in route[:-1]] == [anchor["weights_hash"] for anchor in record["anchors"]]
    _, _, unseen = teacher_images(settings, quiet)
    scores = [judge(anchor, *unseen["students"]) for anchor in route]
    assert [score["accuracy"] for score in scores[:-1]] == [anchor["accuracy"] for anchor in record["anchors"]]
    losses = [score["negative_log_likelihood"] for score in scores]
    assert losses == sorted(losses, reverse=True)  # a route from easy to hard
    assert record["anchors"][1]["accuracy"] == record["history_on_students_images"][0]["accuracy"]
    assert json.loads(trained[0].with_suffix(".json").read_text())["anchors"] == []


def test_a_stopped_training_keeps_the_same_anchors(settings: TeacherTrainingSettings, tmp_path: Path) -> None:
    def stop(text: str) -> None:
        if text.startswith("resnet anchor 4"):
            raise Stopped

    settings = replace(settings, anchors=5)
    whole = train_teacher(replace(settings, out=tmp_path / "whole"), quiet)
    with pytest.raises(Stopped):
        train_teacher(settings, stop)
    broken = train_teacher(settings, quiet)
    records = [json.loads(path.with_suffix(".json").read_text())["anchors"] for path in (whole, broken)]
    assert records[0] == records[1]
    assert len(records[0]) == 4
    for number in (1, 2, 3, 4):
        assert anchor_path(whole, number).read_bytes() == anchor_path(broken, number).read_bytes()


def test_anchor_steps_by_hand() -> None:
    assert anchor_steps(32, 4) == [8, 16, 24]
    assert anchor_steps(10, 3) == [3, 7]
    assert anchor_steps(10, 1) == []
    assert anchor_steps(3, 3) == [1, 2]
    with pytest.raises(InvalidSettingError, match="`anchors` must be at most the 3 steps of the training, but got 4"):
        anchor_steps(3, 4)


def test_a_checkpoint_from_before_there_were_anchors_can_be_continued() -> None:
    """Its identity is what it was; with anchors it tells how many and where the training ends."""
    settings = complete(TeacherTrainingSettings())
    assert not {"anchors", "stop_epoch"} & json.loads(training_identity(settings)).keys()
    routed = json.loads(training_identity(replace(settings, anchors=4)))
    assert (routed["anchors"], routed["stop_epoch"]) == (4, settings.stop_epoch)


def test_the_teacher_of_fashion_sees_what_the_students_do_not(tmp_path: Path) -> None:
    stamp = np.arange(60_000, dtype=np.uint32)
    images = np.zeros((60_000, 28, 28), np.uint8)
    images[:, 0, :4] = stamp.view(np.uint8).reshape(-1, 4)
    write_idx(tmp_path / "train-images-idx3-ubyte", images)
    write_idx(tmp_path / "train-labels-idx1-ubyte", (stamp % 10).astype(np.uint8))
    data, own, unseen = teacher_images(TeacherTrainingSettings(data_root=tmp_path), quiet)
    assert {part: sum(map(len, images)) for part, images in unseen.items()} == {"students": 12_000, "test": 5_000}
    assert isinstance(own, ImageSet)
    assert len(own) == 48_000
    stamped = own.images[:, 0, 0, :4].contiguous().numpy().view(np.uint32)[:, 0]
    assert np.array_equal(stamped, own.indices.numpy())
    assert not set(stamped.tolist()) & set(embedded_source_indices().tolist())
    assert data.name == "fashion"


def test_for_other_data_it_sees_what_the_students_draw_leaves(settings: TeacherTrainingSettings) -> None:
    data, own, unseen = teacher_images(settings, quiet)
    students = set(data.train.indices.tolist()) | set(data.val.indices.tolist())
    assert students.isdisjoint(own.indices.tolist())
    assert len(students) + len(own) == 700
    assert {int(index) for images in unseen["students"] for index in images.indices} == students


def test_shipped_records_are_of_the_default_settings() -> None:
    for name in TEACHER_NETWORKS:
        recipe = json.loads((TEACHER_ASSETS / f"{name}.json").read_text())["recipe"]
        defaults = complete(TeacherTrainingSettings(name=name))
        assert {key: getattr(defaults, key) for key in SHIPPED_RECIPES[name]} == SHIPPED_RECIPES[name]
        for key in ("epochs", "stop_epoch", "batch_size", "learning_rate", "weight_decay", "average_steps", "seed"):
            assert recipe[key] == getattr(defaults, key), (name, key)


def test_missing_images_say_where_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Debian package dataset-fashion-mnist .*torchvision"):
        train_teacher(TeacherTrainingSettings(data_root=tmp_path / "nowhere", out=tmp_path), quiet)


def test_bad_settings(settings: TeacherTrainingSettings, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'mixer'"):
        train_teacher(replace(settings, name="mixr"), quiet)
    with pytest.raises(InvalidSettingError, match="`student_train_size` and `student_val_size` must say"):
        train_teacher(replace(settings, student_val_size=None), quiet)
    with pytest.raises(InvalidSettingError, match="`epochs` must be 1 or more, but got 0"):
        train_teacher(replace(settings, epochs=0), quiet)
    with pytest.raises(InvalidSettingError, match="`anchors` must be 1 or more, but got 0"):
        train_teacher(replace(settings, anchors=0), quiet)
    with pytest.raises(InvalidSettingError, match="`stop_epoch` must be at most `epochs`, but got 3 of 2"):
        train_teacher(replace(settings, stop_epoch=3), quiet)
    with pytest.raises(InvalidSettingError, match="`learning_rate` must be above 0"):
        train_teacher(replace(settings, learning_rate=-1.0), quiet)
    with pytest.raises(DataError, match=r"leave 400 images .* fewer than one batch of 401"):
        train_teacher(replace(settings, batch_size=401), quiet)
    with pytest.raises(DataError, match="at most the 700 images"):
        train_teacher(replace(settings, student_train_size=2000), quiet)
    with pytest.raises(TeacherError, match="diverged in epoch 1"):
        train_teacher(replace(settings, learning_rate=1e30), quiet)
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be created"):
        train_teacher(replace(settings, out=tmp_path / "file" / "out"), quiet)


def test_one_cycle_by_hand() -> None:
    assert [one_cycle(step, 4, 12) for step in (0, 1, 3, 4, 8)] == pytest.approx([0.25, 0.5, 1.0, 1.0, 0.5])
    assert one_cycle(12, 4, 12) == pytest.approx(0)
    assert one_cycle(0, 0, 3) == 1.0


def test_running_average_by_hand() -> None:
    own, number = torch.zeros(1), torch.tensor(0)
    running_average(20)([own, number], [torch.ones(1), torch.tensor(7)], torch.tensor(10))
    assert own.item() == pytest.approx(0.5)  # 10 / (10 + 10)
    assert number.item() == 7
    running_average(20)([own], [torch.ones(1)], torch.tensor(10_000))
    assert own.item() == pytest.approx(0.525)  # 1 / 20 of the way


def test_judge_by_hand() -> None:
    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            right = torch.tensor([[0.8, 0.2], [0.8, 0.2], [0.8, 0.2], [0.4, 0.6]])
            return right.log()[: len(x)]

    teacher = NetworkTeacher("fixed", Fixed(), "", 2, 1, (0.0,), (1.0,))
    images = ImageSet(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 0, 1, 1]), torch.arange(4))
    scores = judge(teacher, images)
    assert scores["accuracy"] == 0.75
    assert scores["mean_top_probability"] == 0.75
    # 0.8 claimed and 2 of 3 right: 3/4 x 0.1333; 0.6 claimed and right: 1/4 x 0.4
    assert scores["expected_calibration_error"] == pytest.approx(0.2, abs=1e-4)
    expected = -(2 * np.log(0.8) + np.log(0.2) + np.log(0.6)) / 4
    assert scores["negative_log_likelihood"] == pytest.approx(expected, abs=1e-4)
