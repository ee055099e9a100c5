"""What the tables of studies have in common."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from akd_gym.reproduce.trainings import TrainedStudent

_TITLES = {
    "hard": "hard labels",
    "kd": "KD",
    "rco": "RCO-KD",
    "ta": "TA-KD",
    "cc": "CC-KD",
    "features": "feature MSE",
}


def method_title(method: str) -> str:
    """What the paper calls a method."""
    return _TITLES.get(method, method)


def markdown_table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table in Markdown, numbers to the right."""
    rows = [list(line) for line in lines]
    numeric = [all(_is_number(row[i]) for row in rows) for i in range(len(head))]
    rules = ["--:" if right else ":--" for right in numeric]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rules, *rows))


def unfinished(rows: Iterable[TrainedStudent]) -> str:
    """A sentence on trainings that gave no accuracy and are in no mean; nothing where there are none."""
    failed = [f"{method_title(r.training.method)}, seed {r.training.seed} ({r.reason})" for r in rows if r.reason]
    return f"\nLeft out, as they could not be trained: {'; '.join(failed)}.\n" if failed else ""


def _is_number(text: str) -> bool:
    return text.strip("+-±()%, ")[:1].isdigit() or not text
