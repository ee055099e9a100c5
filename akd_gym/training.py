"""Training one student: the loop of the proxy task and of full training (section 3.2 of the paper)."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd  # the function: constructing the class loads a compiler of 150 MiB in every worker

from akd_gym.architecture import NetworkSpec
from akd_gym.augment import AugmentRecipe
from akd_gym.data import ImageSet, TaskData
from akd_gym.distill import KD, Distillation, HardLabels
from akd_gym.errors import InfeasibleCandidateError, InvalidSettingError
from akd_gym.networks import build_network
from akd_gym.recipes import Recipe
from akd_gym.soft_labels import SoftLabels

_EVAL_BATCH = 256


@dataclass(frozen=True)
class TrainingState:
    """Where a training stands after an epoch: all that is needed to go on to the same result."""

    epoch: int
    network: dict[str, Tensor]
    momentum: list[Tensor]


@dataclass(frozen=True)
class TrainingOutcome:
    """What training a student gave.

    Attributes:
        accuracy: On mini-val, a fraction.
        loss: Mean training loss of the last epoch.
        seconds: Training and evaluation.
        epochs: Trained.
    """

    accuracy: float
    loss: float
    seconds: float
    epochs: int


def train_student(
    spec: NetworkSpec,
    data: TaskData,
    recipe: Recipe,
    soft_labels: SoftLabels | None = None,
    *,
    seed: int = 0,
    device: str | torch.device = "cpu",
    threads: int = 1,
) -> TrainingOutcome:
    """Evaluate a candidate: build it, train it on mini-train, measure its accuracy on mini-val.

    The same arguments give the same accuracy on the same machine. Global random state is left alone. Teachers
    compared under one seed are paired: the initial weights, the order of images and their views are the same.

    Args:
        spec: The student.
        data: Mini-train and mini-val.
        recipe: How to train.
        soft_labels: The teacher's, for the images of `data.train`; None trains by hard labels.
        seed: Of the initial weights and the order of images.
        device: `"cpu"` or `"cuda"`.
        threads: Torch threads on a CPU. One a candidate is fastest for small students.

    Raises:
        InfeasibleCandidateError: If the student cannot be built, diverges, or runs out of memory or time.
    """
    start = time.perf_counter()
    device = torch.device(device)
    method: Distillation = HardLabels() if soft_labels is None else KD(soft_labels, recipe.temperature, recipe.alpha)
    with cpu_settings(threads), infeasible_on_failure():
        network = build_student(spec, data, seed, device)
        loss = train(network, data, recipe, method, seed=seed, deadline=start + recipe.time_limit_s)
        accuracy = evaluate(network, data.val, data)
    return TrainingOutcome(accuracy, loss, time.perf_counter() - start, recipe.epochs)


def check_device(name: str) -> torch.device:
    """The torch device called `name`.

    Raises:
        InvalidSettingError: If there is none, or this machine does not have it.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0].split(". ")[0]
        raise InvalidSettingError(
            f"`device` must be one that torch can use here, such as cpu or cuda, but got {name!r}: {reason}"
        ) from error
    return device


