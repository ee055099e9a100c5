"""`akd teacher train` and `akd teacher list`: who students learn from."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Annotated, Any

import tyro
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from akd_gym.teachers.settings import TEACHER_ASSETS, TEACHER_NETWORKS, TeacherTrainingSettings


@dataclass(frozen=True)
class TrainTeacher:
    """Train a teacher on the images that the students do not see.

    Writes NAME.safetensors and its record NAME.json; the weights are a teacher of `akd search` as
    file:OUT/NAME.safetensors@NAME. A training that was stopped goes on from its last whole epoch.

    With --anchors N also NAME.anchor1.safetensors to NAME.anchorN-1.safetensors, checkpoints on the way to it, which
    `akd train --method rco` follows. They are teachers too: file:OUT/NAME.anchor1.safetensors@NAME.

    The defaults are what made the shipped teachers. Those need the whole of Fashion-MNIST, of which the embedded pool
    is a part: the Debian package dataset-fashion-mnist, or --data-root.
    """

    settings: Annotated[TeacherTrainingSettings, tyro.conf.arg(name="")] = field(
        default_factory=TeacherTrainingSettings
    )

    def __call__(self, console: Console) -> None:
        """Train, saying how far it is."""
        from akd_gym.teachers.training import train_teacher

        try:
            train_teacher(self.settings, announce=lambda text: console.print(text, highlight=False))
        except KeyboardInterrupt:
            console.print("Stopped. The same command goes on from the last whole epoch.")
            raise


@dataclass(frozen=True)
class ListTeachers:
    """List the teachers that ship, with how good and how well calibrated they are on images they never saw."""

    def __call__(self, console: Console) -> None:
        """Print a table from the records beside the weights."""
        table = Table(title="Shipped teachers", box=SIMPLE_HEAD)
        table.add_column("teacher", no_wrap=True)
        for column in ("parameters", "accuracy", "on test", "confidence", "ECE"):
            table.add_column(column, justify="right", no_wrap=True)
        for name in TEACHER_NETWORKS:
            record: dict[str, Any] = json.loads((TEACHER_ASSETS / f"{name}.json").read_text(encoding="utf-8"))
            pool, test = record["held_out"]["students"], record["held_out"]["test"]
            table.add_row(
                f"shipped:{name}",
                f"{record['parameters']:,}",
                f"{100 * pool['accuracy']:.2f} %",
                f"{100 * test['accuracy']:.2f} %",
                f"{pool['mean_top_probability']:.3f}",
                f"{pool['expected_calibration_error']:.3f}",
            )
        console.print(table)
        console.print(
            f"Trained on {record['trained_on']}. Accuracy, confidence (mean top probability) and ECE (expected "
            "calibration error) are on that pool.",
            style="dim",
            highlight=False,
        )


_Train = Annotated[TrainTeacher, tyro.conf.subcommand("train", default=TrainTeacher())]
_List = Annotated[ListTeachers, tyro.conf.subcommand("list")]


@dataclass(frozen=True)
class Teacher:
    """Train a teacher, or list those that ship."""

    action: tyro.conf.OmitSubcommandPrefixes[_Train | _List]

    def __call__(self, console: Console) -> None:
        """Do what was asked."""
        self.action(console)
