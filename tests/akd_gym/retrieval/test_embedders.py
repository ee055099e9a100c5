"""Embedders: pixels, a teacher with a memory, files to an index."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from akd_gym.data import load_data
from akd_gym.errors import DataError, StorageError
from akd_gym.retrieval.distractors import unit
from akd_gym.retrieval.embedders import CachedTeacher, PixelEmbedder, embed, embed_files
from akd_gym.retrieval.identities import load_faces, split_faces
from akd_gym.retrieval.pictures import Reader, list_pictures
from akd_gym.teachers import Teacher, load_teacher

CPU = torch.device("cpu")


class Counted(Teacher):
    """A shipped teacher, and how many pictures it was asked for."""

    def __init__(self, teacher: Teacher) -> None:
        self.teacher, self.asked = teacher, 0
        self.name, self.weights_hash = teacher.name, teacher.weights_hash
        self.num_classes, self.in_channels = teacher.num_classes, teacher.in_channels

    @property
    def feature_dim(self) -> int:
        return self.teacher.feature_dim

    def logits(self, images: Tensor) -> Tensor:
        return self.teacher.logits(images)

    def features(self, images: Tensor) -> Tensor:
        self.asked += len(images)
        return self.teacher.features(images)

    def to(self, device: str | torch.device) -> Teacher:
        return self


@pytest.fixture
def counted() -> tuple[Counted, Tensor]:
    data = load_data(train_size=40, val_size=10, test_size=0)
    teacher = load_teacher("shipped:resnet", data)
    assert teacher is not None
    [images] = data.train.batches([torch.arange(40)], CPU)
    return Counted(teacher), images


def test_a_teacher_is_asked_once_for_a_picture(counted: tuple[Counted, Tensor]) -> None:
    teacher, images = counted
    cached = CachedTeacher(teacher)
    expected = teacher.teacher.features(images)
    rows = torch.tensor([3, 1, 4, 1, 5, 9, 2, 6])
    torch.testing.assert_close(cached.features(images[rows]), expected[rows], rtol=1e-4, atol=1e-4)
    assert teacher.asked == 7
    torch.testing.assert_close(cached.features(images), expected, rtol=1e-4, atol=1e-4)
    assert teacher.asked == 40
    once = cached.features(images)
    assert torch.equal(once, cached.features(images))
    assert teacher.asked == 40
    assert (cached.name, cached.weights_hash, cached.feature_dim) == (teacher.name, teacher.weights_hash, 96)
    assert torch.equal(cached.logits(images), teacher.logits(images))


def test_a_full_memory_forgets_nothing_and_learns_nothing(counted: tuple[Counted, Tensor]) -> None:
    teacher, images = counted
    cached = CachedTeacher(teacher, limit_mib=10 * (4 * 96 + 200) / 2**20 + 1e-9)
    expected = cached.features(images)
    torch.testing.assert_close(cached.features(images), expected, rtol=1e-4, atol=1e-4)
    assert teacher.asked == 40 + 30


def test_pixels_by_hand() -> None:
    """Cosines are correlations: brightness and contrast do not count."""
    one = torch.tensor([10, 20, 30, 40], dtype=torch.uint8)
    images = torch.stack([one, one * 2 + 50, 200 - one]).view(3, 1, 2, 2)
    vectors = unit(PixelEmbedder()(images))
    torch.testing.assert_close(vectors @ vectors[0], torch.tensor([1.0, 1.0, -1.0]))
    assert PixelEmbedder()(torch.zeros(2, 3, 100, 100, dtype=torch.uint8)).shape == (2, 3 * 32 * 32)


def test_files_are_embedded_as_pictures_are(faces_folder: Path, tmp_path: Path) -> None:
    task = split_faces(load_faces(f"faces:{faces_folder}"))
    paths = [path for person in task.people for path in list_pictures(faces_folder / person)]
    told: list[tuple[int, int]] = []
    index = embed_files(
        PixelEmbedder(), paths, Reader(24, 1), tmp_path / "index", CPU, lambda done, total: told.append((done, total))
    )
    assert isinstance(index, np.memmap)
    assert torch.equal(torch.from_numpy(np.array(index)), embed(PixelEmbedder(), task.gallery, CPU))
    assert told == [(20, 20)]
    (tmp_path / "broken.png").write_bytes(b"")
    broken = [paths[0], tmp_path / "broken.png", paths[1]]
    with pytest.raises(DataError, match=r"1 unreadable pictures: .*broken\.png"):
        embed_files(PixelEmbedder(), broken, Reader(24, 1), tmp_path / "index", CPU)
    reader = Reader(24, 1, "skip")
    assert len(embed_files(PixelEmbedder(), broken, reader, tmp_path / "index", CPU)) == 2
    assert len(reader.skipped) == 1
    with pytest.raises(StorageError, match="cannot be written"):
        embed_files(PixelEmbedder(), paths, Reader(24, 1), tmp_path / "nowhere" / "index", CPU)
