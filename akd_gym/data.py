"""Image sets, resident in memory as uint8, and their seeded stratified splits."""

from __future__ import annotations

import functools
import gzip
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from akd_gym.errors import DataError, UnknownNameError

FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
FASHION_FULL_ROOT = Path("/usr/share/datasets/fashion-mnist")
"""Where the Debian package `dataset-fashion-mnist` puts the full set (IDX files, gzipped)."""
_FASHION_ASSETS = Path(__file__).parent / "assets" / "fashion"


@dataclass(frozen=True)
class ImageSet:
    """Images in memory.

    Args:
        images: uint8 (N, C, H, W).
        labels: int64 (N,), class numbers.
        indices: int64 (N,), where each image stands in the pool it was drawn from.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, positions: Tensor) -> ImageSet:
        """Return the images at these positions."""
        return ImageSet(self.images[positions], self.labels[positions], self.indices[positions])


@dataclass(frozen=True)
class TaskData:
    """A classification task: what a student trains on, what it is judged by, and how pixels are scaled.

    Args:
        name: As given to `load_data`.
        num_classes: Number of classes.
        class_names: One name a class.
        mean: Per channel, of images / 255.
        std: Per channel, of images / 255.
        train: mini-train.
        val: mini-val, disjoint from `train`.
        test: Judged once, after the search; None when the data set has none.
        fingerprint: Identity of the pixels and labels that `indices` count within.
    """

    name: str
    num_classes: int
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    train: ImageSet
    val: ImageSet
    test: ImageSet | None
    fingerprint: str

    @property
    def in_channels(self) -> int:
        """Channels of an image."""
        return self.train.images.shape[1]

    @property
    def resolution(self) -> int:
        """Height and width of an image, pixels."""
        return self.train.images.shape[2]


@functools.cache
def embedded_fashion(part: str) -> ImageSet:
    """Read `"pool"` (12,000 images) or `"test"` (5,000) of the embedded set: 28x28, one channel."""
    with np.load(_FASHION_ASSETS / f"{part}.npz") as arrays:
        images, labels = torch.from_numpy(arrays["images"]), torch.from_numpy(arrays["labels"])
    return ImageSet(images[:, None], labels.long(), torch.arange(len(labels)))


def draw_split(labels: Tensor, train_size: int, val_size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw disjoint stratified positions for training and validation, sorted.

    The same seed gives the same validation images whatever `train_size`, and larger training sets contain the
    smaller ones.
    """
    rng = np.random.default_rng([seed, 0xDA7A])
    numpy_labels = labels.numpy()
    order = rng.permutation(len(numpy_labels))
    order = order[np.argsort(numpy_labels[order], kind="stable")]
    classes, starts, counts = np.unique(numpy_labels[order], return_index=True, return_counts=True)
    # Each image gets the fraction of its class that precedes it; sorting by it interleaves the classes evenly.
    rank = (np.arange(len(order)) - np.repeat(starts, counts) + 0.5) / np.repeat(counts, counts)
    interleaved = order[np.argsort(rank, kind="stable")]
    val, train = interleaved[:val_size], interleaved[::-1][:train_size]
    return torch.from_numpy(np.sort(train)), torch.from_numpy(np.sort(val))


def load_data(
    name: str = "fashion",
    *,
    train_size: int | None = None,
    val_size: int | None = None,
    split_seed: int = 0,
    resolution: int | None = None,
    root: Path | None = None,
) -> TaskData:
    """Load a task and draw its mini-train and mini-val."""
    if name != "fashion":
        raise UnknownNameError("data set", name, ("fashion",))
    pool, about = embedded_fashion("pool"), json.loads((_FASHION_ASSETS / "about.json").read_text())
    val_size = len(pool) // 6 if val_size is None else val_size
    train_size = len(pool) - val_size if train_size is None else train_size
    if train_size + val_size > len(pool):
        raise DataError(
            f"`train_size` + `val_size` must be at most {len(pool)} for {name!r}, but got {train_size} + {val_size}."
        )
    train, val = draw_split(pool.labels, train_size, val_size, split_seed)
    return TaskData(
        name=name,
        num_classes=10,
        class_names=FASHION_CLASSES,
        mean=tuple(about["mean"]),
        std=tuple(about["std"]),
        train=pool.subset(train),
        val=pool.subset(val),
        test=embedded_fashion("test"),
        fingerprint=about["pool"]["fingerprint"],
    )


def read_idx(path: Path) -> np.ndarray:
    """Read an IDX file of unsigned bytes, gzipped (`.gz`) or raw: shape as its header says, uint8."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    rank = data[3]
    shape = np.frombuffer(data, ">i4", count=rank, offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)


def pool_fingerprint(images: np.ndarray, labels: np.ndarray) -> str:
    """Hash pixels (N, C, H, W) and labels (N,) into the identity of a pool of images."""
    digest = hashlib.sha256(repr((images.shape, "uint8")).encode())
    digest.update(np.ascontiguousarray(images, np.uint8).data)
    digest.update(np.ascontiguousarray(labels, "<i8").data)
    return digest.hexdigest()[:32]
