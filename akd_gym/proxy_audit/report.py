"""An audit as a file and as a figure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from akd_gym.analysis.audit_figure import PricedTau, ProxyAudit, proxy_audit_figure
from akd_gym.executors import Job
from akd_gym.files import write_atomically
from akd_gym.proxy_audit.findings import AuditFindings
from akd_gym.proxy_audit.full_task import student_folder
from akd_gym.proxy_audit.plan import AuditPlan, epochs
from akd_gym.proxy_audit.run import STUDENTS
from akd_gym.proxy_audit.table import AuditTable
from akd_gym.proxy_audit.words import with_interval

RESULTS_FILE = "audit.json"
SCHEMA_VERSION = 1


def write_audit(plan: AuditPlan, table: AuditTable, findings: AuditFindings, identity: Mapping[str, Any]) -> Path:
    """Write what was found, and all accuracies that it rests on, into the audit's folder.

    Raises:
        StorageError: It cannot be written.
    """
    document = {
        "schema_version": SCHEMA_VERSION,
        "search": plan.search.name,
        "evaluator": plan.settings.evaluator,
        "teacher": plan.settings.teacher,
        "data": plan.settings.data,
        "candidates": len(plan.search.evaluations),
        "proxy_epochs": plan.settings.recipe.epochs,
        "full_epochs": plan.full.epochs,
        "judged": identity["judged"],
        "seeds": list(plan.seeds),
        "full_seeds": list(plan.full_seeds),
        "seconds": dict(table.seconds),
        "findings": asdict(findings),
        "students": [
            {
                "architecture": name,
                "search": _plain(table.answers[place]),
                "proxy": [_plain(runs[place]) for runs in table.proxies],
                "longer": _plain(table.longer[place]),
                "full": [_plain(runs[place]) for runs in table.fulls],
                "folders": [
                    f"{STUDENTS}/{student_folder(Job(name, seed), plan.full.epochs)}" for seed in plan.full_seeds
                ],
            }
            for place, name in enumerate(table.names)
        ],
        "neighbours": [
            {
                "student": neighbour.student,
                "architecture": neighbour.architecture,
                "proxy": [_plain(accuracy) for accuracy in pair],
            }
            for neighbour, pair in zip(plan.neighbours, table.pairs, strict=True)
        ],
        "infeasible": [{**one.training._asdict(), "reason": one.reason} for one in table.infeasible],
    }
    text = json.dumps(document, indent=1, allow_nan=False) + "\n"
    return write_atomically(plan.folder / RESULTS_FILE, text.encode())


def draw(plan: AuditPlan, table: AuditTable, findings: AuditFindings, identity: Mapping[str, Any]) -> Figure:
    """The figure of an audit."""
    whole = np.isfinite(table.full)
    full, judged, noise, smooth = table.full[whole], identity["judged"], findings.noise, findings.smoothness
    pairs = table.pairs[np.isfinite(table.pairs).all(1)]
    priced = [
        PricedTau(choice.name, choice.seconds, choice.tau.value, choice.tau.low, choice.tau.high)
        for choice in findings.choices
        if choice.tau.value is not None and choice.tau.low is not None and choice.tau.high is not None
    ]
    who = "AKDBench's answers" if table.is_bench else epochs(plan.settings.recipe.epochs)
    return proxy_audit_figure(
        ProxyAudit(
            proxy=table.answers[whole],
            full=full,
            proxy_std=None if noise is None else noise.seed_std,
            full_error=np.sqrt(full * (1 - full) / judged["images"]),
            judged_on=judged["on"],
            agreement=f"Kendall tau {with_interval(findings.tau)}",
            pairs=pairs if smooth is not None else np.empty((0, 2)),
            pairs_note="" if smooth is None else f"concordance of neighbours {with_interval(smooth.shared)}",
            choices=priced,
            ceiling=findings.ceiling,
        ),
        # A dollar would begin a formula.
        f"{plan.search.name}: {who} against {epochs(plan.full.epochs)} of full training".replace("$", r"\$"),
    )


def _plain(value: np.floating[Any] | float) -> float | None:
    return float(value) if np.isfinite(value) else None
