"""Training of teachers on the images that the students do *not* see.

A teacher that was trained on its students' own few images is nearly certain of every one of them, and its
soft labels carry nothing that the hard labels do not. So the shipped teachers learned from the 48,000
Fashion-MNIST training images outside the embedded pool of 12,000, and are judged on that pool and on the test
set. For another data set the teacher learns from what is left of the pool when the students' mini-train and
mini-val have been drawn from it.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import os
import pickle
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel

from akd_gym.augment import AugmentRecipe
from akd_gym.data import ImageSet, TaskData, load_data, open_pools
from akd_gym.errors import (
    CorruptFileError,
    DataError,
    InvalidSettingError,
    RunMismatchError,
    StorageError,
    TeacherError,
    UnknownNameError,
)
from akd_gym.image_sources import FASHION_FULL_ROOT, embedded_fashion, embedded_source_indices, fashion_mnist
from akd_gym.teacher_networks import TEACHER_NETWORKS, build_teacher_network
from akd_gym.teachers import Teacher, hash_teacher

SHIPPED_RECIPES: dict[str, dict[str, int]] = {
    "resnet": {"epochs": 5, "stop_epoch": 3, "batch_size": 128},
    "inception": {"epochs": 4, "stop_epoch": 4, "batch_size": 128},
    "mixer": {"epochs": 10, "stop_epoch": 10, "batch_size": 64},
}
"""What differs between the shipped teachers: chosen so that their held-out accuracies are equal, not the
highest."""

CALIBRATION_BINS = 15


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
    seed: int = 0
    """Of the initial weights, the order of the images and the augmentation."""


def train_teacher(settings: TeacherTrainingSettings, announce: Callable[[str], None] = print) -> Path:
    """Train one teacher; a training that was stopped goes on from its last whole epoch.

    Args:
        settings: What and how.
        announce: Told about the progress, a line at a time.

    Returns:
        The weights, `out/NAME.safetensors`, which load as `file:PATH@NAME`; the record lies beside as
        `NAME.json`.

    Raises:
        UnknownNameError: No such network or data set.
        InvalidSettingError: A setting that cannot work.
        DataError: The images are missing, or the students leave none.
        RunMismatchError: `out` holds a checkpoint of other settings.
        CorruptFileError: The checkpoint is damaged.
        StorageError: `out` cannot be written.
        TeacherError: The loss diverged.
    """
    settings = complete(settings)
    epochs, stop_epoch, batch_size = settings.epochs, settings.stop_epoch, settings.batch_size
    assert epochs is not None
    assert stop_epoch is not None
    assert batch_size is not None
    data, train, unseen = teacher_images(settings, announce)
    if len(train) < batch_size:
        raise DataError(
            f"The students leave {len(train)} images of {data.name!r}, fewer than one batch of {batch_size}."
        )
    recipe = AugmentRecipe(seed=settings.seed)

    torch.manual_seed(settings.seed)
    model = build_teacher_network(settings.name, data.num_classes, data.in_channels, data.resolution)
    model = model.to(memory_format=torch.channels_last)
    average = AveragedModel(model, multi_avg_fn=running_average(settings.average_steps), use_buffers=True)
    teacher = as_teacher(settings.name, average.module, data)
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": settings.weight_decay},
            {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
    )
    steps_an_epoch = len(train) // batch_size
    total_steps = epochs * steps_an_epoch
    first_epoch, seconds = 0, 0.0
    history: list[dict[str, float]] = []
    checkpoint = read_checkpoint(settings)
    if checkpoint is not None:
        model.load_state_dict(checkpoint["model"])
        average.load_state_dict(checkpoint["average"])
        optimizer.load_state_dict(checkpoint["optimizer"])
        first_epoch, seconds, history = checkpoint["epoch"], checkpoint["seconds"], checkpoint["history"]
        announce(f"{settings.name}: going on after epoch {first_epoch} of {epochs}")

    for epoch in range(first_epoch, stop_epoch):
        began = time.perf_counter()
        model.train()
        images = recipe.view(train.images, train.indices, view=epoch)
        order = torch.randperm(
            len(train), generator=torch.Generator().manual_seed(settings.seed * 1000 + epoch)
        )
        total_loss = 0.0
        for number, batch in enumerate(order[: steps_an_epoch * batch_size].split(batch_size)):
            step = epoch * steps_an_epoch + number
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * one_cycle(step, total_steps // 6, total_steps)
            loss = functional.cross_entropy(model(teacher.prepare(images[batch])), train.labels[batch])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            average.update_parameters(model)
            total_loss += loss.item()
            if not math.isfinite(total_loss):
                raise TeacherError(
                    f"The loss of {settings.name} diverged in epoch {epoch + 1}: lower the rate."
                )
            if (number + 1) % max(1, steps_an_epoch // 5) == 0:
                pace = (time.perf_counter() - began) / (number + 1)
                minutes = pace * (stop_epoch * steps_an_epoch - step - 1) / 60
                announce(
                    f"{settings.name} epoch {epoch + 1} of {stop_epoch}, step {number + 1} of "
                    f"{steps_an_epoch}: "
                    f"loss {total_loss / (number + 1):.4f}, {minutes:.1f} min left"
                )
        seconds += time.perf_counter() - began
        history.append({"epoch": epoch + 1} | judge(teacher, unseen["students"]))
        announce(f"{settings.name} epoch {epoch + 1}: {history[-1]['accuracy']:.2%} on the students' images")
        write_whole(
            checkpoint_path(settings),
            {
                "settings": training_identity(settings),
                "epoch": epoch + 1,
                "seconds": seconds,
                "history": history,
                "model": model.state_dict(),
                "average": average.state_dict(),
                "optimizer": optimizer.state_dict(),
            },
        )
    return write_teacher(settings, teacher, data, train, unseen, history, seconds, announce)


def teacher_images(
    settings: TeacherTrainingSettings, announce: Callable[[str], None] = print
) -> tuple[TaskData, ImageSet, dict[str, ImageSet]]:
    """Load the students' task, the teacher's own images, and what it is judged on."""
    if settings.data == "fashion":
        data = load_data("fashion")
        full = fashion_mnist(settings.data_root, "train")
        keep = torch.ones(len(full.labels), dtype=torch.bool)
        keep[torch.from_numpy(embedded_source_indices())] = False
        own = torch.nonzero(keep)[:, 0]
        train = ImageSet(full.read(own, full.resolution), full.labels[own], own)
        pool = embedded_fashion("pool")
        every = torch.arange(len(pool.labels))
        unseen = {"students": ImageSet(pool.read(every, pool.resolution), pool.labels, every)}
    else:
        if settings.student_train_size is None or settings.student_val_size is None:
            raise InvalidSettingError(
                f"`student_train_size` and `student_val_size` must say how many images of "
                f"{settings.data!r} the "
                "students draw, because the teacher must not see those; for `fashion` it is built in."
            )
        data = load_data(
            settings.data,
            train_size=settings.student_train_size,
            val_size=settings.student_val_size,
            split_seed=settings.split_seed,
            resolution=settings.resolution,
            announce=announce,
        )
        whole, _ = open_pools(settings.data, None, with_test=False)
        keep = torch.ones(len(whole.labels), dtype=torch.bool)
        keep[torch.cat([data.train.indices, data.val.indices])] = False
        own = torch.nonzero(keep)[:, 0]
        announce(f"Loading the {len(own):,} images of {settings.data} that the students leave")
        train = ImageSet(whole.read(own, data.resolution), whole.labels[own], own)
        unseen = {
            "students": ImageSet(
                torch.cat([data.train.images, data.val.images]),
                torch.cat([data.train.labels, data.val.labels]),
                torch.cat([data.train.indices, data.val.indices]),
            )
        }
    if data.test is not None:
        unseen["test"] = data.test
    return data, train, unseen


def judge(teacher: Teacher, images: ImageSet) -> dict[str, float]:
    """Measure accuracy and calibration.

    Returns:
        `accuracy`, `mean_top_probability`, `expected_calibration_error` (15 equal bins of the top
        probability) and `negative_log_likelihood` (nats).
    """
    logits = teacher.logits(images.images)
    probability, predicted = logits.softmax(1).max(1)
    right = (predicted == images.labels).float()
    bins = (probability * CALIBRATION_BINS).long().clamp(max=CALIBRATION_BINS - 1)
    gaps = torch.zeros(CALIBRATION_BINS).index_add(0, bins, right - probability)
    return {
        "accuracy": round(right.mean().item(), 5),
        "mean_top_probability": round(probability.mean().item(), 5),
        "expected_calibration_error": round((gaps.abs().sum() / len(images)).item(), 5),
        "negative_log_likelihood": round(functional.cross_entropy(logits, images.labels).item(), 5),
    }


def one_cycle(step: int, warmup: int, total: int) -> float:
    """Rise linearly to 1 over `warmup` steps, then fall by a cosine to 0 at `total`."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))


