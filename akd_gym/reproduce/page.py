"""The page of results: a section a study, written as the study is run, with figures and raw numbers beside it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from akd_gym.analysis.figure_files import write_figure
from akd_gym.errors import StorageError
from akd_gym.files import write_atomically
from akd_gym.reproduce.study import Budget, Finding, Scale, Study

_HEAD = """\
# Results

The paper's figures and tables, made again by `akd reproduce NAME` at the scale of the embedded data: 28-pixel images,
students of about 1.5 M multiply-adds, AKDBench where a search is needed. Each says its command, what it spent, its
result with an interval, and the paper's own result beside it. Figures and raw numbers lie in `results/`, with
every full training that was made (`trainings.csv`): a study that is run again makes only what is not there yet.
"""


def write_section(
    page: Path, study: Study, finding: Finding, *, command: str, scale: Scale, budget: Budget, order: Sequence[str]
) -> list[Path]:
    """Write a study's section into the page, in the place of its former one.

    Args:
        page: The page, in Markdown; made if it is not there.
        study: Which.
        finding: What it has found.
        command: That made it.
        scale: It was run at.
        budget: That it spent at most.
        order: Names of all studies, in the order of the page.

    Returns:
        The files written.

    Raises:
        StorageError: They cannot be read or written.
    """
    folder = page.with_suffix("")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        text = page.read_text(encoding="utf-8") if page.exists() else _HEAD
    except OSError as error:
        raise StorageError(f"{page} cannot be written: {error.strerror or error}.") from error
    pictures = {name: folder / f"{study.name}-{name}.png" for name in finding.figures}
    written = [write_figure(pictures[name], figure) for name, figure in finding.figures.items()]
    raw = json.dumps(plain({"command": command, **finding.numbers}), indent=1, allow_nan=False) + "\n"
    written.append(write_atomically(folder / f"{study.name}.json", raw.encode()))
    shown = "".join(f"\n![{study.title}: {name}]({path.relative_to(page.parent)})\n" for name, path in pictures.items())
    section = (
        f"## {study.title}\n\n```bash\n{command}\n```\n\nBudget: {budget.describe(scale)}.\n\n"
        f"{finding.text.strip()}\n{shown}\n*The paper:* {study.paper}\n"
    )
    sections = {match[1]: match[2] for match in _SECTION.finditer(text)} | {study.name: section}
    known = [name for name in order if name in sections]
    body = "\n".join(f"<!-- {name} -->\n{sections[name].strip()}\n<!-- end of {name} -->\n" for name in known)
    head = text[: match.start()] if (match := _SECTION.search(text)) else text
    written.append(write_atomically(page, f"{head.rstrip()}\n\n{body}".encode()))
    return written


def plain(value: Any) -> Any:
    """A value as JSON has it: what is no number is null, and intervals keep their names."""
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value


_SECTION = re.compile(r"<!-- (\w+) -->\n(.*?)\n<!-- end of \1 -->\n", re.DOTALL)
