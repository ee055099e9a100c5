"""Training of what embeds faces: a student from a teacher's features, a classifier, a simple teacher.

Section 6 of Search to Distill: the student's output is to be the teacher's penultimate layer. Its baseline without a
teacher is a classifier of the people trained on, whose own penultimate layer is the embedding.
Paper: Search to Distill - https://arxiv.org/abs/1911.09074
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import safetensors
import torch
from safetensors.torch import save

from akd_gym.architecture import NetworkSpec
from akd_gym.checkpoints import load_state, save_state
from akd_gym.data import TaskData
from akd_gym.distill import Distillation, HardLabels, Training
from akd_gym.errors import CorruptFileError, RunMismatchError, StorageError
from akd_gym.files import write_atomically
from akd_gym.full_training import CHECKPOINT
from akd_gym.networks import StudentNetwork, build_network
from akd_gym.recipes import Recipe
from akd_gym.retrieval.embedders import StudentEmbedder
from akd_gym.retrieval.methods import load_face_method
from akd_gym.retrieval.scaled_output import ScaledLinear, measure_embeddings
from akd_gym.students import STUDENT
from akd_gym.teachers import Teacher, load_teacher
from akd_gym.teachers.networks import build_teacher_network
from akd_gym.teachers.route import anchor_path
from akd_gym.torch_settings import cpu_settings
from akd_gym.training import TrainingState, train

ANCHORS = 4
"""Checkpoints that a teacher trained here keeps of its way, itself the last: what RCO-KD follows."""

OnEpoch = Callable[[int, float], None]
"""Told of every epoch done (from 1) and its mean loss."""


@dataclass(frozen=True)
class Place:
    """Where and under which seed a training runs.

    Attributes:
        device: Torch device.
        seed: Of initial weights and order of images: rows under one seed are paired.
        threads: Torch threads on a CPU.
        announce: Told what takes time or space before it does.
    """

    device: torch.device
    seed: int = 0
    threads: int = 1
    announce: Callable[[str], None] = lambda _: None


def train_embedder(
    spec: NetworkSpec,
    data: TaskData,
    recipe: Recipe,
    out: Path,
    *,
    method: str,
    teacher: Teacher | None,
    place: Place,
    on_epoch: OnEpoch | None = None,
) -> StudentEmbedder:
    """Train a student to embed and write `student.safetensors` to `out`.

    A training that was stopped goes on from its last epoch, to the same result as without a break.

    Args:
        spec: The student. Taught by a teacher it has as many outputs as the teacher has features.
        data: The people to train on.
        recipe: How to train.
        out: Folder of the weights and of the checkpoint.
        method: See `load_face_method`.
        teacher: Who is distilled; `hard` leaves it alone.
        place: Seed, device and threads.
        on_epoch: Told of every epoch.

    Raises:
        TeacherError: The teacher does not have what the method needs.
        RunMismatchError: `out` holds the checkpoint of another training.
        CorruptFileError: The checkpoint is damaged.
        StorageError: `out` cannot be written.
        InfeasibleCandidateError: The training diverges.
    """
    kind = load_face_method(method)
    taught = teacher if kind.needs_teacher else None
    identity = {
        "task": "embedding",
        "method": method,
        "architecture": str(spec),
        "data": data.name,
        "fingerprint": data.fingerprint,
        "people": list(data.class_names),
        "teacher": None if taught is None else taught.name,
        "teacher_weights": None if taught is None else taught.weights_hash,
        "recipe": recipe.identity(distilled=taught is not None),
        "seed": place.seed,
    }
    layer: Literal["outputs", "penultimate"] = "penultimate" if method == "hard" else "outputs"
    outputs = data.num_classes if taught is None else taught.feature_dim
    make_folder(out)
    with cpu_settings(place.threads):
        generator = torch.Generator().manual_seed(place.seed)
        network = build_network(spec, outputs, data.in_channels, generator=generator)
        network.to(place.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if taught is not None:
            measured = measure_embeddings(taught, data.train, place.device)
            network.classifier = ScaledLinear(network.classifier, *measured)
        training = Training(
            spec, data, recipe, taught, place.seed, place.device, place.threads, out, place.announce
        )  # fmt: skip
        _train(network, data, recipe, kind.prepare(training), out / CHECKPOINT, identity, place.seed, on_epoch)
    if isinstance(network.classifier, ScaledLinear):
        network.classifier = network.classifier.folded()
    embedder = StudentEmbedder(network.eval(), data, layer)
    about = {"architecture": str(spec), "layer": layer, "outputs": str(outputs), "method": method}
    about |= {"mean": json.dumps(data.mean), "std": json.dumps(data.std), "resolution": str(data.resolution)}
    about |= {"channels": str(data.in_channels), "people": json.dumps(data.class_names)}
    write_atomically(out / STUDENT, save(_weights(network), metadata=about))
    return embedder


def load_student(path: Path, spec: NetworkSpec, data: TaskData, device: torch.device) -> StudentEmbedder:
    """Load a student as an embedder: one of `akd retrieve`, or of `akd train` by its penultimate layer.

    Raises:
        CorruptFileError: The file is damaged or no student of ours.
        RunMismatchError: It is of another architecture, takes other pictures, or was trained on people looked for.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            about = file.metadata() or {}
        outputs = int(about["outputs"]) if "outputs" in about else len(json.loads(about["classes"]))
        mean, std = tuple(json.loads(about["mean"])), tuple(json.loads(about["std"]))
        size = int(about["channels"]), int(about["resolution"])
    except (safetensors.SafetensorError, KeyError, ValueError, OSError) as error:
        raise CorruptFileError(
            f"{path} must be a student that `akd retrieve` or `akd train` wrote, but: {error}."
        ) from error
    if about["architecture"] != str(spec):
        raise RunMismatchError(f"{path} holds weights of '{about['architecture']}', not of '{spec}'.")
    if size != (data.in_channels, data.resolution):
        raise RunMismatchError(
            f"{path} takes pictures of {size[0]} channels and {size[1]} px, but those of {data.name!r} have "
            f"{data.in_channels} and {data.resolution}: set `channels` and `resolution`."
        )
    unseen = set(json.loads(about.get("people", "[]"))) - set(data.class_names)
    if unseen:
        raise RunMismatchError(
            f"{path} was trained on {len(unseen)} people who are not those to train on here, so they might be looked "
            "for: take the `data`, `split_seed` and `test_share` of its training."
        )
    network = build_network(spec, outputs, data.in_channels)
    network.load_state_dict(weights)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    layer: Literal["outputs", "penultimate"] = "outputs" if about.get("layer") == "outputs" else "penultimate"
    return StudentEmbedder(network.eval(), replace(data, mean=mean, std=std), layer)


