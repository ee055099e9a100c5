"""What a teacher is: whoever answers for images with logits, and embeds them."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from akd_gym.errors import TeacherError
from akd_gym.teachers.penultimate import classifiers, embed, width

_PIXELS_A_BATCH = 256 * 28 * 28
_ACCELERATOR_PIXELS_A_BATCH = 64 * _PIXELS_A_BATCH


class Teacher(ABC):
    """Answers for uint8 images; scales and resizes them as it was trained to.

    Attributes:
        name: The canonical name, e.g. `"shipped:resnet"`.
        weights_hash: Identity of all that its answers depend on.
        num_classes: Number of classes it knows; 0 if it only embeds.
        in_channels: Channels it takes.
    """

    name: str
    weights_hash: str
    num_classes: int
    in_channels: int

    @property
    @abstractmethod
    def feature_dim(self) -> int:
        """Length of its embeddings.

        Raises:
            TeacherError: It has no penultimate layer that is known.
        """

    @abstractmethod
    def logits(self, images: Tensor) -> Tensor:
        """Answer for uint8 images (N, C, H, W): float32 logits (N, num_classes), on the device of `images`.

        Raises:
            TeacherError: The images have another number of channels, or the answer has another shape.
        """

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """Embed uint8 images (N, C, H, W) by the penultimate layer: float32 (N, feature_dim), on their device.

        Raises:
            TeacherError: As for `logits`, or it has no penultimate layer that is known.
        """

    @abstractmethod
    def to(self, device: str | torch.device) -> Teacher:
        """Move to a device; returns itself."""


@dataclass(frozen=True)
class NetworkTeacher(Teacher):
    """One network, with the scaling of pixels it was trained with.

    Args:
        name: See `Teacher`.
        module: In evaluation mode: float32 (B, in_channels, R, R) -> (B, num_classes) logits.
        weights_hash: Of architecture, weights, scaling and input size: `hash_teacher`.
        num_classes: See `Teacher`.
        in_channels: See `Teacher`.
        mean: Per channel, of images / 255.
        std: Per channel, of images / 255.
        resolution: Input size it insists on, pixels; images of another size are resized. None: takes what comes.
    """

    name: str
    module: nn.Module
    weights_hash: str
    num_classes: int
    in_channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resolution: int | None = None

    @property
    def feature_dim(self) -> int:
        """See `Teacher.feature_dim`."""
        widths = {width(layer) for layer in classifiers(self.module, self.num_classes)}
        if len(widths) == 1:
            return widths.pop()
        side = self.resolution or 64  # which of several layers it is shows when it runs
        return self.features(torch.zeros(1, self.in_channels, side, side, dtype=torch.uint8)).shape[1]

    def logits(self, images: Tensor) -> Tensor:
        """See `Teacher.logits`."""
        answers = self._by_parts(images, self.module)
        if answers.shape[1:] != (self.num_classes,):
            raise TeacherError(
                f"Teacher {self.name!r} must answer with logits (N, {self.num_classes}), "
                f"but gave {tuple(answers.shape)}."
            )
        return answers

    def features(self, images: Tensor) -> Tensor:
        """See `Teacher.features`: what goes into the layer that gives its classes (`penultimate.embed`)."""

        def answer(prepared: Tensor) -> Tensor:
            try:
                return embed(self.module, prepared, self.num_classes)
            except TeacherError as error:
                raise TeacherError(f"Teacher {self.name!r} {error}") from error

        return self._by_parts(images, answer)

    def to(self, device: str | torch.device) -> NetworkTeacher:
        """See `Teacher.to`."""
        self.module.to(device)
        return self

    def prepare(self, images: Tensor) -> Tensor:
        """Scale uint8 (B, C, H, W) to what the network takes: float32, its own resolution, channels last."""
        mean = torch.tensor(self.mean, device=images.device).view(1, -1, 1, 1)
        std = torch.tensor(self.std, device=images.device).view(1, -1, 1, 1)
        scaled = images.float() / 255
        if self.resolution and images.shape[-2:] != (self.resolution, self.resolution):
            size = (self.resolution, self.resolution)
            scaled = functional.interpolate(scaled, size, mode="bilinear", antialias=True)
        return ((scaled - mean) / std).contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def _by_parts(self, images: Tensor, answer: Callable[[Tensor], Tensor]) -> Tensor:
        """What `answer` gives for all images, a part that fits in memory at a time."""
        if images.ndim != 4 or images.dtype != torch.uint8 or images.shape[1] != self.in_channels:
            raise TeacherError(
                f"Teacher {self.name!r} takes uint8 images (N, {self.in_channels}, H, W), "
                f"but got {images.dtype} {tuple(images.shape)}."
            )
        device = next((p.device for p in self.module.parameters()), images.device)
        side = self.resolution or images.shape[-1]
        pixels = _PIXELS_A_BATCH if device.type == "cpu" else _ACCELERATOR_PIXELS_A_BATCH
        answers = []
        for part in images.split(max(1, pixels // side**2)):
            answers.append(answer(self.prepare(part.to(device))))
            if not isinstance(answers[-1], Tensor):
                kind = type(answers[-1]).__name__
                raise TeacherError(f"Teacher {self.name!r} must answer with a tensor, but gave {kind}.")
        return torch.cat(answers).float().to(images.device)


@dataclass(frozen=True)
class EmbeddingTeacher(NetworkTeacher):
    """A network without classes, `num_classes=0`: what it answers is the embedding (B, width).

    Args:
        width: Length of its answers.
    """

    width: int = 0

    @property
    def feature_dim(self) -> int:
        """See `Teacher.feature_dim`."""
        return self.width

    def logits(self, images: Tensor) -> Tensor:
        """See `Teacher.logits`: it has none.

        Raises:
            TeacherError: Always.
        """
        raise TeacherError(
            f"Teacher {self.name!r} knows no classes: distil its features, or take a teacher with classes."
        )

    def features(self, images: Tensor) -> Tensor:
        """See `Teacher.features`: its answers."""
        answers = self._by_parts(images, self.module)
        if answers.shape[1:] != (self.width,):
            raise TeacherError(
                f"Teacher {self.name!r} must answer with embeddings (N, {self.width}), but gave {tuple(answers.shape)}."
            )
        return answers


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
