"""`akd merge`: one ledger out of several."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console


@dataclass(frozen=True)
class Merge:
    """Put everything that several ledgers hold into one, so that what one search paid for is free for all.

    Where two ledgers have different results for the same evaluation, the first one is kept and the conflict counted.
    Merging twice changes nothing.

    For instance:
    - akd merge runs/a runs/b --into all.sqlite
    - akd search --ledger all.sqlite
    """

    sources: tyro.conf.Positional[tuple[Path, ...]]
    """Run directories or ledger files."""
    into: Path
    """Ledger to merge into; made if it is not there."""

    def __call__(self, console: Console) -> None:
        """Merge and say what was added."""
        from akd_gym.agents.warm_start import ledger_of
        from akd_gym.ledger_merge import merge_ledgers

        report = merge_ledgers([ledger_of(source) for source in self.sources], ledger_of(self.into))
        console.print(str(report), highlight=False, markup=False, soft_wrap=True)
