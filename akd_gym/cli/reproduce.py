"""`akd reproduce` and `akd ablate`: the paper's figures and tables, made again at our scale."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from akd_gym.agents.settings import optional
from akd_gym.cli.console import say
from akd_gym.errors import InvalidSettingError
from akd_gym.reproduce.scale import Observer, Scale

if TYPE_CHECKING:
    from akd_gym.reproduce.study import Study


@dataclass(frozen=True)
class Effort:
    """How much a study may spend, and where it works."""

    seeds: int = 3
    """Repetitions of searches and of trainings."""
    epochs: Annotated[int | None, optional("N")] = None
    """Of full trainings; by default the full recipe's 60."""
    train_size: Annotated[int | None, optional("N")] = None
    """Images of full trainings; by default all 10,000 that mini-val leaves."""
    search_budget: int = 10_000
    """Candidates of a search on AKDBench."""
    workers: Annotated[int | None, optional("N")] = None
    """Trainings side by side; by default one a core."""
    page: Path = Path("docs", "results.md")
    """Page that the result is written into; figures, raw numbers and all trainings lie beside it."""
    work: Path = Path("runs", "reproduce")
    """Folder of searches, weights and checkpoints."""
    dry_run: tyro.conf.FlagCreatePairsOff[bool] = False
    """Say what it would spend, and stop."""

    def carry_out(self, study: Study, words: list[str], console: Console) -> None:
        """Run a study and write its section of the page."""
        from akd_gym.reproduce.page import write_section
        from akd_gym.reproduce.registry import STUDIES
        from akd_gym.reproduce.study import Workshop

        scale = Scale(self.seeds, self.epochs, self.train_size, self.search_budget)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console) as progress:
            observer = _Bars(progress)
            workshop = Workshop(scale, self.page.with_suffix(""), self.work, self.workers, observer)
            budget = study.budget(workshop)
            text = f"{study.title}. At most {budget.describe(scale)}"
            if budget.core_seconds:
                cores = workshop.trainings.workers
                text += f": about {math.ceil(budget.core_seconds / 60 / cores)} minute(s) on {cores} core(s)"
            say(progress.console, f"{text}.")
            if self.dry_run:
                return
            try:
                finding = study.run(workshop)
            except KeyboardInterrupt:
                say(progress.console, "Stopped. What was searched and trained is kept; the same command goes on.")
                raise
        console.print(Markdown(finding.text))
        command = shlex.join(["akd", *words, *self._words()])
        written = write_section(
            self.page, study, finding, command=command, scale=scale, budget=budget, order=list(STUDIES)
        )
        console.print("Written: " + ", ".join(map(str, written)), highlight=False, markup=False, soft_wrap=True)

    def _words(self) -> list[str]:
        """The options that change a result, where they are not the defaults."""
        words = []
        for name in ("seeds", "epochs", "train_size", "search_budget"):
            value = getattr(self, name)
            if value != getattr(Effort, name):
                words += [f"--{name.replace('_', '-')}", str(value)]
        return words


class _Bars(Observer):
    """A bar for what is under way, and a line for each that is done."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def announce(self, text: str) -> None:
        """See `Observer`."""
        say(self._progress.console, text)

    def begin(self, what: str, count: int) -> None:
        """See `Observer`."""
        self._task = self._progress.add_task(what, total=count)

    def advance(self, text: str) -> None:
        """See `Observer`."""
        self._progress.advance(self._task)
        self.announce(text)


@dataclass(frozen=True)
class Reproduce:
    """Make a figure or table of the paper again, at the scale of the embedded data.

    Says its budget before it starts. Searches run on AKDBench, students are trained for real. Every search and training
    is kept: stopped, the same command goes on, and what one study has made is there for the next. The result, with
    intervals and the paper's beside it, becomes a section of docs/results.md.

    For instance:
    - akd reproduce table6 --dry-run
    - akd reproduce table5 --epochs 20
    """

    name: tyro.conf.Positional[str]
    """Which: figure2, figure4 to figure8, figure7real (by real searches), table1, table3 to table10."""
    effort: Annotated[Effort, tyro.conf.arg(name="")] = field(default_factory=Effort)

    def __call__(self, console: Console) -> None:
        """Run the study and write its section."""
        from akd_gym.reproduce.registry import make_study

        self.effort.carry_out(make_study(self.name), ["reproduce", self.name], console)


@dataclass(frozen=True)
class Ablate:
    """Make the paper's ablation (Table 5): searched by hard labels or distillation, trained by each method.

    Of every search the most accurate student near the target is trained fully by hard labels, KD and RCO-KD, paired by
    seed. `akd reproduce table5` is this command with its defaults.

    For instance:
    - akd ablate --dry-run
    - akd ablate --epochs 20
    - akd ablate --targets 1 0.7 0.5 --seeds 5
    """

    teacher: str = "shipped:resnet"
    """Who is distilled, in search and training: one that AKDBench knows and that has anchors for RCO-KD."""
    targets: tuple[float, ...] = (1.0, 0.5)
    """Latencies to aim at, in terms of the reference architecture's."""
    methods: tuple[str, ...] = ("kd", "rco")
    """What students are trained by, beside hard labels."""
    tolerance: float = 0.1
    """How far a student's latency may be from the target, as a share of it."""
    effort: Annotated[Effort, tyro.conf.arg(name="")] = field(default_factory=Effort)

    def __call__(self, console: Console) -> None:
        """Run the ablation and write its section."""
        from akd_gym.reproduce.ablation import Ablation

        if not 0 < self.tolerance < 1:
            raise InvalidSettingError(f"`tolerance` must be above 0 and below 1, but got {self.tolerance}.")
        words = ["ablate"]
        for name in ("teacher", "targets", "methods", "tolerance"):
            value = getattr(self, name)
            if value != getattr(Ablate, name):
                words += [f"--{name}", *(map(str, value) if isinstance(value, tuple) else [str(value)])]
        self.effort.carry_out(Ablation(self.teacher, self.targets, self.methods, self.tolerance), words, console)
