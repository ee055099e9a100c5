"""The teachers whose weights are inside the package: `shipped:NAME`."""

from __future__ import annotations

import hashlib
import json

from safetensors.torch import load_file

from akd_gym.errors import CorruptFileError, UnknownNameError
from akd_gym.teachers.assembly import assemble
from akd_gym.teachers.base import NetworkTeacher
from akd_gym.teachers.networks import build_teacher_network
from akd_gym.teachers.settings import TEACHER_ASSETS, TEACHER_NETWORKS
from akd_gym.teachers.tasks import Scaling, Task


def load_shipped(name: str, task: Task) -> NetworkTeacher:
    """Load one of the three.

    Raises:
        UnknownNameError: No such teacher.
        CorruptFileError: Its file is damaged.
        TeacherError: The task has other classes or channels.
    """
    if name not in TEACHER_NETWORKS:
        raise UnknownNameError("teacher", f"shipped:{name}", [f"shipped:{known}" for known in TEACHER_NETWORKS])
    path = TEACHER_ASSETS / f"{name}.safetensors"
    try:
        record = json.loads(path.with_suffix(".json").read_text())
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, ValueError) as error:
        raise CorruptFileError(f"Teacher 'shipped:{name}' is incomplete ({error}): reinstall akd_gym.") from error
    if digest != record["sha256"]:
        raise CorruptFileError(f"{path} is damaged (its SHA-256 is not the recorded one): reinstall akd_gym.")
    classes, in_channels, resolution = record["classes"], record["in_channels"], record["resolution"]
    task.check_classes(f"shipped:{name}", classes, in_channels)
    module = build_teacher_network(name, len(classes), in_channels, resolution)
    module.load_state_dict(load_file(path))
    scaling = Scaling(tuple(record["mean"]), tuple(record["std"]), resolution)
    return assemble(f"shipped:{name}", name, module, len(classes), task, scaling)
