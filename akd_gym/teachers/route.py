"""The route of a teacher: checkpoints of its training ("anchors"), from easy to hard, beside its file.

`akd teacher train --anchors 4` keeps NAME.anchor1.safetensors to NAME.anchor3.safetensors beside NAME.safetensors,
which is the fourth. Each is a teacher like any other. `shipped:resnet` has three as well.

Paper: Knowledge Distillation via Route Constrained Optimization - https://arxiv.org/abs/1904.09149
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from akd_gym.data import TaskData
from akd_gym.errors import CorruptFileError, TeacherError
from akd_gym.teachers.base import NetworkTeacher, Teacher
from akd_gym.teachers.loading import load_embedder, load_teacher, member_names
from akd_gym.teachers.settings import TEACHER_ASSETS

_HOW_TO = (
    "shipped:resnet has them; `akd teacher train --name resnet --anchors 4` makes a teacher with anchors, "
    "file:OUT/resnet.safetensors@resnet; of a teacher of your own keep NAME.anchor1.safetensors, "
    "NAME.anchor2.safetensors, ... beside NAME.safetensors."
)


def anchor_path(weights: Path, number: int) -> Path:
    """The file of an anchor, counted from 1, beside a teacher's weights."""
    return weights.with_name(f"{weights.stem}.anchor{number}{weights.suffix}")


def load_route(teacher: Teacher, data: TaskData) -> list[Teacher]:
    """Load the anchors of a teacher, easy to hard; the last is the teacher itself.

    The route of an ensemble is that of its members side by side.

    Args:
        teacher: As `load_teacher` or `load_embedder` gave it, whose name tells where it lies.
        data: The task.

    Raises:
        TeacherError: It has no anchors, one is missing or does not fit; says which, and how to make them.
        CorruptFileError: An anchor is not the one that the teacher's record tells of.
    """
    routes = [_anchor_names(member) for member in member_names(teacher.name)]
    if len({len(route) for route in routes}) > 1:
        counts = ", ".join(str(len(route) + 1) for route in routes)
        raise TeacherError(
            f"All members of {teacher.name!r} must have equally many anchors, but they have {counts}, themselves "
            "included: train them with the same `--anchors`."
        )
    anchors = [_load_alike("+".join(names), teacher, data) for names in zip(*routes, strict=True)]
    return [*anchors, teacher]


def _anchor_names(name: str) -> list[str]:
    """Names of the anchors of one teacher, easy to hard, without its own."""
    source, _, rest = name.partition(":")
    if source == "shipped":
        source, rest = "file", f"{TEACHER_ASSETS / rest}.safetensors@{rest}"
    location, _, architecture = rest.rpartition("@")
    if source not in ("file", "file-in-order") or not location:
        raise TeacherError(f"Teacher {name!r} is one checkpoint without a route, and RCO needs its anchors. {_HOW_TO}")
    weights = Path(location)
    recorded = _recorded(weights)
    pattern = re.compile(re.escape(weights.stem) + r"\.anchor(\d+)" + re.escape(weights.suffix))
    found = [int(match[1]) for path in weights.parent.iterdir() if (match := pattern.fullmatch(path.name))]
    count = max(found, default=0) if recorded is None else len(recorded)
    if not count:
        raise TeacherError(f"Teacher {name!r} has no anchors beside it, and RCO needs them. {_HOW_TO}")
    paths = [anchor_path(weights, number) for number in range(1, count + 1)]
    for number, path in enumerate(paths):
        if not path.is_file():
            raise TeacherError(
                f"The route of teacher {name!r} has {count} anchors before the teacher, but {path} is missing: put it "
                "back, or train the teacher again with `akd teacher train --anchors`, into another folder."
            )
        if recorded is not None and hashlib.sha256(path.read_bytes()).hexdigest() != recorded[number]:
            raise CorruptFileError(
                f"{path} is not the anchor that {weights.with_suffix('.json')} tells of (its SHA-256 is another): it "
                "is damaged or of another training. Put the right one back, or train the teacher again."
            )
    return [f"{source}:{path}@{architecture}" for path in paths]


def _load_alike(name: str, teacher: Teacher, data: TaskData) -> Teacher:
    """Load an anchor as its teacher was loaded, and check that it scales pictures alike."""
    if teacher.num_classes == data.num_classes:
        anchor = load_teacher(name, data)
        assert anchor is not None
    else:  # a teacher of embeddings, whatever classes it knows
        anchor = load_embedder(
            name, in_channels=data.in_channels, resolution=data.resolution, mean=data.mean, std=data.std
        )
    theirs, its = (
        (other.mean, other.std, other.resolution) if isinstance(other, NetworkTeacher) else None
        for other in (teacher, anchor)
    )
    if theirs is not None and theirs != its:
        raise TeacherError(
            f"Anchor {name!r} must scale pictures as its teacher does (mean, std and resolution {theirs}), but has "
            f"{its}: put them into {Path(name.partition(':')[2].rpartition('@')[0]).with_suffix('.json').name} beside "
            "it, as for the teacher."
        )
    return anchor


def _recorded(weights: Path) -> list[str] | None:
    """SHA-256 of the anchors that the teacher's record tells of; None without such a record."""
    try:
        record = json.loads(weights.with_suffix(".json").read_text(encoding="utf-8"))
        return [str(anchor["sha256"]) for anchor in record["anchors"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None
