"""What the terminal shows while a search runs."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

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

from akd_gym.agents.search import Infos, SearchObserver
from akd_gym.agents.settings import SETTINGS_FILE, SearchSettings
from akd_gym.analysis.formats import cost_in_words, format_cost
from akd_gym.analysis.outcomes import Outcome
from akd_gym.ledger import TrainingRecord


class SearchProgress(SearchObserver):
    """A bar of candidates with the time left, and a line a round with the best so far."""

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
            f"target {goal}{_where(settings)}",
            highlight=False,
        )
        self._console.print(f"Run directory: {self._run}", highlight=False, markup=False, soft_wrap=True)
        for outcome in earlier:
            if outcome.feasible:
                self._note_best(outcome.reward, outcome.accuracy, outcome.cost, unit)
        if earlier:
            best = f"; best reward so far {self._best[1]}" if self._best else ""
            self._console.print(f"Going on after {len(earlier)} candidates{best}", highlight=False)
        header = f"{'':5}  {'mean of the round':^29}\n{'round':>5}  {'reward':>7}  {'accuracy':>8}  {'cost':>10}"
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
        self._progress.update(self._task, completed=(number + 1) * len(infos))
        ok = [info for info in infos if info["status"] == "ok"]
        for reward, info in zip(rewards, infos, strict=True):
            if info["status"] == "ok":
                self._note_best(reward, info["accuracy"], info["cost"], info["cost_unit"])
        accuracy = f"{100 * sum(i['accuracy'] for i in ok) / len(ok):6.2f} %" if ok else "-"
        cost = format_cost(sum(i["cost"] for i in ok) / len(ok), ok[0]["cost_unit"]) if ok else "-"
        self._console.print(
            f"{number + 1:5d}  {sum(rewards) / len(rewards):7.4f}  {accuracy:>8}  {cost:>10}  {seconds:7.0f}  "
            f"{self._best[1] if self._best else '-'}",
            highlight=False,
        )

    def _note_best(self, reward: float, accuracy: float | None, cost: float | None, unit: str) -> None:
        if accuracy is not None and (self._best is None or reward > self._best[0]):
            self._best = reward, f"{reward:.4f}: {100 * accuracy:.1f} % at {format_cost(cost, unit)}"


def _where(settings: SearchSettings) -> str:
    """Which device the latency is of, so that one is never taken for another."""
    return f" ({escape(settings.latency)})" if settings.cost == "latency" else ""
