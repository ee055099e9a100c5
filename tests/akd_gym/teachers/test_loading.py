"""Teachers by name: the shipped ones, a user's own, and what is refused."""

import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import akd_gym.teachers.shipped
from akd_gym.data import TaskData, load_data
from akd_gym.errors import CorruptFileError, TeacherError, UnknownNameError
from akd_gym.image_sources import embedded_fashion
from akd_gym.images import ImageSet
from akd_gym.teachers import TEACHER_NAMES, load_teacher
from akd_gym.teachers.networks import TEACHER_NETWORKS, build_teacher_network
from akd_gym.teachers.records import judge
from akd_gym.teachers.settings import TEACHER_ASSETS

SHIPPED = [f"shipped:{name}" for name in TEACHER_NETWORKS]


@pytest.fixture(scope="module")
def data() -> TaskData:
    return load_data(train_size=100, val_size=1500)


def linear_net(num_classes: int, in_channels: int) -> nn.Module:
    """A user's own network, found as `module:function`."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * in_channels, num_classes))


def wrong_answer(num_classes: int, in_channels: int) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * in_channels, num_classes + 1))


@pytest.fixture
def own_file(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "own.pt"
    torch.save(linear_net(10, 1).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def students_images() -> ImageSet:
    """The whole embedded pool, of which no teacher saw one image."""
    pool = embedded_fashion("pool")
    every = torch.arange(len(pool.labels))
    return ImageSet(pool.read(every, pool.resolution), pool.labels, every)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_teachers_answer_as_recorded(name: str, data: TaskData, students_images: ImageSet) -> None:
    teacher = load_teacher(name, data)
    assert teacher is not None
    assert not teacher.module.training
    weights = TEACHER_ASSETS / f"{name.partition(':')[2]}.safetensors"
    record = json.loads(weights.with_suffix(".json").read_text())
    assert teacher.weights_hash == record["weights_hash"]
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == record["sha256"]
    assert data.test is not None
    for part, images in (("students", students_images), ("test", data.test)):
        recorded = record["held_out"][part]
        assert recorded["images"] == len(images)
        for score, value in judge(teacher, images).items():
            assert value == pytest.approx(recorded[score], abs=1e-3), (part, score)  # another CPU rounds otherwise


def test_shipped_teachers_are_equally_good_small_and_calibrated() -> None:
    records = [json.loads((TEACHER_ASSETS / f"{name}.json").read_text()) for name in TEACHER_NETWORKS]
    for part in ("students", "test"):
        accuracies = [record["held_out"][part]["accuracy"] for record in records]
        assert max(accuracies) - min(accuracies) <= 0.005
        assert min(accuracies) > 0.88
    assert all(record["held_out"]["students"]["expected_calibration_error"] < 0.03 for record in records)
    assert sum(path.stat().st_size for path in TEACHER_ASSETS.iterdir()) < 6 * 2**20


def test_no_teacher(data: TaskData) -> None:
    assert load_teacher(None, data) is None
    assert load_teacher("none", data) is None


def test_batches_do_not_change_answers(data: TaskData) -> None:
    teacher = load_teacher("shipped:resnet", data)
    assert teacher is not None
    whole = teacher.logits(data.val.images[:600])
    assert torch.allclose(whole[300:310], teacher.logits(data.val.images[300:310]), atol=1e-4)
    assert teacher.logits(data.val.images[:0]).shape == (0, 10)


def test_a_shipped_teacher_sees_its_own_resolution(data: TaskData) -> None:
    larger = load_data(train_size=100, val_size=1500, resolution=56)
    teacher = load_teacher("shipped:mixer", larger)
    assert teacher is not None
    accuracy = (teacher.logits(larger.val.images).argmax(1) == larger.val.labels).float().mean()
    assert accuracy > 0.85


@pytest.mark.parametrize("nested", [None, "state_dict", "model"])
def test_own_checkpoints(nested: str | None, data: TaskData, tmp_path: Path) -> None:
    net = linear_net(10, 1).eval()
    state = {f"module.{key}": value for key, value in net.state_dict().items()}  # as DataParallel saves it
    path = tmp_path / "own.pth"
    torch.save(state if nested is None else {nested: state, "epoch": 3}, path)
    teacher = load_teacher(f"file:{path}@{__name__}:linear_net", data)
    assert teacher is not None
    scaled = (data.val.images.float() / 255 - data.mean[0]) / data.std[0]
    assert torch.allclose(teacher.logits(data.val.images), net(scaled), atol=1e-5)


def test_safetensors_checkpoint_is_the_shipped_teacher(data: TaskData, tmp_path: Path) -> None:
    copy = shutil.copy(TEACHER_ASSETS / "resnet.safetensors", tmp_path)
    teacher, shipped = load_teacher(f"file:{copy}@resnet", data), load_teacher("shipped:resnet", data)
    assert teacher is not None
    assert shipped is not None
    assert teacher.weights_hash == shipped.weights_hash


def test_weights_hash_depends_on_weights_and_scaling(data: TaskData, tmp_path: Path) -> None:
    net = build_teacher_network("resnet", 10, 1, 28)
    path = tmp_path / "net.safetensors"
    hashes = []
    for change in (0.0, 1e-6):
        state = net.state_dict()
        state["classifier.bias"] = state["classifier.bias"] + change
        save_file({k: v.contiguous() for k, v in state.items()}, path)
        teacher = load_teacher(f"file:{path}@resnet", data)
        other = load_teacher(f"file:{path}@resnet", replace(data, mean=(0.5,)))
        assert teacher is not None
        assert other is not None
        hashes += [teacher.weights_hash, other.weights_hash]
    assert len(set(hashes)) == 4


def test_torchvision_architecture(tmp_path: Path, data: TaskData) -> None:
    from torchvision.models import get_model

    images = ImageSet(data.val.images.expand(-1, 3, -1, -1), data.val.labels, data.val.indices)
    colour = replace(data, train=images, val=images, test=None, mean=data.mean * 3, std=data.std * 3)
    path = tmp_path / "squeeze+net.pt"  # a plus in a path joins nothing
    torch.save(get_model("squeezenet1_1", num_classes=10).state_dict(), path)
    teacher = load_teacher(f"file:{path}@torchvision:squeezenet1_1", colour)
    assert teacher is not None
    assert teacher.logits(images.images[:3]).shape == (3, 10)
    scaled = (images.images[:3].float() / 255 - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor(
        [0.229, 0.224, 0.225]
    ).view(3, 1, 1)  # as torchvision's networks are usually trained, not as the data's mean has it
    resized = nn.functional.interpolate(scaled, (224, 224), mode="bilinear", antialias=True)
    assert torch.allclose(teacher.logits(images.images[:3]), teacher.module(resized), atol=1e-4)
    with pytest.raises(TeacherError, match="takes 3 channels, but 1 are asked for"):
        load_teacher(f"file:{path}@torchvision:squeezenet1_1", data)
    with pytest.raises(UnknownNameError, match="Did you mean 'squeezenet1_1'"):
        load_teacher(f"file:{path}@torchvision:squeezenet11", colour)


def test_a_record_beside_the_file_scales(data: TaskData, own_file: Path) -> None:
    own_file.with_suffix(".json").write_text('{"mean": [0.5], "std": [0.25], "resolution": 14}')
    teacher = load_teacher(f"file:{own_file}@{__name__}:linear_net", data)
    assert teacher is not None
    assert (teacher.mean, teacher.std, teacher.resolution) == ((0.5,), (0.25,), 14)
    white = torch.full((1, 1, 28, 28), 255, dtype=torch.uint8)  # (1 - 0.5) / 0.25 = 2 everywhere
    assert torch.allclose(teacher.logits(white), teacher.module(torch.full((1, 1, 14, 14), 2.0)), atol=1e-5)
    other = load_teacher(f"file:{own_file}@{__name__}:linear_net", replace(data, mean=(0.1,)))
    assert other is not None
    assert other.weights_hash == teacher.weights_hash


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"mean": [0.5, 0.5, 0.5]}, "`mean` of teacher .* must have one value for each of 1 channels, but has 3"),
        ({"std": [0.0]}, "`std` of teacher .* must be above 0"),
        ({"mean": [127.5], "std": [127.5]}, "must be of pixels between 0 and 1, .*divide .* by 255"),
        ({"mean": 0.5}, "`mean` and `std` as lists of numbers, .*gives 'mean' as 0.5"),
        ({"resolution": 0}, "gives 'resolution' as 0"),
        ({"classes": ["a", "b"]}, r"knows 1-channel images of 2 classes \(a, b\), but 'fashion' has 1 channels and 10"),
        ([], "must be an object with `mean`, `std`, `resolution` or `classes`, but is list"),
    ],
)
def test_impossible_records_are_refused(record: object, message: str, data: TaskData, own_file: Path) -> None:
    own_file.with_suffix(".json").write_text(json.dumps(record))
    with pytest.raises(TeacherError, match=message):
        load_teacher(f"file:{own_file}@{__name__}:linear_net", data)


def test_a_record_that_is_no_json_is_refused(data: TaskData, own_file: Path) -> None:
    own_file.with_suffix(".json").write_text("{mean: .5}")
    with pytest.raises(TeacherError, match=r"own\.json says of the teacher .* is not JSON"):
        load_teacher(f"file:{own_file}@{__name__}:linear_net", data)


def test_the_same_network_by_another_author_loads_in_order(data: TaskData, own_file: Path) -> None:
    own = load_teacher(f"file:{own_file}@{__name__}:linear_net", data)
    assert own is not None
    state = torch.load(own_file, weights_only=True)
    renamed = own_file.with_name("renamed.pt")
    torch.save({f"fc.{key.rpartition('.')[2]}": value for key, value in state.items()}, renamed)
    with pytest.raises(TeacherError, match=r"missing \(2\): .*All 2 agree in order.*load them as file-in-order:/"):
        load_teacher(f"file:{renamed}@{__name__}:linear_net", data)
    teacher = load_teacher(f"file-in-order:{renamed}@{__name__}:linear_net", data)
    assert teacher is not None
    assert torch.equal(teacher.logits(data.val.images[:9]), own.logits(data.val.images[:9]))

    torch.save({"fc.bias": state["2.bias"], "fc.weight": state["2.weight"]}, renamed)
    with pytest.raises(TeacherError, match=r"fc.bias \(10,\) stands where the network has 2.weight \(10, 16\)"):
        load_teacher(f"file-in-order:{renamed}@{__name__}:linear_net", data)
    torch.save({"fc.weight": state["2.weight"]}, renamed)
    with pytest.raises(TeacherError, match="has 1 and 2: it is another network"):
        load_teacher(f"file-in-order:{renamed}@{__name__}:linear_net", data)


def test_unknown_names(data: TaskData, own_file: Path) -> None:
    for name in ("shiped:resnet", "resnet", "shipped:", "nobody:else", "shipped:resnet+", "shipped:resnet+none"):
        with pytest.raises(UnknownNameError) as caught:
            load_teacher(name, data)
        assert all(known in str(caught.value) for known in TEACHER_NAMES if known.startswith("shipped:"))
    for name in ("shiped:resnet", "nobody:else"):
        with pytest.raises(UnknownNameError) as caught:
            load_teacher(name, data)
        assert all(known in str(caught.value) for known in TEACHER_NAMES)
    with pytest.raises(UnknownNameError, match="Did you mean 'shipped:resnet'"):
        load_teacher("shipped:resnett", data)
    with pytest.raises(UnknownNameError, match="Did you mean 'resnet'"):
        load_teacher(f"file:{own_file}@resnt", data)


def test_places_that_are_not_there(data: TaskData, own_file: Path) -> None:
    with pytest.raises(TeacherError, match="needs its architecture, as file:PATH@ARCHITECTURE"):
        load_teacher(f"file:{own_file}", data)
    with pytest.raises(TeacherError, match="No checkpoint file at"):
        load_teacher("file:/nowhere.pt@resnet", data)
    with pytest.raises(TeacherError, match="cannot be imported"):
        load_teacher(f"file:{own_file}@no.such.module:function", data)
    with pytest.raises(TeacherError, match="cannot be imported"):
        load_teacher(f"file:{own_file}@{__name__}:no_such_function", data)
    with pytest.raises(TeacherError, match=r"callable as function\(num_classes=\.\.\., in_channels=\.\.\.\)"):
        load_teacher(f"file:{own_file}@os:getpid", data)


class Malicious:
    """Unpickling it would create a folder."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.folder,)


