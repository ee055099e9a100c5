"""Writes TFLite flatbuffers operator by operator, with numpy and the schema classes of `ai-edge-litert`; no torch.

Format: https://ai.google.dev/edge/litert (schema `tflite/schema.fbs`). Activations are NHWC; float32, unless
`tflite_int8` quantised them.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

EXPORTER = "akd_gym.device_lab.tflite"
EXPORTER_VERSION = "1"  # goes up whenever the same network would be written as other operators

_EXPORTER_KEY = "exporter"
_SCHEMA_VERSION = 3
_FILE_IDENTIFIER = b"TFL3"
_DATA_ALIGNMENT = 16  # `force_align` of Buffer.data in schema.fbs; kernels read weights in place
_TENSOR_TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.float16): schema.TensorType.FLOAT16,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.int8): schema.TensorType.INT8,
}

ACTIVATIONS = {
    None: schema.ActivationFunctionType.NONE,
    "relu": schema.ActivationFunctionType.RELU,
    "relu6": schema.ActivationFunctionType.RELU6,
}


@dataclass(frozen=True)
class Quantization:
    """What the integers of a tensor mean: real = (integer - zero_point) * scale.

    Args:
        scales: float32, one for the tensor or one a slice along `axis`.
        zero_point: The integer of 0.0.
        axis: Dimension that `scales` run along.
    """

    scales: np.ndarray
    zero_point: int = 0
    axis: int = 0

    @property
    def scale(self) -> float:
        """The one scale of a tensor that has one."""
        (scale,) = self.scales
        return float(scale)


@dataclass(frozen=True)
class Operation:
    """One operator of a graph.

    Args:
        code: Name in the schema's `BuiltinOperator`.
        inputs: Tensor indices.
        output: Tensor index.
        options: Name of the options table, or None.
        settings: Fields of the options table.
        version: The least version of the runtime's kernel that computes it.
    """

    code: str
    inputs: tuple[int, ...]
    output: int
    options: str | None
    settings: dict[str, Any]
    version: int = 1


class _Buffer(schema.BufferT):
    """A buffer whose bytes are copied once and lie on the boundary that the schema asks for.

    The generated `BufferT` aligns to one byte and copies twice.
    """

    def Pack(self, builder: flatbuffers.Builder) -> int:
        """Writes the table and returns its offset; called by `ModelT.Pack`."""
        data = None
        if self.data is not None:
            raw = memoryview(self.data).cast("B")
            builder.StartVector(1, len(raw), _DATA_ALIGNMENT)
            builder.head -= len(raw)
            builder.Bytes[builder.head : builder.head + len(raw)] = raw
            data = builder.EndVector()
        schema.BufferStart(builder)
        if data is not None:
            schema.BufferAddData(builder, data)
        return schema.BufferEnd(builder)


class TFLiteWriter:
    """Collects tensors and operators of one subgraph, then writes the file.

    Tensors are named by the index that `tensor` and `constant` return. Operators must be added in execution order.
    """

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self._buffers: list[_Buffer] = [_Buffer()]  # buffer 0 is empty by convention: every activation uses it
        self._tensors: list[schema.TensorT] = []
        self._shared: dict[tuple[str, tuple[int, ...], bytes], int] = {}

    def tensor(
        self, name: str, shape: Sequence[int], dtype: Any = np.float32, quantization: Quantization | None = None
    ) -> int:
        """Declares an activation of `shape` and returns its index."""
        return self._add_tensor(name, tuple(shape), np.dtype(dtype), 0, quantization)

    def constant(self, name: str, value: np.ndarray, quantization: Quantization | None = None) -> int:
        """Adds a constant and returns its index; equal small ones without quantisation are stored once."""
        value = np.ascontiguousarray(value)
        if value.dtype not in _TENSOR_TYPES:
            known = ", ".join(map(str, _TENSOR_TYPES))
            raise TypeError(f"`value` must be one of {known}, but {name} is {value.dtype}.")
        is_shared = value.nbytes <= 64 and quantization is None
        key = (value.dtype.str, value.shape, value.tobytes()) if is_shared else None
        if key is not None and key in self._shared:
            return self._shared[key]
        self._buffers.append(_Buffer(data=value))
        index = self._add_tensor(name, value.shape, value.dtype, len(self._buffers) - 1, quantization)
        if key is not None:
            self._shared[key] = index
        return index

    def shape(self, index: int) -> tuple[int, ...]:
        """The shape of tensor `index`."""
        return self._tensors[index].shape

    def name(self, index: int) -> str:
        """The name of tensor `index`."""
        return self._tensors[index].name

    def value(self, index: int) -> np.ndarray | None:
        """The value of constant `index`; None of an activation."""
        return self._buffers[self._tensors[index].buffer].data

    def operator(
        self,
        code: str,
        inputs: Sequence[int],
        name: str,
        shape: Sequence[int],
        options: str | None = None,
        **settings: Any,
    ) -> int:
        """Adds one operator with a single float32 output and returns the output's index.

        Args:
            code: Name in the schema's `BuiltinOperator`, e.g. `"CONV_2D"`.
            inputs: Tensor indices.
            name: Name of the output tensor.
            shape: Shape of the output tensor.
            options: Name of the options table, e.g. `"Conv2DOptions"`, or None.
            **settings: Fields of the options table, as the schema spells them.
        """
        output = self.tensor(name, shape)
        self.operations.append(Operation(code, tuple(inputs), output, options, settings))
        return output

    def finish(self, inputs: dict[str, int], outputs: dict[str, int], *, description: str) -> bytes:
        """Writes the file, with a signature `serving_default` over the named inputs and outputs."""
        codes: dict[tuple[int, int], int] = {}
        operators = [_table(operation, codes) for operation in self.operations]
        self._buffers.append(_Buffer(data=f"{EXPORTER} {EXPORTER_VERSION}".encode()))
        subgraph = schema.SubGraphT(
            name="main",
            tensors=self._tensors,
            inputs=list(inputs.values()),
            outputs=list(outputs.values()),
            operators=operators,
        )
        signature = schema.SignatureDefT(
            signatureKey="serving_default",
            subgraphIndex=0,
            inputs=[schema.TensorMapT(name=name, tensorIndex=index) for name, index in inputs.items()],
            outputs=[schema.TensorMapT(name=name, tensorIndex=index) for name, index in outputs.items()],
        )
        model = schema.ModelT(
            version=_SCHEMA_VERSION,
            operatorCodes=[
                schema.OperatorCodeT(builtinCode=code, deprecatedBuiltinCode=code, version=version)
                for code, version in codes
            ],
            subgraphs=[subgraph],
            description=description,
            buffers=self._buffers,
            signatureDefs=[signature],
            metadata=[schema.MetadataT(name=_EXPORTER_KEY, buffer=len(self._buffers) - 1)],
        )
        weights = sum(memoryview(buffer.data).nbytes for buffer in self._buffers if buffer.data is not None)
        builder = flatbuffers.Builder(weights + 512 * (len(self._tensors) + 16))  # large enough not to grow
        builder.Finish(model.Pack(builder), file_identifier=_FILE_IDENTIFIER)
        return bytes(memoryview(builder.Bytes)[builder.Head() :])

    def _add_tensor(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        buffer: int,
        quantization: Quantization | None,
    ) -> int:
        parameters = None
        if quantization is not None:
            parameters = schema.QuantizationParametersT(
                scale=quantization.scales.astype(np.float32),
                zeroPoint=np.full(len(quantization.scales), quantization.zero_point, np.int64),
                quantizedDimension=quantization.axis,
            )
        self._tensors.append(
            schema.TensorT(
                name=name,
                shape=shape,
                type=_TENSOR_TYPES[dtype],
                buffer=buffer,
                quantization=parameters,
                hasRank=True,
            )
        )
        return len(self._tensors) - 1


def _table(operation: Operation, codes: dict[tuple[int, int], int]) -> schema.OperatorT:
    """The schema's form of an operator, whose code and version join `codes`."""
    key = getattr(schema.BuiltinOperator, operation.code), operation.version
    options = operation.options
    return schema.OperatorT(
        opcodeIndex=codes.setdefault(key, len(codes)),
        inputs=list(operation.inputs),
        outputs=[operation.output],
        builtinOptionsType=getattr(schema.BuiltinOptions, options) if options else 0,
        builtinOptions=getattr(schema, f"{options}T")(**operation.settings) if options else None,
    )


def exporter_of(model: bytes) -> tuple[str, str]:
    """Name and version of the writer of a TFLite file, as this writer notes it; `("unknown", "")` for any other."""
    try:
        root = schema.Model.GetRootAs(model)
        for i in range(root.MetadataLength()):
            entry = root.Metadata(i)
            if entry.Name() == _EXPORTER_KEY.encode():
                name, version = root.Buffers(entry.Buffer()).DataAsNumpy().tobytes().decode().split(" ")
                return name, version
    except (struct.error, ValueError, TypeError, AttributeError, IndexError):
        pass  # not a whole TFLite file; whoever runs it will say so
    return "unknown", ""


def input_of(model: bytes) -> tuple[tuple[int, ...] | None, str | None]:
    """Shape and type of a TFLite file's first input; `(None, None)` of a file that is none."""
    names = {number: name.lower() for name, number in vars(schema.TensorType).items() if isinstance(number, int)}
    try:
        graph = schema.Model.GetRootAs(model).Subgraphs(0)
        tensor = graph.Tensors(graph.Inputs(0))
        return tuple(int(size) for size in tensor.ShapeAsNumpy()), names[tensor.Type()]
    except (struct.error, ValueError, TypeError, AttributeError, IndexError, KeyError):
        return None, None
