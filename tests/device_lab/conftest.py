from __future__ import annotations

import sys

import numpy as np
import pytest

from akd_gym.device_lab.tflite_writer import TFLiteWriter

collect_ignore_glob = [] if sys.platform == "linux" else ["adb/*", "loopback/*", "phones/*"]
"""They run against loopback phones, which need Linux."""


@pytest.fixture
def tiny_model() -> bytes:
    """x + 1 on (1, 16384): small, but nowhere done in less than a microsecond."""
    writer = TFLiteWriter()
    x = writer.tensor("input", (1, 16384))
    y = writer.operator("ADD", [x, writer.constant("one", np.ones(1, np.float32))], "y", (1, 16384), "AddOptions")
    return writer.finish({"input": x}, {"output": y}, description="x + 1")
