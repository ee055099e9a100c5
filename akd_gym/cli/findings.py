"""What a finished search leaves: the table in the terminal, `pareto.csv`, pictures, the report, what to do next."""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path

from rich.console import Console

from akd_gym.agents.search import SearchResult
from akd_gym.agents.settings import SearchSettings
from akd_gym.analysis.figure_files import write_figure
from akd_gym.analysis.figures import accuracy_cost_figure, progress_figure
from akd_gym.analysis.outcomes import Outcome
from akd_gym.analysis.pareto import pareto_outcomes, write_pareto_csv
from akd_gym.analysis.tables import pareto_table
from akd_gym.report import read_reported_runs, training_words, write_report
from akd_gym.reward import Reward


def write_findings(result: SearchResult, settings: SearchSettings, run: Path, console: Console) -> None:
    """Write the results of a search into its run directory and show them.

    Raises:
        StorageError: If they cannot be written.
    """
    front = pareto_outcomes(result.outcomes)
    if not front:
        reasons = Counter(outcome.reason for outcome in result.outcomes)
        counts = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
        console.print(f"No candidate was feasible: {counts}. The ledger has the details.", style="bold red")
        _write_report(run, console)
        return
    half = len(result.outcomes) // 2
    first, second = result.outcomes[:half], result.outcomes[half:]
    console.print()
    best = max((o for o in result.outcomes if o.feasible), key=lambda outcome: outcome.reward)
    if best in front:
        console.print(pareto_table(front))
    else:  # a reward that keeps to the target can be best where another student is both cheaper and more accurate
        rows = sorted([*front, best], key=lambda outcome: outcome.cost or 0.0)
        console.print(pareto_table(rows, "Pareto-best students, and the best reward"))
    distinct = len({outcome.architecture for outcome in result.outcomes})
    if first:
        gain = sum(o.reward for o in second) / len(second) - sum(o.reward for o in first) / len(first)
        console.print(f"{distinct} distinct architectures; mean reward of the later half {gain:+.4f} over the first.")
    reward = Reward(settings.reward, settings.reward_weight)
    written = [
        write_pareto_csv(run / "pareto.csv", front),
        write_figure(run / "accuracy-cost.png", accuracy_cost_figure(result.outcomes, reward=reward)),
        write_figure(run / "progress.png", progress_figure(result.outcomes)),
    ]
    console.print("Written: " + ", ".join(str(path) for path in written), highlight=False, markup=False, soft_wrap=True)
    _write_report(run, console)
    print_training_command(best, settings, run / "winner", console)


def print_training_command(outcome: Outcome, settings: SearchSettings, out: Path, console: Console) -> None:
    """Print the command that trains a student fully on what it was searched with, ready to be pasted."""
    words = training_words(outcome.architecture, settings, str(out))
    console.print("Train it fully:", style="bold")
    console.print(shlex.join(words), highlight=False, markup=False, soft_wrap=True)


def _write_report(run: Path, console: Console) -> None:
    path = write_report(run / "report.html", read_reported_runs([run]))
    console.print(f"Report: {path}", highlight=False, markup=False, soft_wrap=True)
