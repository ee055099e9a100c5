"""The images of a task, resident in memory as uint8, and their seeded stratified splits.

`fashion` is inside the package: 12,000 Fashion-MNIST training images as the students' pool and 5,000 test
images. Everything else is the user's own, on disk: nothing is ever downloaded.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from akd_gym import image_sources
from akd_gym.errors import DataError, InvalidSettingError, UnknownNameError
from akd_gym.image_sources import Pool

DATA_NAMES = (
    "fashion",
    "imagefolder:PATH",
    "cifar10:PATH",
    "cifar100:PATH",
    "fashion-mnist:PATH",
    "imagenet:PATH",
)
"""Every form a data set's name can take."""
SMALLEST_RESOLUTION = 8


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

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise DataError(f"Images must be uint8 (N, C, H, W), but got {_shape(self.images)}.")
        for name in ("labels", "indices"):
            value = getattr(self, name)
            if value.dtype != torch.int64 or value.shape != (len(self.images),):
                raise DataError(f"`{name}` must be int64 ({len(self.images)},), but got {_shape(value)}.")

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class TaskData:
    """A classification task: what a student trains on, what it is judged by, and how pixels are scaled.

    Args:
        name: As given to `load_data`.
        num_classes: Number of classes, 2 or more.
        class_names: One name a class.
        mean: Per channel, of images / 255.
        std: Per channel, of images / 255.
        train: mini-train.
        val: mini-val, disjoint from `train`.
        test: Judged once, after the search; None when there is none.
        fingerprint: Identity of the pixels and labels that the `indices` of `train` and `val` count within.

    Raises:
        DataError: The parts do not fit each other, or a label is not one of the classes.
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

    def __post_init__(self) -> None:
        _check_classes(self.name, self.class_names)
        if self.num_classes != len(self.class_names):
            raise DataError(f"{self.name!r} names {len(self.class_names)} classes, but has {self.num_classes}.")
        for part, images in (("train", self.train), ("val", self.val), ("test", self.test)):
            if images is None:
                continue
            _check_labels(f"{self.name!r} ({part})", images.labels, self.num_classes)
            if images.images.shape[1:] != (self.in_channels, self.resolution, self.resolution):
                raise DataError(
                    f"All images of {self.name!r} must be square and of one size, but {part} has "
                    f"{tuple(images.images.shape[1:])} beside {tuple(self.train.images.shape[1:])}."
                )
        if len(self.mean) != self.in_channels or len(self.std) != self.in_channels or min(self.std) <= 0:
            raise DataError(f"`mean` and `std` of {self.name!r} must have one value a channel, `std` above 0.")

    @property
    def in_channels(self) -> int:
        """Channels of an image."""
        return self.train.images.shape[1]

    @property
    def resolution(self) -> int:
        """Height and width of an image, pixels."""
        return self.train.images.shape[2]


def load_data(
    name: str = "fashion",
    *,
    train_size: int | None = None,
    val_size: int | None = None,
    test_size: int | None = None,
    split_seed: int = 0,
    resolution: int | None = None,
    root: Path | str | None = None,
    announce: Callable[[str], None] | None = None,
) -> TaskData:
    """Load a task and draw its mini-train and mini-val, disjoint and stratified.

    Args:
        name: See `DATA_NAMES`. A folder that holds `train` and `val` (or `test`) gives the pool and the test
            set, any other is all pool.
        train_size: Images of mini-train; None: all that `val_size` leaves.
        val_size: Images of mini-val; None: a sixth of the pool.
        test_size: Images of the test set; None: all; 0: no test set.
        split_seed: Of the draw. The same seed draws the same mini-val whatever `train_size`, and a larger
            mini-train contains a smaller one.
        resolution: Pixels a side that images are scaled to; None: as they are (of a folder: the shorter side
            of its first picture, at most 224).
        root: The PATH, when `name` has none.
        announce: Told how many MiB are about to be decoded, for all but the embedded set.

    Raises:
        UnknownNameError: No such data set.
        InvalidSettingError: A size below 1 or a negative seed.
        DataError: Missing, unreadable or impossible images or labels; more than the pool or the memory holds.
    """
    if split_seed < 0:
        raise InvalidSettingError(f"`split_seed` must be 0 or more, but got {split_seed}.")
    if resolution is not None and resolution < SMALLEST_RESOLUTION:
        raise InvalidSettingError(f"`resolution` must be {SMALLEST_RESOLUTION} or more, but got {resolution}.")
    if test_size is not None and test_size < 0:
        raise InvalidSettingError(f"`test_size` must be 0 or more, but got {test_size}.")
    pool, test_pool = open_pools(name, root, with_test=test_size != 0)
    _check_classes(name, pool.class_names)
    _check_labels(repr(name), pool.labels, len(pool.class_names))
    train_size, val_size = _sizes(name, len(pool.labels), train_size, val_size)
    train_positions, val_positions = draw_split(pool.labels, train_size, val_size, split_seed)
    side = resolution or pool.resolution
    test_positions = None
    if test_pool is not None:
        if test_pool.class_names != pool.class_names:
            raise DataError(f"The test set of {name!r} must have the classes of its training set, in both folders.")
        wanted = len(test_pool.labels) if test_size is None else min(test_size, len(test_pool.labels))
        test_positions, _ = draw_split(test_pool.labels, wanted, 0, split_seed)
    count = train_size + val_size + (0 if test_positions is None else len(test_positions))
    check_memory(name, count, pool.channels, side, None if name == "fashion" else announce)

    train = _read(pool, train_positions, side)
    val = _read(pool, val_positions, side)
    test = None if test_pool is None or test_positions is None else _read(test_pool, test_positions, side)
    if pool.mean is not None and pool.std is not None:
        mean, std = pool.mean, pool.std
    else:
        mean, std = image_sources.channel_scale(train.images)
    return TaskData(
        name=name,
        num_classes=len(pool.class_names),
        class_names=pool.class_names,
        mean=mean,
        std=std,
        train=train,
        val=val,
        test=test,
        fingerprint=_fingerprint(pool, train, val, side),
    )


def draw_split(labels: Tensor, train_size: int, val_size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw disjoint stratified positions for training and validation, each sorted: int64 (n,).

    Shuffled classes are interleaved in proportion to their sizes; validation takes from the front, training
    from the back, so neither depends on the size of the other.
    """
    own = labels.numpy()
    order = np.random.default_rng([seed, 0xDA7A]).permutation(len(own))
    order = order[np.argsort(own[order], kind="stable")]
    _, starts, counts = np.unique(own[order], return_index=True, return_counts=True)
    rank = (np.arange(len(order)) - np.repeat(starts, counts) + 0.5) / np.repeat(counts, counts)
    interleaved = order[np.argsort(rank, kind="stable")]
    val, train = interleaved[:val_size], interleaved[::-1][:train_size]
    return torch.from_numpy(np.sort(train)), torch.from_numpy(np.sort(val))


