"""Tables for the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text

from akd_gym.analysis.outcomes import Outcome

OPERATOR_STYLES = {"cn": "orange3", "ds": "green", "ir": "blue"}
"""Colours of `akd_gym.analysis.drawing`, as near as a terminal has them."""


def pareto_table(outcomes: Iterable[Outcome], title: str = "Pareto-best students") -> Group:
    """Outcomes, each a line of numbers, what decides first, with the architecture below it.

    A star marks the best reward. An architecture string is some 200 characters long: below its numbers it
    breaks between blocks, at any width, and can still be copied.
    """
    rows = list(outcomes)
    best = max(rows, key=lambda o: o.reward, default=None)
    cells = [("", "accuracy", "cost", "/ target", "reward", "MAdds", "params", "candidate")]
    for row in rows:
        cells.append(
            (
                "★" if row is best else "",
                f"{100 * row.accuracy:.2f} %" if row.accuracy is not None else "-",
                format_cost(row.cost, row.unit),
                f"{row.cost / row.target:.2f}" if row.cost is not None else "-",
                f"{row.reward:.4f}",
                format_count(row.madds),
                format_count(row.params),
                f"{row.number}",
            )
        )
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    head, *lines = ("  ".join(c.rjust(w) for c, w in zip(line, widths, strict=True)) for line in cells)
    parts: list[RenderableType] = [Text(title, style="bold"), Text(head, style="dim"), Rule(style="dim")]
    for row, line in zip(rows, lines, strict=True):
        parts.append(Text(line, style="bold" if row is best else "", no_wrap=True, overflow="ellipsis"))
        parts.append(Padding(styled_architecture(row.architecture), (0, 0, 0, 4)))
    return Group(*parts)


def styled_architecture(architecture: str) -> Text:
    """An architecture string with each block in its operator's colour."""
    text = Text()
    for i, token in enumerate(architecture.split()):
        text.append(" " if i else "").append(token, style=OPERATOR_STYLES.get(token.split("_")[0], "dim"))
    return text


def format_cost(cost: float | None, unit: str) -> str:
    """A cost with its unit, latency in four digits: `1.234 ms`, `0.04271 ms`, `312 M`; a dash if there is none."""
    if cost is None:
        return "-"
    if unit != "ms":
        return format_count(cost)
    decimals = 3 - math.floor(math.log10(cost)) if cost > 0 else 3
    return f"{cost:.{max(0, decimals)}f} ms"


def format_count(count: float) -> str:
    """A large number in three digits: `3.87 M`, `312 M`, `950`."""
    for multiple, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if count >= multiple:
            value = count / multiple
            return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f}{letter}"
    return f"{count:.0f}"
