from __future__ import annotations

import json
import tempfile

import numpy as np
import pytest

from akd_gym.device_lab.canary import CanaryReference
from akd_gym.device_lab.tflite_writer import TFLiteWriter


@pytest.fixture
def own_machine(monkeypatch, tmp_path):
    """Locks and the canary's reference of the test's own, so that a search beside it is neither stopped nor seen."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("AKD_GYM_CACHE", str(tmp_path / "cache"))
    reference = CanaryReference().path
    reference.parent.mkdir()
    reference.write_text(json.dumps({"canary_ms": 0.2}), encoding="utf-8")
    return tmp_path


@pytest.fixture
def tiny_model() -> bytes:
    """x + 1 on (1, 4)."""
    writer = TFLiteWriter()
    x = writer.tensor("input", (1, 4))
    y = writer.operator("ADD", [x, writer.constant("one", np.ones(4, np.float32))], "y", (1, 4), "AddOptions")
    return writer.finish({"input": x}, {"output": y}, description="x + 1")
