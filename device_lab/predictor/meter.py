"""Latency as a fitted table predicts it: the meter of `latency="predicted:FILE"`."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from akd_gym.device_lab.predictor.features import FEATURES_VERSION, read_operators
from akd_gym.device_lab.predictor.table_file import read_table
from akd_gym.device_lab.records import LatencyRecord
from akd_gym.device_lab.tflite_writer import exporter_of, input_of
from akd_gym.errors import AKDGymError, DeviceError


class PredictedLatency:
    """Predicts TFLite models by a table that `akd latency fit` made; needs no device.

    Args:
        path: The table's file.

    Raises:
        StorageError: It is missing or cannot be read.
        InvalidSettingError: It is no latency table.
        SchemaVersionError: Another version of this package wrote it.
        CorruptFileError: It is damaged.
    """

    kind = "predicted"
    needs_quiet = True  # it takes no time, so that before the trainings is when it is of most use

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.table = read_table(self.path)
        self._sha256 = self.table.sha256

    def identity(self) -> dict[str, Any]:
        """The table's content, how features are read, and the device that the table stands for."""
        return {
            "kind": self.kind,
            "device": self._device,
            "table": self._sha256,
            "features_version": FEATURES_VERSION,
            "of": dict(self.table.identity),
        }

    def measure(self, models: Sequence[tuple[str, bytes]]) -> Iterator[LatencyRecord]:
        """Predicts each model.

        Args:
            models: (architecture, TFLite file) of each.

        Yields:
            One record a model, in order. A model with an operator that the table does not know, or that is damaged,
            has verdict `"failed"` and its reason.
        """
        for name, content in models:
            yield self._record(name, content)

    def close(self) -> None:
        """Does nothing: nothing is held."""

    @property
    def _device(self) -> str:
        return f"predicted: {self.table.device}"

    def _record(self, name: str, content: bytes) -> LatencyRecord:
        table = self.table
        exporter, exporter_version = exporter_of(content)
        try:
            model = read_operators(content)
            found: dict[str, Any] = {
                "median_ms": self._positive(table.model.predict(model)),
                "warnings": table.model.doubts(model),
                "input_shape": input_of(content)[0],
                "verdict": "ok",
            }
        except AKDGymError as error:
            found = {"verdict": "failed", "reason": str(error)}
        return LatencyRecord(
            architecture=name,
            model_sha256=hashlib.sha256(content).hexdigest(),
            exporter=exporter,
            exporter_version=exporter_version,
            kind="predicted",
            runtime=table.runtime,
            runtime_version=table.runtime_version,
            device=self._device,
            device_id=table.device_id,
            os=table.os,
            soc=table.soc,
            core=None,
            affinity=None,
            governor=None,
            threads=table.threads,
            clock=None,
            dtype="float32",
            created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            tool_version=importlib.metadata.version("akd-gym"),
            **found,
        )

    def _positive(self, predicted_ms: float) -> float:
        if predicted_ms > 0:
            return predicted_ms
        raise DeviceError(f"A prediction must be positive, but {self.path} gives {predicted_ms} ms")
