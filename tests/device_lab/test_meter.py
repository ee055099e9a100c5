from __future__ import annotations

import subprocess
import sys

import pytest

from akd_gym.device_lab import HostLatency, make_latency_meter
from akd_gym.errors import UnknownNameError


def test_the_host_is_a_meter() -> None:
    meter = make_latency_meter("host")
    assert isinstance(meter, HostLatency)
    assert meter.kind == meter.identity()["kind"] == "host"
    meter.close()
    meter.close()


def test_an_unknown_source_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean 'host'.*loopback"):
        make_latency_meter("hots")


def test_the_device_lab_needs_neither_torch_nor_learning() -> None:
    check = (
        "import sys, akd_gym.device_lab\n"
        "unwanted = ('torch', 'stable_baselines3', 'akd_gym.agents', 'akd_gym.envs.search', 'akd_gym.training')\n"
        "print([name for name in unwanted if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_writer_does_not_reach_into_learning() -> None:
    check = (
        "import sys, akd_gym.device_lab.tflite\n"
        "print([name for name in ('stable_baselines3', 'akd_gym.training', 'akd_gym.networks') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
