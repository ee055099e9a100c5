"""How commands speak beside their results."""

from __future__ import annotations

from rich.console import Console


def say(console: Console, text: str) -> None:
    """Print a remark: what is about to take time or space, or how something went."""
    console.print(text, style="dim", highlight=False, markup=False, soft_wrap=True)
