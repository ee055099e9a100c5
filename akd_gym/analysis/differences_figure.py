"""The picture of Figure 8: a column a block, a row an option, a dot with its interval in each."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from akd_gym.analysis.differences import FeatureDifference, SearchDifferences
from akd_gym.analysis.panels import BLUE, VERMILION
from akd_gym.analysis.style import FAINT, INK, SOFT, finish

_LABELS = {
    "sepconv": "separable conv",
    "conv": "convolution",
    "mbconv3": "MBConv, ratio 3",
    "mbconv6": "MBConv, ratio 6",
    "none": "no skip",
    "identity": "identity",
    "pool": "pooling",
    "identity+se": "identity + SE",
    "kernel": "kernel size",
    "layers": "layers",
    "filters": "filters",
    "se": "SE ratio",
}
_ROLES = ("conv_op", "skip_op", "kernel", "se", "layers", "filters")
_GREY = "#8a929b"
_SCALE = (
    "Hollow: no 95 % interval that leaves 0 out. Kernels, layers and filters: scaled to the range of their options."
)
_JOINT = "Identity + SE is one option of the skip: squeeze-and-excite comes with an identity, never without."

Row = tuple[str, str | None]
"""Role and option."""


def differences_figure(found: SearchDifferences, *, title: str = "") -> Figure:
    """Mean differences by block and option, with 95 % intervals.

    To the right of 0, in blue and upward triangles, is what the first search has more of; to the left, in vermilion and
    downward ones, the second. Where the interval holds 0, or there is none, the mark is a hollow circle.

    Args:
        found: From `search_differences` or `group_differences`.
        title: Above the figure.
    """
    rows = _rows(found)
    blocks = sorted({feature.block for feature in found.features})
    figure = Figure(figsize=(1.9 + 1.15 * len(blocks), 1.6 + 0.27 * len(rows)), layout="constrained")
    panels = figure.subplots(1, len(blocks), sharey=True, squeeze=False)[0]
    scaled = [abs(n) / f.span for f in found.features for n in (f.low, f.difference, f.high) if np.isfinite(n)]
    reach = 1.08 * max(scaled) or 1.0
    for axes, block in zip(panels, blocks, strict=True):
        for position, row in enumerate(rows):
            if position % 2:
                axes.axhspan(position - 0.5, position + 0.5, color=FAINT, alpha=0.3, linewidth=0, zorder=0)
            if position and rows[position - 1][0] != row[0]:
                axes.axhline(position - 0.5, color=SOFT, linewidth=0.6, zorder=1)
        axes.axvline(0, color=INK, linewidth=0.8, zorder=1)
        for feature in found.features:
            if feature.block == block:
                _draw(axes, rows.index((feature.role, feature.option)), feature)
        axes.set_xlim(-reach, reach)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_yticks(range(len(rows)), [_LABELS.get(option or role, option or role) for role, option in rows])
        axes.set_title(f"block {block}", fontsize=9.5, color=INK)
        axes.locator_params(axis="x", nbins=3, symmetric=True)
        axes.tick_params(axis="y", length=0)
    first, second = (
        f"{name} ({f'{count:,}' if searches == 1 else f'{searches} searches'})"
        for name, count, searches in zip(found.names, found.counts, found.searches, strict=True)
    )
    notes = [f"← more in {second}        difference of means        more in {first} →", _SCALE]
    notes += [_JOINT] if any(option == "identity+se" for _, option in rows) else []
    figure.supxlabel("\n".join(notes), fontsize=8.5, color=INK, linespacing=1.5)
    finish(figure, list(panels), title)
    for axes in panels[1:]:
        axes.spines["left"].set_visible(False)
    return figure


def _rows(found: SearchDifferences) -> list[Row]:
    """Options by role, each as the space orders them."""
    seen: list[Row] = list(dict.fromkeys((feature.role, feature.option) for feature in found.features))
    return sorted(seen, key=lambda row: _ROLES.index(row[0]))


def _draw(axes: Axes, position: int, feature: FeatureDifference) -> None:
    low, value, high = (number / feature.span for number in (feature.low, feature.difference, feature.high))
    colour, marker = (BLUE, "^") if value > 0 else (VERMILION, "v")
    if not feature.is_apart:
        colour, marker = _GREY, "o"
    axes.plot([low, high], [position, position], color=colour, linewidth=1.8, solid_capstyle="butt", zorder=2)
    axes.plot(
        value,
        position,
        marker=marker,
        markersize=5.5 if feature.is_apart else 4.5,
        color=colour,
        markerfacecolor=colour if feature.is_apart else "white",
        linestyle="none",
        zorder=3,
    )
