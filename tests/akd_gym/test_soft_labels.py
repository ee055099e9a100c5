"""Cached soft labels: equal to the live teacher, paid for once, whole or not there."""

import errno
import hashlib
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import akd_gym.soft_labels
from akd_gym.augment import AugmentRecipe
from akd_gym.cache import cache_dir
from akd_gym.data import TaskData, load_data
from akd_gym.errors import CorruptFileError, InvalidSettingError, StorageError, TeacherError
from akd_gym.images import ImageSet
from akd_gym.soft_labels import SoftLabels, repair, soft_labels
from akd_gym.teachers import NetworkTeacher, Teacher, load_teacher

RECIPE = AugmentRecipe(seed=2)


@pytest.fixture(scope="module")
def data() -> TaskData:
    return load_data(train_size=64, val_size=32)


@pytest.fixture(scope="module")
def shipped(data: TaskData) -> Teacher:
    teacher = load_teacher("shipped:resnet", data)
    assert teacher is not None
    return teacher


class CountingNet(nn.Module):
    """A cheap teacher of many classes that counts its images."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(784, num_classes, generator=generator) / 10, requires_grad=False)
        self.images = 0

    def forward(self, x: Tensor) -> Tensor:
        self.images += len(x)
        return x.flatten(1) @ self.weight


def counting_teacher(num_classes: int = 10) -> Teacher:
    return NetworkTeacher("counting", CountingNet(num_classes), f"hash{num_classes}", num_classes, 1, (0.3,), (0.35,))


def compute(teacher: Teacher, data: TaskData, root: Path, views: int = 2, **options: Any) -> SoftLabels:
    return soft_labels(teacher, data.train, data.fingerprint, RECIPE, views, root, **options)


def view_files(root: Path) -> list[Path]:
    return sorted(root.glob("soft_labels/*/view*.safetensors"))


def test_cached_equals_live_teacher_under_augmentation(shipped: Teacher, data: TaskData, tmp_path: Path) -> None:
    labels = compute(shipped, data, tmp_path, views=3)
    for view in range(3):
        live = shipped.logits(RECIPE.view(data.train.images, data.train.indices, view))
        assert torch.allclose(labels.view(view), live, rtol=1e-3, atol=1e-3)  # float16 keeps 11 bits
    assert not torch.allclose(labels.view(0), labels.view(1), atol=0.1)  # augmentation did something
    assert torch.equal(labels.view(4), labels.view(1))
    rows = torch.tensor([5, 3])
    assert torch.equal(labels.view(1, rows), labels.view(1)[rows])


def test_many_classes_keep_the_top_and_spread_the_rest(data: TaskData, tmp_path: Path) -> None:
    teacher = counting_teacher(300)
    labels = compute(teacher, data, tmp_path)
    live = teacher.logits(RECIPE.view(data.train.images, data.train.indices, 1)).softmax(1)
    cached = labels.view(1).softmax(1)
    top = live.topk(10).indices
    assert torch.allclose(cached.gather(1, top), live.gather(1, top), rtol=0.01)
    assert torch.allclose(cached.sum(1), torch.ones(64), atol=1e-3)
    rest = cached.scatter(1, top, 0)
    expected = (1 - live.gather(1, top).sum(1)) / 290
    assert torch.allclose(rest.max(1).values, expected, rtol=0.02)
    assert view_files(tmp_path)[0].stat().st_size < 64 * 70 + 1024


def test_top_k_can_be_chosen(data: TaskData, tmp_path: Path) -> None:
    teacher = counting_teacher(10)
    three, whole = compute(teacher, data, tmp_path, top_k=3), compute(teacher, data, tmp_path, top_k=10)
    assert three.folder != whole.folder
    assert torch.equal(three.view(0).argmax(1), whole.view(0).argmax(1))
    assert whole.folder == compute(teacher, data, tmp_path).folder


def test_paid_once_and_extended_by_what_is_missing(data: TaskData, tmp_path: Path) -> None:
    teacher = counting_teacher()
    said: list[str] = []
    compute(teacher, data, tmp_path, views=2, announce=said.append)
    assert teacher.module.images == 2 * 64
    assert "2 views x 64 images x 10 classes" in said[0]
    assert "MiB" in said[0]
    said.clear()
    compute(teacher, data, tmp_path, views=2, announce=said.append)
    assert (teacher.module.images, said) == (2 * 64, [])
    compute(teacher, data, tmp_path, views=3)
    assert teacher.module.images == 3 * 64


def test_the_size_announced_is_the_size_written(data: TaskData, tmp_path: Path) -> None:
    large = ImageSet(data.train.images.repeat(64, 1, 1, 1), data.train.labels.repeat(64), torch.arange(64 * 64))
    said: list[str] = []
    soft_labels(counting_teacher(100), large, "", RECIPE, 2, tmp_path, announce=said.append)
    written = sum(path.stat().st_size for path in view_files(tmp_path)) / 2**20
    assert float(said[0].partition(" classes, ")[2].partition(" MiB")[0]) == pytest.approx(written, abs=0.06)


def test_key_separates_teachers_recipes_data_and_images(data: TaskData, tmp_path: Path) -> None:
    base = counting_teacher()
    other_teacher = NetworkTeacher("counting", CountingNet(10), "another hash", 10, 1, (0.3,), (0.35,))
    folders = {
        compute(base, data, tmp_path).folder,
        compute(other_teacher, data, tmp_path).folder,
        soft_labels(base, data.train, data.fingerprint, AugmentRecipe(seed=3), 1, tmp_path).folder,
        soft_labels(base, data.train, data.fingerprint, AugmentRecipe(seed=2, flip=False), 1, tmp_path).folder,
        soft_labels(base, data.train, "other pixels", RECIPE, 1, tmp_path).folder,
        soft_labels(base, data.val, data.fingerprint, RECIPE, 1, tmp_path).folder,
    }
    assert len(folders) == 6


def test_keys_of_before_still_hold(data: TaskData, tmp_path: Path) -> None:
    """What was computed before there were crops is found again."""
    identity = {
        "schema": 1,
        "teacher": "hash10",
        "data": data.fingerprint,
        "images": hashlib.sha256(data.train.indices.numpy().tobytes()).hexdigest(),
        "augment": {"seed": 2, "shift": 2, "flip": True},
        "top_k": None,
    }
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]
    assert compute(counting_teacher(), data, tmp_path).folder.name == key


@pytest.mark.parametrize("classes", [10, 300])
def test_an_open_view_gives_rows_and_is_checked_once(
    classes: int, data: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = compute(counting_teacher(classes), data, tmp_path)
    whole = labels.view(1)
    checks: list[str] = []
    checksum = akd_gym.soft_labels._checksum
    monkeypatch.setattr(
        akd_gym.soft_labels, "_checksum", lambda tensors, label: checks.append(label) or checksum(tensors, label)
    )
    view = labels.open(1)
    assert len(view) == 64
    for rows in torch.randperm(64, generator=torch.Generator().manual_seed(0)).split(9):
        assert torch.equal(view[rows], whole[rows])
        assert view[rows].dtype == torch.float32
    assert len(checks) == 1
    assert sum(tensor.nbytes for tensor in view.tensors.values()) == 64 * (20 if classes == 10 else 64)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_a_batch_looked_up_is_to_the_bit_the_batch_of_the_whole(
    temperature: float, data: TaskData, tmp_path: Path
) -> None:
    labels = compute(counting_teacher(), data, tmp_path)
    whole, view = (labels.view(0) / temperature).log_softmax(1), labels.open(0)
    for size in (1, 7, 16, 64):
        for rows in torch.randperm(64, generator=torch.Generator().manual_seed(size)).split(size):
            assert torch.equal((view[rows] / temperature).log_softmax(1), whole[rows])


def test_a_handle_travels_to_another_process(data: TaskData, tmp_path: Path) -> None:
    labels = compute(counting_teacher(), data, tmp_path)
    sent = pickle.dumps(labels)
    assert len(sent) < 1000
    assert torch.equal(pickle.loads(sent).view(1), labels.view(1))


SLOW_SEARCH = """
import sys, time
from pathlib import Path
from tests_soft_labels import compute, counting_teacher, load_data
teacher = counting_teacher()
real = teacher.module.forward
def slow(x):
    time.sleep(0.5)
    return real(x)
teacher.module.forward = slow
compute(teacher, load_data(train_size=64, val_size=32), Path(sys.argv[1]))
print(teacher.module.images)
"""


def test_two_processes_at_once_pay_once(data: TaskData, tmp_path: Path) -> None:
    shutil.copy(__file__, tmp_path / "tests_soft_labels.py")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SLOW_SEARCH, str(tmp_path)],
            env=os.environ | {"PYTHONPATH": str(tmp_path)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    counts = sorted(int(process.communicate(timeout=200)[0]) for process in processes)
    assert counts == [0, 2 * 64]
    assert len(view_files(tmp_path)) == 2


KILLED_WRITER = """
import os, sys, time
from pathlib import Path
from tests_soft_labels import RECIPE, compute, counting_teacher, load_data
root, ready = map(Path, sys.argv[1:])
fsync, calls = os.fsync, []
def stuck(descriptor):
    calls.append(descriptor)
    if len(calls) > 1:  # the first view is written, the second hangs with its bytes half on the disk
        ready.touch()
        time.sleep(600)
    fsync(descriptor)
os.fsync = stuck
compute(counting_teacher(), load_data(train_size=64, val_size=32), root)
"""


def test_a_killed_writer_leaves_nothing_that_is_read(data: TaskData, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    shutil.copy(__file__, tmp_path / "tests_soft_labels.py")
    root = tmp_path / "cache"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED_WRITER, str(root), str(ready)],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    deadline = time.monotonic() + 120
    while not ready.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    assert ready.exists()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert [path.name for path in view_files(root)] == ["view0000.safetensors"]
    teacher = counting_teacher()
    labels = compute(teacher, data, root)
    assert teacher.module.images == 64  # only the view that was lost
    assert sorted(path.name for path in labels.folder.iterdir()) == ["view0000.safetensors", "view0001.safetensors"]
    live = teacher.logits(RECIPE.view(data.train.images, data.train.indices, 1))
    assert torch.allclose(labels.view(1), live, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "header", "empty", "swapped"])
def test_damage_is_found_named_and_repaired(damage: str, data: TaskData, tmp_path: Path) -> None:
    teacher = counting_teacher()
    labels = compute(teacher, data, tmp_path)
    path = labels.folder / "view0001.safetensors"
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        content = content[:-7]
    elif damage == "flipped":
        content[-9] ^= 0x10
    elif damage == "header":
        content[20] ^= 0x10
    elif damage == "empty":
        content = bytearray()
    else:
        content = bytearray((labels.folder / "view0000.safetensors").read_bytes())
    path.write_bytes(content)
    for opening in (lambda: compute(teacher, data, tmp_path), lambda: labels.view(1)):
        with pytest.raises(CorruptFileError, match=r"view0001\.safetensors is damaged .*`akd repair`"):
            opening()
    before = labels.view(0)
    assert repair(tmp_path) == [path]
    assert repair(tmp_path) == []
    whole = compute(teacher, data, tmp_path)
    assert torch.equal(whole.view(0), before)
    assert teacher.module.images == 3 * 64


def test_a_file_that_is_gone(data: TaskData, tmp_path: Path) -> None:
    labels = compute(counting_teacher(), data, tmp_path)
    view_files(tmp_path)[0].unlink()
    with pytest.raises(StorageError, match="cannot be read: No such file"):
        labels.view(0)


def test_a_full_disk_is_said_before_anything_is_computed(
    data: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(akd_gym.soft_labels.shutil, "disk_usage", lambda _: usage(10, 10, 0))
    teacher = counting_teacher()
    with pytest.raises(StorageError, match=r"need 0\.0 MiB below .* only 0\.0 MiB are free"):
        compute(teacher, data, tmp_path)
    assert teacher.module.images == 0


def test_a_disk_that_fills_up_while_writing(data: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left on device"):
        compute(counting_teacher(), data, tmp_path)
    monkeypatch.undo()
    assert view_files(tmp_path) == []
    assert compute(counting_teacher(), data, tmp_path).view(0).shape == (64, 10)


def test_a_place_that_cannot_be_written(data: TaskData, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be written"):
        compute(counting_teacher(), data, tmp_path / "file")


def test_a_read_only_cache_that_is_complete_is_enough(
    data: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute(counting_teacher(), data, tmp_path)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert compute(counting_teacher(), data, tmp_path).views == 2
    with pytest.raises(StorageError, match="Read-only file system"):
        compute(counting_teacher(), data, tmp_path, views=3)


def test_answers_that_are_not_finite(data: TaskData, tmp_path: Path) -> None:
    teacher = counting_teacher()
    teacher.module.weight[0, 0] = float("nan")
    with pytest.raises(TeacherError, match="must answer with finite logits"):
        compute(teacher, data, tmp_path)
    assert view_files(tmp_path) == []


def test_bad_settings(data: TaskData, tmp_path: Path) -> None:
    with pytest.raises(InvalidSettingError, match="`views` must be 1 or more, but got 0"):
        compute(counting_teacher(), data, tmp_path, views=0)
    with pytest.raises(InvalidSettingError, match="`top_k` must be 1 or more, but got 0"):
        compute(counting_teacher(), data, tmp_path, top_k=0)


def test_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AKD_GYM_CACHE", "/fast/disk")
    assert cache_dir() == Path("/fast/disk")
    monkeypatch.delenv("AKD_GYM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/home/me/.cache")
    assert cache_dir() == Path("/home/me/.cache/akd_gym")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir() == Path.home() / ".cache" / "akd_gym"
