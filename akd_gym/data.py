"""The images of a task and their seeded stratified splits.

`fashion` is inside the package: 12,000 Fashion-MNIST training images as the students' pool and 5,000 test
images. Everything else is the user's own, on disk: nothing is ever downloaded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from akd_gym import image_sources
from akd_gym.errors import DataError, InvalidSettingError, UnknownNameError
from akd_gym.image_loading import open_images
from akd_gym.image_sources import FileOptions, Pool
from akd_gym.image_streams import StreamedImageSet
from akd_gym.images import Images, ImageSet

DATA_NAMES = (
    "fashion",
    "imagefolder:PATH",
    "cifar10:PATH",
    "cifar100:PATH",
    "fashion-mnist:PATH",
    "imagenet:PATH",
)
"""Every form a data set's name can take.

Pictures in files (`imagefolder`, `imagenet`) take options after the path, joined by `&`: `?stream` or `?resident`, to
decode them again and again or to hold them in memory (by default what their size suggests), and `?skip`, to leave out
those that cannot be read instead of refusing the whole (`imagefolder:/data/birds?stream&skip`). What is left out does
not change which others are drawn.
"""
SMALLEST_RESOLUTION = 8
_SCALE_SAMPLE = 256


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
        fingerprint: Identity of the pixels and labels that the `indices` of `train` and `val` count within. Of
            streamed pictures it is that of the files drawn, by name and size: a picture that is replaced by another of
            the very same size in bytes is not noticed.
        left_out: Drawn pictures that cannot be read, each with the reason, where these were to be skipped.

    Raises:
        DataError: The parts do not fit each other, or a label is not one of the classes.
    """

    name: str
    num_classes: int
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    train: Images
    val: Images
    test: Images | None
    fingerprint: str
    left_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_classes(self.name, self.class_names)
        if self.num_classes != len(self.class_names):
            raise DataError(f"{self.name!r} names {len(self.class_names)} classes, but has {self.num_classes}.")
        for part, images in (("train", self.train), ("val", self.val), ("test", self.test)):
            if images is None:
                continue
            _check_labels(f"{self.name!r} ({part})", images.labels, self.num_classes)
            if images.shape != (self.in_channels, self.resolution, self.resolution):
                raise DataError(
                    f"All images of {self.name!r} must be square and of one size, but {part} has "
                    f"{images.shape} beside {self.train.shape}."
                )
        if len(self.mean) != self.in_channels or len(self.std) != self.in_channels or min(self.std) <= 0:
            raise DataError(f"`mean` and `std` of {self.name!r} must have one value a channel, `std` above 0.")

    @property
    def in_channels(self) -> int:
        """Channels of an image."""
        return self.train.shape[0]

    @property
    def resolution(self) -> int:
        """Height and width of an image, pixels."""
        return self.train.shape[1]


def load_data(
    name: str = "fashion",
    *,
    train_size: int | None = None,
    val_size: int | None = None,
    test_size: int | None = None,
    split_seed: int = 0,
    resolution: int | None = None,
    root: Path | str | None = None,
    threads: int | None = None,
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
        threads: That decode pictures in files; None for one a core, at most 16.
        announce: Told how many MiB are about to be decoded, for all but the embedded set, and which pictures are left
            out.

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
    parts = [(pool, train_positions), (pool, val_positions)]
    if test_pool is not None and test_positions is not None:
        parts.append((test_pool, test_positions))
    announce = None if name == "fashion" else announce
    (train, val, *tests), left_out = open_images(name, parts, side, threads=threads, announce=announce)
    if pool.mean is not None and pool.std is not None:
        mean, std = pool.mean, pool.std
    else:
        mean, std = image_sources.channel_scale(_sample(train))
    return TaskData(
        name=name,
        num_classes=len(pool.class_names),
        class_names=pool.class_names,
        mean=mean,
        std=std,
        train=train,
        val=val,
        test=tests[0] if tests else None,
        fingerprint=_fingerprint(pool, train, val, side),
        left_out=tuple(left_out),
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
    options = FileOptions()
    if kind in ("imagefolder", "imagenet"):
        location, options = _split_options(location)
    location = location or (str(root) if root is not None else "")
    if not location:
        raise DataError(f"{name!r} needs to know where it is: {kind}:PATH.")
    path = Path(location).expanduser()
    if not path.is_dir():
        raise DataError(f"No folder at {path} for {name!r}.")
    if kind == "imagefolder":
        if not (path / "train").is_dir():
            return image_sources.image_folder(path, options), None
        tests = [path / part for part in ("val", "test") if (path / part).is_dir()]
        test = image_sources.image_folder(tests[0], options) if tests and with_test else None
        return image_sources.image_folder(path / "train", options), test
    if kind == "imagenet":
        test = image_sources.imagenet(path, "val", options) if with_test else None
        return image_sources.imagenet(path, "train", options), test
    if kind == "fashion-mnist":
        train = image_sources.fashion_mnist(path, "train")
        return train, image_sources.fashion_mnist(path, "t10k") if with_test else None
    classes = 10 if kind == "cifar10" else 100
    train = image_sources.cifar(path, classes, "train")
    return train, image_sources.cifar(path, classes, "test") if with_test else None


def _split_options(location: str) -> tuple[str, FileOptions]:
    """Split `PATH?OPTION&...`; a question mark before anything else belongs to the path."""
    path, mark, words = location.rpartition("?")
    asked = words.split("&")
    if not mark or not set(asked) <= {"resident", "stream", "skip"}:
        return location, FileOptions()
    if {"resident", "stream"} <= set(asked):
        raise InvalidSettingError(f"Pictures can be kept `resident` or in a `stream`, but {location!r} asks for both.")
    return path, FileOptions("stream" in asked or (False if "resident" in asked else None), "skip" in asked)


def _sample(images: Images) -> Tensor:
    """The pixels that mean and standard deviation are taken from: all in memory, else of 256 images spread evenly."""
    if isinstance(images, ImageSet):
        return images.images
    rows = torch.arange(min(len(images), _SCALE_SAMPLE)) * len(images) // min(len(images), _SCALE_SAMPLE)
    return torch.cat(list(images.batches(rows.split(32), torch.device("cpu"))))


def _fingerprint(pool: Pool, train: Images, val: Images, resolution: int) -> str:
    """Identity of the pool at this resolution; where it was not read whole, of what was drawn from it."""
    if pool.fingerprint is not None:
        return pool.fingerprint if resolution == pool.resolution else f"{pool.fingerprint}-{resolution}px"
    digest = hashlib.sha256(repr((pool.class_names, len(pool.labels), resolution)).encode(errors="surrogateescape"))
    for part in (train, val):
        digest.update(_content(part))
        for tensor in (part.labels, part.indices):
            digest.update(tensor.numpy().data)
    return digest.hexdigest()[:32]


def _content(images: Images) -> bytes | memoryview:
    """The pixels; of streamed pictures the names and sizes of their files."""
    if isinstance(images, ImageSet):
        return images.images.numpy().data
    assert isinstance(images, StreamedImageSet)
    digest = hashlib.sha256(b"streamed")
    positions = images.indices.tolist()
    for position in positions:
        digest.update(images.files.name(position) + b"\0")
    digest.update(images.files.stat(positions)[:, 0].tobytes())
    return digest.digest()


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
