"""Full training of one student, with a checkpoint an epoch: what follows a search (section 3.2 of the paper)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save

from akd_gym.architecture import NetworkSpec, count_cost
from akd_gym.augment import AugmentRecipe
from akd_gym.data import TaskData
from akd_gym.distill import KD, Distillation, HardLabels
from akd_gym.errors import CorruptFileError, RunMismatchError, StorageError
from akd_gym.files import write_atomically
from akd_gym.recipes import Recipe
from akd_gym.soft_labels import cache_dir, soft_labels
from akd_gym.teachers import load_teacher
from akd_gym.training import TrainingState, build_student, check_device, cpu_settings, evaluate, train

CHECKPOINT, STUDENT, RECORD = "checkpoint.safetensors", "student.safetensors", "record.json"


@dataclass(frozen=True)
class FullTrainingResult:
    """What a full training gave.

    Attributes:
        val_accuracy: On mini-val, a fraction.
        test_accuracy: On the test set, a fraction; None if the data has none.
        loss: Mean training loss of the last epoch.
        student: File of the weights.
    """

    val_accuracy: float
    test_accuracy: float | None
    loss: float
    student: Path


def train_fully(
    spec: NetworkSpec,
    data: TaskData,
    recipe: Recipe,
    out: Path,
    *,
    teacher: str | None = None,
    seed: int = 0,
    device: str = "cpu",
    threads: int = 1,
    announce: Callable[[str], None] | None = None,
    on_epoch: Callable[[int, float], None] | None = None,
) -> FullTrainingResult:
    """Train a student and write `student.safetensors` and `record.json` to `out`.

    A training that was stopped goes on from its last epoch, to the same result as without a break.

    Args:
        spec: The student.
        data: Trained on `data.train`, judged on `data.val` and `data.test`.
        recipe: How to train; the views of soft labels are cycled through.
        out: Folder of the results and of the checkpoint.
        teacher: See `load_teacher`; None trains by hard labels.
        seed: Of initial weights and order of images.
        device: Torch device.
        threads: Torch threads on a CPU.
        announce: Told what takes time or space before it does.
        on_epoch: Told of every epoch done (from 1) and its mean loss.

    Raises:
        RunMismatchError: If `out` holds the checkpoint of another training.
        CorruptFileError: If the checkpoint is damaged.
        StorageError: If `out` cannot be written.
        InfeasibleCandidateError: If the training diverges.
    """
    loaded = load_teacher(teacher, data)
    identity = {
        "architecture": str(spec),
        "data": data.name,
        "fingerprint": data.fingerprint,
        "teacher": None if loaded is None else loaded.name,
        "teacher_weights": None if loaded is None else loaded.weights_hash,
        "recipe": recipe.identity(distilled=loaded is not None),
        "seed": seed,
    }
    torch_device = check_device(device)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"The folder {out} cannot be made: {error.strerror}.") from error
    resume, loss = load_state(out / CHECKPOINT, identity) if (out / CHECKPOINT).exists() else (None, math.nan)
    method: Distillation = HardLabels()
    if loaded is not None:
        loaded.module.to(device)
        augment = AugmentRecipe(recipe.augment_seed, recipe.shift, recipe.flip)
        labels = soft_labels(
            loaded, data.train, data.fingerprint, augment, recipe.kept_views, cache_dir(), announce=announce
        )
        method = KD(labels, recipe.temperature, recipe.alpha)

    def keep(state: TrainingState, epoch_loss: float) -> None:
        nonlocal loss
        loss = epoch_loss  # `train` knows none where the checkpoint was of the last epoch
        save_state(out / CHECKPOINT, state, identity, loss)
        if on_epoch is not None:
            on_epoch(state.epoch, loss)

    with cpu_settings(threads):
        network = build_student(spec, data, seed, torch_device)
        train(network, data, recipe, method, seed=seed, resume=resume, on_epoch=keep)
        val_accuracy = evaluate(network, data.val, data)
        test_accuracy = None if data.test is None else evaluate(network, data.test, data)
    weights = {name: tensor.contiguous().cpu() for name, tensor in network.state_dict().items()}
    about = {"architecture": str(spec), "classes": json.dumps(data.class_names), "mean": json.dumps(data.mean)}
    about |= {"std": json.dumps(data.std), "resolution": str(data.resolution), "channels": str(data.in_channels)}
    student = write_atomically(out / STUDENT, save(weights, metadata=about))
    cost = count_cost(spec, data.resolution, data.in_channels, data.num_classes)
    record = identity | {
        "val_accuracy": val_accuracy,
        "test_accuracy": test_accuracy,
        "loss": loss,
        "madds": cost.madds,
        "params": cost.params,
    }
    write_atomically(out / RECORD, (json.dumps(record, indent=2) + "\n").encode())
    return FullTrainingResult(val_accuracy, test_accuracy, loss, student)


def save_state(path: Path, state: TrainingState, identity: dict[str, Any], loss: float) -> None:
    """Write a training state as safetensors: weights, momentum, and what training it belongs to.

    Raises:
        StorageError: If it cannot be written; an earlier checkpoint is as it was.
    """
    tensors = {f"network.{name}": tensor.contiguous().cpu() for name, tensor in state.network.items()}
    for index, buffer in enumerate(state.momentum):
        tensors[f"momentum.{index}"] = buffer.contiguous().cpu()
    about = {"epoch": str(state.epoch), "identity": json.dumps(identity), "loss": repr(loss)}
    write_atomically(path, save(tensors, metadata=about))


def load_state(path: Path, identity: dict[str, Any]) -> tuple[TrainingState, float]:
    """Read a training state and the mean loss of its last epoch.

    Raises:
        RunMismatchError: If it belongs to another training.
        CorruptFileError: If the file is damaged.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            about = file.metadata()
        found, epoch, loss = json.loads(about["identity"]), int(about["epoch"]), float(about["loss"])
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise CorruptFileError(f"The checkpoint {path} is damaged ({error}): remove it to begin anew.") from error
    differing = sorted(key for key in identity if json.loads(json.dumps(identity[key])) != found.get(key))
    if differing:
        raise RunMismatchError(
            f"{path.parent} holds the checkpoint of a training with other {', '.join(differing)}: take another."
        )
    network = {name.removeprefix("network."): t for name, t in tensors.items() if name.startswith("network.")}
    momentum = [tensors[f"momentum.{index}"] for index in range(len(tensors) - len(network))]
    return TrainingState(epoch, network, momentum), loss


def load_student(path: Path, spec: NetworkSpec) -> tuple[torch.nn.Module, dict[str, str]]:
    """Load a trained student in evaluation mode, with the metadata it was saved with.

    Raises:
        CorruptFileError: If the file is damaged or no student of ours.
        RunMismatchError: If its weights are of another architecture.
    """
    from akd_gym.networks import build_network

    try:
        with safetensors.safe_open(path, "pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            about = file.metadata() or {}
        classes, channels = json.loads(about["classes"]), int(about["channels"])
    except (safetensors.SafetensorError, KeyError, ValueError, OSError) as error:
        raise CorruptFileError(f"{path} must be a student that `akd train` wrote, but: {error}.") from error
    if about["architecture"] != str(spec):
        raise RunMismatchError(f"{path} holds weights of '{about['architecture']}', not of '{spec}'.")
    network = build_network(spec, len(classes), channels)
    network.load_state_dict(weights)
    return network.eval(), about
