"""What a competition leaves: its files, its leaderboard, and the page of several in the documentation."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from matplotlib.figure import Figure

from akd_gym.agents.competition import Competition
from akd_gym.analysis.competition import HYPERVOLUME_COST, RANDOM, Standing, by_agent, overall_standings
from akd_gym.analysis.competition_figures import evaluations_figure, scores_figure, seconds_figure, write_both
from akd_gym.analysis.competition_tables import (
    OVERALL_HEAD,
    leaderboard_markdown,
    markdown_table,
    overall_rows,
    write_curves_csv,
    write_scores_csv,
)
from akd_gym.analysis.figure_files import write_figure
from akd_gym.analysis.formats import format_cost
from akd_gym.errors import RunMismatchError
from akd_gym.files import write_atomically

PICTURES = {
    "regret-evaluations": "Regret of the best architecture so far, by evaluations",
    "regret-seconds": "Regret of the best architecture so far, by the agent's own seconds",
    "scores": "Regret at the end, and the probability to end better than random search",
}

HOW_TO_READ = f"""\
Every evaluation counts, those of repeated architectures too. What an agent has found at any time is the architecture
with the best reward that it was *shown* so far; its **value** is that architecture's noiseless reward, and its
**regret** what that lacks of the best known one: of a noiseless local search from many starts which changes up to two
decisions at once, and of whatever any run here came across.

- Means over seeds are interquartile means; the ranges behind them hold 95 % of stratified bootstrap replicates. So do
  the places behind a place ([Agarwal et al. 2021](https://arxiv.org/abs/2108.13264)).
- **Score**: 0 is random search's mean value at this budget, 1 the best known value.
- **Hypervolume**: the share of the box from cost 0 to {HYPERVOLUME_COST:g} times the target and accuracy 0 to 1 that \
all evaluated
  architectures together dominate, noiseless.
- **P(better than ...)**: how probable it is that a run of the agent ends better than a run of the other.
- **Agent seconds**: wall time of one run without evaluations and imports, on one core with others beside it. An
  evaluation takes microseconds here and minutes in a real search, where this column hardly matters.
- An agent with a disqualified run has no place: to leave out the seeds on which it failed would flatter it.
"""


def write_results(competition: Competition, standings: Sequence[Standing]) -> list[Path]:
    """Write tables, figures and the leaderboard into a competition's directory.

    Raises:
        StorageError: If they cannot be written.
    """
    folder, settings = competition.folder, competition.settings
    runs = [run for own in by_agent(competition.runs).values() for run in own]
    written = [
        write_curves_csv(folder / "curves.csv", runs, competition.best_value),
        write_scores_csv(folder / "scores.csv", runs, competition.best_value, settings.target),
    ]
    for name, figure in _figures(competition, standings).items():
        written += write_both(folder, name, figure)
    text = f"# {headline(competition)}\n\n{HOW_TO_READ}\n{section(competition, standings)}"
    return [*written, write_atomically(folder / "leaderboard.md", text.encode())]


def write_page(page: Path, competitions: Sequence[Competition]) -> list[Path]:
    """Write the leaderboard of several competitions as one page, with its pictures beside it.

    Competitions at the same target share the best known value, whichever of them found it.

    Raises:
        RunMismatchError: If they are of different versions of AKDBench.
        StorageError: If they cannot be written.
    """
    hashes = {str(one.settings.benchmark)[:16] for one in competitions}
    if len(hashes) > 1:
        raise RunMismatchError(
            f"Competitions on a page must be on the same AKDBench, but got {', '.join(sorted(hashes))}. Repeat the "
            "older ones."
        )
    competitions = [_with_shared_best(one, competitions) for one in competitions]
    parts = [f"# Leaderboard\n\nAgents on AKDBench, by `akd compete`.\n\n{HOW_TO_READ}"]
    together = overall_standings([(one.runs, one.best_value) for one in competitions])
    if len(competitions) > 1 and together:
        parts.append(
            "## Over all competitions\n\nThe scores of all runs below together, of agents with a place in each.\n\n"
            + markdown_table(OVERALL_HEAD, overall_rows(together), left=(1,))
        )
    written = []
    for competition in competitions:
        standings = competition.standings()
        text = f"## {headline(competition)}\n\n{section(competition, standings)}"
        for name, figure in _figures(competition, standings).items():
            picture = page.with_name(f"{page.stem}-{competition.folder.resolve().name}-{name}.png")
            written.append(write_figure(picture, figure))
            text += f"\n![{PICTURES[name]}]({quote(picture.name)})\n"
        parts.append(text)
    return [write_atomically(page, "\n".join(parts).encode()), *written]


def headline(competition: Competition) -> str:
    """What was competed at, in a line."""
    settings = competition.settings
    teacher = "hard labels" if settings.teacher == "none" else settings.teacher
    noise = "" if settings.noise else ", without noise"
    return f"{settings.budget:,} evaluations: {teacher}, target {format_cost(settings.target, 'ms')}{noise}"


def section(competition: Competition, standings: Sequence[Standing]) -> str:
    """The table of one competition, and how it was made."""
    made = "\n".join(commands(competition))
    return (
        f"{leaderboard_markdown(standings)}\n"
        f"Best known value: {competition.best_value:.4f}. AKDBench `{(competition.settings.benchmark or '')[:16]}`. "
        f"Made by\n\n```\n{made}\n```\n"
    )


def commands(competition: Competition) -> list[str]:
    """The commands that make the same runs, one for each range of seeds that agents share."""
    settings = competition.settings
    ranges: dict[tuple[int, int], list[str]] = {}
    for agent, runs in by_agent(competition.runs).items():
        seeds = sorted(run.seed for run in runs)
        start = seeds[0]
        for seed, following in zip(seeds, [*seeds[1:], None], strict=True):
            if following != seed + 1:
                ranges.setdefault((start, seed), []).append(agent)
                start = following if following is not None else start
    others = {span: [agent for agent in agents if agent != RANDOM] for span, agents in ranges.items()}
    lines = []
    for (first, last), agents in others.items():
        if not agents and any(others.values()):
            continue  # random search is always there
        words = ["akd", "compete", "--agents", ",".join(agents or [RANDOM]), "--budget", str(settings.budget)]
        words += ["--seeds", str(last - first + 1)]
        words += ["--first-seed", str(first)] if first else []
        words += ["--teacher", settings.teacher, "--target-ms", f"{settings.target:g}"]
        words += [] if settings.noise else ["--no-noise"]
        lines.append(shlex.join(words))
    return lines


def _figures(competition: Competition, standings: Sequence[Standing]) -> dict[str, Figure]:
    """The pictures, by the names in `PICTURES`; none where no agent has a place."""
    if not any(standing.place is not None for standing in standings):
        return {}
    runs, best_value, title = competition.runs, competition.best_value, headline(competition)
    return {
        "regret-evaluations": evaluations_figure(runs, standings, best_value, title=title),
        "regret-seconds": seconds_figure(runs, standings, best_value, title=title),
        "scores": scores_figure(standings, title=title),
    }


def _with_shared_best(competition: Competition, others: Sequence[Competition]) -> Competition:
    def problem(one: Competition) -> tuple[str, float]:
        return one.settings.teacher, one.settings.target

    best_value = max(one.best_value for one in others if problem(one) == problem(competition))
    return replace(competition, best_value=best_value)
