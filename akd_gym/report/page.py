"""The report page: template, style, script, plotly and data in one HTML file that asks the network for nothing."""

from __future__ import annotations

import base64
import datetime
import hashlib
import html
import json
import string
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from akd_gym.files import write_atomically
from akd_gym.report.columns import Index, run_columns
from akd_gym.report.comparison import notes, summary_rows
from akd_gym.report.description import all_settings, environment_rows, settings_rows, side_by_side
from akd_gym.report.reading import ReportedRun
from akd_gym.report.separation import MEANING, Separation

_ASSETS = resources.files("akd_gym") / "assets" / "report"
_SCRIPTS = ("drawing.js", "searches.js", "cloud.js", "plots.js", "students.js", "tables.js", "report.js")


def report_data(runs: Sequence[ReportedRun], compared: Sequence[Separation] = ()) -> dict[str, Any]:
    """All that the page shows, as plain JSON; of no runs, that nothing was evaluated yet.

    Args:
        runs: With distinct names.
        compared: From `separations`, where there was time for it.
    """
    tokens = Index()
    columns = [run_columns(run, tokens) for run in runs]
    return {
        "made": datetime.datetime.now().astimezone().isoformat(timespec="minutes"),
        "version": metadata.version("akd-gym"),
        "notes": notes(runs) if runs else [],
        "summary": side_by_side(summary_rows(runs)),
        "settings": side_by_side([settings_rows(run) for run in runs]),
        "all_settings": side_by_side([all_settings(run) for run in runs]),
        "separations": [(one.label, [one.text]) for one in compared],
        "separations_meaning": MEANING,
        "environment": side_by_side([environment_rows(run) for run in runs]),
        "tokens": tokens.values(),
        "runs": columns,
    }


def write_report(path: str | Path, runs: Sequence[ReportedRun], compared: Sequence[Separation] = ()) -> Path:
    """Writes the page of searches; for the arguments see `report_data`.

    Raises:
        StorageError: It cannot be written; an old file is as it was.
    """
    return write_atomically(path, render_page(report_data(runs, compared)).encode())


def render_page(data: Mapping[str, Any], *, live: bool = False) -> str:
    """The page.

    Args:
        data: From `report_data`.
        live: Whether it asks the server that it came from for news.
    """
    from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]  # here: it takes its time

    scripts = {"plotly": get_plotlyjs(), "script": _script()}
    hashes = " ".join(f"'sha256-{_sha256(text)}'" for text in scripts.values())
    names = [run["name"] for run in data["runs"]]
    return _template().substitute(
        title=html.escape(", ".join(names) or "search"),
        # Nothing but these two scripts may run, and nothing may be fetched: markup in a name could do neither.
        policy=f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        f"connect-src {chr(39)}{'self' if live else 'none'}{chr(39)}; base-uri 'none'; form-action 'none'",
        style=_asset("report.css"),
        live="true" if live else "false",
        data=json_for_script(data),
        **scripts,
    )


def json_for_script(data: Any) -> str:
    r"""JSON that ends no script element and no line of one: `<` is `\u003c`, and all beyond ASCII is escaped."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


@cache
def _template() -> string.Template:
    return string.Template(_asset("page.html"))


@cache
def _script() -> str:
    parts = "\n".join(_asset(name) for name in _SCRIPTS)
    return f"(() => {{\n'use strict';\n{parts}\n}})();\n"


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
