"""Teachers of embeddings by name."""

from __future__ import annotations

from pathlib import Path

import torch

from akd_gym.data import TaskData
from akd_gym.errors import TeacherError, UnknownNameError
from akd_gym.recipes import Recipe
from akd_gym.retrieval.dlib_faces import DlibFaceTeacher
from akd_gym.retrieval.embedders import CachedTeacher
from akd_gym.retrieval.training import OnEpoch, Place, train_embedding_teacher
from akd_gym.teachers import TEACHER_NAMES, Teacher
from akd_gym.teachers.ensembles import EnsembleTeacher, split_ensemble
from akd_gym.teachers.loading import load_embedder
from akd_gym.teachers.settings import TEACHER_NETWORKS

EMBEDDING_TEACHER_NAMES = ("dlib:face", *(f"trained:{name}" for name in TEACHER_NETWORKS), *TEACHER_NAMES)
"""Every form the name of an embedding teacher can take."""
_SOURCES = {known.partition(":")[0] for known in EMBEDDING_TEACHER_NAMES if ":" in known}


def load_embedding_teacher(
    name: str, data: TaskData, recipe: Recipe, out: Path, *, place: Place, on_epoch: OnEpoch | None = None
) -> Teacher | None:
    """Load who is distilled, with a memory of the pictures seen.

    Args:
        name: `"dlib:face"`, a face network; `"trained:NETWORK"`, a classifier of the people trained on, trained here
            first; or see `akd_gym.teachers.load_embedder`; `"none"` for nobody. Joined by `+` they are an ensemble,
            whose features are its members' side by side.
        data: The people to train on.
        recipe: How a teacher is trained here.
        out: Folder that such teachers are kept in, each in its own.
        place: Seed, device and threads.
        on_epoch: Told of every epoch of such a training.

    Raises:
        UnknownNameError: Nothing goes by this name.
        TeacherError: It cannot be loaded, does not take such pictures, or has no features.
    """
    if name == "none":
        return None
    members = [
        _load_one(member, data, recipe, out, place, on_epoch).to(place.device)
        for member in split_ensemble(name, _SOURCES)
    ]
    teacher = members[0] if len(members) == 1 else EnsembleTeacher(members)
    [picture] = data.train.batches([torch.arange(1)], place.device)
    features = teacher.features(picture)
    if features.shape != (1, teacher.feature_dim):
        raise TeacherError(
            f"The features of teacher {name!r} must be (N, {teacher.feature_dim}), but are {tuple(features.shape)}."
        )
    return CachedTeacher(teacher)


def _load_one(name: str, data: TaskData, recipe: Recipe, out: Path, place: Place, on_epoch: OnEpoch | None) -> Teacher:
    source, _, rest = name.partition(":")
    if name == "dlib:face":
        return DlibFaceTeacher(data.in_channels)
    if source == "trained" and rest in TEACHER_NETWORKS:
        return train_embedding_teacher(rest, data, recipe, out / rest, place=place, on_epoch=on_epoch)
    if source not in _SOURCES or source in ("dlib", "trained"):
        raise UnknownNameError("teacher", name, EMBEDDING_TEACHER_NAMES)
    return load_embedder(name, in_channels=data.in_channels, resolution=data.resolution, mean=data.mean, std=data.std)