def train_embedding_teacher(
    name: str, data: TaskData, recipe: Recipe, out: Path, *, place: Place, on_epoch: OnEpoch | None = None
) -> Teacher:
    """Train a network of `akd_gym.teachers` to tell the people apart; its penultimate layer embeds.

    Writes `NAME.safetensors` and its anchors, which RCO-KD follows, to `out`. What is there already is loaded.

    Args:
        name: `"resnet"`, `"inception"` or `"mixer"`.
        data: The people to train on.
        recipe: How to train.
        out: Folder of the weights, the anchors and the checkpoint.
        place: Seed, device and threads.
        on_epoch: Told of every epoch.

    Raises:
        UnknownNameError: No such network.
        RunMismatchError: `out` holds the checkpoint of another training.
        CorruptFileError: The checkpoint is damaged.
        StorageError: `out` cannot be written.
        InfeasibleCandidateError: The training diverges.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(place.seed)
        network = build_teacher_network(name, data.num_classes, data.in_channels, data.resolution)
    network.to(place.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    identity = {
        "task": "embedding teacher",
        "network": name,
        "fingerprint": data.fingerprint,
        "people": list(data.class_names),
        "recipe": recipe.identity(distilled=False),
        "seed": place.seed,
    }
    make_folder(out)
    path = out / f"{name}.safetensors"
    epochs = sorted({recipe.epochs * part // ANCHORS for part in range(1, ANCHORS)} - {0})
    stops = {epoch: number for number, epoch in enumerate(epochs, 1)}
    scaling = {"mean": data.mean, "std": data.std, "resolution": data.resolution}
    about = {"teacher": json.dumps(scaling)}

    def keep(epoch: int, loss: float) -> None:
        if epoch in stops:
            write_atomically(anchor_path(path, stops[epoch]), save(_weights(network), metadata=about))
        if on_epoch is not None:
            on_epoch(epoch, loss)

    with cpu_settings(place.threads):
        student = cast(StudentNetwork, network)  # the loop asks no more of it than its answers
        _train(student, data, recipe, HardLabels(), out / CHECKPOINT, identity, place.seed, keep)
    write_atomically(path, save(_weights(network), metadata=about))
    teacher = load_teacher(f"file:{path}@{name}", data)
    assert teacher is not None
    return teacher.to(place.device)


def _train(
    network: StudentNetwork,
    data: TaskData,
    recipe: Recipe,
    method: Distillation,
    checkpoint: Path,
    identity: dict[str, Any],
    seed: int,
    on_epoch: OnEpoch | None,
) -> None:
    """Train, or go on, with a checkpoint an epoch."""
    resume, _ = load_state(checkpoint, identity) if checkpoint.exists() else (None, math.nan)

    def keep(state: TrainingState, loss: float) -> None:
        save_state(checkpoint, state, identity, loss)
        if on_epoch is not None:
            on_epoch(state.epoch, loss)

    train(network, data, recipe, method, seed=seed, resume=resume, on_epoch=keep)


def _weights(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.contiguous().cpu() for name, tensor in network.state_dict().items()}


def make_folder(folder: Path) -> None:
    """Make a folder for results.

    Raises:
        StorageError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"The folder {folder} cannot be made: {error.strerror}.") from error
