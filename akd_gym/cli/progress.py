"""What the terminal shows while a search runs."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from akd_gym.agents.recording import Infos, SearchObserver
from akd_gym.agents.settings import LEARNERS, SETTINGS_FILE, SearchSettings
from akd_gym.analysis.formats import cost_in_words, format_cost
from akd_gym.analysis.outcomes import Outcome
from akd_gym.ledger import TrainingRecord

_MOST_LINES = 100


class SearchProgress(SearchObserver):
    """A bar of candidates with the time left, and a line a round with the best so far; of many rounds, one for some."""

    def __init__(self, console: Console, run: Path) -> None:
        self._console, self._run = console, run
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("candidates"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            speed_estimate_period=900,  # seconds: several rounds
        )
        self._task: TaskID | None = None
        self._best: tuple[float, str] | None = None
        self._played, self._budget = 0, 0
        self._by_round = True
        self._line: list[tuple[float, dict[str, Any]]] = []
        self._line_size = 1
        self._line_seconds = 0.0

    def __enter__(self) -> SearchProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._progress.stop()
        if kind is None or not (self._run / SETTINGS_FILE).exists():
            return
        if kind is KeyboardInterrupt or self._task is not None:
            self._console.print(
                "Stopped. Every evaluation so far is kept; continue with "
                f"[bold]akd search --resume {escape(shlex.quote(str(self._run)))}[/]",
                highlight=False,
                soft_wrap=True,
            )

    def announce(self, text: str) -> None:
        """Show a line above the bar."""
        self._console.print(text, style="dim", highlight=False, markup=False, soft_wrap=True)

    def begin(self, settings: SearchSettings, target: float, unit: str, earlier: Sequence[Outcome]) -> None:
        """See `SearchObserver.begin`."""
        teacher = "hard labels" if settings.teacher == "none" else f"soft labels of {settings.teacher}"
        goal = cost_in_words(target, unit)
        self._console.print(
            f"[bold]Searching {escape(settings.space)} for students of {escape(settings.data)}[/]: "
            f"{settings.budget} candidates, {escape(teacher)}, {settings.reward} reward, "
            f"target {goal}{_where(settings)}{_who(settings)}",
            highlight=False,
        )
        self._console.print(f"Run directory: {self._run}", highlight=False, markup=False, soft_wrap=True)
        for outcome in earlier:
            if outcome.feasible:
                self._note_best(outcome.reward, outcome.accuracy, outcome.cost, unit)
        if earlier:
            best = f"; best reward so far {self._best[1]}" if self._best else ""
            self._console.print(f"Going on after {len(earlier)} candidates{best}", highlight=False)
        self._played, self._budget = len(earlier), settings.budget
        least = math.ceil(settings.budget / _MOST_LINES)
        self._line_size = settings.round_size * math.ceil(least / settings.round_size)
        self._by_round = settings.agent in LEARNERS and self._line_size == settings.round_size
        means, first = ("mean of the round", "round") if self._by_round else ("mean since the line before", "after")
        header = f"{'':5}  {means:^29}\n{first:>5}  {'reward':>7}  {'accuracy':>8}  {'cost':>10}"
        self._console.print(f"{header}  {'seconds':>7}  best reward so far", style="dim")
        self._progress.start()
        self._task = self._progress.add_task("search", total=settings.budget, completed=len(earlier))

    def trained(self, architecture: str, record: TrainingRecord) -> None:
        """See `SearchObserver.trained`."""
        assert self._task is not None
        self._progress.advance(self._task)
        if record.status != "ok":
            self.announce(f"infeasible ({record.reason}: {record.detail}): {architecture}")

    def round_done(self, number: int, infos: Infos, rewards: Sequence[float], seconds: float) -> None:
        """See `SearchObserver.round_done`."""
        assert self._task is not None
        self._played += len(infos)
        self._progress.update(self._task, completed=self._played)
        for reward, info in zip(rewards, infos, strict=True):
            if info["status"] == "ok":
                self._note_best(reward, info["accuracy"], info["cost"], info["cost_unit"])
        self._line += zip(rewards, infos, strict=True)
        self._line_seconds += seconds
        if len(self._line) >= self._line_size or self._played == self._budget:
            self._print_line(number + 1 if self._by_round else self._played)

    def _print_line(self, number: int) -> None:
        ok = [info for _, info in self._line if info["status"] == "ok"]
        accuracy = f"{100 * sum(i['accuracy'] for i in ok) / len(ok):6.2f} %" if ok else "-"
        cost = format_cost(sum(i["cost"] for i in ok) / len(ok), ok[0]["cost_unit"]) if ok else "-"
        reward = sum(reward for reward, _ in self._line) / len(self._line)
        self._console.print(
            f"{number:5d}  {reward:7.4f}  {accuracy:>8}  {cost:>10}  {self._line_seconds:7.0f}  "
            f"{self._best[1] if self._best else '-'}",
            highlight=False,
        )
        self._line, self._line_seconds = [], 0.0

    def _note_best(self, reward: float, accuracy: float | None, cost: float | None, unit: str) -> None:
        if accuracy is not None and (self._best is None or reward > self._best[0]):
            self._best = reward, f"{reward:.4f}: {100 * accuracy:.1f} % at {format_cost(cost, unit)}"


def _where(settings: SearchSettings) -> str:
    """Which device the latency is of, so that one is never taken for another."""
    source = "predicted" if settings.evaluator == "bench" else settings.latency
    return f" ({escape(source)})" if settings.cost == "latency" else ""


def _who(settings: SearchSettings) -> str:
    """What is not as usual, so that the usual stays short."""
    words = [f"agent {escape(settings.agent)}"] if settings.agent != "ppo" else []
    words += ["answers by AKDBench"] if settings.evaluator == "bench" else []
    return "".join(f", {word}" for word in words)
