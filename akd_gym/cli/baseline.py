"""`akd baseline`: a published network at the width that meets a latency."""

from __future__ import annotations

import csv
import io
import json
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.console import Console

from akd_gym.agents.settings import optional
from akd_gym.architecture import NetworkSpec
from akd_gym.cli.console import say
from akd_gym.cost import count_cost
from akd_gym.errors import DeviceError, InvalidSettingError, StorageError

if TYPE_CHECKING:
    from akd_gym.baseline_fit import Fit, Trial
    from akd_gym.device_lab import LatencyMeter, LatencyRecord

_COLUMNS = (
    *("baseline", "ratio", "latency_ms", "target_ms", "is_met", "madds", "params", "device", "kind"),
    *("resolution", "channels", "classes", "divisor", "undo_strides", "architecture"),
)


@dataclass(frozen=True)
class Baseline:
    """Scale the channels of MobileNetV2, MobileNetV3 or MNASNet until its measured latency meets a target.

    Prints an architecture string that trains, exports and measures like any student's.

    For instance:
    - akd baseline mobilenet_v3_small --target-ms 15 --latency phone --resolution 224 --channels 3 --classes 1000
    - akd baseline mobilenet_v2 --target-ms 0.2 --out baselines.csv
    """

    name: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="NAME")]]
    """mobilenet_v2, mobilenet_v3_small, mobilenet_v3_large, mnasnet_a1 or mnasnet_b1."""
    target_ms: float
    """Latency to meet, ms."""
    latency: str = "host"
    """Where it is measured: host, phone, phone:ADDRESS, loopback or predicted:FILE, as for akd search."""
    data: str = "fashion"
    """Images that the network is for: their size and classes."""
    resolution: Annotated[int | None, optional("PIXELS")] = None
    """Pixels of height and width; by default the data's own."""
    channels: Annotated[int | None, optional("N")] = None
    """Channels of an image; by default the data's own."""
    classes: Annotated[int | None, optional("N")] = None
    """Outputs; by default the data's own."""
    divisor: int = 8
    """Of what number channels are multiples: 8 in the papers; 4 or less makes finer steps between widths."""
    undo_strides: Annotated[int | None, optional("N")] = None
    """Of how many layers, from the first on, the stride of 2 becomes 1; by default of 2 up to 64 px, else of none."""
    tolerance: float = 0.03
    """How far from the target (a fraction) a latency may lie to be taken."""
    out: Annotated[Path | None, optional("FILE")] = None
    """File to write: a .json with every measurement, or a .csv that gains one row."""

    def __call__(self, console: Console) -> None:
        """Measure until the target is met, print, and write."""
        from akd_gym.baseline_fit import fit_baseline
        from akd_gym.device_lab import make_latency_meter

        if self.out is not None and self.out.suffix not in (".csv", ".json"):
            raise InvalidSettingError(f"`out` must end in .csv or .json, but got {self.out}.")
        input_shape, classes = self._images()
        undo_strides = self._undone(input_shape[1])
        meter = make_latency_meter(self.latency, lambda text: say(console, text))
        stopwatch = _Stopwatch(meter, input_shape, classes)
        try:
            fit = fit_baseline(
                self.name,
                self.target_ms,
                stopwatch,
                tolerance=self.tolerance,
                divisor=self.divisor,
                undo_strides=undo_strides,
                on_trial=lambda trial: say(console, f"ratio {trial.ratio:.3f}: {trial.latency_ms:.4g} ms"),
            )
        finally:
            meter.close()
        record = stopwatch.records[fit.best.architecture]
        cost = count_cost(NetworkSpec.parse(fit.best.architecture), input_shape[1], input_shape[0], classes)
        row: dict[str, Any] = {
            "baseline": self.name,
            **asdict(fit.best),
            "target_ms": self.target_ms,
            "is_met": fit.is_met,
            "madds": cost.madds,
            "params": cost.params,
            "device": record.device,
            "kind": record.kind,
            "resolution": input_shape[1],
            "channels": input_shape[0],
            "classes": classes,
            "divisor": self.divisor,
            "undo_strides": undo_strides,
        }
        _show(fit, row, self.tolerance, console)
        if self.out is not None:
            _write(self.out, row, fit.trials, record)
            console.print(f"Written: {self.out}", highlight=False, markup=False, soft_wrap=True)

    def _images(self) -> tuple[tuple[int, int, int], int]:
        """Input shape and classes; the data set is only opened for what was not given."""
        from akd_gym.cli.inputs import input_of

        return input_of(self.data, self.channels, self.resolution, self.classes)

    def _undone(self, resolution: int) -> int:
        from akd_gym.evaluation import SMALL_IMAGES

        if self.undo_strides is not None:
            return self.undo_strides
        return 2 if resolution <= SMALL_IMAGES else 0


