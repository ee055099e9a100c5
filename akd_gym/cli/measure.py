"""`akd measure`: the latency of one model or architecture on a device."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text

from akd_gym.agents.settings import optional
from akd_gym.architecture import NetworkSpec
from akd_gym.errors import DeviceError, InvalidSettingError, StorageError

if TYPE_CHECKING:
    from akd_gym.device_lab import LatencyRecord


@dataclass(frozen=True)
class Measure:
    """Measure the latency of a TFLite file, or of an architecture with fresh weights, on a device.

    For instance:
    - akd measure student.tflite --latency phone
    - akd measure "ARCHITECTURE" --data imagenet:/data/imagenet --latency phone:usb:SERIAL
    - akd measure student.tflite --latency host --json > record.json
    """

    model: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="FILE|ARCHITECTURE")]]
    """A .tflite file, or a canonical string as searches print it."""
    latency: str = "host"
    """Where: host, phone, phone:ADDRESS, loopback or predicted:FILE, as for akd search."""
    data: str = "fashion"
    """Images that an architecture is for: their size and classes."""
    resolution: Annotated[int | None, optional("PIXELS")] = None
    """Pixels of height and width; by default the data's own."""
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print the whole record as JSON."""

    def __call__(self, console: Console) -> None:
        """Measure and print."""
        from akd_gym.device_lab import make_latency_meter

        name, content = self._model()
        said = Console(stderr=True)
        meter = make_latency_meter(self.latency, lambda text: said.out(text, style="dim", highlight=False))
        try:
            with said.status("measuring"):
                [record] = meter.measure([(name, content)])
        finally:
            meter.close()
        if self.json:
            console.out(json.dumps(record.to_dict(), indent=2), highlight=False)
        else:
            console.print(_table(record))
        if record.verdict != "ok":
            raise DeviceError(f"{name} has no latency: {record.reason}")

    def _model(self) -> tuple[str, bytes]:
        """Name and file of what is to be measured."""
        path = Path(self.model)
        if path.suffix == ".tflite" or os.path.isfile(path):  # noqa: PTH113 - which takes names too long for a file
            try:
                return str(path), path.read_bytes()
            except OSError as error:
                raise StorageError(f"The model {path} cannot be read: {error.strerror or error}.") from error
        from akd_gym.cli.inputs import describe_images
        from akd_gym.latencies import export_architecture

        if self.resolution is not None and self.resolution < 1:
            raise InvalidSettingError(f"`resolution` must be at least 1, but got {self.resolution}.")
        spec = NetworkSpec.parse(self.model).canonical()
        channels, resolution, classes, _ = describe_images(self.data, self.resolution)
        return str(spec), export_architecture(str(spec), (channels, resolution, resolution), classes)


def _table(record: LatencyRecord) -> Table:
    """What a reader wants to know of a record."""
    table = Table(show_header=False, box=None)
    rows: dict[str, object] = {"model": record.architecture}
    if record.verdict == "ok":
        rows["latency"] = f"{record.latency_ms:.4g} ms ({record.kind})"
        if record.p5_ms is not None and record.p95_ms is not None:
            rows["5th to 95th percentile"] = f"{record.p5_ms:.4g} to {record.p95_ms:.4g} ms, {record.runs} runs"
        if record.repeat_median_ms:
            rows["medians of repeats"] = ", ".join(f"{value:.4g}" for value in record.repeat_median_ms) + " ms"
    rows["device"] = " / ".join(filter(None, (record.device, record.soc, record.os)))
    if record.core is not None:
        pinned = "" if record.affinity is None else f", pinned: {'yes' if record.affinity == (record.core,) else 'no'}"
        rows["core"] = f"{record.core}{pinned}, {record.threads} thread"
    rows["runtime"] = f"{record.runtime} {record.runtime_version}"
    if record.canary_ms is not None and record.canary_reference_ms is not None:
        rows["canary"] = f"{record.canary_ms:.4g} ms, at its best {record.canary_reference_ms:.4g} ms"
    if record.tries > 1:
        rows["attempts"] = record.tries
    for label, value in [*rows.items(), *(("warning", text) for text in record.warnings)]:
        table.add_row(label, Text(str(value)))
    return table