def build_student(spec: NetworkSpec, data: TaskData, seed: int, device: torch.device) -> nn.Module:
    """Build a student for the data, its initial weights drawn by `seed`, in the memory format that trains fastest."""
    network = build_network(spec, data.num_classes, data.in_channels, generator=torch.Generator().manual_seed(seed))
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def train(
    network: nn.Module,
    data: TaskData,
    recipe: Recipe,
    method: Distillation,
    *,
    seed: int,
    deadline: float = math.inf,
    resume: TrainingState | None = None,
    on_epoch: Callable[[TrainingState, float], None] | None = None,
) -> float:
    """Train `network` in place; returns the mean loss of the last epoch.

    Args:
        network: In channels-last format, on the device to train on.
        data: Trained on `data.train`.
        recipe: How to train.
        method: Gives the loss.
        seed: Of the order of images.
        deadline: On the clock of `time.perf_counter`.
        resume: Continue from here, to the same result as without a break.
        on_epoch: Called after every epoch with the state and the mean loss.

    Raises:
        InfeasibleCandidateError: If the loss is not finite or the deadline passes.
    """
    device = next(network.parameters()).device
    augment = AugmentRecipe(recipe.augment_seed, recipe.shift, recipe.flip)
    normalise = Normalise(data, device)
    images, labels = data.train.images.to(device), data.train.labels.to(device)
    batch_size = min(recipe.batch_size, len(labels))
    steps = len(labels) // batch_size  # an epoch's last, smaller batch is left out: batch norm wants full ones
    weights: list[Tensor] = list(network.parameters())
    momentum: list[Tensor | None] = [None] * len(weights)
    if resume is not None:
        network.load_state_dict(resume.network)
        momentum = [torch.empty_like(own).copy_(kept) for own, kept in zip(weights, resume.momentum, strict=True)]
    network.train()
    mean_loss = math.nan
    for epoch in range(0 if resume is None else resume.epoch, recipe.epochs):
        view = epoch % recipe.kept_views
        pictures = augment.view(images, data.train.indices, view)
        method.begin_epoch(view, device)
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed * 100_003 + epoch))
        order = order.to(device)
        total_loss = torch.zeros((), device=device)
        for step in range(steps):
            rows = order[step * batch_size : (step + 1) * batch_size]
            with mixed_precision(device):
                logits = network(normalise(pictures[rows]))
            loss = method.loss(logits.float(), labels[rows], rows)
            network.zero_grad()
            loss.backward()
            step_sgd(weights, momentum, recipe, recipe.learning_rate_at(epoch + (step + 1) / steps))
            total_loss += loss.detach()
            if time.perf_counter() > deadline:
                raise InfeasibleCandidateError("time_limit", f"after {epoch + step / steps:.1f} epochs")
        mean_loss = float(total_loss) / steps
        if not math.isfinite(mean_loss):
            raise InfeasibleCandidateError("diverged", f"the loss was {mean_loss} in epoch {epoch + 1}")
        if on_epoch is not None:
            kept = [buffer for buffer in momentum if buffer is not None]
            on_epoch(TrainingState(epoch + 1, network.state_dict(), kept), mean_loss)
    return mean_loss


@torch.no_grad()
def step_sgd(weights: list[Tensor], momentum: list[Tensor | None], recipe: Recipe, learning_rate: float) -> None:
    """Change `weights` by their gradients, in place, and fill `momentum` at the first step.

    One fused kernel for all weights: on a CPU torch's `foreach` is a loop over them and takes twice as long. It goes
    through memory and not by strides, so a buffer must lie as its weights do.
    """
    sgd(
        weights,
        [own.grad for own in weights],  # type: ignore[misc]  # after `backward` each has one
        momentum,
        fused=True,
        weight_decay=recipe.weight_decay,
        momentum=recipe.momentum,
        lr=learning_rate,
        dampening=0.0,
        nesterov=recipe.momentum > 0,
        maximize=False,
    )


@torch.no_grad()
def evaluate(network: nn.Module, images: ImageSet, data: TaskData) -> float:
    """Top-1 accuracy of `network` on `images`, a fraction; leaves the network in evaluation mode."""
    device = next(network.parameters()).device
    normalise = Normalise(data, device)
    network.eval()
    correct = 0
    for start in range(0, len(images), _EVAL_BATCH):
        batch = images.images[start : start + _EVAL_BATCH].to(device)
        with mixed_precision(device):
            answers = network(normalise(batch)).argmax(1)
        correct += int((answers == images.labels[start : start + _EVAL_BATCH].to(device)).sum())
    return correct / len(images)


class Normalise:
    """uint8 `(B, C, H, W)` -> float32 of zero mean and unit variance, channels last, on `device`."""

    def __init__(self, data: TaskData, device: torch.device) -> None:
        mean, std = torch.tensor(data.mean, device=device), torch.tensor(data.std, device=device)
        self.scale = (1 / (255 * std)).view(1, -1, 1, 1)
        self.shift = (-mean / std).view(1, -1, 1, 1)

    def __call__(self, images: Tensor) -> Tensor:
        """Normalise a batch."""
        return torch.addcmul(self.shift, images.float(), self.scale).contiguous(memory_format=torch.channels_last)


def mixed_precision(device: torch.device) -> torch.autocast:
    """bfloat16 where it is fast: on a GPU."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda")


@contextlib.contextmanager
def cpu_settings(threads: int) -> Iterator[None]:
    """Run with so many torch threads and denormals flushed to zero (they cost up to 100 times as much)."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(before)


@contextlib.contextmanager
def infeasible_on_failure() -> Iterator[None]:
    """Turn what a candidate can do to a machine into `InfeasibleCandidateError`."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        torch.cuda.empty_cache()
        raise InfeasibleCandidateError("out_of_memory", str(error).splitlines()[0]) from error
    except MemoryError as error:
        raise InfeasibleCandidateError("out_of_memory", "the machine's memory") from error
    except RuntimeError as error:
        if "can't allocate memory" in str(error):
            raise InfeasibleCandidateError("out_of_memory", str(error).splitlines()[0]) from error
        raise
