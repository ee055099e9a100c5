"""A graph quantised to int8 after training, by LiteRT's 8-bit specification.

Activations have one scale and zero point a tensor, from the range seen in calibration (widened to hold 0). Weights are
symmetric (zero point 0, -127 to 127): of convolutions one scale an output channel; of linear layers one scale in all,
as the specification has it, because an older kernel would read the first of several and take it for all. Biases are
int32 of input scale times weight scale.

XNNPACK takes all of this but AVERAGE_POOL_2D, which it has in float32 only: a network with pool skips is cut at them.

Specification: https://ai.google.dev/edge/litert/models/quantization_spec
Paper: Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference -
https://arxiv.org/abs/1712.05877
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from akd_gym.device_lab.tflite_graph import Graph
from akd_gym.device_lab.tflite_writer import ACTIVATIONS, Operation, Quantization, TFLiteWriter

Range = tuple[float, float]

_WEIGHT_AXIS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": None}
"""Dimension of the output channels that have scales of their own; None for one scale in all."""
_SAME_QUANTIZATION = ("AVERAGE_POOL_2D", "SLICE", "PAD", "RESHAPE")
"""Operators whose kernels move integers as they are, or demand that the output's mean the same."""
_FIXED_RANGE = {"LOGISTIC": Quantization(np.array([1 / 256], np.float32), -128)}
"""Operators whose output the specification fixes."""
_VERSIONS = {
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D"), 3),
    "FULLY_CONNECTED": 4,
    **dict.fromkeys(("ADD", "MUL", "AVERAGE_POOL_2D", "MEAN", "PAD", "SLICE", "LOGISTIC", "RELU", "RELU6"), 2),
    "RESHAPE": 1,
}
"""Of the first kernels that take int8 (TensorFlow's `op_version.cc`); MUL may need one more."""
_LARGEST_BIAS = 2**30
_LEAST_SHARE = 2.0**-20
"""Of a channel's scale in the largest of its layer: a channel that is as good as off takes no part in accuracy, but
integers cannot hold a bias in units that small, nor kernels rescale by so little."""


def quantized(graph: Graph, ranges: Mapping[int, Range]) -> Graph:
    """The same graph in int8, with float32 input and output.

    Args:
        graph: In float32.
        ranges: What each tensor spanned in calibration. A tensor inside an operator that was written as two may be
            missing: its range follows from its operands'.
    """
    return _Quantizer(graph, ranges).run()


