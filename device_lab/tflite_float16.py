"""A graph whose weights are stored as float16, as LiteRT's own float16 quantisation stores them.

Every weight and bias is a float16 constant behind a DEQUANTIZE: a runtime without float16 kernels computes in float32
as before (XNNPACK unpacks the constants once, when it loads the model), a GPU takes them as they are.
Format: https://ai.google.dev/edge/litert/models/post_training_float16_quant
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from akd_gym.device_lab.tflite_graph import Graph
from akd_gym.device_lab.tflite_writer import Operation, TFLiteWriter
from akd_gym.errors import ExportError

_WITH_WEIGHTS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_DEQUANTIZE_FLOAT16_VERSION = 3  # of the kernel that knows float16


def with_float16_weights(graph: Graph) -> Graph:
    """The same graph with the weights and biases of convolutions and linear layers in float16.

    Raises:
        ExportError: If a weight is beyond what float16 holds (65,504).
    """
    source, writer = graph.writer, TFLiteWriter()
    tensors = {index: writer.tensor(name, source.shape(index)) for name, index in graph.inputs.items()}
    for operation in source.operations:
        for place, index in enumerate(operation.inputs):
            value = source.value(index)
            if value is None or index in tensors:
                continue
            is_weight = place > 0 and operation.code in _WITH_WEIGHTS
            tensors[index] = (
                _half(writer, source.name(index), value) if is_weight else writer.constant(source.name(index), value)
            )
        output = writer.tensor(source.name(operation.output), source.shape(operation.output))
        tensors[operation.output] = output
        inputs = tuple(tensors[index] for index in operation.inputs)
        writer.operations.append(replace(operation, inputs=inputs, output=output))
    return Graph(writer, *({name: tensors[i] for name, i in ends.items()} for ends in (graph.inputs, graph.outputs)))


def _half(writer: TFLiteWriter, name: str, value: np.ndarray) -> int:
    largest = float(np.abs(value).max(initial=0))
    if not largest <= float(np.finfo(np.float16).max):
        raise ExportError(f"Weights must be within 65,504 to be float16, but {name!r} reaches {largest:g}.")
    stored = writer.constant(f"{name}.float16", value.astype(np.float16))
    output = writer.tensor(name, value.shape)
    dequantize = Operation("DEQUANTIZE", (stored,), output, "DequantizeOptions", {}, _DEQUANTIZE_FLOAT16_VERSION)
    writer.operations.append(dequantize)
    return output
