"""Where pools of images come from: the embedded set, IDX files, CIFAR archives, folders of pictures.

A source knows its labels at once and decodes only the images that are asked for: a mini-train of ImageNet
does not cost the decoding of ImageNet.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from akd_gym import picture_checks
from akd_gym.errors import DataError
from akd_gym.picture_files import PictureFiles, decode
from akd_gym.teachers.settings import FASHION_FULL_ROOT

FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LARGEST_DEFAULT_RESOLUTION = 224
_FASHION_ASSETS = Path(__file__).parent / "assets" / "fashion"


@dataclass(frozen=True)
class FileOptions:
    """What a user asks of pictures in files, by words after the name of the data: `imagefolder:PATH?stream&skip`.

    Attributes:
        stream: Whether they are decoded again and again, or else resident in memory; None: by their size.
        skip: Whether unreadable pictures are left out; they are refused otherwise.
    """

    stream: bool | None = None
    skip: bool = False


@dataclass(frozen=True)
class Pool:
    """A pool of labelled images, decoded on demand.

    Args:
        labels: int64 (N,).
        class_names: One name a class.
        channels: Of every image.
        resolution: Height and width of the images as they are, pixels; what folders default to.
        read: (positions int64 (n,), resolution) -> uint8 (n, channels, resolution, resolution).
        fingerprint: Identity of all pixels and labels; None where only reading every image could tell.
        mean: Per channel, of images / 255; None: to be computed from the images drawn for training.
        std: As `mean`.
        files: Where the pictures are, if each is in a file of its own.
        options: What the user asks of these.
    """

    labels: Tensor
    class_names: tuple[str, ...]
    channels: int
    resolution: int
    read: Callable[[Tensor, int], Tensor]
    fingerprint: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    files: PictureFiles | None = None
    options: FileOptions = FileOptions()


def embedded_fashion(part: str) -> Pool:
    """Open `"pool"` (12,000 images) or `"test"` (5,000) of the set inside the package: 28x28, one channel."""
    about = json.loads((_FASHION_ASSETS / "about.json").read_text())
    images, labels = _embedded_arrays(part)
    scale = tuple(about["mean"]), tuple(about["std"])
    return _array_pool(images, labels, tuple(about["classes"]), about[part]["fingerprint"], scale)


@functools.cache  # 50 ms of inflating the first time, then nothing: workers and tests load it again and again
def _embedded_arrays(part: str) -> tuple[Tensor, Tensor]:
    with np.load(_FASHION_ASSETS / f"{part}.npz") as arrays:
        return torch.from_numpy(arrays["images"])[:, None], torch.from_numpy(arrays["labels"]).long()


def embedded_source_indices() -> np.ndarray:
    """Where the 12,000 embedded images stand among the 60,000 Fashion-MNIST training images, sorted."""
    with np.load(_FASHION_ASSETS / "pool.npz") as arrays:
        return arrays["source_indices"].astype(np.int64)


def fashion_mnist(root: Path, part: str) -> Pool:
    """Open `"train"` (60,000) or `"t10k"` (10,000) of the full Fashion-MNIST.

    Args:
        root: Folder of the IDX files, gzipped or raw, or a torchvision root (`root/FashionMNIST/raw`).
        part: Which.
    """
    images = read_idx(_find_idx(root, f"{part}-images-idx3-ubyte"))
    labels = read_idx(_find_idx(root, f"{part}-labels-idx1-ubyte"))
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise DataError(f"{root} must hold as many {part} labels as images, but got {labels.shape} and {images.shape}.")
    return _array_pool(torch.from_numpy(images)[:, None], torch.from_numpy(labels).long(), FASHION_CLASSES)


def cifar(root: Path, classes: int, part: str) -> Pool:
    """Open `"train"` (50,000) or `"test"` (10,000) of CIFAR-10 or -100 as torchvision unpacked it."""
    from torchvision import datasets  # here, because importing it costs half a second

    kind = datasets.CIFAR10 if classes == 10 else datasets.CIFAR100
    try:
        found = kind(str(root), train=part == "train", download=False)
    except RuntimeError as error:
        folder = kind.base_folder
        raise DataError(
            f"No whole CIFAR-{classes} at {root}: it must hold {folder!r}, the unpacked archive "
            f"{kind.filename} ({error})."
        ) from error
    images = torch.from_numpy(np.ascontiguousarray(found.data.transpose(0, 3, 1, 2)))
    return _array_pool(images, torch.tensor(found.targets), tuple(found.classes))


def image_folder(root: Path, options: FileOptions = FileOptions()) -> Pool:
    """Open a folder with one folder of pictures a class, read as RGB. A class without pictures is refused."""
    from torchvision import datasets

    try:
        found = datasets.ImageFolder(str(root))
    except FileNotFoundError as error:
        raise DataError(f"{root} must hold one folder of pictures a class: {error}.") from error
    return _file_pool(str(root), found.samples, tuple(found.classes), options)


def imagenet(root: Path, part: str, options: FileOptions = FileOptions()) -> Pool:
    """Open `"train"` or `"val"` of ImageNet 2012 as torchvision lays it out (and unpacks the archives)."""
    from torchvision import datasets

    try:
        found = datasets.ImageNet(str(root), split=part)
    except (RuntimeError, FileNotFoundError) as error:
        raise DataError(f"No ImageNet at {root}: {error}") from error
    names = tuple(names[0] for names in found.classes)
    return _file_pool(str(root / part), found.samples, names, options, (IMAGENET_MEAN, IMAGENET_STD))


def read_idx(path: Path) -> np.ndarray:
    """Read an IDX file of unsigned bytes, gzipped (`.gz`) or raw: uint8, in the shape its header says.

    Raises:
        DataError: It is not such a file, or not whole.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        if data[:3] != b"\x00\x00\x08":
            raise ValueError("no IDX file of unsigned bytes")
        rank = data[3]
        shape = np.frombuffer(data, ">i4", count=rank, offset=4)
        return np.frombuffer(bytearray(data), np.uint8, offset=4 + 4 * rank).reshape(shape)
    except (OSError, EOFError, ValueError, IndexError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}.") from error


