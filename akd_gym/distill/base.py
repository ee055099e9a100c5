"""The interface of all distillation methods, and what a method may ask for when a training begins."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from akd_gym.architecture import NetworkSpec
from akd_gym.augment import AugmentRecipe
from akd_gym.cache import cache_dir
from akd_gym.data import TaskData
from akd_gym.errors import TeacherError
from akd_gym.recipes import Recipe
from akd_gym.soft_labels import SoftLabels, soft_labels
from akd_gym.teachers import Teacher


@dataclass(frozen=True)
class Batch:
    """What a step trains on.

    Attributes:
        pictures: uint8 (B, C, H, W), the view that the student sees, on its device.
        labels: The true classes, (B,).
        rows: Positions of the images in mini-train, (B,).
    """

    pictures: Tensor
    labels: Tensor
    rows: Tensor


@dataclass(frozen=True)
class Answer:
    """What the student says of a batch.

    Attributes:
        logits: (B, num_classes), float32.
        features: Of the penultimate layer, (B, feature_channels), float32; None unless the method needs them.
    """

    logits: Tensor
    features: Tensor | None = None


class Distillation(nn.Module):
    """A distillation method: gives the loss of every step. The training loop knows no method.

    A module, so that what it learns itself (a projection) is trained, moved and kept beside the student. One is made
    for a training by `prepare`; a class of your own (`module:Class`) need only have that and `loss`.

    Attributes:
        needs_features: Whether `Answer.features` must be there.
        needs_teacher: Whether it cannot do without a teacher.
    """

    needs_features: ClassVar[bool] = False
    needs_teacher: ClassVar[bool] = True

    @classmethod
    @abstractmethod
    def prepare(cls, training: Training) -> Distillation:
        """Make the method for a training, with all that it must compute or train before.

        Raises:
            TeacherError: The teacher does not have what the method needs, with the reason.
        """

    def begin_epoch(self, epoch: int, view: int, device: torch.device) -> None:
        """Get ready for an epoch (from 0), in which every image is seen in its view of that number."""

    def order(self, labels: Tensor, batch_size: int, generator: torch.Generator) -> Tensor:
        """Rows in the order in which an epoch goes through them; batches are cut from it.

        Args:
            labels: Of all images of mini-train, (N,), on the CPU.
            batch_size: Images that are seen together: a batch, or a part of one that is cut.
            generator: Source of all randomness.
        """
        return torch.randperm(len(labels), generator=generator)

    @abstractmethod
    def loss(self, answer: Answer, batch: Batch) -> Tensor:
        """The scalar to minimise, a mean over the batch."""


@dataclass(frozen=True)
class Training:
    """The training that a method is prepared for.

    Attributes:
        spec: The student.
        data: Its images.
        recipe: How it is trained.
        teacher: Who is distilled; None for nobody.
        seed: Of initial weights and order of images.
        device: Where it is trained.
        threads: Torch threads on a CPU.
        folder: Where a method may keep what it trains itself.
        announce: Told what takes time or space before it does.
    """

    spec: NetworkSpec
    data: TaskData
    recipe: Recipe
    teacher: Teacher | None
    seed: int
    device: torch.device
    threads: int
    folder: Path
    announce: Callable[[str], None]

    @cached_property
    def augment(self) -> AugmentRecipe:
        """How the views of images are drawn."""
        return self.recipe.augmentation()

    @property
    def required_teacher(self) -> Teacher:
        """The teacher.

        Raises:
            TeacherError: There is none.
        """
        if self.teacher is None:
            raise TeacherError("This distillation method needs a teacher, but got none: name one, or use `hard`.")
        return self.teacher

    def soft_labels(self, teacher: Teacher | None = None) -> SoftLabels:
        """Soft labels for all views of mini-train, computed where they are not cached yet.

        Args:
            teacher: Whose; None for those of the training's teacher.

        Raises:
            TeacherError: There is no teacher, or it gives no finite answers.
        """
        images, fingerprint = self.data.train, self.data.fingerprint
        teacher = (teacher or self.required_teacher).to(self.device)
        return soft_labels(
            teacher, images, fingerprint, self.augment, self.recipe.kept_views, cache_dir(), announce=self.announce
        )
