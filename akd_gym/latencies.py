"""Latencies of architectures: looked up in a ledger, else exported and measured, and kept as soon as they are there."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from akd_gym.architecture import NetworkSpec
from akd_gym.ledger import Ledger
from akd_gym.ledger_records import latency_ms

if TYPE_CHECKING:
    from akd_gym.device_lab import LatencyMeter, LatencyRecord


class LatencyBook:
    """What a meter says of architectures on images of one shape, paid for once and kept in a ledger.

    Args:
        meter: Who measures; the caller closes it.
        ledger: Where records are kept.
        input_shape: `(channels, resolution, resolution)` of the images.
        num_classes: Classes of the images.

    Attributes:
        context: The ledger's, of all that the latencies depend on besides the architecture.
    """

    def __init__(
        self, meter: LatencyMeter, ledger: Ledger, input_shape: tuple[int, int, int], num_classes: int
    ) -> None:
        self.meter, self.ledger = meter, ledger
        self.input_shape, self.num_classes = input_shape, num_classes
        identity = meter.identity() | {"input_shape": list(input_shape), "classes": num_classes}
        self.context = ledger.context(identity)

    def find(self, architecture: str) -> dict[str, Any] | None:
        """The record, as a dict; None if it was not measured yet."""
        return self.ledger.find_latency(self.context, architecture)

    def is_measurable(self, architecture: str) -> bool:
        """Whether nothing says yet that it is not."""
        record = self.find(architecture)
        return record is None or latency_ms(record) is not None

    def measure(self, architectures: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The record of each, as a dict, after measuring those that were not measured yet.

        Raises:
            DeviceError: If the device fails; what it measured before is kept.
        """
        if models := self._new_models(architectures):
            self._keep(self.meter.measure(models))
        return {name: record for name in architectures if (record := self.find(name)) is not None}

    def begin(self, architectures: Sequence[str]) -> Measuring:
        """Measures like `measure`, while this thread does something else."""
        models = self._new_models(architectures)
        return Measuring(self, self.meter.measure(models) if models else ())

    def _new_models(self, architectures: Sequence[str]) -> list[tuple[str, bytes]]:
        new = [name for name in dict.fromkeys(architectures) if self.find(name) is None]
        return [(name, export_architecture(name, self.input_shape, self.num_classes)) for name in new]

    def _keep(self, records: Iterable[LatencyRecord]) -> None:
        for record in records:
            self.ledger.add_latency(self.context, record.architecture, record.to_dict())


class Measuring:
    """A round of models that is measured in a thread of its own; closing the meter ends it.

    The ledger belongs to the thread that opened it: records are kept when that thread calls `keep` or `finish`.

    Attributes:
        seconds: Until the last record; complete after `finish`.
    """

    def __init__(self, book: LatencyBook, records: Iterable[LatencyRecord]) -> None:
        self.seconds = 0.0
        self._book = book
        self._arrived: queue.SimpleQueue[LatencyRecord | None] = queue.SimpleQueue()
        self._error: BaseException | None = None
        threading.Thread(target=self._collect, args=(records, time.perf_counter()), daemon=True).start()

    def keep(self) -> None:
        """Keeps what has arrived. An error waits for `finish`, so that what goes on beside it is not lost."""
        self._book._keep(self._ready())

    def finish(self) -> None:
        """Waits for the rest and keeps it; then raises what the meter raised."""
        self._book._keep(iter(self._arrived.get, None))
        if self._error is not None:
            raise self._error

    def _ready(self) -> Iterator[LatencyRecord]:
        with contextlib.suppress(queue.Empty):
            while (record := self._arrived.get_nowait()) is not None:
                yield record
            self._arrived.put(None)

    def _collect(self, records: Iterable[LatencyRecord], start: float) -> None:
        try:
            for record in records:
                self._arrived.put(record)
        except BaseException as error:
            self._error = error
        self.seconds = time.perf_counter() - start
        self._arrived.put(None)


def export_architecture(architecture: str, input_shape: tuple[int, int, int], num_classes: int) -> bytes:
    """The TFLite file of a network with fresh weights; latency does not depend on them.

    Raises:
        ExportError: It has an operator that the writer does not know.
    """
    from akd_gym.device_lab.tflite import export_tflite
    from akd_gym.networks import build_network

    network = build_network(NetworkSpec.parse(architecture), num_classes, input_shape[0]).eval()
    return export_tflite(network, (1, *input_shape))
