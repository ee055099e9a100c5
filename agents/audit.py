"""A search on predicted latency, audited: its finalists and some other candidates measured on the device itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from akd_gym.agents.search import read_outcomes
from akd_gym.agents.settings import SearchSettings, read_search_name, run_ledger
from akd_gym.device_lab import make_latency_meter
from akd_gym.device_lab.predictor import read_table
from akd_gym.errors import InvalidSettingError
from akd_gym.evaluation import Announce
from akd_gym.latencies import LatencyBook
from akd_gym.latency_audit import Audit, audit_predictions
from akd_gym.ledger import Ledger


def audit_run(
    settings: SearchSettings,
    run: Path,
    *,
    announce: Announce | None = None,
    on_measured: Callable[[str, dict[str, Any]], None] | None = None,
) -> Audit:
    """Measure a share of a finished search's candidates and all finalists where its latency table was fitted.

    Args:
        settings: Of the search; `audit` is the share.
        run: Run directory.
        announce: Told of waits and of phones that come and go.
        on_measured: Told of each candidate's record.

    Raises:
        InvalidSettingError: The search did not predict, or the device here is not the table's.
        DeviceError: The device fails; the same call goes on.
        AKDGymError: See `make_latency_meter`, `read_table` and `audit_predictions`.
    """
    source, _, path = settings.latency.partition(":")
    if source != "predicted" or settings.audit is None:
        raise InvalidSettingError(f"An audit must be of predicted latencies, but `latency` is {settings.latency!r}.")
    table = read_table(Path(path))
    meter = make_latency_meter(table.spec, announce)
    try:
        with Ledger.open(run_ledger(settings, run)) as ledger:
            predicted = _predicted_images(ledger, read_search_name(run))
            book = LatencyBook(meter, ledger, predicted[0], predicted[1])
            return audit_predictions(
                read_outcomes(run).outcomes,
                table,
                book,
                run,
                table_path=path,
                share=settings.audit,
                seed=settings.seed,
                on_measured=on_measured,
            )
    finally:
        meter.close()


def _predicted_images(ledger: Ledger, search: str) -> tuple[tuple[int, int, int], int]:
    """Input shape and classes of a search's candidates, as their predictions were made for."""
    candidate = next(ledger.candidates(search))
    assert candidate.latency_context is not None
    identity = ledger.identity(candidate.latency_context)
    assert identity is not None
    channels, height, width = identity["input_shape"]
    return (channels, height, width), identity["classes"]
