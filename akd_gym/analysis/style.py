"""The look that all figures share."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, SOFT, FAINT = "#262a30", "#707882", "#d5d9de"
"""Text and marks, axes, and what only supports them."""


def finish(figure: Figure, panels: Sequence[Axes], title: str) -> None:
    """Takes away what is not needed of the panels, colours the rest, and sets the figure's title if there is one."""
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(SOFT)
        axes.tick_params(colors=SOFT, labelcolor=INK, labelsize=9)
        axes.xaxis.label.set_color(INK)
        axes.yaxis.label.set_color(INK)
    if title:
        figure.suptitle(title, fontsize=11, color=INK, x=0.01, ha="left", fontweight="bold")
