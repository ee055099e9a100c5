"""Teachers by name: the shipped three, model zoos', a user's own checkpoints, and ensembles of them.

A name says where a teacher comes from: `shipped:resnet`; `torchvision:NAME`, `timm:NAME` or `pytorchcv:NAME` for a
zoo's network with its published weights; `file:PATH@ARCHITECTURE` for a state dict, where ARCHITECTURE is one of the
shipped networks (`resnet`, `inception`, `mixer`), a zoo's network, or `module:function` called as
`function(num_classes=..., in_channels=...)`. Names joined by `+` are an ensemble.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from akd_gym.data import TaskData
from akd_gym.errors import AKDGymError, TeacherError, UnknownNameError
from akd_gym.teachers.base import Teacher
from akd_gym.teachers.ensembles import EnsembleTeacher, split_ensemble
from akd_gym.teachers.pretrained import load_pretrained
from akd_gym.teachers.settings import TEACHER_NETWORKS
from akd_gym.teachers.shipped import load_shipped
from akd_gym.teachers.tasks import Scaling, Task
from akd_gym.teachers.user_files import load_file, load_file_in_order
from akd_gym.teachers.zoos import ZOOS

TEACHER_NAMES = (
    "none",
    *(f"shipped:{name}" for name in TEACHER_NETWORKS),
    *(f"{prefix}:NAME" for prefix in ZOOS),
    "file:PATH@ARCHITECTURE",
    "file-in-order:PATH@ARCHITECTURE",
    "TEACHER+TEACHER",
)
"""Every form a teacher's name can take; those in capitals are patterns."""

_SOURCES: dict[str, Callable[[str, Task], Teacher]] = {
    "shipped": load_shipped,
    "file": load_file,
    "file-in-order": load_file_in_order,
    **{prefix: partial(load_pretrained, zoo) for prefix, zoo in ZOOS.items()},
}


def load_teacher(name: str | None, data: TaskData) -> Teacher | None:
    """Load a teacher by name and check that it fits the data.

    Args:
        name: See `TEACHER_NAMES`; None or `"none"` for no teacher.
        data: The task whose classes and channels it must have.

    Raises:
        UnknownNameError: Nothing goes by this name.
        TeacherError: It cannot be loaded, or it does not fit the data.
        CorruptFileError: A shipped teacher's file is damaged.
    """
    if name is None or name == "none":
        return None
    task = Task.of_data(data)
    teacher = _load(name, task)
    (picture,) = data.train.batches([torch.arange(1)], torch.device("cpu"))
    _try(teacher.logits, picture, name, task)
    return teacher


def load_embedder(
    name: str,
    *,
    in_channels: int = 3,
    resolution: int = 112,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> Teacher:
    """Load a teacher for its features alone: whatever classes it knows, if any.

    A `module:function` is called with `num_classes=0`, and what its network answers is the embedding. Of all others,
    the embedding is what goes into their last layer; an ensemble's are its members' side by side.

    Args:
        name: See `TEACHER_NAMES`, except `none`.
        in_channels: Of the pictures that it will see.
        resolution: Of these, pixels.
        mean: Per channel, of images / 255, for teachers whose own is not known; None: 0.5.
        std: The same; None: 0.5.

    Raises:
        UnknownNameError: Nothing goes by this name.
        TeacherError: It cannot be loaded, does not take such pictures, or has no features.
        CorruptFileError: A shipped teacher's file is damaged.
    """
    half = (0.5,) * in_channels
    scaling = Scaling(half if mean is None else mean, half if std is None else std, None)
    task = Task("pictures to embed", in_channels, resolution, scaling, None)
    teacher = _load(name, task)
    _try(teacher.features, torch.zeros(1, in_channels, resolution, resolution, dtype=torch.uint8), name, task)
    return teacher


def member_names(name: str) -> list[str]:
    """Split the name of an ensemble into its members'; that of one teacher stands alone."""
    return split_ensemble(name, _SOURCES)


def _load(name: str, task: Task) -> Teacher:
    members = []
    for member in member_names(name):
        source, _, rest = member.partition(":")
        if source not in _SOURCES or not rest:
            raise UnknownNameError("teacher", member, TEACHER_NAMES)
        members.append(_SOURCES[source](rest, task))
    return members[0] if len(members) == 1 else EnsembleTeacher(members)


def _try(answer: Callable[[Tensor], Tensor], picture: Tensor, name: str, task: Task) -> None:
    """Ask for one picture, so that what does not fit shows at once."""
    try:
        answer(picture)
    except AKDGymError:
        raise
    except Exception as error:
        raise TeacherError(
            f"Teacher {name!r} does not take images of {task.name!r} "
            f"({task.in_channels} channels, {task.resolution} px): {error}"
        ) from error