def test_a_pickle_that_needs_more_than_tensors_is_refused(data: TaskData, tmp_path: Path) -> None:
    path = tmp_path / "bad.pt"
    torch.save({"weights": Malicious(str(tmp_path / "made"))}, path)
    with pytest.raises(TeacherError, match="weights_only=True"):
        load_teacher(f"file:{path}@resnet", data)
    assert not (tmp_path / "made").exists()
    torch.save(linear_net(10, 1), path)  # a whole pickled module
    with pytest.raises(TeacherError, match="weights_only=True"):
        load_teacher(f"file:{path}@resnet", data)
    torch.save([1, 2], path)
    with pytest.raises(TeacherError, match="must hold a state dict"):
        load_teacher(f"file:{path}@resnet", data)


def test_broken_files_are_refused(data: TaskData, tmp_path: Path) -> None:
    path = tmp_path / "half.safetensors"
    path.write_bytes((TEACHER_ASSETS / "resnet.safetensors").read_bytes()[:-100])
    with pytest.raises(TeacherError, match="not a whole safetensors file"):
        load_teacher(f"file:{path}@resnet", data)


def test_weights_of_another_network_are_named(data: TaskData, tmp_path: Path) -> None:
    state = load_file(TEACHER_ASSETS / "resnet.safetensors")
    del state["classifier.bias"]
    state["classifier.weight"] = torch.zeros(7, 96)
    state["extra"] = torch.zeros(1)
    path = tmp_path / "other.safetensors"
    save_file(state, path)
    with pytest.raises(TeacherError) as caught:
        load_teacher(f"file:{path}@resnet", data)
    for part in (
        "missing (1): classifier.bias",
        "not in the network (1): extra",
        "of another shape (1): classifier.weight (7, 96) instead of (10, 96)",
    ):
        assert part in str(caught.value)


