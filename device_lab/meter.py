"""The seam where latencies come from: this machine today, phones over adb and predictors later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from akd_gym.device_lab.host import HostLatency
from akd_gym.device_lab.records import LatencyRecord
from akd_gym.errors import InvalidSettingError, UnknownNameError

LATENCY_NAMES = ("host", "phone", "loopback", "predicted:FILE")


class LatencyMeter(Protocol):
    """Something that measures the latency of TFLite models. One of `LATENCY_NAMES` makes it."""

    kind: str

    def identity(self) -> dict[str, Any]:
        """Everything in JSON types that must agree for a stored number to answer in place of a new one."""
        ...

    def measure(self, models: Sequence[tuple[str, bytes]]) -> list[LatencyRecord]:
        """Measures a round of models, given as (architecture, file), in their order.

        A model that cannot be measured gets a record with verdict `"failed"`; the others keep their numbers.

        Raises:
            DeviceError: The device itself failed, so that nothing is known about any model.
            DeviceTimeoutError: It did not answer in time.
        """
        ...

    def close(self) -> None:
        """Gives the device back. May be called twice."""
        ...


def make_latency_meter(name: str) -> LatencyMeter:
    """The meter called `name`.

    Args:
        name: `"host"`: this machine, one pinned core.

    Raises:
        InvalidSettingError: A source that this version does not have yet (`phone`, `loopback`, `predicted:FILE`).
        UnknownNameError: Any other name.
    """
    if name == "host":
        return HostLatency()
    if name in ("phone", "loopback", "predicted") or name.startswith("predicted:"):
        raise InvalidSettingError(
            f"`latency` must be 'host' in this version: {name!r} is not built yet. "
            "Use latency='host', or cost='madds' to search by multiply-adds."
        )
    raise UnknownNameError("latency source", name, LATENCY_NAMES)
