"""What a finished search leaves: the table in the terminal, `pareto.csv`, pictures, and what to do next."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from akd_gym.agents.search import SearchResult
from akd_gym.agents.settings import SearchSettings
from akd_gym.analysis.figures import accuracy_cost_figure, progress_figure, write_figure
from akd_gym.analysis.pareto import pareto_outcomes, write_pareto_csv
from akd_gym.analysis.tables import pareto_table


def write_findings(result: SearchResult, settings: SearchSettings, run: Path, console: Console) -> None:
    """Write the results of a search into its run directory and show them.

    Raises:
        StorageError: If they cannot be written.
    """
    front = pareto_outcomes(result.outcomes)
    if not front:
        console.print("No candidate was feasible; reasons are in the ledger.", style="bold red")
        return
    half = len(result.outcomes) // 2
    first, second = result.outcomes[:half], result.outcomes[half:]
    console.print()
    console.print(pareto_table(front))
    distinct = len({outcome.architecture for outcome in result.outcomes})
    if first:
        gain = sum(o.reward for o in second) / len(second) - sum(o.reward for o in first) / len(first)
        console.print(f"{distinct} distinct architectures; mean reward of the later half {gain:+.4f} over the first.")
    written = [
        write_pareto_csv(run / "pareto.csv", front),
        write_figure(run / "accuracy-cost.png", accuracy_cost_figure(result.outcomes)),
        write_figure(run / "progress.png", progress_figure(result.outcomes)),
    ]
    console.print("Written: " + ", ".join(str(path) for path in written), highlight=False)
    winner = max(front, key=lambda outcome: outcome.reward)
    method = "hard" if settings.teacher == "none" else f"kd --teacher {settings.teacher}"
    console.print("Train the winner:", style="bold")
    command = f"akd train '{winner.architecture}' --data {settings.data} --method {method} --out {run / 'winner'}"
    console.print(command, highlight=False, soft_wrap=True)
