"""Networks to put a checkpoint into, by what stands behind the `@` of its name."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from akd_gym.errors import TeacherError, UnknownNameError
from akd_gym.teachers.networks import build_teacher_network
from akd_gym.teachers.settings import TEACHER_NETWORKS
from akd_gym.teachers.tasks import Scaling, Task
from akd_gym.teachers.zoos import ZOOS, build_zoo_network, find_zoo
from akd_gym.user_modules import import_user_module

ARCHITECTURES = (*TEACHER_NETWORKS, *(f"{prefix}:NAME" for prefix in ZOOS), "module:function")
"""Every form that an architecture's name can take."""


def build_architecture(architecture: str, num_classes: int, task: Task) -> nn.Module:
    """Build a network with random weights.

    Args:
        architecture: See `ARCHITECTURES`. A function is called as `function(num_classes=..., in_channels=...)`.
        num_classes: Of its answers; 0: it is to answer with its embedding (of functions only).
        task: The pictures that it must take.

    Raises:
        UnknownNameError: Nothing goes by this name.
        TeacherError: It cannot be built.
    """
    if architecture in TEACHER_NETWORKS:
        return build_teacher_network(architecture, num_classes, task.in_channels, task.resolution)
    if find_zoo(architecture):
        return build_zoo_network(architecture, num_classes, task.in_channels)
    if not is_function(architecture):
        raise UnknownNameError("teacher architecture", architecture, ARCHITECTURES)
    module_name, _, attribute = architecture.partition(":")
    try:
        function = getattr(import_user_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise TeacherError(f"Architecture {architecture!r} cannot be imported: {error}.") from error
    try:
        module = function(num_classes=num_classes, in_channels=task.in_channels)
    except TypeError as error:
        raise TeacherError(
            f"{architecture!r} must be callable as function(num_classes=..., in_channels=...): {error}."
        ) from error
    if not isinstance(module, nn.Module):
        raise TeacherError(f"{architecture!r} must return a torch.nn.Module, but returned {type(module).__name__}.")
    return module


def is_function(architecture: str) -> bool:
    """Whether it names a function of the user's own."""
    prefix, _, attribute = architecture.partition(":")
    return bool(prefix and attribute) and prefix not in ZOOS


def usual_scaling(architecture: str, task: Task) -> Scaling:
    """Return how an architecture wants its pixels if its checkpoint does not say.

    As its zoo says, but for other channels than the zoo's with the mean and spread of the task; else as the task.
    """
    found = find_zoo(architecture)
    if found is None:
        return task.scaling
    zoo, name = found
    entry = zoo.describe(name)
    if entry.scaling is None:
        return task.scaling
    if entry.in_channels != task.in_channels:
        return replace(task.scaling, resolution=entry.scaling.resolution)
    return entry.scaling
