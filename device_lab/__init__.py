"""Latency: TFLite models, what they cost on a device, and how that was measured. Knows nothing of searching."""

from akd_gym.device_lab.host import HostLatency, HostProtocol
from akd_gym.device_lab.meter import LATENCY_NAMES, LatencyMeter, make_latency_meter
from akd_gym.device_lab.records import LatencyRecord

__all__ = [  # noqa: RUF022  (grouped)
    # where latencies come from
    "LATENCY_NAMES",
    "LatencyMeter",
    "make_latency_meter",
    # this machine
    "HostLatency",
    "HostProtocol",
    # what comes back
    "LatencyRecord",
]