def open_pools(name: str, root: Path | str | None, *, with_test: bool) -> tuple[Pool, Pool | None]:
    """Open the pool of a data set and, if asked for and there is one, its test set, without decoding."""
    kind, _, location = name.partition(":")
    if kind not in {known.partition(":")[0] for known in DATA_NAMES} or (kind == "fashion" and location):
        raise UnknownNameError("data set", name, DATA_NAMES)
    if kind == "fashion":
        return image_sources.embedded_fashion("pool"), image_sources.embedded_fashion("test") if with_test else None
    location = location or (str(root) if root is not None else "")
    if not location:
        raise DataError(f"{name!r} needs to know where it is: {kind}:PATH.")
    path = Path(location).expanduser()
    if not path.is_dir():
        raise DataError(f"No folder at {path} for {name!r}.")
    if kind == "imagefolder":
        if not (path / "train").is_dir():
            return image_sources.image_folder(path), None
        tests = [path / part for part in ("val", "test") if (path / part).is_dir()]
        test = image_sources.image_folder(tests[0]) if tests and with_test else None
        return image_sources.image_folder(path / "train"), test
    if kind == "imagenet":
        return image_sources.imagenet(path, "train"), image_sources.imagenet(path, "val") if with_test else None
    if kind == "fashion-mnist":
        train = image_sources.fashion_mnist(path, "train")
        return train, image_sources.fashion_mnist(path, "t10k") if with_test else None
    classes = 10 if kind == "cifar10" else 100
    train = image_sources.cifar(path, classes, "train")
    return train, image_sources.cifar(path, classes, "test") if with_test else None


def _read(pool: Pool, positions: Tensor, resolution: int) -> ImageSet:
    return ImageSet(pool.read(positions, resolution), pool.labels[positions], positions)


def _fingerprint(pool: Pool, train: ImageSet, val: ImageSet, resolution: int) -> str:
    """Identity of the pool at this resolution; where it was not read whole, of what was drawn from it."""
    if pool.fingerprint is not None:
        return pool.fingerprint if resolution == pool.resolution else f"{pool.fingerprint}-{resolution}px"
    digest = hashlib.sha256(repr((pool.class_names, len(pool.labels), resolution)).encode())
    for part in (train, val):
        for tensor in (part.images, part.labels, part.indices):
            digest.update(tensor.numpy().data)
    return digest.hexdigest()[:32]


def _sizes(name: str, available: int, train_size: int | None, val_size: int | None) -> tuple[int, int]:
    for label, value in (("train_size", train_size), ("val_size", val_size)):
        if value is not None and value < 1:
            raise InvalidSettingError(f"`{label}` must be 1 or more, but got {value}.")
    if val_size is None:
        val_size = max(1, min(available // 6, available - (train_size or 1)))
    if train_size is None:
        train_size = max(1, available - val_size)
    if train_size + val_size > available:
        raise DataError(
            f"`train_size` + `val_size` must be at most the {available} images of {name!r}, "
            f"but got {train_size} + {val_size}."
        )
    return train_size, val_size


def _check_classes(name: str, class_names: tuple[str, ...]) -> None:
    if len(class_names) < 2:
        raise DataError(f"{name!r} must have 2 classes or more, but has {len(class_names)}: {', '.join(class_names)}.")


def _check_labels(what: str, labels: Tensor, num_classes: int) -> None:
    wrong = torch.nonzero((labels < 0) | (labels >= num_classes))[:, 0]
    if len(wrong):
        raise DataError(
            f"Labels of {what} must be between 0 and {num_classes - 1}, but {len(wrong)} are not: "
            f"the first is {labels[wrong[0]].item()}, of image {wrong[0].item()}."
        )


def check_memory(name: str, count: int, channels: int, resolution: int, announce: Callable[[str], None] | None) -> None:
    """Say the size before decoding, and refuse what would not leave the machine half of its free memory."""
    mib = count * channels * resolution**2 / 2**20
    free_mib = _available_memory_mib()
    if mib > free_mib / 2:
        raise DataError(
            f"{count:,} images of {name!r} at {resolution} px need {mib:,.0f} MiB, more than half of the "
            f"{free_mib:,.0f} MiB that are free: lower `train_size`, `val_size`, `test_size` or `resolution`."
        )
    if announce is not None:
        announce(f"Loading {count:,} images of {name} at {resolution} px: {mib:,.0f} MiB")


def _available_memory_mib() -> float:
    """Memory that can be had without swapping, MiB."""
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) / 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20


def _shape(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