def pool_fingerprint(images: np.ndarray, labels: np.ndarray) -> str:
    """Hash pixels (N, C, H, W) and labels (N,) into the identity of a pool of images."""
    digest = hashlib.sha256(repr((images.shape, "uint8")).encode())
    digest.update(np.ascontiguousarray(images, np.uint8).data)
    digest.update(np.ascontiguousarray(labels, "<i8").data)
    return digest.hexdigest()[:32]


def channel_scale(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of uint8 (N, C, H, W) / 255, to four digits."""
    levels = torch.arange(256, dtype=torch.float64) / 255
    mean, std = [], []
    for channel in images.unbind(1):
        counts = torch.bincount(channel.reshape(-1), minlength=256).double()
        average = (counts * levels).sum() / counts.sum()
        mean.append(round(average.item(), 4))
        std.append(round(((counts * (levels - average) ** 2).sum() / counts.sum()).sqrt().item(), 4))
    return tuple(mean), tuple(max(value, 1e-3) for value in std)


def _find_idx(root: Path, stem: str) -> Path:
    for folder in (root, root / "FashionMNIST" / "raw"):
        for name in (f"{stem}.gz", stem):
            if (folder / name).is_file():
                return folder / name
    raise DataError(
        f"The full Fashion-MNIST is not at {root}: `{stem}` or `{stem}.gz` must be there or in "
        f"FashionMNIST/raw below. "
        f"Install the Debian package dataset-fashion-mnist (it puts them in {FASHION_FULL_ROOT}), or give "
        f"the `root` "
        "of torchvision.datasets.FashionMNIST(root, download=True)."
    )


def _array_pool(
    images: Tensor,
    labels: Tensor,
    class_names: tuple[str, ...],
    fingerprint: str | None = None,
    scale: tuple[tuple[float, ...], tuple[float, ...]] | None = None,
) -> Pool:
    mean, std = scale or channel_scale(images)

    def read(positions: Tensor, resolution: int) -> Tensor:
        chosen = images[positions]
        if resolution == images.shape[-1]:
            return chosen
        parts = [
            functional.interpolate(part.float(), (resolution, resolution), mode="bilinear", antialias=True)
            for part in chosen.split(1024)
        ]
        return torch.cat(parts).round().clamp(0, 255).to(torch.uint8)

    return Pool(
        labels, class_names, images.shape[1], images.shape[-1], read,
        fingerprint or pool_fingerprint(images.numpy(), labels.numpy()), mean, std,
    )  # fmt: skip


def _file_pool(
    root: str,
    samples: Sequence[tuple[str, int]],
    class_names: tuple[str, ...],
    options: FileOptions,
    scale: tuple[tuple[float, ...], tuple[float, ...]] | tuple[None, None] = (None, None),
) -> Pool:
    files = PictureFiles.below(root, (path for path, _ in samples))

    def try_decode(position: int, side: int | None) -> np.ndarray | str:
        try:
            return decode(files.path(position), side)
        except DataError as error:
            return str(error)

    def read(positions: Tensor, side: int) -> Tensor:
        images = torch.empty((len(positions), 3, side, side), dtype=torch.uint8)
        broken = []
        with ThreadPoolExecutor() as workers:  # Pillow decodes outside the interpreter lock
            for row, decoded in enumerate(workers.map(lambda own: try_decode(own, side), positions.tolist())):
                if isinstance(decoded, str):
                    broken.append(decoded)
                else:
                    images[row] = torch.from_numpy(decoded).permute(2, 0, 1)
        if broken:
            raise picture_checks.refuse(broken)
        return images

    labels = torch.tensor([label for _, label in samples])
    mean, std = scale
    resolution = _default_resolution(files, try_decode)
    return Pool(labels, class_names, 3, resolution, read, None, mean, std, files, options)


def _default_resolution(files: PictureFiles, try_decode: Callable[[int, int | None], np.ndarray | str]) -> int:
    """The shorter side of the first picture that can be read, at most 224."""
    broken = []
    for position in range(len(files)):
        first = try_decode(position, None)
        if not isinstance(first, str):
            return min(LARGEST_DEFAULT_RESOLUTION, *first.shape[:2])
        broken.append(first)
    raise DataError(f"{files.root} must hold a readable picture, but has {picture_checks.tell_first(broken)}.")
