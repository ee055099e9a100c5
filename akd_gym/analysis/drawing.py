"""The picture of a network: what was chosen for each block, and during a search what is still open.

A layer is a slab: as tall as its feature map is large, as thick as it has channels, coloured by its operator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from akd_gym.analysis.canvas import Canvas, Colour, Point, arch, mix
from akd_gym.architecture import Block, NetworkSpec
from akd_gym.space import SearchSpace

WIDTH, HEIGHT = 1120, 400

# Okabe and Ito's palette: told apart with every kind of colour vision.
OPERATOR_COLOURS: dict[str, Colour] = {
    "Conv": (230, 159, 0),
    "SepConv": (0, 158, 115),
    "MBConv, ≤ 3×": (86, 180, 233),
    "MBConv, > 3×": (0, 114, 178),
}
_WHITE, _INK, _SOFT, _FAINT = (255, 255, 255), (38, 42, 48), (112, 120, 130), (205, 210, 216)
_GREY, _SE, _DUE, _DUE_PALE = (168, 174, 182), (204, 121, 167), (213, 94, 0), (255, 244, 235)

_MIDDLE = 164.0  # height of the line that the layers are strung on
_DEPTH = 7.0  # how far the slabs reach back
_GAP = 5.0  # between slabs


@dataclass(frozen=True)
class _Column:
    """One block, or the stem or head, and where it stands."""

    left: float
    width: float
    scale: float  # side of its feature maps over the input's
    previous: float  # the same before its first layer
    in_channels: int

    @property
    def centre(self) -> float:
        return self.left + self.width / 2


def draw_network(
    network: NetworkSpec | str, *, resolution: int | None = None, title: str = "", caption: str = ""
) -> NDArray[np.uint8]:
    """Draws a whole network.

    Args:
        network: The network or its canonical string.
        resolution: Side of the input in pixels; shapes are given as fractions of it if None.
        title: At the top left.
        caption: At the top right, for example its accuracy and latency.

    Returns:
        RGB, shape (`HEIGHT`, `WIDTH`, 3).

    Raises:
        InvalidArchitectureError: The string does not follow the grammar.
    """
    spec = NetworkSpec.parse(network) if isinstance(network, str) else network
    return _draw(spec, len(spec.blocks), [], resolution, title, caption)


def draw_search(
    space: SearchSpace,
    choices: Sequence[int],
    *,
    resolution: int | None = None,
    title: str | None = None,
    caption: str | None = None,
) -> NDArray[np.uint8]:
    """Draws a network that is being chosen: decided blocks as they are, open ones as ghosts of the reference.

    Args:
        space: Where the choices are made.
        choices: The options of the first decisions, from none to all.
        resolution: Side of the input in pixels; shapes are given as fractions of it if None.
        title: At the top left; the space and its skeleton if None.
        caption: At the top right; the decision now due, with its options, if None.

    Returns:
        RGB, shape (`HEIGHT`, `WIDTH`, 3).
    """
    decided = space.decided_blocks(choices)
    reference = space.network(space.reference)
    blocks = (*decided, *reference.blocks[len(decided) :])
    spec = NetworkSpec(
        *(reference.stem_kernel, reference.stem_stride, reference.stem_channels),
        *(blocks, reference.head_channels),
    )
    taken = len(choices)
    notes: list[tuple[str, str]] = []
    for i, decision in enumerate(space.decisions):
        if decision.block == len(decided) + 1:
            value = str(decision.options[choices[i]]) if i < taken else "?" if i == taken else ""
            notes.append((decision.role, value))
    if caption is None:
        caption = "complete"
        if taken < len(space.decisions):
            due = space.decisions[taken]
            options = "  |  ".join(map(str, due.options))
            caption = f"decision {taken + 1} of {len(space.decisions)}:  {due.name}  =  {options}"
    title = f"{space.name} on {space.skeleton.name}" if title is None else title
    return _draw(spec, len(decided), notes, resolution, title, caption)


def operator_name(block: Block) -> str:
    """What a block does, as it is written under it: `Conv`, `SepConv`, `MBConv6`."""
    return {"conv": "Conv", "sepconv": "SepConv", "mbconv": f"MBConv{block.expansion}"}[block.op]


def operator_colour(block: Block) -> Colour:
    """The colour of a block's operator; that of an MBConv deepens with its expansion."""
    wide = "MBConv, > 3×" if block.expansion > 3 else "MBConv, ≤ 3×"
    return OPERATOR_COLOURS[{"conv": "Conv", "sepconv": "SepConv", "mbconv": wide}[block.op]]


