"""Entry point of the `akd` command: parses typed dataclasses, runs one, and says errors in a line."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Union

import tyro
from rich.console import Console
from rich.markup import escape

from akd_gym.agents.settings import PRESETS, SearchSettings, read_settings, settings_for
from akd_gym.cli.audit import Audit
from akd_gym.cli.baseline import Baseline
from akd_gym.cli.bench import Bench
from akd_gym.cli.compete import Compete, Leaderboard
from akd_gym.cli.export import Export
from akd_gym.cli.latency import Latency
from akd_gym.cli.measure import Measure
from akd_gym.cli.merge import Merge
from akd_gym.cli.phones import Phones
from akd_gym.cli.repair import Repair
from akd_gym.cli.report import Report
from akd_gym.cli.reproduce import Ablate, Reproduce
from akd_gym.cli.retrieve import Retrieve
from akd_gym.cli.search import Finalists, Search
from akd_gym.cli.students import Evaluate
from akd_gym.cli.teachers import Teacher
from akd_gym.cli.train import Train
from akd_gym.errors import AKDGymError


def main(argv: Sequence[str] | None = None) -> int:
    """Run `akd ARGV`; returns the exit status: 0, 1 for an error, 130 when stopped by Ctrl-C or SIGTERM."""
    argv = list(sys.argv[1:] if argv is None else argv)
    console, errors = Console(), Console(stderr=True)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        command = tyro.cli(_commands(argv), prog="akd", description=_DESCRIPTION, args=argv)
        command(console)
    except AKDGymError as error:
        errors.print(f"[bold red]error:[/] {escape(str(error))}", emoji=False, highlight=False, soft_wrap=True)
        return 1
    except BrokenPipeError:  # `akd ... | head`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - for what Python flushes at its end
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


_DESCRIPTION = "Architecture-aware knowledge distillation: search the student that best absorbs a teacher."


def _commands(argv: Sequence[str]) -> Any:
    """The subcommands; the defaults of their settings follow --preset, --data, --evaluator, --resume and --like."""
    scan = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for option in ("--preset", "--data", "--evaluator", "--resume", "--like"):
        scan.add_argument(option)
    given, _ = scan.parse_known_args(argv)
    base: SearchSettings
    if run := given.resume or given.like:
        base = read_settings(Path(run))
    elif given.preset in PRESETS and given.preset != "default":
        base = PRESETS[given.preset]
    else:
        base = settings_for(given.data or "fashion", "bench" if given.evaluator == "bench" else "proxy")
    is_overview = not argv or argv[0].startswith("-")

    def command(name: str, kind: type[Any], **defaults: Any) -> Any:
        """One subcommand; the overview shows the first line of its docstring, its own help all of it."""
        brief = (kind.__doc__ or "").splitlines()[0] if is_overview else None
        return Annotated[kind, tyro.conf.subcommand(name, description=brief, **defaults)]

    return Union[  # noqa: UP007 - built at run time
        command("search", Search, default=Search(settings=base)),
        command("finalists", Finalists),
        command("report", Report),
        command("evaluate", Evaluate, default=Evaluate(tyro.MISSING, settings=base)),
        command("compete", Compete),
        command("leaderboard", Leaderboard),
        command("train", Train),
        command("audit", Audit),
        command("export", Export),
        command("baseline", Baseline),
        command("measure", Measure),
        command("latency", Latency),
        command("phones", Phones),
        command("teacher", Teacher),
        command("bench", Bench),
        command("reproduce", Reproduce),
        command("ablate", Ablate),
        command("merge", Merge),
        command("repair", Repair),
        command("retrieve", Retrieve),
    ]


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
