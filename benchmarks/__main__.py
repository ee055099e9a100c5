"""`python -m benchmarks [PART ...]`: measure all parts, or those named, and compare with what is to be reached."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.results import RESULTS, TARGETS, load_now, read_results, write_results


def main(argv: Sequence[str] | None = None) -> int:
    """Measure part by part; each is in the file before the next begins."""
    known = list(dict.fromkeys(target.part for target in TARGETS.values()))
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=_description(known))
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(known)}; all of them by default")
    parts = parser.parse_args(argv).parts or known
    for unknown in (part for part in parts if part not in known):
        parser.error(f"unknown part {unknown!r}: the parts are {', '.join(known)}")
    console = Console()
    for part in parts:
        load = load_now()
        with console.status(f"measuring: {part}"):
            write_results(importlib.import_module(f"benchmarks.{part}").measure(), load)
    entries = read_results()
    console.print(_table({key: entries[key] for key, target in TARGETS.items() if target.part in parts}))
    console.print(f"Details: {RESULTS}")
    return 0


def _description(known: Sequence[str]) -> str:
    keys = {part: [key for key, target in TARGETS.items() if target.part == part] for part in known}
    return "Measures " + "; ".join(f"{part}: {', '.join(names)}" for part, names in keys.items()) + "."


def _table(entries: dict[str, Any]) -> Table:
    table = Table("key", "value", "reach", "met", "what")
    for key, entry in entries.items():
        value, met = entry["value"], {True: "[green]yes", False: "[red]no", None: "-"}[entry["met"]]
        what = entry["what"] + (f" ({entry['details']['note']})" if "note" in entry["details"] else "")
        table.add_row(key, "not measured" if value is None else f"{value:.4g}", entry["reach"], met, escape(what))
    return table


if __name__ == "__main__":
    raise SystemExit(main())
