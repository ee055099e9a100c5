"""Numbers with their units, for tables, pictures and messages."""

from __future__ import annotations

import math


def format_cost(cost: float | None, unit: str) -> str:
    """A cost with its unit, latency in four digits: `1.234 ms`, `0.04271 ms`, `312 M`; a dash if there is none."""
    if cost is None:
        return "-"
    if unit != "ms":
        return format_count(cost)
    decimals = 3 - math.floor(math.log10(cost)) if cost > 0 else 3
    return f"{cost:.{max(0, decimals)}f} ms"


def cost_in_words(cost: float | None, unit: str) -> str:
    """As `format_cost`, where no heading says what is counted: `0.04271 ms`, `312 M MAdds`."""
    return format_cost(cost, unit) + ("" if unit == "ms" else " MAdds")


def format_count(count: float) -> str:
    """A large number in three digits: `3.87 M`, `312 M`, `950`."""
    for multiple, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if count >= multiple:
            value = count / multiple
            return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f}{letter}"
    return f"{count:.0f}"
