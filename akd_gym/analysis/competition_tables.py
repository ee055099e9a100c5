"""A competition as files of comma-separated values, as a Markdown table, and as a table in the terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from akd_gym.analysis.aggregates import Interval
from akd_gym.analysis.competition import AgentRun, OverallStanding, Standing
from akd_gym.files import write_atomically

CURVE_COLUMNS = ("agent", "seed", "evaluation", "value", "regret", "seconds")
SCORE_COLUMNS = (
    *("agent", "seed", "disqualified", "evaluations", "distinct", "value", "regret", "observed", "hypervolume"),
    *("found_at", "agent_seconds", "choices"),
)

LEADERBOARD_HEAD = (
    *("place", "agent", "seeds", "regret", "value", "score", "hypervolume"),
    *("P(better than random)", "P(better than the best other)", "evaluations", "agent seconds"),
)
OVERALL_HEAD = ("place", "agent", "score", "P(better than random)")


def write_curves_csv(path: str | Path, runs: Iterable[AgentRun], best_value: float) -> Path:
    """Writes best-so-far curves as a CSV file of `CURVE_COLUMNS`: a line where the value changed, and the last.

    Between two lines the value stands still. `seconds` are the agent's own up to this evaluation.

    Raises:
        StorageError: It cannot be written; an old file is as it was.
    """
    lines = []
    for run in runs:
        values = run.incumbent_values
        changed = np.flatnonzero(np.diff(values, prepend=np.nan) != 0)
        for index in np.union1d(changed, np.arange(run.evaluations)[-1:]).tolist():
            regret = best_value - values[index]
            lines.append((run.agent, run.seed, index + 1, *_digits(values[index], regret), f"{run.seconds[index]:.4f}"))
    return _write_csv(path, CURVE_COLUMNS, lines)


def write_scores_csv(path: str | Path, runs: Iterable[AgentRun], best_value: float, target: float) -> Path:
    """Writes what each run came to as a CSV file of `SCORE_COLUMNS`.

    `found_at` is the evaluation that showed the last incumbent, `choices` are its decisions.

    Raises:
        StorageError: It cannot be written; an old file is as it was.
    """
    lines = []
    for run in runs:
        about: tuple[Any, ...] = (0, "", "", "", "", "")
        choices = ""
        if run.evaluations:
            last = int(run.incumbents[-1])
            figures = _digits(run.value, best_value - run.value, run.observed.max(), run.hypervolume(target))
            about = (len(np.unique(run.choices, axis=0)), *figures, last + 1)
            choices = " ".join(map(str, run.choices[last].tolist()))
        seconds = f"{run.total_seconds:.3f}"
        lines.append((run.agent, run.seed, run.reason or "", run.evaluations, *about, seconds, choices))
    return _write_csv(path, SCORE_COLUMNS, lines)


def leaderboard_rows(standings: Sequence[Standing]) -> list[tuple[str, ...]]:
    """The cells below `LEADERBOARD_HEAD` of the agents that have a place."""
    return [_cells(standing) for standing in standings if standing.place is not None]


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]], left: Sequence[int] = ()) -> str:
    """A table in Markdown; columns are flush right but for those in `left`."""
    rule = [":--" if index in left else "--:" for index in range(len(head))]
    lines = [head, rule, *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def overall_rows(standings: Sequence[OverallStanding]) -> list[tuple[str, ...]]:
    """The cells below `OVERALL_HEAD`."""
    return [(_place(s.place), f"`{s.agent}`", _interval(s.score, 2), _probability(s.over_random)) for s in standings]


def leaderboard_markdown(standings: Sequence[Standing]) -> str:
    """The agents that have a place as a table, and the others with what they are disqualified for."""
    text = markdown_table(LEADERBOARD_HEAD, leaderboard_rows(standings), left=(1,))
    failed = [standing for standing in standings if standing.place is None]
    if failed:
        text += "\nDisqualified, so without a place:\n\n"
    for standing in failed:
        text += f"- `{standing.agent}`, {len(standing.disqualified)} of {len(standing.seeds)} runs:\n"
        text += "".join(f"  - {seeds}: {_code(reason)}\n" for seeds, reason in reasons(standing))
    return text


def terminal_table(standings: Sequence[Standing], title: str) -> Table:
    """The agents that have a place as a table for the terminal."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    for head in ("", "agent", "regret", "95 % interval", "P(> random)", "evaluations", "seconds"):
        if head == "agent":  # alone gives way where the terminal is narrow
            table.add_column(head, overflow="fold")
        else:
            table.add_column(head, justify="right", no_wrap=True)
    for standing in standings:
        if standing.place is None or standing.regret is None:
            continue
        table.add_row(
            str(standing.place[0]),
            standing.agent,
            f"{standing.regret.value:.4f}",
            f"{standing.regret.low:.4f}-{standing.regret.high:.4f}",
            "-" if standing.over_random is None else f"{standing.over_random.value:.2f}",
            f"{standing.evaluations or 0:,.0f}",
            _seconds(standing.agent_seconds),
            style="bold" if standing.place[0] == 1 else "",
        )
    return table


def reasons(standing: Standing) -> list[tuple[str, str]]:
    """Why runs of an agent were disqualified: `(seeds, reason)`, each reason once."""
    seeds: dict[str, list[str]] = {}
    for seed, reason in standing.disqualified:
        seeds.setdefault(reason, []).append(str(seed))
    return [("seed " + ", ".join(found) if len(found) == 1 else "seeds " + ", ".join(found), reason)
            for reason, found in seeds.items()]  # fmt: skip


def _cells(standing: Standing) -> tuple[str, ...]:
    assert standing.place is not None
    return (
        _place(standing.place),
        f"`{standing.agent}`",
        str(len(standing.seeds)),
        _interval(standing.regret, 4),
        _number(standing.value),
        _interval(standing.score, 2),
        _number(standing.hypervolume),
        _probability(standing.over_random),
        _probability(standing.over_best),
        f"{standing.evaluations or 0:,.0f}",
        _seconds(standing.agent_seconds),
    )


def _place(place: tuple[int, int, int]) -> str:
    return str(place[0]) if place[0] == place[1] == place[2] else f"{place[0]} ({place[1]}-{place[2]})"


def _interval(interval: Interval | None, digits: int) -> str:
    if interval is None:
        return "-"
    value, low, high = (f"{number:.{digits}f}" for number in interval)
    return f"{value} ({low} to {high})"


def _probability(interval: Interval | None) -> str:
    return _interval(interval, 2)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:,.0f}" if seconds >= 10 else f"{seconds:.2g}"


def _code(text: str) -> str:
    """A text in Markdown's monospace, whatever it holds."""
    return "`" + text.replace("`", "'") + "`"


def _digits(*values: float) -> list[str]:
    return [f"{value:.8f}" for value in values]


def _write_csv(path: str | Path, head: Sequence[str], lines: Iterable[Sequence[Any]]) -> Path:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(lines)
    return write_atomically(path, text.getvalue().encode())
