"""`akd search` and `akd finalists`."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from akd_gym.agents.settings import SearchSettings, optional, read_settings
from akd_gym.errors import InvalidSettingError


@dataclass(frozen=True)
class Search:
    """Search for the student that best distils a teacher at a target cost.

    An agent, by default PPO, proposes architectures in rounds. Each is trained for a few epochs with the teacher's soft
    labels, its latency is measured, and accuracy is weighed against the two. Stop it at any time with Ctrl-C.

    Without options: the embedded images, a shipped teacher, latency on this machine, about six minutes on two cores.

    For instance:
    - akd search --target-ms 0.3
    - akd search --cost madds --budget 200 --seed 1
    - akd search --latency phone --target-ms 15
    - akd search --latency predicted:pixel.latency.json --audit 0.02
    - akd search --data imagefolder:photos --teacher file:big.safetensors@torchvision:resnet50
    - akd search --agent evolution --budget 200
    - akd search --evaluator bench --budget 10000
    - akd search --warm-start runs/search-20260131-120000 --target-ms 0.2
    - akd search --resume runs/search-20260131-120000
    """

    settings: Annotated[SearchSettings, tyro.conf.arg(name="")] = field(default_factory=SearchSettings)
    run: Annotated[Path | None, optional("FOLDER")] = None
    """Run directory to make; by default runs/search-DATE-TIME."""
    resume: Annotated[Path | None, optional("RUN")] = None
    """Run directory of a search that was stopped: continue it, with its own settings."""
    preset: Literal["default", "paper"] = "default"
    """Where settings start from. paper is section 3.2: 10,000 candidates, ImageNet, 15 ms on a phone."""
    dry_run: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print the settings and what the search would cost, and stop."""

    def __call__(self, console: Console) -> None:
        """Run the search and show what it found."""
        if self.dry_run:
            from akd_gym.cli.estimate import print_estimate

            print_estimate(self.settings, console)
            return
        if self.resume is not None and self.run is not None:
            raise InvalidSettingError("`--resume` names the run directory itself: leave `--run` out.")
        from akd_gym.agents.search import run_search
        from akd_gym.cli.progress import SearchProgress

        stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        run = self.resume or self.run or Path("runs", f"search-{stamp}")
        with SearchProgress(console, run) as progress:
            result = run_search(
                self.settings, run, resume=self.resume is not None, announce=progress.announce, observer=progress
            )
        from akd_gym.cli.findings import write_findings

        write_findings(result, self.settings, run, console)
        if self.settings.audit is not None:
            self._audit(run, console)

    def _audit(self, run: Path, console: Console) -> None:
        """Measure some of what was predicted, and say how far off it was."""
        from akd_gym.agents.audit import audit_run
        from akd_gym.cli.latency import show_audit

        with console.status("auditing the predictions on the device"):
            audit = audit_run(
                self.settings,
                run,
                announce=lambda text: console.print(text, style="dim", highlight=False, markup=False, soft_wrap=True),
            )
        show_audit(audit, run, console)


@dataclass(frozen=True)
class Finalists:
    """List the most accurate students of a search whose cost lies in a band."""

    run: tyro.conf.Positional[Path]
    """Run directory of the search."""
    within: str
    """Band of cost, as 15+-1 (milliseconds), 15+-10%, or 300M+-20M (multiply-adds)."""
    top: int = 5
    """How many to list."""

    def __call__(self, console: Console) -> None:
        """Print the finalists."""
        from akd_gym.agents.search import read_outcomes
        from akd_gym.analysis.formats import format_cost
        from akd_gym.analysis.pareto import Band, within_band
        from akd_gym.analysis.tables import pareto_table
        from akd_gym.cli.findings import print_training_command

        band = Band.parse(self.within)
        if self.top < 1:
            raise InvalidSettingError(f"`top` must be at least 1, but got {self.top}.")
        result = read_outcomes(self.run)
        unit = result.unit
        name = f"{format_cost(band.centre, unit)} ± {format_cost(band.tolerance, unit)}"
        found = within_band(result.outcomes, band)
        if not found:
            costs = sorted(o.cost for o in result.outcomes if o.feasible and o.cost is not None)
            span = f"cost from {format_cost(costs[0], unit)} to {format_cost(costs[-1], unit)}" if costs else "failed"
            raise InvalidSettingError(f"No student of {self.run} lies within {name}: they {span}.")
        console.print(pareto_table(found[: self.top], f"Most accurate of {len(found)} students within {name}"))
        print_training_command(found[0], read_settings(self.run), self.run / "finalist", console)
