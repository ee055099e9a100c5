"""A network, its scaling and a task put together to a teacher."""

from __future__ import annotations

import torch
from torch import nn

from akd_gym.errors import TeacherError
from akd_gym.teachers.base import EmbeddingTeacher, NetworkTeacher, hash_teacher
from akd_gym.teachers.tasks import Scaling, Task


def assemble(
    name: str, architecture: str, module: nn.Module, num_classes: int, task: Task, scaling: Scaling
) -> NetworkTeacher:
    """Make a teacher of a network whose weights are loaded.

    Args:
        name: Of the teacher.
        architecture: What built the network: weights of the same names in another network are another teacher.
        module: (B, C, R, R) -> (B, num_classes), or an embedding (B, D) if `num_classes` is 0.
        num_classes: See `module`.
        task: What it is wanted for; it must take these channels.
        scaling: How it wants its pixels.

    Raises:
        TeacherError: The scaling cannot be, or a network without classes gives no embedding.
    """
    scaling.check(name, task.in_channels)
    module = module.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    weights_hash = hash_teacher(architecture, scaling.mean, scaling.std, scaling.resolution, module.state_dict())
    rest = (num_classes, task.in_channels, scaling.mean, scaling.std, scaling.resolution)
    if num_classes:
        return NetworkTeacher(name, module, weights_hash, *rest)
    width = _width(name, module, task.in_channels, scaling.resolution or task.resolution)
    return EmbeddingTeacher(name, module, weights_hash, *rest, width=width)


@torch.no_grad()
def _width(name: str, module: nn.Module, in_channels: int, side: int) -> int:
    """Length of the embedding of one picture."""
    try:
        answer = module(torch.zeros(1, in_channels, side, side))
    except Exception as error:
        raise TeacherError(
            f"Teacher {name!r} does not take pictures of {in_channels} channels, {side} px: {error}"
        ) from error
    if not isinstance(answer, torch.Tensor) or answer.ndim != 2:
        found = tuple(answer.shape) if isinstance(answer, torch.Tensor) else type(answer).__name__
        raise TeacherError(
            f"Teacher {name!r} has no classes, so its answer must be an embedding (N, D), but is {found}."
        )
    return answer.shape[1]
