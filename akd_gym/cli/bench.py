"""`akd bench`: make AKDBench's tables, fit its model, show its card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from akd_gym.agents.settings import optional
from akd_gym.bench.plan import COVERING, RECIPE
from akd_gym.cli.console import say
from akd_gym.errors import InvalidSettingError
from akd_gym.recipes import Recipe

if TYPE_CHECKING:
    from akd_gym.bench.latencies import MeasuredRow
    from akd_gym.bench.plan import Training
    from akd_gym.ledger_records import TrainingRecord

_DEFAULT_FOLDER = Path("runs", "bench")
_SECOND_STAGE = 96


@dataclass(frozen=True)
class BuildBench:
    """Make AKDBench: measure and train its networks, choose and train those about the best, fit and judge the model.

    Takes hours. Every measurement and training is kept as soon as it is there: stopped, the same command goes on.
    Latencies are measured before the trainings of their stage; let the machine do nothing else meanwhile.

    For instance:
    - akd bench build
    - akd bench build --count 200 --second-stage 0
    """

    out: Path = _DEFAULT_FOLDER
    """Folder of the tables, the model and the card."""
    count: int = COVERING
    """Networks that cover the space; of a larger count the first are the same."""
    second_stage: int = _SECOND_STAGE
    """Networks about the best ones."""
    workers: Annotated[int | None, optional("N")] = None
    """Students trained at once; one a core by default."""
    latency: str = "host"
    """Who measures: host, phone, phone:ADDRESS or loopback, as --latency of akd search."""
    recipe: Recipe = RECIPE
    """How networks are trained."""

    def __call__(self, console: Console) -> None:
        """Measure, train, fit, judge."""
        from akd_gym.bench.build import choose_second_stage, first_stage

        for name, least in (("count", 1), ("second_stage", 0)):
            if getattr(self, name) < least:
                raise InvalidSettingError(f"`{name}` must be at least {least}, but got {getattr(self, name)}.")
        try:
            first = first_stage(self.count)
            self._measure(first, console, "first stage")
            self._train(first, 0, console, "first stage")
            with console.status("choosing the second stage"):
                start, second = choose_second_stage(first, self.out, self.second_stage)
            self._measure(second, console, "second stage")
            self._train(second, start, console, "second stage")
        except KeyboardInterrupt:
            say(console, "Stopped. Every measurement and training so far is kept; the same command goes on.")
            raise
        FitBench(self.out)(console)

    def _measure(self, names: Sequence[str], console: Console, stage: str) -> None:
        from akd_gym.bench.latencies import LATENCIES_FILE, measure_architectures, read_latencies
        from akd_gym.device_lab import make_latency_meter

        known = {row.architecture for row in read_latencies(self.out / LATENCIES_FILE)}
        if not set(names) - known:
            return
        meter = make_latency_meter(self.latency, lambda text: say(console, text))
        try:
            with _progress(console, "networks") as progress:
                done = sum(name in known for name in names)
                task = progress.add_task(f"measuring, {stage}", total=len(names), completed=done)

                def advance(row: MeasuredRow) -> None:
                    progress.advance(task)
                    if row.latency_ms is None:
                        say(progress.console, f"not measurable: {row.architecture}")

                measure_architectures(names, self.out, meter, advance)
        finally:
            meter.close()

    def _train(self, names: Sequence[str], start: int, console: Console, stage: str) -> None:
        from akd_gym.bench.build import missing_trainings, train_architectures
        from akd_gym.bench.plan import trainings_of

        missing = sum(map(len, missing_trainings(names, self.out, start)))
        if not missing:
            return
        with _progress(console, "trainings") as progress:
            total = sum(1 for _ in trainings_of(names, start))
            task = progress.add_task(f"training, {stage}", total=total, completed=total - missing)

            def advance(training: Training, record: TrainingRecord) -> None:
                progress.advance(task)
                if record.status != "ok":
                    say(progress.console, f"infeasible ({record.reason}): {training.architecture}")

            train_architectures(
                names,
                self.out,
                start=start,
                recipe=self.recipe,
                workers=self.workers,
                announce=lambda text: say(progress.console, text),
                on_training=advance,
            )


@dataclass(frozen=True)
class MeasureBench:
    """Measure the latencies of AKDBench's networks that are not measured yet, and nothing else.

    For machines whose quiet hours are scarce: akd bench build measures what is missing.
    """

    folder: Path = _DEFAULT_FOLDER
    """Folder of the tables."""
    count: int = COVERING
    """Networks that cover the space."""
    latency: str = "host"
    """Who measures, as for akd bench build."""

    def __call__(self, console: Console) -> None:
        """Measure both stages, as far as they are chosen."""
        from akd_gym.bench.build import first_stage, read_second_stage

        build = BuildBench(self.folder, self.count, latency=self.latency)
        build._measure([*first_stage(self.count), *read_second_stage(self.folder)[1]], console, "all")


@dataclass(frozen=True)
class FitBench:
    """Fit AKDBench's model to its tables, judge it, and write its card; the tables may be unfinished."""

    folder: Path = _DEFAULT_FOLDER
    """Folder of the tables, where model and card are written."""
    page: Annotated[Path | None, optional("FILE")] = None
    """Page of the documentation to write, with a picture beside it."""
    proxy_study: Annotated[Path | None, optional("FILE")] = None
    """Results of benchmarks/proxy_study.py, to compare the default search's recipe with."""

    def __call__(self, console: Console) -> None:
        """Fit, judge, write, show."""
        from akd_gym.analysis.figure_files import write_figure
        from akd_gym.bench import card as cards
        from akd_gym.bench.build import read_second_stage
        from akd_gym.bench.dataset import read_data
        from akd_gym.bench.make import make_surrogate
        from akd_gym.bench.page import card_page, held_out_figure
        from akd_gym.bench.surrogate import SURROGATE_FILE, write_surrogate
        from akd_gym.files import write_atomically

        data = read_data(self.folder)
        _, second_stage = read_second_stage(self.folder)
        study = None if self.proxy_study is None else _read_study(self.proxy_study)
        with console.status("fitting") as status:
            made = make_surrogate(data, second_stage, default_recipe=study, announce=status.update)
        written = [
            write_surrogate(self.folder / SURROGATE_FILE, made.surrogate),
            cards.write_card(self.folder, made.card),
        ]
        card = cards.read_card(self.folder)
        if self.page is not None:
            picture = write_figure(self.page.with_suffix(".png"), held_out_figure(made))
            written += [picture, write_atomically(self.page, card_page(card, picture.name).encode())]
        _show(card, console)
        say(console, "Written: " + ", ".join(str(path) for path in written))