def test_a_teacher_that_does_not_fit_the_data(data: TaskData, tmp_path: Path) -> None:
    renamed = replace(data, class_names=tuple("abcdefghij"))
    with pytest.raises(
        TeacherError, match=r"knows 1-channel images of 10 classes \(T-shirt/top, .*`akd teacher train`"
    ):
        load_teacher("shipped:resnet", renamed)
    path = tmp_path / "wrong.pt"
    torch.save(wrong_answer(10, 1).state_dict(), path)
    with pytest.raises(TeacherError, match=r"must answer with logits \(N, 10\), but gave \(1, 11\)"):
        load_teacher(f"file:{path}@{__name__}:wrong_answer", data)
    teacher = load_teacher("shipped:resnet", data)
    assert teacher is not None
    with pytest.raises(TeacherError, match=r"takes uint8 images \(N, 1, H, W\), but got torch.uint8 \(2, 3, 28, 28\)"):
        teacher.logits(torch.zeros(2, 3, 28, 28, dtype=torch.uint8))


def test_damaged_shipped_weights_are_refused(data: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in TEACHER_ASSETS.iterdir():
        shutil.copy(path, tmp_path)
    content = bytearray((tmp_path / "resnet.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "resnet.safetensors").write_bytes(content)
    monkeypatch.setattr(akd_gym.teachers.shipped, "TEACHER_ASSETS", tmp_path)
    with pytest.raises(CorruptFileError, match=r"resnet\.safetensors is damaged .*reinstall"):
        load_teacher("shipped:resnet", data)
    (tmp_path / "resnet.json").unlink()
    with pytest.raises(CorruptFileError, match="'shipped:resnet' is incomplete"):
        load_teacher("shipped:resnet", data)
