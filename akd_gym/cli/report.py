"""`akd report`: searches as a page to look at and to send, and as the paper's figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from akd_gym.agents.settings import optional
from akd_gym.cli.console import say
from akd_gym.errors import InvalidSettingError


@dataclass(frozen=True)
class Report:
    """Make a report page of one or more searches: one HTML file that needs nothing else, no network either.

    It shows what was searched with what, every candidate in linked plots with a drawing of its network, the Pareto-best
    students with the commands that train them, several searches side by side, and where they ran. Searches may still be
    running; with `--live` the page is served on this machine and follows them.

    For instance:
    - akd report runs/search-20260131-120000
    - akd report runs/seed0 runs/seed1 --out seeds.html --figures figures
    - akd report --live runs/search-20260131-120000
    """

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run directories of searches."""
    out: Annotated[Path | None, optional("FILE")] = None
    """The page; by default report.html, in the run directory if it is one search."""
    figures: Annotated[Path | None, optional("FOLDER")] = None
    """Write the paper's figures of the searches here too, as PNG, SVG and PDF."""
    live: tyro.conf.FlagCreatePairsOff[bool] = False
    """Serve the page on 127.0.0.1 and keep it up to date until Ctrl-C."""
    port: Annotated[int | None, optional("PORT")] = None
    """Where to serve it; by default on a free port."""

    def __call__(self, console: Console) -> None:
        """Write or serve the page."""
        if not self.runs:
            raise InvalidSettingError("At least one run directory must be given, as in `akd report runs/search-...`.")
        if self.live:
            self._serve(console)
            return
        if self.port is not None:
            raise InvalidSettingError("`--port` must go with `--live`: a page in a file is not served.")
        from akd_gym.report import read_reported_runs, separations, write_figures, write_report
        from akd_gym.report.separation import MEANING

        runs = read_reported_runs(self.runs)
        if self.figures is not None:
            with console.status("drawing figures"):
                written = write_figures(self.figures, runs)
            if written.paths:
                names = ", ".join(dict.fromkeys(path.stem for path in written.paths))
                say(console, f"Figures in {self.figures}: {names}")
            for name, reason in written.left_out.items():
                say(console, f"No {name}: {reason}")
        with console.status("comparing the searches"):
            compared = separations(runs)
        for one in compared:
            say(console, f"{one.label}: {one.text}")
        if compared:
            say(console, MEANING)
        page = self.out or (self.runs[0] if len(self.runs) == 1 else Path()) / "report.html"
        say(console, f"Report: {write_report(page, runs, compared)}")

    def _serve(self, console: Console) -> None:
        if self.out is not None or self.figures is not None:
            raise InvalidSettingError("`--out` and `--figures` must go without `--live`, which writes no file.")
        from akd_gym.report import LiveReport

        with LiveReport(self.runs, self.port) as report:
            say(console, f"Report: {report.url} (Ctrl-C ends it)")
            report.serve()