@dataclass(frozen=True)
class ShowBench:
    """Show what AKDBench is made of and how far it can be trusted."""

    folder: Annotated[Path | None, optional("FOLDER")] = None
    """Folder that akd bench build made; by default the benchmark that comes with the package."""

    def __call__(self, console: Console) -> None:
        """Print the card, after checking the model against its hash."""
        from akd_gym.bench.card import read_card
        from akd_gym.bench.surrogate import SHIPPED, SURROGATE_FILE, read_surrogate
        from akd_gym.errors import RunMismatchError

        folder = self.folder or SHIPPED
        card = read_card(folder)
        surrogate = read_surrogate(folder / SURROGATE_FILE)
        if surrogate.hash != card["hash"]:
            raise RunMismatchError(
                f"The card in {folder} must be of the model beside it, {surrogate.hash[:16]}, but is of "
                f"{card['hash'][:16]}. Make both again with `akd bench fit`."
            )
        _show(card, console)


def _show(card: Mapping[str, Any], console: Console) -> None:
    from akd_gym.bench.card import accuracy_table, difference_table, summary

    about = Table(box=None, show_header=False)
    for name, value in summary(card):
        about.add_row(name, value)
    console.print(about, highlight=False, markup=False)
    console.print(accuracy_table(card), difference_table(card))


def _read_study(path: Path) -> dict[str, float]:
    """Accuracies by the default search's recipe and teacher."""
    import json

    from akd_gym.agents.settings import SearchSettings
    from akd_gym.errors import CorruptFileError, StorageError

    column = f"{SearchSettings().teacher}/0"
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        return {row["architecture"]: row[column] for row in rows if row[column] is not None}
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptFileError(f"{path} must be results of benchmarks/proxy_study.py, but: {error!r}.") from error


def _progress(console: Console, unit: str) -> Progress:
    return Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        speed_estimate_period=900,
    )


_Build = Annotated[BuildBench, tyro.conf.subcommand("build", default=BuildBench())]
_Measure = Annotated[MeasureBench, tyro.conf.subcommand("measure", default=MeasureBench())]
_Fit = Annotated[FitBench, tyro.conf.subcommand("fit", default=FitBench())]
_Show = Annotated[ShowBench, tyro.conf.subcommand("show", default=ShowBench())]


@dataclass(frozen=True)
class Bench:
    """Make AKDBench, the benchmark for search agents, or show how far it can be trusted."""

    action: tyro.conf.OmitSubcommandPrefixes[_Build | _Measure | _Fit | _Show]

    def __call__(self, console: Console) -> None:
        """Do what was asked."""
        self.action(console)
