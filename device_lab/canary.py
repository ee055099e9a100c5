"""The canary: a small fixed model that is measured in every round, so that a slow moment shows as one."""

from __future__ import annotations

import functools

import numpy as np

from akd_gym.device_lab.tflite_writer import ACTIVATIONS, TFLiteWriter, schema

CANARY_VERSION = "1"  # part of the protocol: a changed canary makes other numbers


@functools.cache
def canary_model() -> bytes:
    """Four inverted-bottleneck blocks on a (1, 14, 14, 16) image: a student's operators, 2 M MAdds."""
    size, channels, expanded = 14, 16, 64
    rng = np.random.default_rng(0)
    writer = TFLiteWriter()

    def conv(
        x: int, name: str, outputs: int, kernel: int, *, depthwise: bool = False, relu: bool = True
    ) -> int:
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
