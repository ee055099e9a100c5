"""How long a look-up takes in a ledger of a million evaluations."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from akd_gym.ledger import Ledger, TrainingRecord
from akd_gym.space import make_space
from benchmarks.results import Measurement

ROWS = 1_000_000
LOOKUPS = 10_000
MISS_SHARE = 0.2


def measure() -> dict[str, Measurement]:
    """Give `ledger_lookup_us`."""
    return {"ledger_lookup_us": ledger_lookup_us()}


def ledger_lookup_us(rows: int = ROWS, lookups: int = LOOKUPS) -> Measurement:
    """Fills a ledger through its public interface and looks up random trainings, a fifth of them not there.

    Every row has an architecture string of the `akd` space's length and the record of a real training. The
    ledger is closed and opened again before the look-ups; its file stays in the page cache, as in a search.

    Returns:
        `value` and `p99`, the median and 99th percentile of a look-up in microseconds, and what else the file costs.
    """
    reference = " ".join(str(make_space("akd").network(make_space("akd").reference)).split()[1:])

    def architecture(i: int) -> str:
        # The number comes scattered, so that neighbours in time are no neighbours in the index.
        return f"stem_k3_s2_c{i * 2654435761 % 2**32} {reference}"

    def trainings(context: str) -> Iterator[tuple[str, str, int, TrainingRecord]]:
        rng = random.Random(0)
        for i in range(rows):
            record = TrainingRecord(
                "ok", accuracy=rng.random(), loss=rng.random(), seconds=12.3, epochs=5, created="2026-01-01"
            )
            yield context, architecture(i), 0, record

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "ledger.sqlite"
        start = time.perf_counter()
        with Ledger.open(path) as ledger:
            context = ledger.context({"space": "akd", "task": "benchmark"})
            stored = ledger.add_trainings(trainings(context))
        fill_s = time.perf_counter() - start
        assert stored == rows

        start = time.perf_counter()
        ledger = Ledger.open(path)
        open_ms = (time.perf_counter() - start) * 1e3
        rng = random.Random(1)
        span = round(rows / (1 - MISS_SHARE))
        keys = [rng.randrange(span) for _ in range(lookups)]
        times_us = np.empty(lookups)
        with ledger:
            for n, i in enumerate(keys):
                wanted = architecture(i)
                start = time.perf_counter()
                found = ledger.find_training(context, wanted, 0)
                times_us[n] = (time.perf_counter() - start) * 1e6
                assert (found is None) == (i >= rows)
        return {
            "value": float(np.median(times_us)),
            "p99": float(np.percentile(times_us, 99)),
            "rows": rows,
            "lookups": lookups,
            "misses": sum(i >= rows for i in keys),
            "open_ms": open_ms,
            "fill_s": fill_s,
            "file_mib": path.stat().st_size / 2**20,
        }
