"""What a TFLite file asks of a device: its operators, and the features by kind that latency is predicted from.

Read with the schema classes inside `ai-edge-litert`, so of any file whose operators are known, whoever wrote it.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ai_edge_litert import schema_py_generated as schema

from akd_gym.errors import CorruptFileError, InvalidSettingError, UnknownNameError

FEATURES_VERSION = 1  # goes up whenever the same file would give other features

_MATMUL, _POOL, _PLAIN = (
    ("count", "madds", "elements", "weights"),
    ("count", "madds", "elements"),
    ("count", "elements"),
)
KINDS: Mapping[str, tuple[str, ...]] = {
    "conv_1x1": _MATMUL,
    "conv_kxk": _MATMUL,
    "depthwise": _MATMUL,
    "fully_connected": _MATMUL,
    "average_pool": _POOL,
    "max_pool": _POOL,
    "add": _PLAIN,
    "mul": _PLAIN,
    "mean": _PLAIN,
    "pad": _PLAIN,
    "slice": _PLAIN,
    "logistic": _PLAIN,
    "relu": _PLAIN,
    "reshape": _PLAIN,
    "transpose": _PLAIN,
    "concatenation": _PLAIN,
}
FEATURES = (
    *(f"{kind}.{term}" for kind, terms in KINDS.items() for term in terms),
    *("spill.inputs", "spill.outputs", "constant"),
)
"""Names of all features.