class _Quantizer:
    """One pass over a graph. `tensors` are the new ones by the old ones' index, `meanings` are of new ones."""

    def __init__(self, graph: Graph, ranges: Mapping[int, Range]) -> None:
        self.graph, self.source, self.ranges = graph, graph.writer, ranges
        self.writer = TFLiteWriter()
        self.tensors: dict[int, int] = {}
        self.meanings: dict[int, Quantization] = {}

    def run(self) -> Graph:
        inputs = {name: self._quantize(name, index) for name, index in self.graph.inputs.items()}
        for operation in self.source.operations:
            self.tensors[operation.output] = self._translate(operation)
        return Graph(self.writer, inputs, {n: self._dequantize(n, i) for n, i in self.graph.outputs.items()})

    def _translate(self, operation: Operation) -> int:
        """Adds an operator in int8 and returns its output."""
        code, first = operation.code, operation.inputs[0]
        if code in _WEIGHT_AXIS:
            inputs: tuple[int, ...] = (self.tensors[first], *self._weights(operation))
        else:
            inputs = tuple(self._operand(index) for index in operation.inputs)
        if code in _SAME_QUANTIZATION:
            meaning = self.meanings[inputs[0]]
        else:
            meaning = _FIXED_RANGE.get(code) or _asymmetric(*self._range(operation))
        name, shape = self.source.name(operation.output), self.source.shape(operation.output)
        if code == "HARD_SWISH":
            return self._hard_swish(inputs[0], name, shape, meaning)
        return self._add(code, inputs, name, shape, meaning, operation.options, operation.settings)

    def _hard_swish(self, x: int, name: str, shape: Sequence[int], meaning: Quantization) -> int:
        """The input times relu6(input + 3) / 6, because XNNPACK has no HARD_SWISH in integers.

        The kernel outside of XNNPACK would cut the network in pieces: MobileNetV3-small took 3.6 ms where this was
        written, and takes 0.9 (in float32 1.7).
        """
        three, sixth = (self._constant(f"{name}.constant", np.array([value], np.float32)) for value in (3, 1 / 6))
        relu6 = {"fusedActivationFunction": ACTIVATIONS["relu6"]}
        clipped = self._add("ADD", (x, three), f"{name}.relu6", shape, _asymmetric(0, 6), "AddOptions", relu6)
        gate = self._add("MUL", (clipped, sixth), f"{name}.gate", shape, _asymmetric(0, 1), "MulOptions", {})
        return self._add("MUL", (x, gate), name, shape, meaning, "MulOptions", {})

    def _add(
        self,
        code: str,
        inputs: tuple[int, ...],
        name: str,
        shape: Sequence[int],
        meaning: Quantization,
        options: str | None,
        settings: dict[str, Any],
    ) -> int:
        version = _VERSIONS[code]
        if code == "MUL":
            version += self.meanings[inputs[0]].scale * self.meanings[inputs[1]].scale >= meaning.scale
        output = self.writer.tensor(name, shape, np.int8, meaning)
        self.meanings[output] = meaning
        self.writer.operations.append(Operation(code, inputs, output, options, settings, version))
        return output

    def _weights(self, operation: Operation) -> tuple[int, int]:
        """Weight and bias of a convolution or linear layer."""
        source, (x, *constants) = self.source, operation.inputs
        weight, bias = (source.value(index) for index in constants)
        assert weight is not None
        assert bias is not None
        axis = _WEIGHT_AXIS[operation.code]
        others = None if axis is None else tuple(one for one in range(weight.ndim) if one != axis)
        largest = np.atleast_1d(np.abs(weight).max(axis=others)).astype(np.float64)
        input_scale = self.meanings[self.tensors[x]].scale
        biases = np.abs(bias) if axis is not None else np.abs(bias).max(keepdims=True)
        scales = np.maximum.reduce(
            [
                largest / 127,
                np.full_like(largest, largest.max() / 127 * _LEAST_SHARE or 1.0),
                biases / (input_scale * _LARGEST_BIAS),
            ]
        ).astype(np.float32)
        along = scales if axis is None or axis == weight.ndim - 1 else scales.reshape(-1, *[1] * (weight.ndim - 1))
        name, bias_name = (source.name(index) for index in constants)
        integers = np.clip(np.rint(weight / along), -127, 127).astype(np.int8)
        bias_scales = (input_scale * scales.astype(np.float64)).astype(np.float32)
        bias_integers = np.rint(bias / bias_scales.astype(np.float64)).astype(np.int32)
        return (
            self.writer.constant(name, integers, Quantization(scales, 0, axis or 0)),
            self.writer.constant(bias_name, bias_integers, Quantization(bias_scales)),
        )

    def _operand(self, index: int) -> int:
        """An activation as it is, integers as they are, a float constant in int8."""
        value = self.source.value(index)
        if value is None:
            return self.tensors[index]
        if value.dtype != np.float32:
            return self.writer.constant(self.source.name(index), value)
        return self._constant(self.source.name(index), value)

    def _constant(self, name: str, value: np.ndarray) -> int:
        meaning = _asymmetric(float(value.min()), float(value.max()))
        integers = np.clip(np.rint(value / meaning.scale) + meaning.zero_point, -128, 127).astype(np.int8)
        constant = self.writer.constant(name, integers, meaning)
        self.meanings[constant] = meaning
        return constant

    def _range(self, operation: Operation) -> Range:
        """What the output of an operator spans: as observed, else whatever its operands' ranges allow."""
        if operation.output in self.ranges:
            return self.ranges[operation.output]
        assert operation.code in ("ADD", "MUL"), "only those are written for a part of a node"
        a, b = (self._spans(index) for index in operation.inputs)
        pairs = [(one, other) for one in a for other in b]
        values = [one + other if operation.code == "ADD" else one * other for one, other in pairs]
        low, high = min(values), max(values)
        if operation.settings["fusedActivationFunction"] == ACTIVATIONS["relu6"]:
            low, high = min(max(low, 0.0), 6.0), min(max(high, 0.0), 6.0)
        return low, high

    def _spans(self, index: int) -> Range:
        value = self.source.value(index)
        if value is not None:
            return float(value.min()), float(value.max())
        meaning = self.meanings[self.tensors[index]]
        return (-128 - meaning.zero_point) * meaning.scale, (127 - meaning.zero_point) * meaning.scale

    def _quantize(self, name: str, index: int) -> int:
        shape, meaning = self.source.shape(index), _asymmetric(*self.ranges[index])
        given = self.writer.tensor(name, shape)
        taken = self.writer.tensor(f"{name}.int8", shape, np.int8, meaning)
        self.writer.operations.append(Operation("QUANTIZE", (given,), taken, "QuantizeOptions", {}))
        self.tensors[index], self.meanings[taken] = taken, meaning
        return given

    def _dequantize(self, name: str, index: int) -> int:
        output = self.writer.tensor(name, self.source.shape(index))
        operation = Operation("DEQUANTIZE", (self.tensors[index],), output, "DequantizeOptions", {}, 2)
        self.writer.operations.append(operation)
        return output


def _asymmetric(low: float, high: float) -> Quantization:
    """int8 that spans `low` to `high` and 0, which padding and activations need exactly."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = np.float32((high - low) / 255 or 1.0)
    zero_point = int(np.clip(np.rint(-128 - low / float(scale)), -128, 127))
    return Quantization(np.array([scale], np.float32), zero_point)
