"""The seam where latencies come from: this machine, phones over adb, the loopback phone, a fitted predictor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from akd_gym.device_lab.host import HostLatency
from akd_gym.device_lab.records import LatencyRecord
from akd_gym.errors import InvalidSettingError, UnknownNameError

LATENCY_NAMES = ("host", "phone", "phone:ADDRESS", "mixed-phones", "loopback", "predicted:FILE")

Announce = Callable[[str], None]


class LatencyMeter(Protocol):
    """Something that gives the latency of TFLite models. One of `LATENCY_NAMES` makes it.

    Attributes:
        kind: The kind of its records.
        needs_quiet: Whether this machine must do nothing else while it measures.
    """

    kind: str
    needs_quiet: bool

    def identity(self) -> dict[str, Any]:
        """Everything in JSON types that must agree for a stored number to answer in place of a new one."""
        ...

    def measure(self, models: Sequence[tuple[str, bytes]]) -> Iterable[LatencyRecord]:
        """Measures a round of models, given as (architecture, file), and gives each record as soon as it is there.

        A model that cannot be measured gets a record with verdict `"failed"`; the others keep their numbers.

        Raises:
            DeviceError: The device itself failed, so that nothing is known about the models without a record.
            DeviceTimeoutError: It did not answer in time.
        """
        ...

    def close(self) -> None:
        """Gives the device back, and breaks off what it measures for another thread. May be called twice."""
        ...


def make_latency_meter(name: str, announce: Announce | None = None) -> LatencyMeter:
    """The meter called `name`.

    Args:
        name: `"host"`: this machine, one pinned core. `"phone"`: all phones of one model that adb can see;
            `"phone:ADDRESS[,ADDRESS...]"`: these (see `akd_gym.device_lab.adb.addresses`). `"mixed-phones"`, likewise
            with addresses: phones of different models, each candidate on any of them. `"loopback"`: a phone that this
            process makes and whose commands run on this machine; `"loopback:ADDRESS,..."`: running ones.
            `"predicted:FILE"`: a table made by `akd latency fit`.
        announce: Told of waits and of phones that come and go.

    Raises:
        UnknownNameError: Any other name.
        InvalidSettingError: An address that is none.
        DeviceError: A phone cannot be reached, or is not as asked for.
        StorageError: The table cannot be read.
    """
    source, colon, rest = name.partition(":")
    if colon and not rest:
        raise InvalidSettingError(f"`latency` must name something after the colon, but got {name!r}.")
    if name == "host":
        return HostLatency()
    if source in ("phone", "mixed-phones", "loopback"):
        from akd_gym.device_lab.phones.meter import open_phones

        return open_phones(source, rest.split(",") if rest else (), announce=announce)
    if source == "predicted" and rest:
        from akd_gym.device_lab.predictor import PredictedLatency

        return PredictedLatency(rest)
    raise UnknownNameError("latency source", name, LATENCY_NAMES)