`count`: operators of the kind. `madds`: multiply-adds, with output channels rounded up to what the device does at once;
of a pooling, the elements under its windows. `elements`: of inputs and outputs that are not constant. `weights`:
constant elements, biases included. `spill`: elements of any operator's inputs or outputs that no cache holds.
"""

_KIND_OF_CODE = {
    "CONV_2D": "conv_kxk",
    "DEPTHWISE_CONV_2D": "depthwise",
    "FULLY_CONNECTED": "fully_connected",
    "AVERAGE_POOL_2D": "average_pool",
    "MAX_POOL_2D": "max_pool",
    "ADD": "add",
    "SUB": "add",
    "MUL": "mul",
    "MEAN": "mean",
    "SUM": "mean",
    "PAD": "pad",
    "PADV2": "pad",
    "SLICE": "slice",
    "STRIDED_SLICE": "slice",
    "LOGISTIC": "logistic",
    "RELU": "relu",
    "RELU6": "relu",
    "RESHAPE": "reshape",
    "TRANSPOSE": "transpose",
    "CONCATENATION": "concatenation",
}
_CODE_NAMES = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
_DAMAGE = (struct.error, ValueError, TypeError, AttributeError, IndexError, OverflowError)


class Operator(NamedTuple):
    """One operator of a model.

    Attributes:
        kind: One of `KINDS`.
        madds: Multiply-adds; of a pooling, the elements under its windows.
        channels: Of its output.
        inputs: Elements of the inputs that are not constant.
        outputs: Elements of the output.
        weights: Constant elements that enter multiply-adds, biases included.
    """

    kind: str
    madds: int
    channels: int
    inputs: int
    outputs: int
    weights: int


@dataclass(frozen=True)
class Form:
    """How features are counted, which depends on the device; a fit finds it out.

    Args:
        vector: Output channels that the device computes at once: multiply-adds are paid for whole vectors.
        cache_elements: Elements of one tensor that a cache holds; None where that does not matter.
    """

    vector: int = 1
    cache_elements: int | None = None

    def features(self, operators: Iterable[Operator]) -> dict[str, float]:
        """Value by name (see `FEATURES`) of a model; those that are 0 are left out."""
        values: Counter[str] = Counter({"constant": 1})
        for one in operators:
            terms = KINDS[one.kind]
            values[f"{one.kind}.count"] += 1
            values[f"{one.kind}.elements"] += one.inputs + one.outputs
            if terms is _POOL:
                values[f"{one.kind}.madds"] += one.madds
            elif terms is _MATMUL:
                padded = -(-one.channels // self.vector) * self.vector
                values[f"{one.kind}.madds"] += one.madds // one.channels * padded
                values[f"{one.kind}.weights"] += one.weights
            if self.cache_elements is not None:
                values["spill.inputs"] += max(0, one.inputs - self.cache_elements)
                values["spill.outputs"] += max(0, one.outputs - self.cache_elements)
        return {name: float(value) for name, value in values.items() if value}


def read_operators(model: bytes) -> tuple[Operator, ...]:
    """The operators of a model.

    Args:
        model: A TFLite file of float32 activations.

    Raises:
        UnknownNameError: An operator outside the closed set; names it.
        InvalidSettingError: Activations of another type than float32, or several subgraphs.
        CorruptFileError: Not a whole TFLite file.
    """
    try:
        return tuple(_operators(_checked(model)))
    except (UnknownNameError, InvalidSettingError):
        raise
    except _DAMAGE as error:
        raise _damaged(error) from error


def total_madds(operators: Iterable[Operator]) -> int:
    """Multiply-adds of convolutions and fully connected layers, as `cost.count_cost` counts them."""
    return sum(one.madds for one in operators if KINDS[one.kind] is _MATMUL)


def operators_hash(operators: Iterable[Operator]) -> str:
    """16 hexadecimal digits that tell models of other operators apart."""
    return hashlib.sha256(repr([tuple(one) for one in operators]).encode()).hexdigest()[:16]


class _Tensor(NamedTuple):
    shape: tuple[int, ...]
    is_float: bool
    is_constant: bool

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


def _checked(model: bytes) -> bytes:
    if not schema.Model.ModelBufferHasIdentifier(model, 0):
        raise ValueError("it does not begin as one")
    return model


def _damaged(error: Exception) -> CorruptFileError:
    return CorruptFileError(f"A model to predict must be a whole TFLite file, but it is not: {error}. Export it again.")


def _operators(model: bytes) -> Iterator[Operator]:
    root = schema.Model.GetRootAs(model)
    if root.SubgraphsLength() != 1:
        raise InvalidSettingError(f"A model to predict must have 1 subgraph, but got {root.SubgraphsLength()}.")
    graph = root.Subgraphs(0)
    tensors = [_tensor(root, graph.Tensors(i)) for i in range(graph.TensorsLength())]
    for i in range(graph.OperatorsLength()):
        operator = graph.Operators(i)
        code = root.OperatorCodes(operator.OpcodeIndex())
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())  # old files know only the latter
        name = _CODE_NAMES.get(number, f"number {number}")
        if name not in _KIND_OF_CODE:
            name = (code.CustomCode() or b"CUSTOM").decode() if name == "CUSTOM" else name
            raise UnknownNameError("operator of the latency predictor", name, _KIND_OF_CODE)
        inputs = [tensors[operator.Inputs(j)] for j in range(operator.InputsLength()) if operator.Inputs(j) >= 0]
        output = tensors[operator.Outputs(0)]
        if not output.is_float:
            raise InvalidSettingError(f"A model to predict must compute in float32, but its {name} does not.")
        yield _operator(_KIND_OF_CODE[name], operator, inputs, output)


def _operator(kind: str, operator: Any, inputs: Sequence[_Tensor], output: _Tensor) -> Operator:
    madds = weights = 0
    if KINDS[kind] is _MATMUL:
        weight = inputs[1]
        if kind == "conv_kxk" and weight.shape[1:3] == (1, 1):
            kind = "conv_1x1"
        madds = output.elements // output.shape[-1] * weight.elements  # every position takes every weight once
        weights = sum(tensor.elements for tensor in inputs[1:] if tensor.is_constant)
    elif KINDS[kind] is _POOL:
        table, options = operator.BuiltinOptions(), schema.Pool2DOptions()
        options.Init(table.Bytes, table.Pos)
        madds = output.elements * options.FilterHeight() * options.FilterWidth()
    moved = sum(tensor.elements for tensor in inputs if not tensor.is_constant)
    return Operator(kind, madds, (output.shape or (1,))[-1], moved, output.elements, weights)


def _tensor(root: Any, tensor: Any) -> _Tensor:
    buffer = root.Buffers(tensor.Buffer())
    if length := buffer.DataLength():
        buffer.Data(length - 1)  # raises where the file ends before
    is_constant = length > 0 or buffer.Size() > 0  # of a file beyond 2 GB, data lies behind the flatbuffer
    return _Tensor(_shape(tensor), tensor.Type() == schema.TensorType.FLOAT32, is_constant)


def _shape(tensor: Any) -> tuple[int, ...]:
    shape = tuple(int(tensor.Shape(i)) for i in range(tensor.ShapeLength()))
    if any(size < 0 for size in shape):
        raise ValueError(f"a tensor has the shape {shape}")
    return shape
