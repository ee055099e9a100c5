"""`akd latency fit` and `akd latency show`: tables that predict a device."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from akd_gym.agents.settings import optional
from akd_gym.cli.console import say
from akd_gym.errors import InvalidSettingError

if TYPE_CHECKING:
    from akd_gym.device_lab.predictor import LatencyTable, Operator
    from akd_gym.latencies import LatencyBook
    from akd_gym.latency_audit import Audit


@dataclass(frozen=True)
class FitLatency:
    """Measure networks on a device and fit a table that predicts it, for akd search --latency predicted:FILE.

    Networks are drawn from the search space so that their multiply-adds cover it. Each is measured once and kept in a
    ledger beside the table: a fit that was stopped goes on, and a larger --count pays for the new networks only.

    For instance:
    - akd latency fit
    - akd latency fit --device phone --count 200 --out pixel.latency.json
    - akd latency fit --device phone --resolution 224 --channels 3 --classes 1000
    """

    device: str = "host"
    """What to predict: host, phone, phone:ADDRESS or loopback, as --latency of akd search."""
    count: int = 200
    """Networks to measure."""
    out: Annotated[Path | None, optional("FILE")] = None
    """Table to write, with a picture beside it; by default named after the device, as host.latency.json."""
    space: str = "akd"
    """Search space to draw networks from, as for akd search."""
    skeleton: Annotated[str | None, optional("NAME")] = None
    """small or mnasnet; by default small up to 64 px, mnasnet beyond."""
    data: str = "fashion"
    """Images that the networks are for: their size and classes."""
    resolution: Annotated[int | None, optional("PIXELS")] = None
    """Pixels of height and width; by default the data's own."""
    channels: Annotated[int | None, optional("N")] = None
    """Channels of an image; by default the data's own."""
    classes: Annotated[int | None, optional("N")] = None
    """Outputs; by default the data's own."""
    held_out: float = 0.2
    """Share of the networks that a fit does not see when it is judged by them; each has its turn."""
    ledger: Annotated[Path | None, optional("FILE")] = None
    """Where measurements are kept; by default FILE.sqlite beside the table."""
    seed: int = 0
    """Of the networks drawn, and of how they are held out."""

    def __call__(self, console: Console) -> None:
        """Measure, fit, judge, write, and show."""
        from akd_gym.device_lab import make_latency_meter
        from akd_gym.device_lab.predictor import write_table
        from akd_gym.latencies import LatencyBook
        from akd_gym.latency_fit import LEAST_NETWORKS, check_fittable, fit_table, sample_architectures
        from akd_gym.ledger import Ledger
        from akd_gym.space import make_space

        if self.count < LEAST_NETWORKS:
            raise InvalidSettingError(f"`count` must be at least {LEAST_NETWORKS}, but got {self.count}.")
        if not 0 < self.held_out <= 0.5:
            raise InvalidSettingError(f"`held_out` must be above 0 and at most 0.5, but got {self.held_out}.")
        input_shape, classes = self._images()
        out = self.out or Path(f"{self.device.partition(':')[0]}.latency.json")
        space = make_space(self.space, self.skeleton or _skeleton(input_shape[1]))
        names = sample_architectures(space, self.count, input_shape=input_shape, num_classes=classes, seed=self.seed)
        meter = make_latency_meter(self.device, lambda text: say(console, text))
        try:
            check_fittable(meter.identity())
            with Ledger.open(self.ledger or out.with_name(f"{out.name}.sqlite")) as ledger:
                book = LatencyBook(meter, ledger, input_shape, classes)
                measured = self._measure(names, book, console)
                with console.status("fitting"):
                    table = fit_table(
                        measured,
                        book,
                        space,
                        spec=self.device,
                        data=None if self._is_numbers else self.data,
                        held_out=self.held_out,
                        seed=self.seed,
                    )
        except KeyboardInterrupt:
            say(console, "Stopped. Every measurement so far is kept; the same command goes on.")
            raise
        finally:
            meter.close()
        write_table(out, table)
        _show(table, out, console)

    @property
    def _is_numbers(self) -> bool:
        return None not in (self.resolution, self.channels, self.classes)

    def _images(self) -> tuple[tuple[int, int, int], int]:
        """Input shape and classes; the data set is only opened for what was not given."""
        from akd_gym.cli.inputs import input_of

        return input_of(self.data, self.channels, self.resolution, self.classes)

    def _measure(
        self, names: Sequence[str], book: LatencyBook, console: Console
    ) -> dict[str, tuple[tuple[Operator, ...], dict[str, Any]]]:
        from akd_gym.latency_fit import measure_networks

        known = sum(book.find(name) is not None for name in names)
        if known:
            say(console, f"{known} of {len(names)} networks are in the ledger already.")
        columns = (MofNCompleteColumn(), TextColumn("networks"), TimeElapsedColumn(), TextColumn("left"))
        with Progress(
            TextColumn("[bold]measuring"),
            BarColumn(),
            *columns,
            TimeRemainingColumn(),
            console=console,
            speed_estimate_period=120,
        ) as progress:
            task = progress.add_task("", total=len(names))
            failures: list[str] = []

            def advance(name: str, record: dict[str, Any]) -> None:
                progress.advance(task)
                if record["verdict"] != "ok":
                    failures.append(name)
                    say(progress.console, f"not measurable ({record['reason']}): {name}")

            return measure_networks(names, book, advance)


