"""Training one student: the loop of the proxy task and of full training (section 3.2 of the paper)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd  # the function: constructing the class loads a compiler of 150 MiB in every worker

from akd_gym.architecture import NetworkSpec
from akd_gym.data import TaskData
from akd_gym.distill import KD, Batch, Distillation, HardLabels
from akd_gym.distributed import ALONE, Peers
from akd_gym.errors import InfeasibleCandidateError, InvalidSettingError
from akd_gym.networks import StudentNetwork, build_network
from akd_gym.recipes import Precision, Recipe
from akd_gym.soft_labels import SoftLabels
from akd_gym.student_answers import Normalise, ask, evaluate
from akd_gym.torch_settings import cpu_settings, infeasible_on_failure
from akd_gym.weight_average import WeightAverage


@dataclass(frozen=True)
class TrainingState:
    """Where a training stands after an epoch: all that is needed to go on to the same result.

    Attributes:
        epoch: Epochs done.
        network: State of the student; shares its memory.
        method: State of what the method learns itself.
        momentum: Of the optimizer, for the weights of the student and then of the method.
        average: Running average of the student's state; empty without `Recipe.ema_decay`.
    """

    epoch: int
    network: dict[str, Tensor]
    method: dict[str, Tensor]
    momentum: list[Tensor]
    average: dict[str, Tensor] = field(default_factory=dict)

    @property
    def judged(self) -> dict[str, Tensor]:
        """The student's state that is judged and kept."""
        return self.average or self.network


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
    method: Distillation = (
        HardLabels(recipe.label_smoothing) if soft_labels is None else KD(soft_labels, recipe.temperature, recipe.alpha)
    )
    with cpu_settings(threads), infeasible_on_failure():
        network = build_student(spec, data, seed, device)
        loss = train(network, data, recipe, method, seed=seed, deadline=start + recipe.time_limit_s)
        accuracy = evaluate(network, data.val, data, recipe.precision)
    return TrainingOutcome(accuracy, loss, time.perf_counter() - start, recipe.epochs)


def build_student(spec: NetworkSpec, data: TaskData, seed: int, device: torch.device) -> StudentNetwork:
    """Build a student for the data, its initial weights drawn by `seed`, in the memory format that trains fastest."""
    network = build_network(spec, data.num_classes, data.in_channels, generator=torch.Generator().manual_seed(seed))
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def train(
    network: StudentNetwork,
    data: TaskData,
    recipe: Recipe,
    method: Distillation,
    *,
    seed: int,
    deadline: float = math.inf,
    resume: TrainingState | None = None,
    on_epoch: Callable[[TrainingState, float], None] | None = None,
    on_step: Callable[[float, Tensor], None] | None = None,
    peers: Peers = ALONE,
) -> float:
    """Train `network` in place; returns the mean loss of the last epoch.

    With `recipe.ema_decay` the network ends as the running average of itself.

    Args:
        network: In channels-last format, on the device to train on.
        data: Trained on `data.train`.
        recipe: How to train.
        method: Gives the loss.
        seed: Of the order of images.
        deadline: On the clock of `time.perf_counter`.
        resume: Continue from here, to the same result as without a break.
        on_epoch: Called after every epoch with the state and the mean loss.
        on_step: Called after every step with the epochs done, a fraction of one counts too, and the loss of this
            process's last part of the batch, still on the device.
        peers: The processes that train this student together, each of which calls this function alike.

    Raises:
        InvalidSettingError: If a batch cannot be shared out among parts and processes.
        InfeasibleCandidateError: If the loss is not finite or the deadline passes.
    """
    device = next(network.parameters()).device
    labels = data.train.labels.to(device)
    part_size = images_a_part(recipe, len(labels), peers.count)
    batch_size = part_size * recipe.accumulate * peers.count
    steps = len(labels) // batch_size  # an epoch's last, smaller batch is left out: batch norm wants full ones
    method.to(device)
    weights: list[Tensor] = [*network.parameters(), *method.parameters()]
    momentum: list[Tensor | None] = [None] * len(weights)
    if resume is not None:
        network.load_state_dict(resume.network)
        method.load_state_dict(resume.method)
        if resume.momentum:  # else the recipe has none
            momentum = [torch.empty_like(own).copy_(kept) for own, kept in zip(weights, resume.momentum, strict=True)]
    first_epoch = 0 if resume is None else resume.epoch
    average = WeightAverage(network, recipe.ema_decay, first_epoch * steps) if recipe.ema_decay else None
    if average is not None and resume is not None:
        average.load_state_dict(resume.average)
    objective = peers.replicate(
        Objective(network, method, Normalise(data, device), recipe.precision), recipe.accumulate, method.needs_features
    )
    network.train()
    objective.zero_grad()
    mean_loss = math.nan
    for epoch in range(first_epoch, recipe.epochs):
        view = epoch % recipe.kept_views
        method.begin_epoch(epoch, view, device)
        generator = torch.Generator().manual_seed(seed * 100_003 + epoch)
        order = method.order(data.train.labels, part_size, generator)[: steps * batch_size]
        parts = order.to(device).split(part_size)[peers.rank :: peers.count]
        pictures = data.train.batches(parts, device, recipe.augmentation(), view)
        total_loss = torch.zeros((), device=device)
        for part, (rows, seen) in enumerate(zip(parts, pictures, strict=True), start=1):
            loss = objective(seen, labels[rows], rows)
            (loss / recipe.accumulate).backward()
            total_loss += loss.detach()
            if part % recipe.accumulate:
                continue
            done = epoch + part / len(parts)
            step_sgd(weights, momentum, recipe, recipe.learning_rate_at(done))
            objective.zero_grad()
            if average is not None:
                average.update()
            if on_step is not None:
                on_step(done, loss.detach())
            if time.perf_counter() > deadline:
                raise InfeasibleCandidateError("time_limit", f"after {done:.1f} epochs")
        mean_loss = float(peers.mean(total_loss)) / len(parts)
        if not math.isfinite(mean_loss):
            raise InfeasibleCandidateError("diverged", f"the loss was {mean_loss} in epoch {epoch + 1}")
        if on_epoch is not None:
            kept = [buffer for buffer in momentum if buffer is not None]
            averaged = {} if average is None else average.state_dict()
            on_epoch(TrainingState(epoch + 1, network.state_dict(), method.state_dict(), kept, averaged), mean_loss)
    if average is not None:
        network.load_state_dict(average.state_dict())
    return mean_loss


