"""Teachers from a user's own checkpoints: `file:PATH@ARCHITECTURE`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from torch import Tensor, nn

from akd_gym.errors import TeacherError
from akd_gym.teachers.architectures import ARCHITECTURES, build_architecture, is_function, usual_scaling
from akd_gym.teachers.assembly import assemble
from akd_gym.teachers.base import NetworkTeacher
from akd_gym.teachers.checkpoints import fit_state, read_record, read_state, rename_in_order
from akd_gym.teachers.penultimate import classifiers
from akd_gym.teachers.tasks import Scaling, Task

_ANY_CLASSES = 1000


def load_from_file(source: str, rest: str, task: Task) -> NetworkTeacher:
    """Load `PATH@ARCHITECTURE`; scaling and input size from its record, else as the architecture's zoo, else the task.

    Args:
        source: `"file"`, or `"file-in-order"` to give the weights the network's names, the first to the first.
        rest: What follows it.
        task: What it is wanted for. Where that is embeddings, the number of classes is the file's own, and a function
            is called for a network without them (`num_classes=0`).

    Raises:
        TeacherError: It cannot be read, or it does not fit the network or the task.
        UnknownNameError: No such architecture.
    """
    location, _, architecture = rest.rpartition("@")
    if not location or not architecture:
        raise TeacherError(
            f"A checkpoint needs its architecture, as {source}:PATH@ARCHITECTURE, but got '{source}:{rest}'. "
            f"ARCHITECTURE: {', '.join(ARCHITECTURES)}."
        )
    path = Path(location).expanduser()
    name = f"{source}:{path}@{architecture}"
    state, metadata = read_state(path)
    record = read_record(path, metadata)
    if "classes" in record:
        task.check_classes(name, record["classes"])

    def build(num_classes: int) -> tuple[nn.Module, Mapping[str, Tensor]]:
        module = build_architecture(architecture, num_classes, task)
        return module, rename_in_order(state, module, name) if source == "file-in-order" else state

    num_classes = task.num_classes
    if task.class_names is None and not is_function(architecture):
        num_classes = _classes_in(*build(_ANY_CLASSES), name=name)
    module, weights = build(num_classes)
    wanted = f"{task.name!r} ({num_classes or 'no'} classes, {task.in_channels} channels)"
    fit_state(module, weights, name, wanted)
    usual = usual_scaling(architecture, task)
    scaling = Scaling(
        mean=tuple(record.get("mean", usual.mean)),
        std=tuple(record.get("std", usual.std)),
        resolution=record.get("resolution", usual.resolution),
    )
    return assemble(name, architecture, module, num_classes, task, scaling)


def _classes_in(module: nn.Module, state: Mapping[str, Tensor], *, name: str) -> int:
    """How many classes a checkpoint knows, by the classifier of its network, built for any number."""
    last = classifiers(module, _ANY_CLASSES)[-1:]
    keys = [f"{key}.weight" for key, layer in module.named_modules() if layer in last]
    if not keys or keys[0] not in state:
        raise TeacherError(
            f"Teacher {name!r} must hold the classifier of its network, {keys[0] if keys else 'a last layer'}, but "
            "does not: bring a network without one as module:function."
        )
    return len(state[keys[0]])


load_file = partial(load_from_file, "file")
load_file_in_order = partial(load_from_file, "file-in-order")
