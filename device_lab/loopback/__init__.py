"""A phone without hardware: the daemon side of adb on 127.0.0.1, whose commands run on this machine."""

from akd_gym.device_lab.loopback.faults import FAULT_NAMES, STAGES, Fault, parse_fault
from akd_gym.device_lab.loopback.phone import LoopbackPhone, serve
from akd_gym.device_lab.loopback.program import benchmark_program
from akd_gym.device_lab.loopback.system import PhoneState

__all__ = [  # noqa: RUF022  (grouped)
    # the phone
    "LoopbackPhone",
    "PhoneState",
    "serve",
    # its benchmark
    "benchmark_program",
    # what goes wrong
    "FAULT_NAMES",
    "STAGES",
    "Fault",
    "parse_fault",
]
