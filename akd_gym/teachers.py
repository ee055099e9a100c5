"""Teachers by name: the shipped three and a user's own checkpoints.

A name says where a teacher comes from: `shipped:resnet`, or `file:PATH@ARCHITECTURE` for a state dict, where
ARCHITECTURE is one of the shipped networks (`resnet`, `inception`, `mixer`), `torchvision:NAME`, or
`module:function` called as `function(num_classes=..., in_channels=...)`. A checkpoint is never unpickled
beyond
tensors: safetensors, or `torch.load(weights_only=True)`.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from akd_gym.data import TaskData
from akd_gym.errors import AKDGymError, CorruptFileError, TeacherError, UnknownNameError
from akd_gym.teacher_networks import build_teacher_network
from akd_gym.teacher_settings import TEACHER_ASSETS, TEACHER_NETWORKS

TEACHER_NAMES = ("none", *(f"shipped:{name}" for name in TEACHER_NETWORKS), "file:PATH@ARCHITECTURE")
"""Every form a teacher's name can take; the last one is a pattern."""

_PIXELS_A_BATCH = 256 * 28 * 28


@dataclass(frozen=True)
class Teacher:
    """A network that answers for images, with the scaling of pixels it was trained with.

    Args:
        name: The canonical name, e.g. `"shipped:resnet"`.
        module: In evaluation mode: float32 (B, in_channels, R, R) -> (B, num_classes) logits.
        weights_hash: Identity of all that its answers depend on: architecture, weights, scaling, input size.
        num_classes: Number of classes it knows.
        in_channels: Channels it takes.
        mean: Per channel, of images / 255.
        std: Per channel, of images / 255.
        resolution: Input size it insists on, pixels; images of another size are resized. None: takes what
            comes.
    """

    name: str
    module: nn.Module
    weights_hash: str
    num_classes: int
    in_channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resolution: int | None = None

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Answer for uint8 images (N, C, H, W): float32 logits (N, num_classes), on the device of `images`.

        Raises:
            TeacherError: The images have another number of channels, or the answer has another shape.
        """
        if images.ndim != 4 or images.dtype != torch.uint8 or images.shape[1] != self.in_channels:
            raise TeacherError(
                f"Teacher {self.name!r} takes uint8 images (N, {self.in_channels}, H, W), "
                f"but got {images.dtype} {tuple(images.shape)}."
            )
        device = next((p.device for p in self.module.parameters()), images.device)
        side = self.resolution or images.shape[-1]
        parts = images.split(max(1, _PIXELS_A_BATCH // side**2))
        answers = [self.module(self.prepare(part.to(device))) for part in parts]
        if not answers:
            return torch.zeros((0, self.num_classes), device=images.device)
        if not isinstance(answers[0], Tensor) or answers[0].shape[1:] != (self.num_classes,):
            got = tuple(answers[0].shape) if isinstance(answers[0], Tensor) else type(answers[0]).__name__
            raise TeacherError(
                f"Teacher {self.name!r} must answer with logits (N, {self.num_classes}), but gave {got}."
            )
        return torch.cat(answers).float().to(images.device)

    def prepare(self, images: Tensor) -> Tensor:
        """Scale uint8 (B, C, H, W) to what the network takes: float32, its own resolution, channels last."""
        mean = torch.tensor(self.mean, device=images.device).view(1, -1, 1, 1)
        std = torch.tensor(self.std, device=images.device).view(1, -1, 1, 1)
        scaled = images.float() / 255
        if self.resolution and images.shape[-2:] != (self.resolution, self.resolution):
            size = (self.resolution, self.resolution)
            scaled = functional.interpolate(scaled, size, mode="bilinear", antialias=True)
        return ((scaled - mean) / std).contiguous(memory_format=torch.channels_last)


def load_teacher(name: str | None, data: TaskData) -> Teacher | None:
    """Load a teacher by name and check that it fits the data.

    Args:
        name: See `TEACHER_NAMES`; None or `"none"` for no teacher.
        data: The task whose classes and channels it must have.

    Raises:
        UnknownNameError: Nothing goes by this name.
        TeacherError: It cannot be loaded, or it does not fit the data.
        CorruptFileError: A shipped teacher's file is damaged.
    """
    if name is None or name == "none":
        return None
    source, _, rest = name.partition(":")
    if source not in _SOURCES or not rest:
        raise UnknownNameError("teacher", name, TEACHER_NAMES)
    teacher = _SOURCES[source](rest, data)
    teacher.module.eval().requires_grad_(False)
    try:
        teacher.logits(data.train.images[:1])
    except AKDGymError:
        raise
    except Exception as error:
        raise TeacherError(
            f"Teacher {name!r} does not take images of {data.name!r} "
            f"({data.in_channels} channels, {data.resolution} px): {error}"
        ) from error
    return teacher


def _load_shipped(name: str, data: TaskData) -> Teacher:
    if name not in TEACHER_NETWORKS:
        raise UnknownNameError("teacher", f"shipped:{name}", TEACHER_NAMES)
    path = TEACHER_ASSETS / f"{name}.safetensors"
    try:
        record = json.loads(path.with_suffix(".json").read_text())
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, ValueError) as error:
        raise CorruptFileError(f"Teacher 'shipped:{name}' is incomplete ({error}): reinstall akd_gym.") from error
    if digest != record["sha256"]:
        raise CorruptFileError(f"{path} is damaged (its SHA-256 is not the recorded one): reinstall akd_gym.")
    classes = tuple(record["classes"])
    if (data.in_channels, data.class_names) != (record["in_channels"], classes):
        raise TeacherError(
            f"Teacher 'shipped:{name}' knows {record['in_channels']}-channel images of {len(classes)} "
            f"classes "
            f"({', '.join(classes)}), but {data.name!r} has {data.in_channels} channels and "
            f"{data.num_classes} "
            f"classes ({', '.join(data.class_names[:10])}). Train one that fits with `akd teacher train`, "
            f"or bring "
            "your own as file:PATH@ARCHITECTURE."
        )
    module = build_teacher_network(name, len(classes), record["in_channels"], record["resolution"])
    state = load_file(path)
    module.load_state_dict(state)
    return _teacher(f"shipped:{name}", name, module, state, data, record)


def _load_file(rest: str, data: TaskData) -> Teacher:
    location, _, architecture = rest.rpartition("@")
    if not location or not architecture:
        raise TeacherError(
            f"A checkpoint needs its architecture, as file:PATH@ARCHITECTURE, but got 'file:{rest}'. "
            f"ARCHITECTURE: {', '.join(TEACHER_NETWORKS)}, torchvision:NAME or module:function."
        )
    path = Path(location).expanduser()
    state, metadata = _read_state(path)
    module = _build(architecture, data)
    _fit_state(module, state, f"file:{rest}", data)
    name = f"file:{path}@{architecture}"
    record = json.loads(metadata["teacher"]) if "teacher" in metadata else {}
    return _teacher(name, architecture, module, state, data, record)


_SOURCES: dict[str, Callable[[str, TaskData], Teacher]] = {"shipped": _load_shipped, "file": _load_file}


def _teacher(
    name: str,
    architecture: str,
    module: nn.Module,
    state: Mapping[str, Tensor],
    data: TaskData,
    record: Mapping[str, Any],
) -> Teacher:
    """Assemble a teacher; scaling and input size come from its record, else from the data."""
    mean: tuple[float, ...] = tuple(record.get("mean", data.mean))
    std: tuple[float, ...] = tuple(record.get("std", data.std))
    resolution = record.get("resolution")
    return Teacher(
        name=name,
        module=module.to(memory_format=torch.channels_last),
        weights_hash=hash_teacher(architecture, mean, std, resolution, state),
        num_classes=data.num_classes,
        in_channels=data.in_channels,
        mean=mean,
        std=std,
        resolution=resolution,
    )


def hash_teacher(
    architecture: str,
    mean: Sequence[float],
    std: Sequence[float],
    resolution: object,
    state: Mapping[str, Tensor],
) -> str:
    """Hash all that a teacher's answers depend on: soft labels of another are never taken for its own."""
    digest = hashlib.sha256(json.dumps([architecture, list(mean), list(std), resolution]).encode())
    for key in sorted(state):
        value = state[key].detach().cpu().contiguous()
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a state dict and, from safetensors, its metadata, without unpickling anything but tensors."""
    if not path.is_file():
        raise TeacherError(f"No checkpoint file at {path}.")
    if path.suffix == ".safetensors":
        try:
            with safetensors.safe_open(path, "pt") as file:
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
                return tensors, file.metadata() or {}
        except safetensors.SafetensorError as error:
            raise TeacherError(f"{path} is not a whole safetensors file: {error}.") from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise TeacherError(
            f"{path} must be a state dict that loads with weights_only=True (tensors only; anything else "
            f"in a pickle "
            "could run code, so it is refused). Save it as `torch.save(model.state_dict(), path)` or as "
            "safetensors. "
            f"What was found: {str(error).splitlines()[0]}"
        ) from error
    for wrapper in ("state_dict", "model"):  # how training scripts commonly nest it
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise TeacherError(f"{path} must hold a state dict (names to tensors), but holds {type(state).__name__}.")
    return {key.removeprefix("module."): value for key, value in state.items()}, {}


def _build(architecture: str, data: TaskData) -> nn.Module:
    """Build a network by the name after `@`, for the classes and channels of the data."""
    if architecture in TEACHER_NETWORKS:
        return build_teacher_network(architecture, data.num_classes, data.in_channels, data.resolution)
    source, _, attribute = architecture.partition(":")
    if source == "torchvision" and attribute:
        return _build_torchvision(attribute, data)
    if not attribute:
        known = (*TEACHER_NETWORKS, "torchvision:NAME", "module:function")
        raise UnknownNameError("teacher architecture", architecture, known)
    try:
        function = getattr(importlib.import_module(source), attribute)
    except (ImportError, AttributeError) as error:
        raise TeacherError(f"Architecture {architecture!r} cannot be imported: {error}.") from error
    try:
        module = function(num_classes=data.num_classes, in_channels=data.in_channels)
    except TypeError as error:
        raise TeacherError(
            f"{architecture!r} must be callable as function(num_classes=..., in_channels=...): {error}."
        ) from error
    if not isinstance(module, nn.Module):
        raise TeacherError(f"{architecture!r} must return a torch.nn.Module, but returned {type(module).__name__}.")
    return module


def _build_torchvision(name: str, data: TaskData) -> nn.Module:
    from torchvision import models  # here, because it costs half a second that other teachers need not pay

    if name not in models.list_models(models):
        raise UnknownNameError("torchvision model", name, models.list_models(models))
    if data.in_channels != 3:
        raise TeacherError(
            f"torchvision:{name} takes 3 channels, but {data.name!r} has {data.in_channels}: bring a "
            f"network that "
            "takes them as module:function."
        )
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    return models.get_model(name, weights=None, num_classes=data.num_classes, **options)


def _fit_state(module: nn.Module, state: Mapping[str, Tensor], name: str, data: TaskData) -> None:
    """Load the weights, or say how they differ from the network."""
    own = module.state_dict()
    missing = [key for key in own if key not in state]
    extra = [key for key in state if key not in own]
    other = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    if missing or extra or other:
        problems = [
            f"{label} ({len(keys)}): {', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''}"
            for label, keys in (
                ("missing", missing),
                ("not in the network", extra),
                ("of another shape", other),
            )
            if keys
        ]
        raise TeacherError(
            f"Teacher {name!r} does not fit a network for {data.name!r} ({data.num_classes} classes, "
            f"{data.in_channels} channels). Weights {'; '.join(problems)}."
        )
    module.load_state_dict(dict(state))
