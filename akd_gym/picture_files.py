"""Pictures in files: a compact list of them, and how one becomes an array.

Pictures are turned upright (EXIF) and read as RGB, whatever they are stored as: greyscale, palette, CMYK, 16 bits.
What lies under a transparent pixel is shown, as torchvision's loader does.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps

from akd_gym.augment import Crop
from akd_gym.errors import DataError

_REDUCTIONS = (8, 4, 2)  # what JPEG can leave out while decoding
_TURNED = (5, 6, 7, 8)  # EXIF orientations that exchange height and width


@dataclass(frozen=True, eq=False)
class PictureFiles:
    """Files below a folder, about 40 bytes each: a million of them are no burden to every worker.

    Args:
        root: The folder.
        names: All names relative to it, one after the other, as the file system spells them.
        ends: int64 (N,), where each name ends.
    """

    root: str
    names: bytes
    ends: np.ndarray

    @classmethod
    def below(cls, root: str, paths: Iterable[str]) -> PictureFiles:
        """List files by their paths, all of which begin with `root`."""
        names = [os.fsencode(path[len(root) :].lstrip(os.sep)) for path in paths]
        return cls(root, b"".join(names), np.cumsum([len(name) for name in names], dtype=np.int64))

    def __len__(self) -> int:
        return len(self.ends)

    def name(self, position: int) -> bytes:
        """Relative to `root`."""
        begin = int(self.ends[position - 1]) if position else 0
        return self.names[begin : int(self.ends[position])]

    def path(self, position: int) -> str:
        """Where the file is."""
        return os.path.join(self.root, os.fsdecode(self.name(position)))  # noqa: PTH118 - a million `Path`s are slow

    def stat(self, positions: Iterable[int]) -> np.ndarray:
        """Size in bytes and time of the last change in nanoseconds, int64 (n, 2); -1 where there is no such file."""
        found = []
        for position in positions:
            try:
                about = os.stat(self.path(position))  # noqa: PTH116
                found.append((about.st_size, about.st_mtime_ns))
            except OSError:
                found.append((-1, -1))
        return np.array(found, np.int64).reshape(-1, 2)


def decode(path: str, side: int | None, crop: Callable[[int, int], Crop] | None = None) -> np.ndarray:
    """Decode a picture.

    JPEG is decoded straight to the smallest size that has all the pixels needed.

    Args:
        path: Of the file.
        side: Pixels a side of the square to scale to; None for the picture as it is.
        crop: Says, for a height and a width, which part becomes the square; None for the largest in the centre.

    Returns:
        uint8 (H, W, 3).

    Raises:
        DataError: The file is no picture, or not a whole one; the message is its path and why.
    """
    try:
        with Image.open(path) as image:
            if side is None:
                return np.array(_upright(image))
            if crop is None:
                image.draft("RGB", (side, side))
                return np.array(ImageOps.fit(_upright(image), (side, side), Image.Resampling.BILINEAR))
            width, height = image.size
            if image.getexif().get(ExifTags.Base.Orientation, 1) in _TURNED:
                width, height = height, width
            part = crop(height, width)
            shorter = min(part.height, part.width)
            reduction = next((n for n in _REDUCTIONS if shorter >= n * side), 1)
            image.draft("RGB", (image.width // reduction, image.height // reduction))
            picture = _upright(image)
            x, y = picture.width / width, picture.height / height
            right, bottom = (part.left + part.width) * x, (part.top + part.height) * y
            box = (part.left * x, part.top * y, min(right, picture.width), min(bottom, picture.height))
            square = np.array(picture.resize((side, side), Image.Resampling.BILINEAR, box=box))
            return square[:, ::-1] if part.flip else square
    except _UNREADABLE as error:
        raise DataError(f"{printable(path)} ({_reason(error)})") from error


def check(path: str) -> str | None:
    """Decode a whole picture in the cheapest way there is; None if that works, else why it does not."""
    try:
        with Image.open(path) as image:
            image.draft("RGB", (1, 1))
            image.load()
    except _UNREADABLE as error:
        return _reason(error)
    return None


def printable(path: str) -> str:
    """A path that any terminal can show, also where its bytes are no text."""
    return os.fsencode(path).decode(errors="backslashreplace")


_UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, IndexError, Image.DecompressionBombError)
"""What Pillow raises for files that are damaged, cut short, or something else."""


def _reason(error: BaseException) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "no picture that Pillow knows"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _upright(image: Any) -> Image.Image:
    """The picture as RGB, turned as EXIF says."""
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I;16"):  # Pillow would clip 16 bits to 8 instead of scaling
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns of the direct way
    picture: Image.Image = image.convert("RGB")
    return picture
