"""Rank-1 rates for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from akd_gym.retrieval.identities import FaceTask
from akd_gym.retrieval.study import Row


def rank_table(rows: Sequence[Row], title: str) -> Table:
    """Rows as the paper's Table 9 has them, each rate with its interval."""
    table = Table(title=title, box=SIMPLE_HEAD)
    for column in ("embedder", "method", "params"):
        table.add_column(column, no_wrap=True)
    for count, synthetic in zip(rows[0].found.distractors, rows[0].found.synthetic, strict=True):
        table.add_column(f"{count:,}" + (f"\n{synthetic:,} synthetic" if synthetic else ""), justify="right")
    students = list(dict.fromkeys(row.subject.architecture for row in rows if row.subject.architecture))
    for row in rows:
        subject = row.subject
        name = subject.label
        if subject.label == "teacher":
            name = f"teacher {subject.teacher}"
        elif subject.architecture and len(students) > 1:
            name = f"student {students.index(subject.architecture) + 1}"
        rates = [f"{100 * r.value:.2f} [{100 * r.low:.1f}, {100 * r.high:.1f}]" for r in row.rates]
        table.add_row(name, subject.method or "-", f"{subject.params:,}" if subject.params else "-", *rates)
    return table


def footnotes(rows: Sequence[Row], task: FaceTask) -> list[str]:
    """What must be said below a table: who is looked for, and what is synthetic."""
    people, trained = len(rows[0].found.pairs), task.data.num_classes
    lines = [
        f"{people} people are looked for, none of the {trained} trained on. In brackets: 95 % bootstrap intervals over "
        "people."
    ]
    if any(rows[0].found.synthetic):
        lines.append(
            "Synthetic distractors are no pictures: embeddings drawn from a normal distribution fitted to those of the "
            "people trained on. They are easier than as many real faces."
        )
    return lines
