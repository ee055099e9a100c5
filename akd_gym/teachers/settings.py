"""How a teacher is trained, as data: settings, their shipped values and their bounds. Imports no torch."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from akd_gym.errors import InvalidSettingError, UnknownNameError

TEACHER_ASSETS = Path(__file__).parents[1] / "assets" / "teachers"
"""Weights and records of the shipped teachers: NAME.safetensors, NAME.json."""
TEACHER_NETWORKS = ("resnet", "inception", "mixer")
"""The networks that ship as teachers (`akd_gym.teachers.networks`)."""
FASHION_FULL_ROOT = Path("/usr/share/datasets/fashion-mnist")
"""Where the Debian package `dataset-fashion-mnist` puts the full set (IDX files, gzipped)."""

SHIPPED_RECIPES: dict[str, dict[str, int]] = {
    "resnet": {"epochs": 3, "stop_epoch": 3, "batch_size": 128},
    "inception": {"epochs": 4, "stop_epoch": 4, "batch_size": 128},
    "mixer": {"epochs": 17, "stop_epoch": 17, "batch_size": 64},
}
"""What differs between the shipped teachers: chosen so that their held-out accuracies are equal, not the
highest."""


@dataclass(frozen=True)
class TeacherTrainingSettings:
    """How a teacher is trained. The defaults are those that made the shipped weights."""

    name: str = "resnet"
    """Which network: resnet, inception or mixer."""
    data: str = "fashion"
    """Data set, as everywhere (`fashion`, `imagefolder:PATH`, ...)."""
    data_root: Path = FASHION_FULL_ROOT
    """For `fashion`: folder of the full set, its four IDX files (gzipped or raw) or a torchvision root."""
    student_train_size: int | None = None
    """For other data: images of the students' mini-train, which the teacher must not see."""
    student_val_size: int | None = None
    """For other data: images of the students' mini-val, which the teacher must not see."""
    split_seed: int = 0
    """For other data: the students' split seed."""
    resolution: int | None = None
    """For other data: pixels a side; None: as the images are."""
    out: Path = Path("runs/teachers")
    """Folder for the checkpoint, the weights (NAME.safetensors) and their record (NAME.json)."""
    epochs: int | None = None
    """Length of the learning-rate schedule, passes over the images; None: as for the shipped weights."""
    stop_epoch: int | None = None
    """Stop after this epoch of the schedule; None: at its end, or as for the shipped weights."""
    batch_size: int | None = None
    """Images a step; None: as for the shipped weights of this network."""
    learning_rate: float = 2e-3
    """Peak of the one-cycle schedule (AdamW): a sixth of it rising, then a cosine to zero."""
    weight_decay: float = 0.05
    """Decoupled weight decay of AdamW, on matrices and convolution kernels."""
    average_steps: int = 500
    """The weights that are kept are a running average over about so many steps (over fewer at the start)."""
    anchors: int = 1
    """Checkpoints of the route to keep for RCO-KD, evenly over the training; the last is the teacher itself."""
    seed: int = 0
    """Of the initial weights, the order of the images and the augmentation."""
    threads: int = 1
    """Torch threads; the shipped weights were made with one."""


def complete(settings: TeacherTrainingSettings) -> TeacherTrainingSettings:
    """Fill in what the shipped recipe says, and refuse what cannot work."""
    if settings.name not in TEACHER_NETWORKS:
        raise UnknownNameError("teacher network", settings.name, TEACHER_NETWORKS)
    shipped = SHIPPED_RECIPES[settings.name]
    stop_epoch = settings.stop_epoch
    if stop_epoch is None:
        stop_epoch = shipped["stop_epoch"] if settings.epochs is None else settings.epochs
    settings = replace(
        settings,
        epochs=shipped["epochs"] if settings.epochs is None else settings.epochs,
        stop_epoch=stop_epoch,
        batch_size=shipped["batch_size"] if settings.batch_size is None else settings.batch_size,
    )
    for field in ("epochs", "stop_epoch", "batch_size", "average_steps", "anchors", "threads"):
        if getattr(settings, field) < 1:
            raise InvalidSettingError(f"`{field}` must be 1 or more, but got {getattr(settings, field)}.")
    if stop_epoch > (settings.epochs or 0):
        raise InvalidSettingError(f"`stop_epoch` must be at most `epochs`, but got {stop_epoch} of {settings.epochs}.")
    if not settings.learning_rate > 0 or settings.weight_decay < 0 or settings.seed < 0:
        raise InvalidSettingError(
            "`learning_rate` must be above 0, `weight_decay` and `seed` 0 or more, but got "
            f"{settings.learning_rate}, {settings.weight_decay} and {settings.seed}."
        )
    return settings


def training_identity(settings: TeacherTrainingSettings) -> str:
    """Return what a checkpoint must agree on to be continued: all but places, threads and where to stop.

    With anchors also where to stop, because they lie evenly before it. Without any, their number is left out:
    checkpoints from before there were anchors can be continued.
    """
    ignored = {"out", "data_root", "threads"} | ({"stop_epoch", "anchors"} if settings.anchors == 1 else set())
    return json.dumps({k: v for k, v in asdict(settings).items() if k not in ignored}, sort_keys=True)