def _draw(
    spec: NetworkSpec,
    decided: int,
    notes: list[tuple[str, str]],
    resolution: int | None,
    title: str,
    caption: str,
) -> NDArray[np.uint8]:
    canvas = Canvas(WIDTH, HEIGHT)
    canvas.text(24, 26, title, 14, _INK, bold=True, anchor="lm")
    due = bool(notes)
    canvas.text(WIDTH - 24, 26, caption, 12.5, _DUE if due else _INK, bold=due, anchor="rm")
    canvas.line([(24, 46), (WIDTH - 24, 46)], _FAINT)

    stem, *columns, head = _columns(spec)
    last = columns[decided - 1] if decided else stem
    end = head.left + head.width - 10 if decided == len(columns) else last.left + last.width
    canvas.line([(stem.left, _MIDDLE), (end, _MIDDLE)], _GREY, 2)
    if end < head.left:
        canvas.dashed([(end, _MIDDLE), (head.left + head.width - 10, _MIDDLE)], _FAINT, 2)
    for column, name, channels in ((stem, "stem", spec.stem_channels), (head, "head", spec.head_channels)):
        _slab(canvas, column.centre, _thickness(channels), _slab_height(column.scale), _GREY)
        canvas.text(column.centre, 262, name, 12, _INK, bold=True)
        canvas.text(column.centre, 304, _shape(channels, column.scale, resolution), 10.5, _SOFT)
    _kernel(canvas, stem.centre, 283, spec.stem_kernel, _GREY)

    for i, (column, block) in enumerate(zip(columns, spec.blocks, strict=True)):
        if i < decided:
            _block(canvas, column, block, resolution)
        else:
            _ghost(canvas, column, block, notes if i == decided else None)
        ink = _SOFT if i < decided else _DUE if notes and i == decided else _FAINT
        canvas.text(column.centre, 66, str(i + 1), 11, ink, bold=True)
    _legend(canvas)
    return canvas.array()


def _columns(spec: NetworkSpec) -> list[_Column]:
    """The stem, the blocks and the head from left to right."""
    ends, margin = 84.0, 16.0
    width = (WIDTH - 2 * (ends + margin)) / len(spec.blocks)
    scale = 1 / spec.stem_stride
    columns = [_Column(margin, ends, scale, 1.0, 3)]
    channels, left = spec.stem_channels, margin + ends
    for block in spec.blocks:
        columns.append(_Column(left, width, scale / block.stride, scale, channels))
        channels, left, scale = block.channels, left + width, scale / block.stride
    columns.append(_Column(left, ends, scale, scale, channels))
    return columns


def _block(canvas: Canvas, column: _Column, block: Block, resolution: int | None) -> None:
    colour, height = operator_colour(block), _slab_height(column.scale)
    slabs = _slab_centres(column, block)
    top = _MIDDLE - height / 2 - _DEPTH
    for i, (centre, thickness) in enumerate(slabs):
        _slab(canvas, centre, thickness, height, colour)
        keeps_shape = i > 0 or (block.stride == 1 and block.channels == column.in_channels)
        if block.skip == "pool" or (block.skip == "identity" and keeps_shape):
            _skip(canvas, centre + _DEPTH / 2, thickness / 2 + _GAP / 2 + 2, top, block.skip == "pool")
    canvas.text(column.centre, 262, f"{block.layers} × {operator_name(block)}", 12, _INK, bold=True)
    offset = -16 if block.se else 0
    _kernel(canvas, column.centre + offset, 283, block.kernel, colour)
    if block.se:
        x = column.centre + 32
        canvas.box(x - 13, 275, x + 13, 291, _SE, radius=8)
        canvas.text(x, 283, "SE", 10, _WHITE, bold=True)
    canvas.text(column.centre, 304, _shape(block.channels, column.scale, resolution), 10.5, _SOFT)
    skip = "no skip" if block.skip == "none" else f"{block.skip} skip"
    canvas.text(column.centre, 320, skip, 10, _SOFT)


def _ghost(canvas: Canvas, column: _Column, block: Block, notes: list[tuple[str, str]] | None) -> None:
    """A block that is still open, shaped like the reference's; with notes if it is the one under way."""
    if notes is not None:
        canvas.box(column.left + 3, 54, column.left + column.width - 3, 338, _DUE_PALE, _DUE, radius=8)
    colour, height = (_DUE if notes is not None else _FAINT), _slab_height(column.scale)
    for centre, thickness in _slab_centres(column, block):
        left, right = centre - thickness / 2, centre + thickness / 2
        upper, lower = _MIDDLE - height / 2, _MIDDLE + height / 2
        outline = [(left, upper), (right, upper), (right, lower), (left, lower), (left, upper)]
        canvas.dashed(outline, colour, 1.2)
    if notes is None:
        canvas.text(column.centre, 262, "open", 11, _FAINT)
        return
    for row, (role, value) in enumerate(notes):
        y = 248 + row * 15.5
        open_ = value in ("", "?")
        ink = _DUE if value == "?" else _FAINT if open_ else _INK
        canvas.text(column.left + 12, y, role, 10, ink, bold=value == "?", anchor="lm")
        canvas.text(column.left + column.width - 12, y, value, 10, ink, bold=True, anchor="rm")


