"""What searches learned: the later half of the candidates against the earlier half, over runs of different seeds.

    make search ARGS="--seed 0 --run runs/seed0"        # and so on
    python -m benchmarks.search_gain runs/seed0 runs/seed1 runs/seed2

Prints a table (earlier half, later half, gain) and writes `benchmarks/search_gain.json`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from akd_gym.agents import read_outcomes
from akd_gym.agents.settings import read_settings

RESULTS = Path(__file__).with_name("search_gain.json")


def search_gain(run: Path) -> dict[str, Any]:
    """Means of both halves of a search: reward of all; accuracy (%) and cost over target of the feasible."""
    result, settings = read_outcomes(run), read_settings(run)
    half = len(result.outcomes) // 2
    row: dict[str, Any] = {
        "seed": settings.seed,
        "teacher": settings.teacher,
        "target": result.target,
        "candidates": len(result.outcomes),
        "distinct": len({outcome.architecture for outcome in result.outcomes}),
        "infeasible": sum(not outcome.feasible for outcome in result.outcomes),
    }
    for name, part in (("earlier", result.outcomes[:half]), ("later", result.outcomes[half:])):
        ok = [outcome for outcome in part if outcome.accuracy is not None and outcome.cost is not None]
        row[name] = {
            "reward": float(np.mean([outcome.reward for outcome in part])),
            "accuracy": 100 * float(np.mean([outcome.accuracy for outcome in ok])),
            "cost_over_target": float(np.mean([outcome.cost or 0.0 for outcome in ok])) / result.target,
        }
    best = max(result.outcomes, key=lambda outcome: outcome.reward)
    row["best"] = {"reward": best.reward, "accuracy": best.accuracy, "cost": best.cost, "candidate": best.number}
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    rows = [search_gain(run) for run in parser.parse_args().runs]
    table = Table(box=SIMPLE_HEAD)
    for column in ("seed", "distinct", "reward", "gain", "accuracy %", "gain", "cost / target", "best"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        earlier, later = row["earlier"], row["later"]
        table.add_row(
            str(row["seed"]),
            f"{row['distinct']} of {row['candidates']}",
            f"{earlier['reward']:.4f} {later['reward']:.4f}",
            f"{later['reward'] - earlier['reward']:+.4f}",
            f"{earlier['accuracy']:.2f} {later['accuracy']:.2f}",
            f"{later['accuracy'] - earlier['accuracy']:+.2f}",
            f"{earlier['cost_over_target']:.2f} {later['cost_over_target']:.2f}",
            f"{row['best']['reward']:.4f}",
        )
    Console().print(table)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
