"""The canary: a small fixed model that is measured in every round, so that a slow moment shows as one."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import json
import os
from pathlib import Path

import numpy as np

from akd_gym.device_lab.machine import machine_id
from akd_gym.device_lab.tflite_writer import ACTIVATIONS, TFLiteWriter, schema
from akd_gym.files import write_atomically

CANARY_VERSION = "1"  # part of the protocol: a changed canary makes other numbers

CALIBRATION_S = 5.0  # how long the first measurement on a machine looks for the machine's best speed


class CanaryReference:
    """What the canary takes on a device at its best: the speed that latencies are stated for.

    Taken once a device and user, and kept in the cache folder (`$AKD_GYM_CACHE`, else the user's), so that the
    numbers of all sessions agree.
    Delete the file to take it anew. Use this under the device's lock.

    Args:
        device: What tells the device and its runtime from others, fit for a file name; None for this machine.
    """

    def __init__(self, device: str | None = None) -> None:
        if device is None:
            device = f"litert{importlib.metadata.version('ai-edge-litert')}-{machine_id()}"
        chosen = os.environ.get("AKD_GYM_CACHE")
        cache = Path(chosen or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "akd_gym"))
        self.path = cache / f"canary{CANARY_VERSION}-{device}.json"
        self._value_ms: float | None = None

    def read(self) -> float | None:
        """Milliseconds; None if it was not taken yet."""
        if self._value_ms is None:
            with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
                value = float(json.loads(self.path.read_text(encoding="utf-8"))["canary_ms"])
                self._value_ms = value if 0 < value < float("inf") else None
        return self._value_ms

    def settle(self, canary_ms: float) -> float:
        """Makes `canary_ms` the reference unless there is one; returns the reference."""
        known = self.read()
        if known is not None:
            return known
        self._value_ms = canary_ms
        with contextlib.suppress(OSError):  # where nothing can be kept, each session takes its own
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path, json.dumps({"canary_ms": canary_ms}).encode())
        return canary_ms


@functools.cache
def canary_model() -> bytes:
    """Four inverted-bottleneck blocks on a (1, 14, 14, 16) image: a student's operators, 2 M MAdds."""
    size, channels, expanded = 14, 16, 64
    rng = np.random.default_rng(0)
    writer = TFLiteWriter()

    def conv(x: int, name: str, outputs: int, kernel: int, *, depthwise: bool = False, relu: bool = True) -> int:
        inputs = writer.shape(x)[3]
        shape = (1, kernel, kernel, outputs) if depthwise else (outputs, kernel, kernel, inputs)
        scale = 1 / np.sqrt(kernel * kernel * (1 if depthwise else inputs))
        weight = (rng.standard_normal(shape) * scale).astype(np.float32)
        return writer.operator(
            "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D",
            [
                x,
                writer.constant(f"{name}.weight", weight),
                writer.constant(f"{name}.bias", np.zeros(outputs, "f4")),
            ],
            name,
            (1, size, size, outputs),
            "DepthwiseConv2DOptions" if depthwise else "Conv2DOptions",
            padding=schema.Padding.SAME,
            strideH=1,
            strideW=1,
            fusedActivationFunction=ACTIVATIONS["relu" if relu else None],
            **({"depthMultiplier": 1} if depthwise else {}),
        )

    image = x = writer.tensor("input", (1, size, size, channels))
    for block in range(4):
        y = conv(x, f"expand{block}", expanded, 1)
        y = conv(y, f"depthwise{block}", expanded, 3, depthwise=True)
        y = conv(y, f"project{block}", channels, 1, relu=False)
        x = writer.operator("ADD", [x, y], f"add{block}", (1, size, size, channels), "AddOptions")
    return writer.finish({"input": image}, {"output": x}, description=f"canary {CANARY_VERSION}")