def images_a_part(recipe: Recipe, images: int, processes: int = 1) -> int:
    """How many images a process sees at once: a batch in equal parts, `recipe.accumulate` for each process.

    Args:
        recipe: How to train.
        images: In mini-train; fewer than a batch make a smaller one.
        processes: That share a batch.

    Raises:
        InvalidSettingError: If the processes do not divide the batch, or leave batch norm one image at a time.
    """
    parts = recipe.accumulate * processes
    if recipe.batch_size % parts:
        raise InvalidSettingError(
            f"`batch_size` ({recipe.batch_size}) must be divisible by the parts that {processes} processes "
            f"with `accumulate` {recipe.accumulate} make of it, but these are {parts}."
        )
    size = min(recipe.batch_size, images) // parts
    if parts > 1 and size < 2:
        raise InvalidSettingError(
            f"A part of a batch must hold 2 images or more for batch norm, but a batch of "
            f"{min(recipe.batch_size, images)} images makes {parts} parts (`accumulate` x processes)."
        )
    return size


class Objective(nn.Module):
    """From pictures and labels to the loss of a student by a method: all that is trained, as one module."""

    def __init__(
        self, network: StudentNetwork, method: Distillation, normalise: Normalise, precision: Precision | None
    ) -> None:
        super().__init__()
        self.network, self.method, self.normalise, self.precision = network, method, normalise, precision

    def forward(self, pictures: Tensor, labels: Tensor, rows: Tensor) -> Tensor:
        """The loss of uint8 pictures (B, C, H, W) with labels (B,), at positions `rows` (B,) of mini-train."""
        answer = ask(self.network, self.normalise(pictures), self.method.needs_features, self.precision)
        return self.method.loss(answer, Batch(pictures, labels, rows))


@torch.no_grad()
def step_sgd(weights: list[Tensor], momentum: list[Tensor | None], recipe: Recipe, learning_rate: float) -> None:
    """Change `weights` by their gradients, in place, and fill `momentum` at the first step.

    One fused kernel for all weights: on a CPU torch's `foreach` is a loop over them and takes twice as long. It goes
    through memory and not by strides, so a buffer must lie as its weights do. Weights that the loss does not depend on
    have no gradient, and decay.
    """
    sgd(
        weights,
        [torch.zeros_like(own) if own.grad is None else own.grad for own in weights],
        momentum,
        fused=True,
        weight_decay=recipe.weight_decay,
        momentum=recipe.momentum,
        lr=learning_rate,
        dampening=0.0,
        nesterov=recipe.momentum > 0,
        maximize=False,
    )
