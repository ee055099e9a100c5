"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text

from akd_gym.analysis.formats import format_cost, format_count
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
