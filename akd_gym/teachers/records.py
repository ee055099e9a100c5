"""What is kept of a teacher's training: the checkpoint to go on from, the weights, and the record beside them."""

from __future__ import annotations

import datetime
import hashlib
import io
import json
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn
from torch.nn import functional

from akd_gym.augment import AugmentRecipe
from akd_gym.data import TaskData
from akd_gym.errors import CorruptFileError, RunMismatchError, StorageError
from akd_gym.files import write_atomically
from akd_gym.images import Images
from akd_gym.teachers.base import NetworkTeacher, Teacher, hash_teacher
from akd_gym.teachers.route import anchor_path
from akd_gym.teachers.settings import TeacherTrainingSettings, complete, training_identity

SCHEMA_VERSION = 1
CALIBRATION_BINS = 15
_IMAGES_A_PASS = 2048


def judge(teacher: Teacher, *parts: Images) -> dict[str, float]:
    """Measure accuracy and calibration on all images of all `parts` together.

    Returns:
        `accuracy`, `mean_top_probability`, `expected_calibration_error` (15 equal bins of the top probability)
        and `negative_log_likelihood` (nats).
    """
    cpu = torch.device("cpu")
    logits = torch.cat(
        [
            teacher.logits(pictures)
            for images in parts
            for pictures in images.batches(torch.arange(len(images)).split(_IMAGES_A_PASS), cpu)
        ]
    )
    labels = torch.cat([images.labels for images in parts])
    probability, predicted = logits.softmax(1).max(1)
    right = (predicted == labels).float()
    bins = (probability * CALIBRATION_BINS).long().clamp(max=CALIBRATION_BINS - 1)
    gaps = torch.zeros(CALIBRATION_BINS).index_add(0, bins, right - probability)
    return {
        "accuracy": round(right.mean().item(), 5),
        "mean_top_probability": round(probability.mean().item(), 5),
        "expected_calibration_error": round((gaps.abs().sum() / len(labels)).item(), 5),
        "negative_log_likelihood": round(functional.cross_entropy(logits, labels).item(), 5),
    }


def as_teacher(name: str, module: nn.Module, data: TaskData) -> NetworkTeacher:
    """Wrap a network in training; its weights hash stays empty until it is written."""
    return NetworkTeacher(
        name=f"training:{name}",
        module=module.eval(),
        weights_hash="",
        num_classes=data.num_classes,
        in_channels=data.in_channels,
        mean=data.mean,
        std=data.std,
        resolution=data.resolution,
    )


def weights_path(settings: TeacherTrainingSettings) -> Path:
    """Return the file of the trained weights."""
    return settings.out / f"{settings.name}.safetensors"


def checkpoint_path(settings: TeacherTrainingSettings) -> Path:
    """Return the file that a stopped training goes on from."""
    return settings.out / f"{settings.name}.checkpoint.pt"


def write_checkpoint(settings: TeacherTrainingSettings, content: Mapping[str, Any]) -> None:
    """Write where a training stands, whole or not at all."""
    buffer = io.BytesIO()
    torch.save({"settings": training_identity(settings), **content}, buffer)
    write_atomically(checkpoint_path(settings), buffer.getvalue())


def read_checkpoint(settings: TeacherTrainingSettings) -> dict[str, Any] | None:
    """Read the checkpoint of these settings; None when there is none."""
    path = checkpoint_path(settings)
    if not path.exists():
        return None
    try:
        checkpoint = torch.load(path, weights_only=True)
        found = checkpoint["settings"]
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError) as error:
        raise CorruptFileError(f"{path} is damaged ({error}): remove it to start anew.") from error
    if found != training_identity(settings):
        raise RunMismatchError(
            f"{path} belongs to other settings, {found}, than those asked for, {training_identity(settings)}: "
            "choose another `out`, or remove it to start anew."
        )
    return checkpoint