def _slab(canvas: Canvas, centre: float, thickness: float, height: float, colour: Colour) -> None:
    left, right = centre - thickness / 2, centre + thickness / 2
    upper, lower = _MIDDLE - height / 2, _MIDDLE + height / 2
    edge = mix(colour, _INK, 0.35)
    roof: list[Point] = [(left, upper), (left + _DEPTH, upper - _DEPTH), (right + _DEPTH, upper - _DEPTH)]
    side: list[Point] = [(right, upper), (right + _DEPTH, upper - _DEPTH), (right + _DEPTH, lower - _DEPTH)]
    canvas.polygon([*roof, (right, upper)], mix(colour, _WHITE, 0.45), edge)
    canvas.polygon([*side, (right, lower)], mix(colour, _INK, 0.25), edge)
    canvas.polygon([(left, upper), (right, upper), (right, lower), (left, lower)], colour, edge)


def _skip(canvas: Canvas, centre: float, reach: float, top: float, pool: bool) -> None:
    curve = arch(centre - reach, centre + reach, top - 3, 15)
    if pool:
        canvas.dashed(curve, _INK, 1.5, on=3, off=2.5)
    else:
        canvas.line(curve, _INK, 1.5)
    x, y = curve[-1]
    canvas.polygon([(x - 3, y - 3), (x + 3, y - 3), (x, y + 2.5)], _INK)


def _kernel(canvas: Canvas, centre: float, middle: float, kernel: int, colour: Colour) -> None:
    """A kernel as its grid of cells and in figures."""
    cell = min(4.0, 20 / kernel)
    side = cell * kernel
    left, upper = centre - side / 2 - 16, middle - side / 2
    for row in range(kernel):
        for column in range(kernel):
            x, y = left + column * cell, upper + row * cell
            canvas.box(x, y, x + cell - 1, y + cell - 1, mix(colour, _INK, 0.15))
    canvas.text(left + side + 6, middle, f"{kernel}×{kernel}", 10.5, _INK, anchor="lm")


def _legend(canvas: Canvas) -> None:
    y, x = HEIGHT - 28, 24.0
    canvas.line([(24, HEIGHT - 52), (WIDTH - 24, HEIGHT - 52)], _FAINT)

    def label(text: str) -> None:
        nonlocal x
        canvas.text(x, y, text, 10.5, _SOFT, anchor="lm")
        x += canvas.text_width(text, 10.5) + 22

    for name, colour in OPERATOR_COLOURS.items():
        canvas.box(x, y - 6, x + 12, y + 6, colour, mix(colour, _INK, 0.35))
        x += 18
        label(name)
    for name in ("identity skip", "pool skip"):
        _skip(canvas, x + 10, 10, y + 8, pool=name == "pool skip")
        x += 28
        label(name)
    canvas.box(x, y - 8, x + 26, y + 8, _SE, radius=8)
    canvas.text(x + 13, y, "SE", 10, _WHITE, bold=True)
    x += 32
    label("squeeze-and-excite")
    label("height: resolution, thickness: channels, slabs: layers")


def _slab_centres(column: _Column, block: Block) -> list[tuple[float, float]]:
    """The horizontal centre and thickness of each layer, squeezed where a column has no room for them."""
    thickness, gap = _thickness(block.channels), _GAP + _DEPTH
    room = column.width - 22
    total = block.layers * (thickness + gap) - gap
    squeeze = min(1.0, room / total)
    step = (thickness + gap) * squeeze
    first = column.centre - _DEPTH / 2 - step * (block.layers - 1) / 2
    return [(first + i * step, thickness * squeeze) for i in range(block.layers)]


def _thickness(channels: int) -> float:
    return 1.0 + 2.2 * float(np.log2(channels + 1))


def _slab_height(scale: float) -> float:
    return 28.0 + 150.0 * float(np.sqrt(scale))


def _shape(channels: int, scale: float, resolution: int | None) -> str:
    stride = round(1 / scale)
    if resolution is None:
        return f"{channels} ch, 1/{stride}"
    side = -(-resolution // stride)
    return f"{channels} × {side} × {side}"