class _Stopwatch:
    """Gives the latency of an architecture, and keeps the record of each."""

    def __init__(self, meter: LatencyMeter, input_shape: tuple[int, int, int], classes: int) -> None:
        self.records: dict[str, LatencyRecord] = {}
        self._meter, self._input_shape, self._classes = meter, input_shape, classes

    def __call__(self, architecture: str) -> float:
        from akd_gym.latencies import export_architecture

        model = export_architecture(architecture, self._input_shape, self._classes)
        [record] = self._meter.measure([(architecture, model)])
        if record.verdict != "ok":
            raise DeviceError(f"{architecture} has no latency: {record.reason}")
        self.records[architecture] = record
        latency_ms = record.latency_ms
        assert latency_ms is not None
        return latency_ms


def _show(fit: Fit, row: dict[str, Any], tolerance: float, console: Console) -> None:
    from akd_gym.analysis.formats import format_cost, format_count

    best = fit.best
    off = 100 * (best.latency_ms / fit.target_ms - 1)
    console.print(f"ratio         {best.ratio:.3f}", highlight=False)
    latency = f"{format_cost(best.latency_ms, 'ms')} ({row['kind']}: {row['device']}), {off:+.1f} % off the target"
    console.print(f"latency       {latency}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"MAdds         {format_count(row['madds'])}", highlight=False)
    console.print(f"params        {format_count(row['params'])}", highlight=False)
    console.print(f"measurements  {len(fit.trials)}", highlight=False)
    if not fit.is_met:
        text = f"No width lies within {100 * tolerance:g} % of the target: this is the nearest step of the channels"
        text += f" (multiples of {row['divisor']}; a smaller --divisor makes finer steps)."
        console.print(text, style="yellow", highlight=False, soft_wrap=True)
    console.print("Train it:", style="bold")
    command = shlex.join(["akd", "train", best.architecture, "--out", f"runs/{row['baseline']}"])
    console.print(command, highlight=False, markup=False, soft_wrap=True)


def _write(path: Path, row: dict[str, Any], trials: tuple[Trial, ...], record: LatencyRecord) -> None:
    """One row more in a CSV, or a JSON of its own.

    Raises:
        InvalidSettingError: The CSV is there and has other columns.
        StorageError: The file cannot be read or written.
    """
    from akd_gym.files import write_atomically

    if path.suffix == ".json":
        content = row | {"trials": [asdict(trial) for trial in trials], "record": record.to_dict()}
        write_atomically(path, (json.dumps({"schema_version": 1, **content}, indent=2) + "\n").encode())
        return
    try:
        earlier = path.read_text(encoding="utf-8") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"The table {path} cannot be read: {error}.") from error
    header = ",".join(_COLUMNS)
    if earlier and earlier.splitlines()[0] != header:
        raise InvalidSettingError(
            f"`out` must be a table of `akd baseline` or a new file, but {path} has other columns."
        )
    text = io.StringIO(earlier)
    text.seek(0, io.SEEK_END)
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    if not earlier:
        writer.writeheader()
    writer.writerow(row)
    write_atomically(path, text.getvalue().encode())