def running_average(steps: int) -> Callable[[Any, Any, Any], None]:
    """Average exponentially over about `steps` updates, over fewer as long as there were fewer."""

    @torch.no_grad()
    def update(averaged: list[Tensor], current: list[Tensor], count: Tensor) -> None:
        weight = max(1 / steps, 10 / (float(count) + 10))
        for own, new in zip(averaged, current, strict=True):
            if own.is_floating_point():
                own.lerp_(new, weight)
            else:
                own.copy_(new)

    return update


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
    for field in ("epochs", "stop_epoch", "batch_size", "average_steps"):
        if getattr(settings, field) < 1:
            raise InvalidSettingError(f"`{field}` must be 1 or more, but got {getattr(settings, field)}.")
    if stop_epoch > (settings.epochs or 0):
        raise InvalidSettingError(
            f"`stop_epoch` must be at most `epochs`, but got {stop_epoch} of {settings.epochs}."
        )
    if not settings.learning_rate > 0 or settings.weight_decay < 0 or settings.seed < 0:
        raise InvalidSettingError(
            "`learning_rate` must be above 0, `weight_decay` and `seed` 0 or more, but got "
            f"{settings.learning_rate}, {settings.weight_decay} and {settings.seed}."
        )
    return settings


def as_teacher(name: str, module: torch.nn.Module, data: TaskData) -> Teacher:
    """Wrap a network in training; its weights hash stays empty until it is written."""
    return Teacher(
        f"training:{name}",
        module.eval(),
        "",
        data.num_classes,
        data.in_channels,
        data.mean,
        data.std,
        data.resolution,
    )


