"""Entry point of the `akd` command: parses typed dataclasses, runs one, and says errors in a line."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Union

import tyro
from rich.console import Console

from akd_gym.agents.settings import PRESETS, SearchSettings, read_settings, settings_for
from akd_gym.cli.repair import Repair
from akd_gym.cli.search import Finalists, Search
from akd_gym.cli.students import Evaluate, Export, Train
from akd_gym.cli.teachers import Teacher
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
        errors.print(f"[bold red]error:[/] {str(error).replace('[', chr(92) + '[')}", highlight=False)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


_DESCRIPTION = "Architecture-aware knowledge distillation: search the student that best absorbs a teacher."


def _commands(argv: Sequence[str]) -> Any:
    """The subcommands; the defaults of their settings follow --preset, --data, --resume and --like."""
    scan = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for option in ("--preset", "--data", "--resume", "--like"):
        scan.add_argument(option)
    given, _ = scan.parse_known_args(argv)
    base: SearchSettings
    if run := given.resume or given.like:
        base = read_settings(Path(run))
    elif given.preset in PRESETS and given.preset != "default":
        base = PRESETS[given.preset]
    else:
        base = settings_for(given.data or "fashion")
    return Union[  # noqa: UP007 - built at run time
        Annotated[Search, tyro.conf.subcommand("search", default=Search(settings=base))],
        Annotated[Finalists, tyro.conf.subcommand("finalists")],
        Annotated[Evaluate, tyro.conf.subcommand("evaluate", default=Evaluate(tyro.MISSING, settings=base))],
        Annotated[Train, tyro.conf.subcommand("train")],
        Annotated[Export, tyro.conf.subcommand("export")],
        Annotated[Teacher, tyro.conf.subcommand("teacher")],
        Annotated[Repair, tyro.conf.subcommand("repair")],
    ]


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