@dataclass(frozen=True)
class ShowLatency:
    """Show what a table that akd latency fit made is of, and how far off it is."""

    table: tyro.conf.Positional[Path]
    """The table's file."""

    def __call__(self, console: Console) -> None:
        """Print it."""
        from akd_gym.device_lab.predictor import read_table

        table = read_table(self.table)
        about = Table(box=None, show_header=False)
        about.add_row("device", f"{table.device} ({table.spec}), {table.os}")
        about.add_row("runtime", f"{table.runtime} {table.runtime_version}, {table.threads} thread(s)")
        about.add_row("input", f"{table.input_shape[0]} x {table.input_shape[1]} x {table.input_shape[2]}, "
                      f"{table.classes} classes")  # fmt: skip
        about.add_row("space", f"{table.space['name']}, skeleton {table.space['skeleton']['name']}")
        low, high = table.model.range_ms
        about.add_row("networks", f"{len(table.networks)} from {low:.4g} to {high:.4g} ms, {table.failed} failed")
        about.add_row("fitted", f"{table.created} by akd-gym {table.tool_version}")
        console.print(about, highlight=False, markup=False)
        _print_accuracy(table, console)


def show_audit(audit: Audit, run: Path, console: Console) -> None:
    """Print an audit, and draw it into the run directory.

    Raises:
        StorageError: The picture cannot be written.
    """
    from akd_gym.analysis.figure_files import write_figure
    from akd_gym.analysis.predictions import audit_figure, audit_summary, audit_table
    from akd_gym.latency_audit import AUDIT_FILE

    console.print(audit_table(audit))
    console.print(audit_summary(audit), highlight=False, markup=False)
    for warning in audit.warnings:
        console.print(f"warning: {warning}.", style="yellow", highlight=False, markup=False)
    written = [run / AUDIT_FILE]
    if audit.found is not None:
        written.append(write_figure(run / "audit.png", audit_figure(audit)))
    _written(written, console)


def _show(table: LatencyTable, out: Path, console: Console) -> None:
    """Print how good a new table is, draw it beside its file, and say how to use it."""
    from akd_gym.analysis.figure_files import write_figure
    from akd_gym.analysis.predictions import table_figure

    _print_accuracy(table, console)
    _written([out, write_figure(out.with_suffix(".png"), table_figure(table))], console)
    words = ["akd", "search", "--latency", f"predicted:{out}", "--audit", "0.02"]
    if table.data not in (None, "fashion"):
        words += ["--data", str(table.data)]
    console.print("Search with it, and audit what was found:", style="bold")
    console.print(shlex.join(words), highlight=False, markup=False, soft_wrap=True)


def _print_accuracy(table: LatencyTable, console: Console) -> None:
    from akd_gym.analysis.predictions import accuracy_table

    columns = {"table": table.held_out, "MAdds alone": table.madds_alone}
    console.print(accuracy_table(columns, "Predictions of networks that the fit did not see"))
    warned = f", {table.warned} of them with a warning (a busy machine?)" if table.warned else ""
    console.print(
        f"{len(table.networks)} networks measured on {table.device}{warned}; in brackets 95 % intervals.",
        style="dim",
        highlight=False,
        markup=False,
    )


def _written(paths: Sequence[Path], console: Console) -> None:
    text = "Written: " + ", ".join(str(path) for path in paths)
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _skeleton(resolution: int) -> str:
    from akd_gym.evaluation import SMALL_IMAGES

    return "small" if resolution <= SMALL_IMAGES else "mnasnet"


_Fit = Annotated[FitLatency, tyro.conf.subcommand("fit", default=FitLatency())]
_Show = Annotated[ShowLatency, tyro.conf.subcommand("show")]


@dataclass(frozen=True)
class Latency:
    """Fit a table that predicts a device's latency, or show one."""

    action: tyro.conf.OmitSubcommandPrefixes[_Fit | _Show]

    def __call__(self, console: Console) -> None:
        """Do what was asked."""
        self.action(console)
