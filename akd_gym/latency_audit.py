"""How far off the predictions of a search were: some of its candidates, and all finalists, measured on the device."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binom

from akd_gym.analysis.outcomes import Outcome
from akd_gym.analysis.pareto import pareto_outcomes
from akd_gym.device_lab.predictor import Accuracy, LatencyTable, judge
from akd_gym.errors import DeviceError, InvalidSettingError
from akd_gym.files import write_atomically
from akd_gym.latencies import LatencyBook
from akd_gym.ledger_records import latency_ms, utc_now

AUDIT_FILE = "audit.json"
SCHEMA_VERSION = 1

_ROUND_SIZE = 8
_UNLIKELY = 0.05
_EXCEED_P95 = 0.05  # of held-out networks, by definition

OnMeasured = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True)
class AuditRow:
    """One candidate, predicted and measured.

    Attributes:
        number: Where it first came up in the search.
        architecture: Canonical string.
        predicted_ms: What the search believed.
        measured_ms: On the device; None if it could not be measured.
        reason: Why it could not.
        finalist: Whether it is Pareto-best or has the best reward.
        sampled: Whether it was drawn at random.
    """

    number: int
    architecture: str
    predicted_ms: float
    measured_ms: float | None
    reason: str | None
    finalist: bool
    sampled: bool

    @property
    def error(self) -> float | None:
        """Of the prediction, as a fraction of the measured latency; None if it could not be measured."""
        return None if self.measured_ms is None else self.predicted_ms / self.measured_ms - 1


@dataclass(frozen=True)
class Audit:
    """An audit of the predictions of a search.

    Attributes:
        table: Path of the table that predicted.
        table_sha256: Its hash.
        device: Where it was measured.
        latency_context: The ledger's, under which the measurements are kept.
        share: Of the candidates, drawn at random.
        seed: Of the draw.
        rows: By predicted latency.
        promised: What the table said of predictions of networks that it did not see.
        created: ISO 8601, UTC.
    """

    table: str
    table_sha256: str
    device: str
    latency_context: str
    share: float
    seed: int
    rows: tuple[AuditRow, ...]
    promised: Accuracy
    created: str

    @property
    def errors(self) -> list[float]:
        """Of all rows that could be measured."""
        return [row.error for row in self.rows if row.error is not None]

    @property
    def median_error(self) -> float | None:
        """With its sign: above 0 the table predicts too much; None if nothing could be measured."""
        return statistics.median(self.errors) if self.errors else None

    @property
    def found(self) -> Accuracy | None:
        """How far off the predictions were; None if nothing could be measured."""
        measured = [row for row in self.rows if row.measured_ms is not None]
        if not measured:
            return None
        return judge(np.array([[row.predicted_ms for row in measured]]), [row.measured_ms or 0.0 for row in measured])

    @property
    def warnings(self) -> tuple[str, ...]:
        """Where the predictions were worse than the table promised; empty where they kept to it."""
        warnings = []
        errors, promised = self.errors, self.promised
        misses = sum(abs(error) > promised.p95_error for error in errors)
        if misses and binom.sf(misses - 1, len(errors), _EXCEED_P95) < _UNLIKELY:
            warnings.append(
                f"{misses} of {len(errors)} predictions are off by more than {promised.p95_error:.1%}, which 95 % of "
                "held-out networks kept to: the table does not hold for these networks, or no longer for this device"
            )
        worst = max(errors, key=abs, default=0.0)
        if abs(worst) > promised.largest_error:
            warnings.append(
                f"one prediction is off by {worst:+.1%}, where the largest held-out error was "
                f"{promised.largest_error:.1%}"
            )
        if failed := sum(row.measured_ms is None for row in self.rows):
            warnings.append(f"{failed} of {len(self.rows)} candidates could not be measured on the device")
        return tuple(warnings)

    def to_dict(self) -> dict[str, Any]:
        """In JSON types, with the summary."""
        found = self.found
        return {
            "schema_version": SCHEMA_VERSION,
            "table": self.table,
            "table_sha256": self.table_sha256,
            "device": self.device,
            "latency_context": self.latency_context,
            "share": self.share,
            "seed": self.seed,
            "created": self.created,
            "median_error": self.median_error,
            "found": None if found is None else found.to_dict(),
            "promised": self.promised.to_dict(),
            "warnings": list(self.warnings),
            "rows": [asdict(row) | {"error": row.error} for row in self.rows],
        }


def audit_predictions(
    outcomes: Sequence[Outcome],
    table: LatencyTable,
    book: LatencyBook,
    run: Path,
    *,
    table_path: str | Path,
    share: float = 0.02,
    seed: int = 0,
    on_measured: OnMeasured | None = None,
) -> Audit:
    """Measure a share of a search's distinct candidates, and all finalists, on the device that was predicted.

    What the ledger knows under the device's own context is not measured again; what is measured is kept there, for a
    later search on the device. Writes `audit.json` into the run directory.

    Args:
        outcomes: Of the search, costs as they were predicted.
        table: That predicted.
        book: With the meter of the device; `LatencyTable.spec` names it.
        run: Run directory.
        table_path: Where the table lies, for the record.
        share: Of the distinct candidates, rounded up; 0 for the finalists alone.
        seed: Of the draw.
        on_measured: Told of each candidate's record.

    Raises:
        InvalidSettingError: A share outside 0 to 1, no feasible candidate, or a meter of another device.
        DeviceError: The device fails; what it measured before is kept, and the same call goes on.
        StorageError: `audit.json` cannot be written.
    """
    check_same_device(table, book.meter.identity())
    chosen = choose_candidates(outcomes, share, seed)
    names = [outcome.architecture for outcome, _, _ in chosen]
    records: dict[str, dict[str, Any]] = {}
    for start in range(0, len(names), _ROUND_SIZE):
        measured = book.measure(names[start : start + _ROUND_SIZE])
        records |= measured
        if on_measured is not None:
            for name, record in measured.items():
                on_measured(name, record)
    missing = [name for name in names if name not in records]
    if missing:
        raise DeviceError(f"Every candidate must get a record, but {len(missing)} got none, first {missing[0]!r}.")
    rows = [
        AuditRow(
            number=outcome.number,
            architecture=outcome.architecture,
            predicted_ms=outcome.latency_ms or math.nan,
            measured_ms=latency_ms(records[outcome.architecture]),
            reason=records[outcome.architecture].get("reason"),
            finalist=finalist,
            sampled=sampled,
        )
        for outcome, finalist, sampled in chosen
    ]
    audit = Audit(
        table=str(table_path),
        table_sha256=table.sha256,
        device=table.device,
        latency_context=book.context,
        share=share,
        seed=seed,
        rows=tuple(rows),
        promised=table.held_out,
        created=utc_now(),
    )
    write_atomically(run / AUDIT_FILE, (json.dumps(audit.to_dict(), indent=1) + "\n").encode())
    return audit


def choose_candidates(outcomes: Sequence[Outcome], share: float, seed: int) -> list[tuple[Outcome, bool, bool]]:
    """Whom to audit: the finalists (Pareto-best, and best reward), and a random share of all distinct candidates.

    Returns:
        Each once, by predicted latency, with whether it is a finalist and whether it was drawn.

    Raises:
        InvalidSettingError: A share outside 0 to 1, or no feasible candidate with a latency.
    """
    if not 0 <= share <= 1:
        raise InvalidSettingError(f"`audit` must be from 0 to 1, but got {share}.")
    predicted: dict[str, Outcome] = {}
    for outcome in outcomes:
        if outcome.latency_ms is not None:
            predicted.setdefault(outcome.architecture, outcome)
    front = {outcome.architecture for outcome in pareto_outcomes(outcomes)}
    feasible = [outcome for outcome in outcomes if outcome.feasible and outcome.latency_ms is not None]
    if not feasible:
        raise InvalidSettingError("An audit needs a feasible candidate with a predicted latency, but there is none.")
    finalists = front | {max(feasible, key=lambda outcome: outcome.reward).architecture}
    names = list(predicted)
    count = min(len(names), math.ceil(share * len(names)))
    drawn = {names[i] for i in np.random.default_rng(seed).permutation(len(names))[:count].tolist()}
    chosen = sorted(
        (outcome for name, outcome in predicted.items() if name in finalists | drawn),
        key=lambda outcome: outcome.latency_ms or 0.0,
    )
    return [(outcome, outcome.architecture in finalists, outcome.architecture in drawn) for outcome in chosen]


def check_same_device(table: LatencyTable, identity: dict[str, Any]) -> None:
    """Refuse to audit a table on another device than it was fitted on.

    Raises:
        InvalidSettingError: Another kind or model of device.
    """
    for name in ("kind", "device", "soc"):
        if identity.get(name) != table.identity.get(name):
            raise InvalidSettingError(
                f"An audit must measure on what the table was fitted on, {table.identity['kind']} "
                f"{table.device!r}, but the {name} here is {identity.get(name)!r}. Fit a table to this device with "
                "`akd latency fit`."
            )
