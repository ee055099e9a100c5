"""What the terminal shows while a search runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from rich.console import Console
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
from akd_gym.agents.settings import SearchSettings
from akd_gym.analysis.tables import format_cost
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
        self._settings: SearchSettings | None = None
        self._best: tuple[float, str] | None = None

    def __enter__(self) -> SearchProgress:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        if kind is KeyboardInterrupt:
            self._console.print(
                f"Stopped. Every evaluation so far is kept; continue with [bold]akd search --resume {self._run}[/]"
            )

    def announce(self, text: str) -> None:
        """Show a line above the bar."""
        self._progress.console.print(f"[dim]{text}[/]", highlight=False)

    def begin(self, settings: SearchSettings, target: float, unit: str, done: int) -> None:
        """See `SearchObserver.begin`."""
        self._settings = settings
        teacher = "hard labels" if settings.teacher == "none" else f"teacher {settings.teacher}"
        self._progress.console.print(
            f"Searching [bold]{settings.space}[/] for students of {settings.data}: {teacher}, "
            f"{settings.reward} reward, target {format_cost(target, unit)}; run directory {self._run}",
            highlight=False,
        )
        header = f"{'round':>5}  {'reward':>7}  {'accuracy':>8}  {'cost':>9}  {'best reward so far':<18}  seconds"
        self._progress.console.print(header, style="dim")
        self._task = self._progress.add_task("search", total=settings.budget, completed=done)

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
        reward, best = max(zip(rewards, infos, strict=True), key=lambda pair: pair[0])
        if best["status"] == "ok" and (self._best is None or reward > self._best[0]):
            cost = format_cost(best["cost"], best["cost_unit"])
            self._best = reward, f"{reward:.4f}: {100 * best['accuracy']:.1f} % at {cost}"
        accuracy = f"{100 * sum(i['accuracy'] for i in ok) / len(ok):6.2f} %" if ok else "-"
        cost = format_cost(sum(i["cost"] for i in ok) / len(ok), ok[0]["cost_unit"]) if ok else "-"
        self._progress.console.print(
            f"{number + 1:5d}  {sum(rewards) / len(rewards):7.4f}  {accuracy:>8}  {cost:>9}  "
            f"{self._best[1] if self._best else '-'}  {seconds:.0f}",
            highlight=False,
        )
