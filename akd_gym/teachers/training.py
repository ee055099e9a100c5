"""Training of teachers on the images that the students do *not* see.

A teacher that was trained on its students' own few images is nearly certain of every one of them, and its
soft labels carry nothing that the hard labels do not. So the shipped teachers learned from the 48,000
Fashion-MNIST training images outside the embedded pool of 12,000, and are judged on that pool and on the test
set. For another data set the teacher learns from what is left of the pool when the students' mini-train and
mini-val have been drawn from it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel

from akd_gym.augment import AugmentRecipe
from akd_gym.data import TaskData, load_data, open_pools
from akd_gym.errors import DataError, InvalidSettingError, TeacherError
from akd_gym.image_loading import open_images
from akd_gym.image_sources import Pool, embedded_fashion, embedded_source_indices, fashion_mnist
from akd_gym.images import Images, ImageSet
from akd_gym.teachers.networks import build_teacher_network
from akd_gym.teachers.records import (
    as_teacher,
    judge,
    prepare_folder,
    read_checkpoint,
    write_anchor,
    write_checkpoint,
    write_teacher,
)
from akd_gym.teachers.settings import TeacherTrainingSettings, complete
from akd_gym.torch_settings import cpu_settings


def train_teacher(settings: TeacherTrainingSettings, announce: Callable[[str], None] = print) -> Path:
    """Train one teacher; a training that was stopped goes on from its last whole epoch.

    Args:
        settings: What and how.
        announce: Told about the progress, a line at a time.

    Returns:
        The weights, `out/NAME.safetensors`, which load as `file:PATH@NAME`; the record lies beside as
        `NAME.json`, and the anchors as `NAME.anchor1.safetensors` and so on.

    Raises:
        UnknownNameError: No such network or data set.
        InvalidSettingError: A setting that cannot work, such as more anchors than steps.
        DataError: The images are missing, or the students leave none.
        RunMismatchError: `out` holds a checkpoint of other settings.
        CorruptFileError: The checkpoint is damaged.
        StorageError: `out` cannot be written.
        TeacherError: The loss diverged.
    """
    settings = complete(settings)
    with cpu_settings(settings.threads):
        return _train(settings, announce)


def _train(settings: TeacherTrainingSettings, announce: Callable[[str], None]) -> Path:
    epochs, stop_epoch, batch_size = settings.epochs, settings.stop_epoch, settings.batch_size
    assert epochs is not None
    assert stop_epoch is not None
    assert batch_size is not None
    prepare_folder(settings.out)
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
    anchors_at = anchor_steps(stop_epoch * steps_an_epoch, settings.anchors)
    first_epoch, seconds = 0, 0.0
    history: list[dict[str, float]] = []
    anchors: list[dict[str, Any]] = []
    checkpoint = read_checkpoint(settings)
    if checkpoint is not None:
        model.load_state_dict(checkpoint["model"])
        average.load_state_dict(checkpoint["average"])
        optimizer.load_state_dict(checkpoint["optimizer"])
        first_epoch, seconds, history = checkpoint["epoch"], checkpoint["seconds"], checkpoint["history"]
        anchors = checkpoint.get("anchors", [])
        announce(f"{settings.name}: going on after epoch {first_epoch} of {epochs}")

    for epoch in range(first_epoch, stop_epoch):
        began = time.perf_counter()
        model.train()
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(settings.seed * 1000 + epoch))
        batches = order[: steps_an_epoch * batch_size].split(batch_size)
        views = train.batches(batches, torch.device("cpu"), recipe, view=epoch)
        total_loss = 0.0
        for number, (batch, pictures) in enumerate(zip(batches, views, strict=True)):
            step = epoch * steps_an_epoch + number
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * one_cycle(step, total_steps // 6, total_steps)
            loss = functional.cross_entropy(model(teacher.prepare(pictures)), train.labels[batch])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            average.update_parameters(model)
            total_loss += loss.item()
            if not math.isfinite(total_loss):
                raise TeacherError(f"The loss of {settings.name} diverged in epoch {epoch + 1}: lower the rate.")
            if step + 1 in anchors_at:
                anchors.append(write_anchor(settings, teacher, data, anchors_at.index(step + 1) + 1, step + 1, unseen))
                announce(
                    f"{settings.name} anchor {len(anchors)}: {anchors[-1]['accuracy']:.2%} on the students' images"
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
        history.append({"epoch": epoch + 1} | judge(teacher, *unseen["students"]))
        announce(f"{settings.name} epoch {epoch + 1}: {history[-1]['accuracy']:.2%} on the students' images")
        write_checkpoint(
            settings,
            {
                "epoch": epoch + 1,
                "seconds": seconds,
                "history": history,
                "anchors": anchors,
                "model": model.state_dict(),
                "average": average.state_dict(),
                "optimizer": optimizer.state_dict(),
            },
        )
    return write_teacher(settings, teacher, data, len(train), unseen, history, anchors, seconds, announce)


def anchor_steps(total: int, anchors: int) -> list[int]:
    """After how many steps of `total` each anchor is kept, all but the last, which is the teacher at the end.

    Raises:
        InvalidSettingError: If there are fewer steps than anchors.
    """
    if anchors > total:
        raise InvalidSettingError(f"`anchors` must be at most the {total} steps of the training, but got {anchors}.")
    return [round(total * number / anchors) for number in range(1, anchors)]


def teacher_images(
    settings: TeacherTrainingSettings, announce: Callable[[str], None] = print
) -> tuple[TaskData, Images, dict[str, tuple[Images, ...]]]:
    """Load the students' task, the teacher's own images, and the `"students"` and `"test"` images to judge by."""
    students: tuple[Images, ...]
    if settings.data == "fashion":
        data = load_data("fashion")
        own = _remainder(fashion_mnist(settings.data_root, "train"), torch.from_numpy(embedded_source_indices()), data)
        pool = embedded_fashion("pool")
        every = torch.arange(len(pool.labels))
        students = (ImageSet(pool.read(every, pool.resolution), pool.labels, every),)
    else:
        if settings.student_train_size is None or settings.student_val_size is None:
            raise InvalidSettingError(
                f"`student_train_size` and `student_val_size` must say how many images of {settings.data!r} the "
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
        seen = torch.cat([data.train.indices, data.val.indices])
        own = _remainder(open_pools(settings.data, None, with_test=False)[0], seen, data, announce)
        students = (data.train, data.val)
    return data, own, {"students": students} | ({} if data.test is None else {"test": (data.test,)})


def _remainder(pool: Pool, seen: Tensor, data: TaskData, announce: Callable[[str], None] | None = None) -> Images:
    """Open the images of a pool that the students do not see."""
    keep = torch.ones(len(pool.labels), dtype=torch.bool)
    keep[seen] = False
    (own,), _ = open_images(data.name, [(pool, torch.nonzero(keep)[:, 0])], data.resolution, announce=announce)
    return own


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
