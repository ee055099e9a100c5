"""Figures as files at print quality: PNG, SVG and PDF; a figure made anew from the same data gives the same bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from akd_gym.errors import UnknownNameError
from akd_gym.files import write_atomically

PRINT_DPI = 300
"""Of PNGs, and of what is a picture inside SVG and PDF (clouds of thousands of points)."""

# A canvas by the file's suffix, and what it would write about the time and itself.
_FORMATS: Mapping[str, tuple[Any, dict[str, None]]] = {
    ".png": (FigureCanvasAgg, {"Software": None}),
    ".svg": (FigureCanvasSVG, {"Date": None, "Creator": None}),
    ".pdf": (FigureCanvasPdf, {"CreationDate": None, "Creator": None, "Producer": None}),
}

_SETTINGS: dict[Any, Any] = {
    "svg.hashsalt": "akd_gym",  # identifiers are drawn at random without one
    "svg.fonttype": "path",  # letters as outlines: they look the same where the font is missing
    "pdf.fonttype": 42,  # TrueType, embedded: publishers refuse matplotlib's own default, Type 3
}


def write_figure(path: str | Path, figure: Figure, dpi: int = PRINT_DPI) -> Path:
    """Writes a figure, whole or not at all, in the format of the path's suffix, with its fonts and without a date.

    Args:
        path: Ends in `.png`, `.svg` or `.pdf`.
        figure: What to write.
        dpi: Dots per inch of what is a picture.

    Raises:
        UnknownNameError: Another suffix.
        StorageError: It cannot be written; an old file is as it was.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in _FORMATS:
        raise UnknownNameError("format of a figure's file", path.suffix, _FORMATS)
    canvas, metadata = _FORMATS[suffix]
    content = io.BytesIO()
    with matplotlib.rc_context(_SETTINGS):
        canvas(figure).print_figure(content, format=suffix[1:], dpi=dpi, facecolor="white", metadata=metadata)
    return write_atomically(path, content.getvalue())