def training_identity(settings: TeacherTrainingSettings) -> str:
    """Return what a checkpoint must agree on to be continued: all but places and where to stop."""
    kept = {k: v for k, v in asdict(settings).items() if k not in ("out", "data_root", "stop_epoch")}
    return json.dumps(kept, sort_keys=True)


def checkpoint_path(settings: TeacherTrainingSettings) -> Path:
    """Return the file that a stopped training goes on from."""
    return settings.out / f"{settings.name}.checkpoint.pt"


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
            f"{path} belongs to other settings, {found}, than those asked for, "
            f"{training_identity(settings)}: "
            "choose another `out`, or remove it to start anew."
        )
    return checkpoint


def write_whole(path: Path, content: dict[str, Any] | bytes) -> None:
    """Write a file whole or not at all."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise StorageError(error.errno, f"Cannot be written: {error.strerror or error}", str(path)) from error
    finally:
        if path.parent.is_dir():
            partial.unlink(missing_ok=True)


def write_teacher(
    settings: TeacherTrainingSettings,
    teacher: Teacher,
    data: TaskData,
    train: ImageSet,
    unseen: dict[str, ImageSet],
    history: list[dict[str, float]],
    seconds: float,
    announce: Callable[[str], None] = print,
) -> Path:
    """Write the weights as float32 safetensors, and beside them the record of how they came about."""
    state = {key: value.detach().contiguous() for key, value in teacher.module.state_dict().items()}
    scaling = {"mean": data.mean, "std": data.std, "resolution": data.resolution}
    content = save(state, metadata={"teacher": json.dumps(scaling)})
    settings = complete(settings)
    seen_not = (
        "outside the embedded pool of 12,000" if data.name == "fashion" else "that the students' draw leaves"
    )
    record = {
        "schema_version": 1,
        "name": settings.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "weights_hash": hash_teacher(settings.name, data.mean, data.std, data.resolution, state),
        "dtype": "float32",
        "parameters": sum(p.numel() for p in teacher.module.parameters()),
        "classes": list(data.class_names),
        "in_channels": data.in_channels,
        **scaling,
        "trained_on": f"{len(train):,} training images of {data.name} {seen_not}",
        "recipe": {k: v for k, v in asdict(settings).items() if k not in ("out", "data_root")}
        | {
            "optimizer": "AdamW",
            "schedule": "one cycle: a sixth rising linearly, then a cosine to zero",
            "augmentation": asdict(AugmentRecipe(seed=settings.seed)) | {"view": "the epoch, from 0"},
            "label_smoothing": 0.0,
        },
        "training_seconds": round(seconds),
        "history_on_students_images": history,
        "held_out": {
            part: {"images": len(images)} | judge(teacher, images) for part, images in unseen.items()
        },
        "torch": torch.__version__,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }
    path = settings.out / f"{settings.name}.safetensors"
    write_whole(path, content)
    write_whole(path.with_suffix(".json"), (json.dumps(record, indent=2) + "\n").encode())
    for part, scores in record["held_out"].items():  # type: ignore[attr-defined]
        announce(
            f"{settings.name} on the {scores['images']:,} images of {part}: accuracy "
            f"{scores['accuracy']:.2%}, "
            f"mean top probability {scores['mean_top_probability']:.3f}, "
            f"calibration error {scores['expected_calibration_error']:.3f}"
        )
    announce(f"Use it as file:{path}@{settings.name}")
    return path
