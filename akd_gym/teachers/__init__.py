"""Teachers: by name, in ensembles, trained here. Imported when first asked for: all but the settings need torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from akd_gym.teachers.base import EmbeddingTeacher, NetworkTeacher, Teacher
    from akd_gym.teachers.ensembles import EnsembleTeacher
    from akd_gym.teachers.loading import TEACHER_NAMES, load_embedder, load_teacher, member_names
    from akd_gym.teachers.pretrained import untrained_teacher
    from akd_gym.teachers.zoos import build_zoo_network

__all__ = [
    "TEACHER_NAMES",
    "EmbeddingTeacher",
    "EnsembleTeacher",
    "NetworkTeacher",
    "Teacher",
    "build_zoo_network",
    "load_embedder",
    "load_teacher",
    "member_names",
    "untrained_teacher",
]

_HOMES = {
    "TEACHER_NAMES": "loading",
    "EmbeddingTeacher": "base",
    "EnsembleTeacher": "ensembles",
    "NetworkTeacher": "base",
    "Teacher": "base",
    "build_zoo_network": "zoos",
    "load_embedder": "loading",
    "load_teacher": "loading",
    "member_names": "loading",
    "untrained_teacher": "pretrained",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
