"""The latencies of AKDBench: one line a network, appended as soon as it is measured on this machine."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from akd_gym.bench.blocks import CLASSES, INPUT_SHAPE
from akd_gym.bench.identity import check_identity
from akd_gym.device_lab import LatencyMeter, LatencyRecord
from akd_gym.latencies import export_architecture
from akd_gym.latency_fit import ROUND_SIZE
from akd_gym.ledger_records import latency_ms
from akd_gym.table_file import appending, read_table

LATENCIES_FILE = "latencies.csv"
DEVICE_FILE = "device.json"

_HEADER = (
    *("architecture", "verdict", "latency_ms", "min_ms", "median_ms", "canary_ms", "canary_reference_ms", "runs"),
    *("core", "created", "warnings", "reason"),
)
_NUMBERS = ("latency_ms", "min_ms", "median_ms", "canary_ms", "canary_reference_ms")


class MeasuredRow(NamedTuple):
    """One line.

    Attributes:
        architecture: The canonical string.
        latency_ms: What `LatencyRecord.latency_ms` says; None if it could not be measured.
        has_warnings: Whether the machine was busy, or the like.
    """

    architecture: str
    latency_ms: float | None
    has_warnings: bool


OnMeasured = Callable[[MeasuredRow], None]


def read_latencies(path: Path) -> list[MeasuredRow]:
    """All whole lines, see `read_table`.

    Raises:
        CorruptFileError: A line is damaged, or a network is there twice.
        StorageError: The file cannot be read.
    """
    return read_table(path, _HEADER, _parse, lambda row: row.architecture, "it is measured")


def measure_architectures(
    architectures: Sequence[str], folder: Path, meter: LatencyMeter, on_measured: OnMeasured | None = None
) -> None:
    """Measure what the table in `folder` does not hold yet.

    Args:
        architectures: Canonical strings.
        folder: Of the table; made if need be.
        meter: Measures. This machine must do nothing else meanwhile if it says so.
        on_measured: Told of each that is new.

    Raises:
        RunMismatchError: The table was made on another device, or otherwise.
        CorruptFileError: The table is damaged.
        DeviceError: The device fails; what it measured before is kept.
        StorageError: The folder cannot be written.
    """
    path = folder / LATENCIES_FILE
    known = {row.architecture for row in read_latencies(path)}
    identity = meter.identity() | {"input_shape": list(INPUT_SHAPE), "classes": CLASSES}
    check_identity(folder / DEVICE_FILE, identity, "latencies", "device and this protocol")
    new = [name for name in dict.fromkeys(architectures) if name not in known]
    with appending(path, _HEADER) as table:
        for start in range(0, len(new), ROUND_SIZE):
            names = new[start : start + ROUND_SIZE]
            for record in meter.measure([(name, export_architecture(name, INPUT_SHAPE, CLASSES)) for name in names]):
                line = latency_line(record)
                table.add([line])
                if on_measured is not None:
                    on_measured(_parse(line))


def latency_line(record: LatencyRecord) -> list[str]:
    """The essentials of a record, as a line of the table."""
    values: dict[str, Any] = record.to_dict()
    for name in _NUMBERS:
        values[name] = "" if values.get(name) is None else f"{values[name]:.6f}"
    values["warnings"] = "; ".join(values["warnings"])
    return [" ".join(str("" if values[name] is None else values[name]).split()) for name in _HEADER]


def _parse(line: list[str]) -> MeasuredRow:
    values = dict(zip(_HEADER, line, strict=True))
    plain = {"verdict": values["verdict"], "latency_ms": json.loads(values["latency_ms"] or "null"), "kind": "host"}
    return MeasuredRow(values["architecture"], latency_ms(plain), bool(values["warnings"]))
