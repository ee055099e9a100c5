"""Predicted latencies against measured ones: figures, and tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.table import Table

from akd_gym.analysis.formats import format_cost
from akd_gym.analysis.style import FAINT, INK, SOFT, finish
from akd_gym.device_lab.predictor import Accuracy, LatencyTable
from akd_gym.device_lab.predictor.accuracy import CLOSE, Interval
from akd_gym.latency_audit import Audit

_BLUE, _ORANGE = "#0072b2", "#d55e00"  # Okabe and Ito

Array = NDArray[np.float64]


def table_figure(table: LatencyTable) -> Figure:
    """Predictions of networks by fits that did not see them, and multiply-adds beside, against measured latency."""
    figure = Figure(figsize=(9.6, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    measured = np.array([network.latency_ms for network in table.networks])
    _scatter(left, np.array([network.predicted_ms for network in table.networks]), measured)
    left.set_title(f"held-out predictions, {table.held_out.within_10:.0%} within 10 %", fontsize=10, color=INK)
    right.scatter(
        np.array([network.madds for network in table.networks]) / 1e6,
        measured,
        s=18,
        color=_BLUE,
        alpha=0.8,
        linewidths=0,
    )
    right.set_title(f"multiply-adds alone, {table.madds_alone.within_10:.0%} within 10 %", fontsize=10, color=INK)
    right.set_xlabel("multiply-adds (M)")
    right.set_ylabel("measured (ms)")
    for axes in (left, right):
        _logarithmic(axes)
    finish(figure, (left, right), f"{table.device}: {len(table.networks)} networks")
    return figure


def audit_figure(audit: Audit) -> Figure:
    """Predicted against measured latency of the candidates that an audit measured; finalists are diamonds."""
    figure = Figure(figsize=(5.4, 4.8), layout="constrained")
    axes = figure.add_subplot()
    rows = [row for row in audit.rows if row.measured_ms is not None]
    finalist = np.array([row.finalist for row in rows], dtype=bool)
    _scatter(
        axes,
        np.array([row.predicted_ms for row in rows]),
        np.array([row.measured_ms for row in rows], dtype=np.float64),
        finalist,
    )
    _logarithmic(axes)
    finish(figure, (axes,), f"Audit on {audit.device}")
    return figure


def accuracy_table(columns: Mapping[str, Accuracy], title: str = "") -> Table:
    """How far off predictors are, two columns each: the value, and its 95 % interval where there is one."""
    table = Table(title=title or None, box=SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
        table.add_column("", style="dim", no_wrap=True)
    found = list(columns.values())
    for label, values in (
        ("within 10 %", [(_percent(a.within_10), _percents(a.within_10_interval)) for a in found]),
        ("mean error", [(_percent(a.mean_error), _percents(a.mean_error_interval)) for a in found]),
        ("95 % are below", [(_percent(a.p95_error), "") for a in found]),
        ("largest error", [(_percent(a.largest_error), "") for a in found]),
        ("Spearman", [(_rank(a.spearman), _ranks(a.spearman_interval)) for a in found]),
        ("Kendall", [(_rank(a.kendall), _ranks(a.kendall_interval)) for a in found]),
    ):
        table.add_row(label, *(cell for pair in values for cell in pair))
    return table


def audit_table(audit: Audit) -> Table:
    """Predicted, measured and error of every candidate audited, a row each."""
    table = Table(title=f"Predictions audited on {audit.device}", box=SIMPLE_HEAD)
    for column in ("candidate", "predicted", "measured", "error"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("why", no_wrap=True)
    for row in audit.rows:
        reasons = (["finalist"] if row.finalist else []) + (["sampled"] if row.sampled else [])
        is_close = row.error is not None and abs(row.error) <= CLOSE
        table.add_row(
            f"{row.number}",
            format_cost(row.predicted_ms, "ms"),
            format_cost(row.measured_ms, "ms"),
            "-" if row.error is None else f"{100 * row.error:+.1f} %",
            " and ".join(reasons) + ("" if row.reason is None else " (failed)"),
            style="" if is_close else "bold",
        )
    return table


def audit_summary(audit: Audit) -> str:
    """One line: what the audit found."""
    found = audit.found
    if found is None or audit.median_error is None:
        return f"None of {len(audit.rows)} candidates could be measured on {audit.device}."
    rank = "" if found.spearman is None else f", rank correlation {found.spearman:.3f}"
    return (
        f"{found.networks} audited: median error {100 * audit.median_error:+.1f} %, {found.within_10:.0%} within 10 %, "
        f"largest {_percent(found.largest_error)}{rank}; held-out networks of the table: "
        f"{audit.promised.within_10:.0%} within 10 %, largest {_percent(audit.promised.largest_error)}."
    )


def _scatter(axes: Axes, predicted: Array, measured: Array, diamonds: NDArray[np.bool_] | None = None) -> None:
    """Points on the diagonal and around it; those beyond 10 % are hollow and of another colour."""
    is_close = np.abs(predicted / measured - 1) <= CLOSE
    diamonds = np.zeros(len(measured), dtype=bool) if diamonds is None else diamonds
    ends = np.array([min(predicted.min(), measured.min()) / 1.15, max(predicted.max(), measured.max()) * 1.15])
    axes.fill_between(ends, ends * (1 - CLOSE), ends * (1 + CLOSE), color=FAINT, alpha=0.6, linewidth=0)
    axes.plot(ends, ends, color=SOFT, linewidth=1)
    for marker, size, of_kind, kind in (("o", 18, ~diamonds, ""), ("D", 26, diamonds, "finalists, ")):
        for colour, face, mask, label in (
            (_BLUE, _BLUE, is_close, "within 10 %"),
            (_ORANGE, "none", ~is_close, "beyond 10 %"),
        ):
            chosen = of_kind & mask
            if chosen.any():
                axes.scatter(
                    measured[chosen],
                    predicted[chosen],
                    s=size,
                    marker=marker,
                    facecolors=face,
                    edgecolors=colour,
                    linewidths=1.2,
                    alpha=0.85,
                    zorder=3,
                    label=f"{kind}{label} ({int(chosen.sum())})",
                )
    axes.set_xlim(*ends)
    axes.set_ylim(*ends)
    axes.set_xlabel("measured (ms)")
    axes.set_ylabel("predicted (ms)")
    axes.legend(loc="upper left", fontsize=8.5, frameon=False)


def _logarithmic(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _percents(interval: Interval) -> str:
    return f"[{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"


def _rank(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _ranks(interval: Interval | None) -> str:
    return "" if interval is None else f"[{interval[0]:.3f}, {interval[1]:.3f}]"
