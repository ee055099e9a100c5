"""Pictures of faces from files: found, decoded a block at a time, aligned if asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from akd_gym.errors import DataError

Policy = Literal["refuse", "skip"]
"""What to do about what cannot be used."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp")
"""Files that are taken for pictures."""
_NAMED = 5  # how many of a list an error or a notice names

Align = Callable[[NDArray[np.uint8], int], "NDArray[np.uint8] | None"]
"""Cuts the face out of an RGB picture (H, W, 3), upright and scaled to a size; None where it finds none."""


@dataclass
class Reader:
    """Decodes pictures to one size and number of channels, and remembers what went wrong.

    Args:
        resolution: Pixels of height and width.
        channels: 1 for grey, 3 for colour.
        broken: Whether an unreadable picture is an error or left out.
        align: Finds the face; without it, and where it finds none, the central square of the picture is taken.

    Attributes:
        skipped: Pictures left out, each with the reason.
        unaligned: Pictures in which `align` found no face.
    """

    resolution: int
    channels: int
    broken: Policy = "refuse"
    align: Align | None = None
    skipped: list[str] = field(default_factory=list)
    unaligned: list[str] = field(default_factory=list)

    def blocks(self, paths: Sequence[Path], size: int = 1024) -> Iterator[tuple[Tensor, list[int]]]:
        """Decode files, at most `size` at a time.

        Yields:
            uint8 (B, channels, resolution, resolution), and which of `paths` they are; unreadable ones are missing.

        Raises:
            DataError: Pictures are unreadable and `broken` is `"refuse"`: names those of the block.
        """
        for start in range(0, len(paths), size):
            pictures, kept, unreadable = [], [], []
            for place in range(start, min(start + size, len(paths))):
                try:
                    pictures.append(self._decode(paths[place]))
                    kept.append(place)
                except _unreadable() as error:
                    unreadable.append(f"{paths[place]} ({str(error) or type(error).__name__})")
            if unreadable and self.broken == "refuse":
                raise DataError(
                    f"{len(unreadable)} unreadable pictures: {name_some(unreadable)}. Remove or replace them, or "
                    "leave them out with `broken` skip."
                )
            self.skipped += unreadable
            if pictures:
                yield torch.from_numpy(np.stack(pictures)), kept

    def _decode(self, path: Path) -> NDArray[np.uint8]:
        """One picture, uint8 (channels, resolution, resolution)."""
        from PIL import Image, ImageOps

        side = (self.resolution, self.resolution)
        with Image.open(path) as image:
            picture = image.convert("RGB")
        chip = None if self.align is None else self.align(np.array(picture), self.resolution)
        if chip is not None:
            picture = Image.fromarray(chip)
        else:
            if self.align is not None:
                self.unaligned.append(str(path))
            picture = ImageOps.fit(picture, side, Image.Resampling.BILINEAR)
        if self.channels == 1:
            return np.array(picture.convert("L"))[None]
        return np.array(picture).transpose(2, 0, 1)


def list_pictures(folder: Path, *, deep: bool = False, suffixes: Sequence[str] = SUFFIXES) -> list[Path]:
    """Pictures in a folder, in the order of their names; hidden files are none.

    Args:
        folder: Where.
        deep: Whether to look into the folders below, too.
        suffixes: Of the files that are pictures, in small letters.
    """
    found = folder.rglob("*") if deep else folder.iterdir()
    return sorted(
        path for path in found if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()
    )


def describe(path: Path) -> tuple[int, int]:
    """Shorter side and channels (1 if grey, else 3) of a picture, without decoding it.

    Raises:
        DataError: It is unreadable.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            return min(image.size), 1 if image.mode in ("1", "L", "LA", "I", "I;16", "F") else 3
    except _unreadable() as error:
        raise DataError(f"Unreadable picture {path} ({error}).") from error


def name_some(names: Sequence[str]) -> str:
    """The first few of a list, and how many more there are."""
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _unreadable() -> tuple[type[Exception], ...]:
    """What Pillow raises for files that are no pictures, not whole, or too large to be one."""
    from PIL import Image

    return OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError
