"""`akd repair`: salvage what is whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console


@dataclass(frozen=True)
class Repair:
    """Salvage every whole evaluation of a damaged ledger, and remove damaged soft labels."""

    run: tyro.conf.Positional[Path]
    """Run directory, or a ledger file."""

    def __call__(self, console: Console) -> None:
        """Repair and say what was found."""
        from akd_gym.cache import cache_dir
        from akd_gym.ledger_repair import repair_ledger
        from akd_gym.soft_labels import repair as repair_soft_labels

        path = self.run / "ledger.sqlite" if self.run.is_dir() else self.run
        console.print(str(repair_ledger(path)), highlight=False, markup=False, soft_wrap=True)
        removed = repair_soft_labels(cache_dir())
        for file in removed:
            text = f"removed damaged soft labels {file}; they are computed anew when needed"
            console.print(text, highlight=False, markup=False, soft_wrap=True)
        if not removed:
            console.print("soft labels: all whole", highlight=False)
