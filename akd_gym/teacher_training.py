"""Training of the shipped teachers, on the images that the students do *not* see.

A teacher that was trained on its students' own few images is nearly certain of every one of them, and its soft labels
carry nothing that the hard labels do not (`shared/facts/data.md`). So the shipped teachers learn from the 48,000
Fashion-MNIST training images outside the embedded pool of 12,000, and are judged on the pool and on the test set.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel

from akd_gym.augment import AugmentRecipe
from akd_gym.data import FASHION_FULL_ROOT, ImageSet, TaskData, embedded_fashion, load_data, read_idx
from akd_gym.errors import DataError, RunMismatchError
from akd_gym.teacher_networks import TEACHER_NETWORKS, build_teacher_network

SHIPPED_RECIPES: dict[str, dict[str, int]] = {
    "resnet": {"epochs": 5, "batch_size": 128},
    "inception": {"epochs": 5, "batch_size": 128},
    "mixer": {"epochs": 12, "batch_size": 64},
}


@dataclass(frozen=True)
class TeacherTrainingSettings:
    """How a teacher is trained. The defaults are those that made the shipped weights."""

    name: str = "resnet"
    """Which network: resnet, inception or mixer."""
    data_root: Path = FASHION_FULL_ROOT
    """Folder with the four IDX files of the full Fashion-MNIST, gzipped or raw."""
    out: Path = Path("runs/teachers")
    """Folder for the checkpoint of each epoch, the weights (NAME.safetensors) and their record (NAME.json)."""
    epochs: int | None = None
    """Passes over the images; None: as for the shipped weights of this network."""
    learning_rate: float = 2e-3
    """Peak of the one-cycle schedule (AdamW)."""
    weight_decay: float = 0.05
    """Decoupled weight decay of AdamW, on matrices and convolution kernels."""
    batch_size: int | None = None
    """Images a step; None: as for the shipped weights of this network."""
    average_steps: int = 500
    """The weights that are kept are a running average over about so many steps (fewer at the start)."""
    seed: int = 0
    """Of the initial weights, the order of the images and the augmentation."""


def train_teacher(settings: TeacherTrainingSettings, announce: Callable[[str], None] = print) -> Path:
    """Train one teacher; a run that was stopped goes on from its last whole epoch."""
    shipped = SHIPPED_RECIPES[settings.name]
    settings = replace(
        settings,
        epochs=settings.epochs or shipped["epochs"],
        batch_size=settings.batch_size or shipped["batch_size"],
    )
    epochs, batch_size = settings.epochs, settings.batch_size
    settings.out.mkdir(parents=True, exist_ok=True)
    students = load_data("fashion")
    train = fashion_remainder(settings.data_root)
    recipe = AugmentRecipe(seed=settings.seed)

    torch.manual_seed(settings.seed)
    model = build_teacher_network(settings.name, students.num_classes, students.in_channels, students.resolution)
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = AveragedModel(model, multi_avg_fn=running_average(settings.average_steps), use_buffers=True)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=settings.learning_rate,
    )
    steps_an_epoch = len(train) // batch_size
    total, warmup = epochs * steps_an_epoch, epochs * steps_an_epoch // 6
    start, seconds = 0, 0.0
    checkpoint_path = settings.out / f"{settings.name}.checkpoint.pt"
    identity = json.dumps(asdict(settings) | {"data_root": "", "out": ""}, sort_keys=True)
    if checkpoint_path.exists():
        checkpoint = torch.load(checkpoint_path, weights_only=True)
        if checkpoint["settings"] != identity:
            raise RunMismatchError(
                f"{checkpoint_path} belongs to other settings: {checkpoint['settings']}; asked for: {identity}. "
                "Choose another `out`, or remove the checkpoint to start anew."
            )
        model.load_state_dict(checkpoint["model"])
        average.load_state_dict(checkpoint["average"])
        optimizer.load_state_dict(checkpoint["optimizer"])
        start, seconds = checkpoint["epoch"], checkpoint["seconds"]
        announce(f"{settings.name}: going on after epoch {start} of {epochs}")

    for epoch in range(start, epochs):
        began = time.perf_counter()
        model.train()
        images = recipe.view(train.images, train.indices, view=epoch)
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(settings.seed * 1000 + epoch))
        total_loss = 0.0
        for number in range(steps_an_epoch):
            step = epoch * steps_an_epoch + number
            rate = one_cycle(step, warmup, total) * settings.learning_rate
            for group in optimizer.param_groups:
                group["lr"] = rate
            batch = order[number * batch_size : (number + 1) * batch_size]
            loss = functional.cross_entropy(model(normalise(images[batch], students)), train.labels[batch])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            average.update_parameters(model)
            total_loss += loss.item()
            if not math.isfinite(total_loss):
                raise ArithmeticError(f"The loss of {settings.name} diverged in epoch {epoch + 1}: lower the rate.")
            if number % 50 == 49:
                pace = (time.perf_counter() - began) / (number + 1)
                left = pace * (total - step - 1) / 60
                announce(f"{settings.name} epoch {epoch + 1} step {number + 1}/{steps_an_epoch} "
                         f"loss {total_loss / (number + 1):.4f} {left:.1f} min left")
        seconds += time.perf_counter() - began
        scores = judge(average.module, embedded_fashion("pool"), students)
        announce(f"{settings.name} epoch {epoch + 1}/{epochs} {seconds:.0f} s  pool {scores}")
        save_file(
            {k: v.contiguous() for k, v in average.module.state_dict().items()},
            settings.out / f"{settings.name}.epoch{epoch + 1:02d}.safetensors",
            metadata={"settings": identity, "epoch": str(epoch + 1), "seconds": f"{seconds:.0f}"},
        )
        partial = checkpoint_path.with_suffix(".partial")
        torch.save(
            {"settings": identity, "epoch": epoch + 1, "seconds": seconds, "model": model.state_dict(),
             "average": average.state_dict(), "optimizer": optimizer.state_dict()},
            partial,
        )
        os.replace(partial, checkpoint_path)
    return settings.out / f"{settings.name}.epoch{epochs:02d}.safetensors"


def fashion_remainder(root: Path) -> ImageSet:
    """The 48,000 Fashion-MNIST training images outside the embedded pool; `indices` count within the 60,000."""
    images = torch.from_numpy(read_idx(root / "train-images-idx3-ubyte.gz").copy())[:, None]
    labels = torch.from_numpy(read_idx(root / "train-labels-idx1-ubyte.gz").copy()).long()
    keep = torch.ones(len(labels), dtype=torch.bool)
    pool = Path(__file__).parent / "assets" / "fashion" / "pool.npz"
    keep[torch.from_numpy(np.load(pool)["source_indices"]).long()] = False
    return ImageSet(images[keep], labels[keep], torch.nonzero(keep)[:, 0])


def normalise(images: Tensor, data: TaskData) -> Tensor:
    """uint8 (B, C, H, W) -> float32, channel-wise zero mean and unit variance, channels last."""
    mean = torch.tensor(data.mean).view(1, -1, 1, 1)
    std = torch.tensor(data.std).view(1, -1, 1, 1)
    return ((images.float() / 255 - mean) / std).contiguous(memory_format=torch.channels_last)


def running_average(steps: int) -> Callable[[Any, Any, Any], None]:
    """Exponential average over about `steps` updates, over fewer as long as there were fewer."""

    @torch.no_grad()
    def update(averaged: list[Tensor], current: list[Tensor], count: Tensor) -> None:
        weight = max(1 / steps, 10 / (float(count) + 10))
        for own, new in zip(averaged, current, strict=True):
            if own.is_floating_point():
                own.lerp_(new, weight)
            else:
                own.copy_(new)

    return update


def one_cycle(step: int, warmup: int, total: int) -> float:
    """Linear from 0 to 1 over `warmup` steps, then a cosine down to 0 at `total`."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))


@torch.no_grad()
def judge(module: nn.Module, images: ImageSet, data: TaskData) -> dict[str, float]:
    """Accuracy, mean top probability, expected calibration error (15 bins) and negative log-likelihood (nats)."""
    was_training = module.training
    module.eval()
    logits = torch.cat([module(normalise(part, data)) for part in images.images.split(500)])
    module.train(was_training)
    probability, predicted = logits.softmax(1).max(1)
    right = (predicted == images.labels).float()
    bins = (probability * 15).clamp(max=14.999).long()
    gaps = torch.zeros(15).index_add(0, bins, right - probability)
    return {
        "accuracy": round(right.mean().item(), 5),
        "mean_top_probability": round(probability.mean().item(), 5),
        "expected_calibration_error": round((gaps.abs().sum() / len(images)).item(), 5),
        "negative_log_likelihood": round(functional.cross_entropy(logits, images.labels).item(), 5),
    }
