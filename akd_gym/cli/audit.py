"""`akd audit`: how far a search's proxy task can be trusted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.box import SIMPLE_HEAD
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
from rich.table import Table

from akd_gym.agents.settings import optional
from akd_gym.cli.console import say
from akd_gym.proxy_audit.plan import LONGER, AuditPlan, AuditSettings, epochs, plan_audit
from akd_gym.proxy_audit.trainings import FULL, Training

if TYPE_CHECKING:
    from akd_gym.ledger_records import TrainingRecord
    from akd_gym.proxy_audit.findings import AuditFindings
    from akd_gym.proxy_audit.table import AuditTable


@dataclass(frozen=True)
class Audit:
    """Audit a search: do students that its short proxy trainings call good turn out good when they are trained fully?

    A sample of its students, one of each quantile of accuracy and the best among them, is trained fully, by the teacher
    and method of the search; again on the proxy with other seeds; and for twice as long. Students one decision beside
    them are trained on the proxy too. From these come Kendall's tau of proxy and full accuracy and the most that seed
    noise allows, what is lost by trusting the proxy's best, how smooth the space is, and what a longer proxy would buy.

    Of a search on AKDBench, the benchmark's answers are what is audited.

    Every training is kept in RUN/audit as soon as it is there: stopped, the same command goes on.

    For instance:
    - akd audit runs/search-20260131-120000 --dry-run
    - akd audit runs/search-20260131-120000 --count 8 --epochs 20
    """

    run: tyro.conf.Positional[Path]
    """Run directory of the search."""
    settings: Annotated[AuditSettings, tyro.conf.arg(name="")] = field(default_factory=AuditSettings)
    workers: Annotated[int | None, optional("N")] = None
    """Students trained at once; by default as many as the search trained."""
    dry_run: tyro.conf.FlagCreatePairsOff[bool] = False
    """Say what would be trained and how long it would take, and stop."""

    def __call__(self, console: Console) -> None:
        """Train what is missing, judge, write and show."""
        plan = plan_audit(self.run, self.settings)
        missing = self._show_budget(plan, console)
        if self.dry_run:
            return
        from akd_gym.analysis.figure_files import write_figure
        from akd_gym.proxy_audit.findings import judge
        from akd_gym.proxy_audit.report import draw, write_audit
        from akd_gym.proxy_audit.run import run_audit
        from akd_gym.proxy_audit.table import tabulate
        from akd_gym.proxy_audit.words import sentences

        with TrainingBars(console, plan, missing) as bars:
            records, identity = run_audit(
                plan, workers=self.workers, announce=bars.announce, on_training=bars.on_training
            )
        table = tabulate(plan, records)
        for one in table.infeasible:
            text = f"infeasible ({one.reason}), {describe(plan, *one.training[:2])}: {one.training.architecture}"
            console.print(text, style="yellow", highlight=False, markup=False, soft_wrap=True)
        findings = judge(table)
        console.print(_numbers(findings, table), _choices(findings))
        for sentence in sentences(findings):
            console.print(f"- {sentence}", highlight=False, markup=False)
        written = [
            write_audit(plan, table, findings, identity),
            write_figure(plan.folder / "audit.png", draw(plan, table, findings, identity)),
        ]
        console.print()
        shown = ", ".join(str(path) for path in written)
        console.print(f"Written: {shown}", highlight=False, markup=False, soft_wrap=True)

    def _show_budget(self, plan: AuditPlan, console: Console) -> list[Training]:
        """Say what will be trained; returns it."""
        from akd_gym.cores import available_cores

        done = plan.done()
        missing = [training for training in plan.trainings() if training not in done]
        answers = "AKDBench's answers" if plan.is_bench else epochs(plan.settings.recipe.epochs)
        console.print(
            f"Auditing {plan.search.name}: {len(plan.students)} of its students, {answers} against "
            f"{epochs(plan.full.epochs)} of full training.",
            highlight=False,
            markup=False,
        )
        kept = f"; {len(done)} more are there already" if done else ""
        console.print(f"{len(missing)} trainings to do{kept}.", highlight=False)
        if missing:
            beside = {neighbour.architecture for neighbour in plan.neighbours}
            counts = Counter(
                describe(plan, *one[:2]) + (", of neighbours" if one.architecture in beside else "") for one in missing
            )
            for what, count in counts.items():
                say(console, f"  {count:>4} x {what}")
            workers = self.workers or plan.settings.workers or available_cores()
            seconds = plan.seconds(missing)
            say(
                console,
                f"About {duration(seconds / min(workers, len(missing)))} with {workers} at once, going by the seconds "
                f"{'that AKDBench gives its trainings' if plan.is_bench else 'that the search paid for its own'}"
                f"{'' if plan.settings.teacher == 'none' else '; the soft labels of the teacher come on top'}.",
            )
        return missing


class TrainingBars:
    """A bar for each kind of training that is missing; says when it was stopped that all is kept."""

    def __init__(self, console: Console, plan: AuditPlan, missing: list[Training]) -> None:
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            speed_estimate_period=3600,
        )
        self._tasks: Mapping[tuple[str, int], TaskID] = {
            kind: self._progress.add_task(describe(plan, *kind), total=count, start=False)
            for kind, count in Counter(training[:2] for training in missing).items()
        }
        self._begin_next()

    def __enter__(self) -> TrainingBars:
        if self._tasks:
            self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        self._progress.stop()
        if kind is KeyboardInterrupt:
            say(self._progress.console, "Stopped. Every training so far is kept; the same command goes on.")

    def announce(self, text: str) -> None:
        """Print a remark above the bars."""
        say(self._progress.console, text)

    def on_training(self, training: Training, record: TrainingRecord) -> None:
        """Move the bar of its kind; the clock of the next kind starts when this one is full."""
        self._progress.advance(self._tasks[training[:2]])
        self._begin_next()

    def _begin_next(self) -> None:
        for task in self._progress.tasks:
            if not task.finished:
                self._progress.start_task(task.id)
                return


def describe(plan: AuditPlan, kind: str, length: int) -> str:
    """What kind of training it is, in words."""
    name = "full training" if kind == FULL else "proxy"
    if kind != FULL and length == LONGER * plan.settings.recipe.epochs:
        name = "longer proxy"
    return f"{name}, {epochs(length)}"


def duration(seconds: float) -> str:
    """As `3.2 hours`."""
    for size, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= size:
            return f"{seconds / size:.1f} {name}"
    return f"{seconds:.0f} seconds"


def _numbers(findings: AuditFindings, table: AuditTable) -> Table:
    """What is known of the proxy, a number a line."""
    from akd_gym.proxy_audit.words import numbers

    shown = Table(title=f"{findings.students} students, trained fully", box=SIMPLE_HEAD, show_header=False)
    shown.add_column(no_wrap=True)
    shown.add_column(justify="right", no_wrap=True)
    for name, value in numbers(findings, table):
        shown.add_row(name, value)
    return shown


def _choices(findings: AuditFindings) -> Table:
    """What dearer proxies would bring."""
    from akd_gym.proxy_audit.words import with_interval

    shown = Table(title="What more seconds a candidate bring", box=SIMPLE_HEAD, pad_edge=False, padding=0)
    for column in ("proxy", "seconds", "Kendall tau", "gain", "gain/s"):
        shown.add_column(column, justify="left" if column == "proxy" else "right", no_wrap=True)
    for choice in findings.choices:
        shown.add_row(
            choice.name,
            f"{choice.seconds:.1f}",
            with_interval(choice.tau),
            "" if choice.gain is None else with_interval(choice.gain, "+.2f"),
            "" if choice.gain_a_second is None else f"{choice.gain_a_second:+.2g}",
        )
    return shown
