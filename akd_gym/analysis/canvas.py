"""A small antialiased canvas: Pillow at twice the size, halved at the end."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
Point = tuple[float, float]

_SCALE = 2


class Canvas:
    """Draws in pixels of the final picture, with the origin at the top left.

    Args:
        width: Pixels.
        height: Pixels.
        background: Colour to start with.
    """

    def __init__(self, width: int, height: int, background: Colour = (255, 255, 255)) -> None:
        self._image = Image.new("RGB", (width * _SCALE, height * _SCALE), background)
        self._draw = ImageDraw.Draw(self._image)

    def array(self) -> NDArray[np.uint8]:
        """The picture, shape (height, width, 3)."""
        return np.asarray(self._image.reduce(_SCALE), dtype=np.uint8).copy()

    def polygon(self, points: Sequence[Point], fill: Colour | None, edge: Colour | None = None) -> None:
        """A closed shape; its edge is one pixel wide."""
        scaled = [(x * _SCALE, y * _SCALE) for x, y in points]
        self._draw.polygon(scaled, fill=fill)
        if edge is not None:
            self._draw.line([*scaled, scaled[0], scaled[1]], fill=edge, width=_SCALE, joint="curve")

    def box(
        self,
        x0: float,
        y0: float,
        x1: float,
        y1: float,
        fill: Colour | None,
        edge: Colour | None = None,
        radius: float = 0.0,
    ) -> None:
        """A rectangle, its corners rounded if asked for."""
        corners = (x0 * _SCALE, y0 * _SCALE, x1 * _SCALE, y1 * _SCALE)
        self._draw.rounded_rectangle(corners, radius * _SCALE, fill=fill, outline=edge, width=_SCALE)

    def line(self, points: Sequence[Point], colour: Colour, width: float = 1.0) -> None:
        """Straight lines from point to point."""
        scaled = [(x * _SCALE, y * _SCALE) for x, y in points]
        self._draw.line(scaled, fill=colour, width=round(width * _SCALE), joint="curve")

    def dashed(
        self, points: Sequence[Point], colour: Colour, width: float = 1.0, on: float = 4.0, off: float = 3.0
    ) -> None:
        """Dashed lines from point to point; the dashes run on around corners."""
        for dash in _dashes(points, on, off):
            self.line(dash, colour, width)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: float,
        colour: Colour,
        bold: bool = False,
        anchor: str = "mm",
    ) -> None:
        """A line of text; the anchor is Pillow's (`"lm"`: left, middle)."""
        font = _font(round(size * _SCALE), bold)
        self._draw.text((x * _SCALE, y * _SCALE), text, fill=colour, font=font, anchor=anchor)

    @staticmethod
    def text_width(text: str, size: float, bold: bool = False) -> float:
        """How wide a line of text would be."""
        return _font(round(size * _SCALE), bold).getlength(text) / _SCALE


def arch(x0: float, x1: float, y: float, rise: float, steps: int = 16) -> list[Point]:
    """The points of a curve that leaves `y` upwards at `x0` and comes back to it at `x1`."""
    points = []
    for i in range(steps + 1):
        t = i / steps
        swing = 3 * t * (1 - t)  # a cubic Bezier whose two control points lie straight above the ends
        along = t**2 * (3 - 2 * t)
        points.append((x0 + (x1 - x0) * along, y - swing * rise / 0.75))
    return points


def mix(colour: Colour, other: Colour, share: float) -> Colour:
    """A colour moved towards another by a share in [0, 1]."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(colour, other, strict=True))
    return red, green, blue


def _dashes(points: Sequence[Point], on: float, off: float) -> Iterator[list[Point]]:
    position = 0.0
    for (xa, ya), (xb, yb) in itertools.pairwise(points):
        length = math.hypot(xb - xa, yb - ya)
        start = 0.0
        while start < length:
            phase = (position + start) % (on + off)
            step = min((on if phase < on else on + off) - phase + 1e-9, length - start)
            if phase < on:
                ends = (start / length, (start + step) / length)
                yield [(xa + (xb - xa) * t, ya + (yb - ya) * t) for t in ends]
            start += step
        position += length


@lru_cache(maxsize=32)
def _font(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)
