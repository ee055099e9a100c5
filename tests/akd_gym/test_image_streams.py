"""Streamed images: the pictures of resident ones, without their memory; and what is done about unreadable files."""

import os
import pickle
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import akd_gym.image_loading
from akd_gym import image_streams, picture_checks
from akd_gym.architecture import NetworkSpec
from akd_gym.augment import AugmentRecipe
from akd_gym.data import TaskData, load_data
from akd_gym.errors import DataError, InvalidSettingError
from akd_gym.executors import Job, ProcessExecutor, TrainingTask
from akd_gym.image_streams import READ_AHEAD, StreamedImageSet
from akd_gym.images import ImageSet
from akd_gym.recipes import Recipe
from akd_gym.soft_labels import soft_labels
from akd_gym.teachers import NetworkTeacher
from akd_gym.training import train_student

CPU = torch.device("cpu")
SIDE = 32
STUDENT = NetworkSpec.parse("stem_k3_s2_c8 cn_r1_k3_s2_c8_noskip ir_r1_k3_s2_e2_c12_id head_c24")
SHIFTS, CROPS = AugmentRecipe(seed=3), AugmentRecipe(seed=3, crop_area=0.08)


@pytest.fixture(scope="session")
def photographs(write_photographs: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 real JPEGs of all sizes from 60 to 200 pixels."""
    return write_photographs(tmp_path_factory.mktemp("photographs"), 40, 60, 200)


@pytest.fixture
def copied(photographs: Path, tmp_path: Path) -> Path:
    """The photographs, to be damaged."""
    for path in photographs.rglob("*.jpg"):
        copy = tmp_path / "copied" / path.relative_to(photographs)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    return tmp_path / "copied"


def load(root: Path, options: str = "", **changes: Any) -> TaskData:
    sizes: dict[str, Any] = {"train_size": 24, "val_size": 12, "resolution": SIDE} | changes
    return load_data(f"imagefolder:{root}{options}", **sizes)


def shuffled(count: int, batch: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed)).split(batch)


def decoders() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


# The same pictures


@pytest.mark.parametrize("augment", [None, SHIFTS])
def test_streamed_pictures_are_the_resident_ones(photographs: Path, augment: AugmentRecipe | None) -> None:
    streamed, resident = load(photographs, "?stream"), load(photographs, "?resident")
    assert isinstance(streamed.train, StreamedImageSet)
    assert isinstance(resident.train, ImageSet)
    assert streamed.train.shape == resident.train.shape == (3, SIDE, SIDE)
    for part in ("train", "val", "test"):
        ours, theirs = getattr(streamed, part), getattr(resident, part)
        assert torch.equal(ours.labels, theirs.labels)
        assert torch.equal(ours.indices, theirs.indices)
        rows = shuffled(len(ours), 7)
        pairs = zip(ours.batches(rows, CPU, augment, 2), theirs.batches(rows, CPU, augment, 2), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)
    assert streamed.mean == resident.mean  # of all 24, fewer than the sample
    assert streamed.fingerprint != resident.fingerprint


@pytest.mark.parametrize("options", ["?stream", "?resident"])
def test_crops_depend_on_seed_view_and_image_alone(photographs: Path, options: str) -> None:
    images = load(photographs, options).train
    whole = torch.cat(list(images.batches(torch.arange(24).split(24), CPU, CROPS, 1)))
    for seed, batch in ((0, 1), (1, 5), (2, 24)):
        rows = shuffled(24, batch, seed)
        for own, pictures in zip(rows, images.batches(rows, CPU, CROPS, 1), strict=True):
            assert torch.equal(pictures, whole[own])
    other_view, plain = (
        next(images.batches([torch.arange(24)], CPU, *how)) for how in ((CROPS, 2), (replace(CROPS, crop_area=1.0), 1))
    )
    assert all((whole[row] != other_view[row]).any() and (whole[row] != plain[row]).any() for row in range(24))


@pytest.mark.parametrize("options", ["?stream", "?resident"])
@pytest.mark.parametrize("augment", [SHIFTS, CROPS], ids=["shifts", "crops"])
def test_soft_labels_are_the_live_teachers_for_what_the_student_sees(
    photographs: Path, tmp_path: Path, options: str, augment: AugmentRecipe
) -> None:
    """The classic silent bug, for both kinds of set: another picture for the teacher than for the student."""
    data = load(photographs, options)
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 8, 5, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(72, 2))
    module[-1].weight.data *= 20  # answers far enough apart to tell pictures from one another
    teacher = NetworkTeacher("test", module, "hash", 2, 3, data.mean, data.std)
    labels = soft_labels(teacher, data.train, data.fingerprint, augment, 2, tmp_path)
    for view in (0, 1):
        cached, rows = labels.open(view), shuffled(24, 8, view)
        for own, pictures in zip(rows, data.train.batches(rows, CPU, augment, view), strict=True):
            assert torch.allclose(cached[own], teacher.logits(pictures), atol=2e-3, rtol=2e-3)
    assert not torch.allclose(labels.view(0), labels.view(1), atol=0.05)


def test_a_student_trains_and_is_judged_the_same(photographs: Path) -> None:
    recipe = Recipe(epochs=2, batch_size=8)
    streamed, resident = (train_student(STUDENT, load(photographs, o), recipe) for o in ("?stream", "?resident"))
    assert replace(streamed, seconds=0) == replace(resident, seconds=0)


@pytest.mark.slow
def test_workers_stream_too(photographs: Path) -> None:
    name = f"imagefolder:{photographs}?stream"
    recipe = Recipe(epochs=2, batch_size=8, train_size=24, val_size=12, resolution=SIDE, crop_area=0.3)
    task, jobs = TrainingTask(name, recipe), [Job(str(STUDENT), seed) for seed in (0, 1)]
    executor = ProcessExecutor(2)
    try:
        records = dict(executor.run(task, jobs))
    finally:
        executor.close()
    for index, job in enumerate(jobs):
        here = task.run(job)
        assert (records[index].accuracy, records[index].loss) == (here.accuracy, here.loss)


def test_a_set_is_cheap_to_send(photographs: Path) -> None:
    images = load(photographs, "?stream").train
    sent = pickle.dumps(images)
    assert len(sent) < 100 * 40 + 2000
    rows = [torch.arange(5)]
    assert torch.equal(next(pickle.loads(sent).batches(rows, CPU)), next(images.batches(rows, CPU)))


# Bounded, and gone when they are no longer wanted


def test_it_reads_only_so_far_ahead(photographs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    decode = image_streams.decode
    monkeypatch.setattr(image_streams, "decode", lambda path, *rest: decoded.append(path) or decode(path, *rest))
    images = load(photographs, "?stream", threads=3).train
    assert isinstance(images, StreamedImageSet)
    decoded.clear()
    pictures = images.batches(torch.arange(24).split(4), CPU)
    assert decoded == []
    for number in (1, 2):
        next(pictures)
        deadline = time.monotonic() + 60
        while len(decoded) < 4 * (number + READ_AHEAD) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)  # for more, if there were more
        assert len(decoded) == 4 * (number + READ_AHEAD)
    assert decoders()
    pictures.close()  # type: ignore[attr-defined]
    assert decoders() == []
    assert len(decoded) == 4 * (2 + READ_AHEAD)
    assert len(list(images.batches(torch.arange(24).split(4), CPU))) == 6
    assert decoders() == []


def test_a_file_that_goes_bad_during_training_is_named(copied: Path) -> None:
    images = load(copied, "?stream").train
    assert isinstance(images, StreamedImageSet)
    path = Path(images.files.path(int(images.indices[9])))
    path.write_bytes(path.read_bytes()[:500])
    pictures = images.batches(torch.arange(24).split(4), CPU)
    assert len([next(pictures), next(pictures)]) == 2
    with pytest.raises(DataError, match=rf"Unreadable picture .*{path.name} \(.+\): it could be read when"):
        next(pictures)
    assert decoders() == []


# Which kind


def test_what_is_large_for_the_machine_is_streamed(photographs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mib = 56 * 3 * SIDE**2 / 2**20  # 24 + 12 images and 20 to test on
    said: list[str] = []
    monkeypatch.setattr(akd_gym.image_loading, "_memory_mib", lambda: mib * 16 * 0.99)
    assert isinstance(load(photographs, threads=2, announce=said.append).val, StreamedImageSet)
    assert said[0] == f"Streaming 56 images of imagefolder:{photographs} at {SIDE} px, 0 MiB in all, by 2 threads"
    assert isinstance(load(photographs, "?resident").val, ImageSet)
    monkeypatch.setattr(akd_gym.image_loading, "_memory_mib", lambda: mib * 16 * 1.01)
    assert isinstance(load(photographs).val, ImageSet)
    assert isinstance(load(photographs, "?stream").val, StreamedImageSet)
    monkeypatch.setattr(akd_gym.image_loading, "_memory_mib", lambda: 1.0)
    assert isinstance(load_data(train_size=6000).train, ImageSet)  # there are no files to stream


def test_a_question_mark_may_be_part_of_a_path(photographs: Path, tmp_path: Path) -> None:
    (tmp_path / "what?").symlink_to(photographs)
    assert isinstance(load(tmp_path / "what?", "?stream&skip").train, StreamedImageSet)
    assert isinstance(load(tmp_path / "what?").train, ImageSet)
    by_root = load_data("imagefolder:?stream", root=photographs, train_size=24, val_size=12, resolution=SIDE)
    assert isinstance(by_root.train, StreamedImageSet)
    with pytest.raises(InvalidSettingError, match="asks for both"):
        load(photographs, "?stream&resident")
    with pytest.raises(DataError, match=r"No folder at .*\?steam"):
        load(photographs, "?steam")


# Fingerprints


def test_the_fingerprint_of_streamed_pictures_follows_names_sizes_and_the_draw(copied: Path) -> None:
    before = load(copied, "?stream")
    assert load(copied, "?stream").fingerprint == before.fingerprint
    assert load(copied, "?stream", resolution=SIDE * 2).fingerprint != before.fingerprint
    assert load(copied, "?stream", split_seed=1).fingerprint != before.fingerprint
    assert isinstance(before.train, StreamedImageSet)
    path = Path(before.train.files.path(int(before.train.indices[0])))
    content = bytearray(path.read_bytes())
    content[-40] ^= 1  # the same size: what the documentation says is not noticed
    path.write_bytes(content)
    assert load(copied, "?stream").fingerprint == before.fingerprint
    path.write_bytes(content + b" ")
    assert load(copied, "?stream").fingerprint != before.fingerprint
    path.write_bytes(content)
    path.rename(path.with_name(f"{path.stem}x.jpg"))  # keeps its place
    assert load(copied, "?stream").fingerprint != before.fingerprint


# Unreadable files


def drawn(data: TaskData, name: str) -> list[Path]:
    """Files of mini-train."""
    root = Path(name) / "train"
    files = sorted(root.glob("*/*.jpg"))
    return [files[position] for position in data.train.indices.tolist()]


@pytest.mark.parametrize("options", ["?stream", "?resident"])
def test_unreadable_pictures_are_refused_and_all_counted(copied: Path, options: str) -> None:
    broken = drawn(load(copied, options), str(copied))[:7]
    for path in broken:
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"7 unreadable pictures: .* and 2 more\. .* append `\?skip`") as caught:
        load(copied, options)
    assert [path for path in broken if str(path) in str(caught.value)] == broken[:5]


@pytest.mark.parametrize("options", ["?stream", "?resident"])
def test_unreadable_pictures_are_left_out_without_changing_the_others(copied: Path, options: str) -> None:
    before = load(copied, options)
    files = drawn(before, str(copied))
    files[3].write_bytes(files[3].read_bytes()[:-200])
    files[20].write_text("no picture")
    (copied / "train" / "above" / "000.jpg").with_suffix(".txt").write_text("no picture by its name")
    said: list[str] = []
    after = load(copied, f"{options}&skip", announce=said.append)
    assert len(after.left_out) == 2
    assert [str(path) in text for path, text in zip((files[3], files[20]), after.left_out, strict=True)] == [True] * 2
    assert said[-1].startswith(f"{after.name}: left out 2 unreadable pictures: {files[3]} (")
    kept = torch.tensor([row for row in range(24) if row not in (3, 20)])
    assert torch.equal(after.train.indices, before.train.indices[kept])
    assert torch.equal(after.val.indices, before.val.indices)
    pictures = [next(d.train.batches([rows], CPU)) for d, rows in ((after, torch.arange(22)), (before, kept))]
    assert torch.equal(*pictures)
    assert after.fingerprint != before.fingerprint
    whole = load(copied, f"{options}&skip", train_size=4, val_size=2)
    assert whole.left_out == () or len(whole.train) + len(whole.val) < 6


def test_the_first_picture_may_be_unreadable(copied: Path) -> None:
    for label in ("above", "below"):
        (copied / "train" / label / "000.jpg").write_bytes(b"")
    assert load(copied, "?skip", train_size=30, val_size=10, resolution=None).resolution >= 60
    with pytest.raises(DataError, match=r"2 unreadable pictures: .*above/000\.jpg .*below/000\.jpg"):
        load(copied, "?stream", train_size=30, val_size=10, resolution=None)
    for path in copied.rglob("*.jpg"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match="val must hold a readable picture, but has 20 unreadable pictures"):
        load(copied, "?skip")


def test_a_part_without_readable_pictures_is_an_error(copied: Path) -> None:
    chosen = load(copied, "?stream", test_size=1).test
    assert isinstance(chosen, StreamedImageSet)
    Path(chosen.files.path(int(chosen.indices[0]))).write_bytes(b"")
    with pytest.raises(DataError, match=r"in every part, but one has 1 unreadable picture: .*/val/"):
        load(copied, "?stream&skip", test_size=1)
    assert len(load(copied, "?stream&skip", test_size=0).train) == 24


def test_every_picture_is_checked_once(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []
    check: Callable[[str], str | None] = picture_checks.picture_files.check
    monkeypatch.setattr(picture_checks.picture_files, "check", lambda path: checked.append(path) or check(path))
    said: list[str] = []
    first = load(copied, "?stream", announce=said.append)
    assert len(checked) == 24 + 12 + 20
    assert said[1] == f"Checking that 24 pictures below {copied}/train are readable, once"
    load(copied, "?stream")
    assert len(checked) == 56
    assert isinstance(first.train, StreamedImageSet)
    changed = Path(first.train.files.path(int(first.train.indices[5])))
    os.utime(changed, ns=(1, 1))
    load(copied, "?stream")
    assert checked[56:] == [str(changed)]
    for kept in (Path(os.environ["AKD_GYM_CACHE"]) / "readable_pictures").glob("*.npy"):
        kept.write_bytes(kept.read_bytes()[:90])  # damaged: all is checked again
    load(copied, "?stream")
    assert len(checked) == 57 + 56


@pytest.mark.parametrize("options", ["?stream", "?skip", ""])
def test_an_empty_class_is_refused(copied: Path, options: str) -> None:
    (copied / "train" / "nothing").mkdir()
    with pytest.raises(DataError, match="nothing"):
        load(copied, options)


def test_names_beyond_ascii(copied: Path) -> None:
    (copied / "train" / "above" / "000.jpg").rename(copied / "train" / "above" / "ねこ ü.jpg")
    (copied / "train" / "above" / "001.jpg").rename(os.fsdecode(os.fsencode(copied) + b"/train/above/\xff.jpg"))
    for part in ("train", "val"):
        (copied / part / "above").rename(copied / part / "ねこ")
    data = load(copied, "?stream", train_size=34, val_size=6)
    assert data.class_names == ("below", "ねこ")
    assert len(list(data.train.batches(torch.arange(34).split(10), CPU))) == 4