def prepare_folder(folder: Path) -> None:
    """Create the folder that all goes to, before anything is computed.

    Raises:
        StorageError: It cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder} cannot be created: {error.strerror or error}.") from error


def write_anchor(
    settings: TeacherTrainingSettings,
    teacher: NetworkTeacher,
    data: TaskData,
    number: int,
    step: int,
    unseen: Mapping[str, Sequence[Images]],
) -> dict[str, Any]:
    """Write a checkpoint of the route as a teacher of its own, beside where the trained one will lie.

    Args:
        settings: Of the training.
        teacher: The network as it is.
        data: The students' task.
        number: Of the anchor, from 1.
        step: After how many steps.
        unseen: Images to judge it by: `"students"`.

    Returns:
        What the record tells of it.
    """
    content, weights_hash = _pack(settings, teacher, data)
    path = write_atomically(anchor_path(weights_path(settings), number), content)
    return {
        "file": path.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "weights_hash": weights_hash,
        "step": step,
        **judge(teacher, *unseen["students"]),
    }


def _pack(settings: TeacherTrainingSettings, teacher: NetworkTeacher, data: TaskData) -> tuple[bytes, str]:
    """The weights as a safetensors file that loads as a teacher, and their hash."""
    state = {key: value.detach().contiguous() for key, value in teacher.module.state_dict().items()}
    scaling = {"mean": data.mean, "std": data.std, "resolution": data.resolution}
    content = save(state, metadata={"teacher": json.dumps(scaling)})
    return content, hash_teacher(settings.name, data.mean, data.std, data.resolution, state)


def write_teacher(
    settings: TeacherTrainingSettings,
    teacher: NetworkTeacher,
    data: TaskData,
    num_images: int,
    unseen: Mapping[str, Sequence[Images]],
    history: Sequence[Mapping[str, float]],
    anchors: Sequence[Mapping[str, Any]],
    seconds: float,
    announce: Callable[[str], None] = print,
) -> Path:
    """Write the weights as float32 safetensors, and beside them the record of how they came about.

    Args:
        settings: Of the training.
        teacher: The trained network.
        data: The students' task.
        num_images: How many images it was trained on.
        unseen: Images to judge it by, by part: `"students"`, `"test"`.
        history: Scores on the students' images after each epoch.
        anchors: The checkpoints of the route that were written, from `write_anchor`.
        seconds: Training time.
        announce: Told the scores.

    Returns:
        The weights' path.
    """
    settings = complete(settings)
    content, weights_hash = _pack(settings, teacher, data)
    rest = "outside the embedded pool of 12,000" if data.name == "fashion" else "that the students' draw leaves"
    held_out = {part: {"images": sum(map(len, own))} | judge(teacher, *own) for part, own in unseen.items()}
    record = {
        "schema_version": SCHEMA_VERSION,
        "name": settings.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "weights_hash": weights_hash,
        "dtype": "float32",
        "parameters": sum(p.numel() for p in teacher.module.parameters()),
        "classes": list(data.class_names),
        "in_channels": data.in_channels,
        "mean": data.mean,
        "std": data.std,
        "resolution": data.resolution,
        "trained_on": f"{num_images:,} training images of {data.name} {rest}",
        "recipe": {k: v for k, v in asdict(settings).items() if k not in ("out", "data_root")}
        | {
            "optimizer": "AdamW",
            "schedule": "one cycle: a sixth rising linearly, then a cosine to zero",
            "augmentation": asdict(AugmentRecipe(seed=settings.seed)) | {"view": "the epoch, from 0"},
            "label_smoothing": 0.0,
        },
        "training_seconds": round(seconds),
        "history_on_students_images": list(history),
        "anchors": list(anchors),
        "held_out": held_out,
        "torch": torch.__version__,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }
    path = weights_path(settings)
    write_atomically(path, content)
    write_atomically(path.with_suffix(".json"), (json.dumps(record, indent=2) + "\n").encode())
    for part, scores in held_out.items():
        announce(
            f"{settings.name} on the {scores['images']:,} images of {part}: accuracy {scores['accuracy']:.2%}, "
            f"mean top probability {scores['mean_top_probability']:.3f}, calibration error "
            f"{scores['expected_calibration_error']:.3f}"
        )
    if anchors:
        announce(f"Its {len(anchors)} anchors lie beside it, for `--method rco`")
    announce(f"Use it as file:{path}@{settings.name}")
    return path
