"""Sets of labelled images: what all of them can do, and the kind that is resident in memory.

The kind that is decoded as it is asked for is `akd_gym.image_streams.StreamedImageSet`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from akd_gym.augment import AugmentRecipe
from akd_gym.errors import DataError


class Images(ABC):
    """Labelled images, all of one size, wherever they are.

    Attributes:
        labels: int64 (N,), class numbers.
        indices: int64 (N,), where each image stands in the pool it was drawn from.
    """

    labels: Tensor
    indices: Tensor

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every image."""

    @abstractmethod
    def batches(
        self, rows: Iterable[Tensor], device: torch.device, augment: AugmentRecipe | None = None, view: int = 0
    ) -> Iterator[Tensor]:
        """Pictures of one batch of rows after the other: uint8 (B, C, H, W), on `device`.

        Args:
            rows: Positions in this set, int64 (B,) each.
            device: Where the pictures go.
            augment: Draws their views; None for the pictures as they are.
            view: Which one.
        """

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class ImageSet(Images):
    """Images in memory.

    Args:
        images: uint8 (N, C, H, W).
        labels: int64 (N,), class numbers.
        indices: int64 (N,), where each image stands in the pool it was drawn from.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise DataError(f"Images must be uint8 (N, C, H, W), but got {_describe(self.images)}.")
        check_rows(len(self.images), labels=self.labels, indices=self.indices)

    @property
    def shape(self) -> tuple[int, int, int]:
        """See `Images.shape`."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def batches(
        self, rows: Iterable[Tensor], device: torch.device, augment: AugmentRecipe | None = None, view: int = 0
    ) -> Iterator[Tensor]:
        """See `Images.batches`."""
        if augment is not None and augment.crop_area is not None:
            for own in rows:  # on the CPU, whose rounding is the same for the teacher and for all students
                kept = own.cpu()
                yield augment.view(self.images[kept], self.indices[kept], view).to(device)
            return
        images = self.images.to(device)
        if augment is not None:
            images = augment.view(images, self.indices, view)
        for own in rows:
            yield images[own.to(device)]


def check_rows(count: int, **columns: Tensor) -> None:
    """Refuse labels or indices that are not int64 (count,)."""
    for name, value in columns.items():
        if value.dtype != torch.int64 or value.shape != (count,):
            raise DataError(f"`{name}` must be int64 ({count},), but got {_describe(value)}.")


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
