"""How each known PyTorch operator is written in TFLite. What a handler is: `tflite_graph.Lowering`."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import fx, nn

from akd_gym.device_lab.tflite_windows import Window
from akd_gym.device_lab.tflite_writer import ACTIVATIONS
from akd_gym.errors import ExportError

if TYPE_CHECKING:
    from akd_gym.device_lab.tflite_graph import Lowering

Result = tuple[fx.Node, int]


def identity(low: Lowering, node: fx.Node) -> Result:
    """Dropout in eval mode, and other nothings."""
    return node, low.tensor(node)


def dropout(low: Lowering, node: fx.Node, p: float = 0.5, training: bool = True) -> Result:
    """The function; it drops unless told that it is not training."""
    if training and p > 0:
        low.refuse(node, "active although the module is in eval mode")
    return identity(low, node)


def conv(low: Lowering, node: fx.Node) -> Result:
    """A convolution with what follows it: batch norm folded, activation fused."""
    layer = low.module(node)
    x, (_, height, width, channels) = low.image(node)
    if layer.padding_mode != "zeros" or not isinstance(layer.padding, tuple):
        low.refuse(node, f"padding {layer.padding!r} of mode {layer.padding_mode!r}; only zeros, in numbers")
    if layer.in_channels != channels:
        low.refuse(node, f"it takes {layer.in_channels} channels and gets {channels}")
    depthwise = layer.groups == layer.in_channels and layer.groups > 1
    if layer.groups != 1 and not depthwise:
        low.refuse(node, f"{layer.groups} groups of {layer.in_channels} channels; only dense and depthwise")

    norm = low.only_user(node, batch_norm)
    last, activation = low.activation(norm or node)
    weight, bias = _array(layer.weight).transpose((1, 2, 3, 0) if depthwise else (0, 2, 3, 1)), _bias(layer)
    if norm is not None:
        scale, shift = _scale_shift(low.module(norm))
        along_outputs = scale if depthwise else scale[:, None, None, None]
        weight, bias = np.multiply(weight, along_outputs, order="C"), bias * scale + shift
    windows = tuple(
        Window(size, (kernel - 1) * dilation + 1, stride, pad)
        for size, kernel, dilation, stride, pad in zip(
            (height, width), layer.kernel_size, layer.dilation, layer.stride, layer.padding, strict=True
        )
    )
    x, padding = low.padded(node, x, windows)
    inputs = [x, low.writer.constant(f"{node.name}.weight", weight), low.writer.constant(f"{node.name}.bias", bias)]
    settings: dict[str, Any] = {
        "padding": padding,
        "strideH": layer.stride[0],
        "strideW": layer.stride[1],
        "dilationHFactor": layer.dilation[0],
        "dilationWFactor": layer.dilation[1],
        "fusedActivationFunction": activation,
    }
    shape = (1, windows[0].out, windows[1].out, layer.out_channels)
    if not depthwise:
        return last, low.writer.operator("CONV_2D", inputs, last.name, shape, "Conv2DOptions", **settings)
    settings["depthMultiplier"] = layer.out_channels // layer.in_channels
    return last, low.writer.operator(
        "DEPTHWISE_CONV_2D", inputs, last.name, shape, "DepthwiseConv2DOptions", **settings
    )


def batch_norm(low: Lowering, node: fx.Node) -> Result:
    """A batch norm that no convolution could take in: a product and a sum."""
    scale, shift = _scale_shift(low.module(node))
    x, _ = low.image(node)
    scaled = _arithmetic(low, "MUL", x, low.writer.constant(f"{node.name}.scale", scale), f"{node.name}.mul")
    last, activation = low.activation(node)
    shift_tensor = low.writer.constant(f"{node.name}.shift", shift)
    return last, _arithmetic(low, "ADD", scaled, shift_tensor, last.name, activation)


def linear(low: Lowering, node: fx.Node) -> Result:
    """A fully connected layer on a vector."""
    layer = low.module(node)
    x = low.tensor(node)
    if low.writer.shape(x) != (1, layer.in_features):
        low.refuse(node, f"its input must be (1, {layer.in_features}), but is {low.writer.shape(x)}")
    last, activation = low.activation(node)
    weight = low.writer.constant(f"{node.name}.weight", _array(layer.weight))
    bias = low.writer.constant(f"{node.name}.bias", _bias(layer))
    return last, low.writer.operator(
        "FULLY_CONNECTED",
        [x, weight, bias],
        last.name,
        (1, layer.out_features),
        "FullyConnectedOptions",
        fusedActivationFunction=activation,
    )


def avg_pool(
    low: Lowering,
    node: fx.Node,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Result:
    """Average pooling; TFLite always leaves padding out of the average."""
    x, (_, height, width, channels) = low.image(node)
    kernels, strides, pads = _pair(kernel_size), _pair(stride or kernel_size), _pair(padding)
    windows = tuple(
        Window(*sizes, ceil=ceil_mode) for sizes in zip((height, width), kernels, strides, pads, strict=True)
    )
    counts_pad = count_include_pad and any(pads)
    in_place = all(one.is_valid for one in windows) or all(one.is_same for one in windows)
    if divisor_override is not None or not (in_place or counts_pad) or (counts_pad and ceil_mode):
        low.refuse(node, f"of kernel {kernels}, stride {strides}, padding {pads} over {height}x{width} pixels")
    last, activation = low.activation(node)
    x, mode = low.padded(node, x, windows, same=not counts_pad)
    return last, low.writer.operator(
        "AVERAGE_POOL_2D",
        [x],
        last.name,
        (1, windows[0].out, windows[1].out, channels),
        "Pool2DOptions",
        padding=mode,
        strideH=strides[0],
        strideW=strides[1],
        filterHeight=kernels[0],
        filterWidth=kernels[1],
        fusedActivationFunction=activation,
    )


def adaptive_avg_pool(low: Lowering, node: fx.Node, output_size: Any) -> Result:
    """Pooling to one pixel."""
    if _pair(output_size) != (1, 1):
        low.refuse(node, f"to {output_size}; only to 1")
    return mean(low, node, (2, 3), keepdim=True)


def mean(low: Lowering, node: fx.Node, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Result:
    """The mean over all pixels; a flatten behind it is the same mean with the pixel's dimensions dropped."""
    x, shape = low.image(node)
    if not isinstance(dim, (tuple, list)) or sorted(one % 4 for one in dim) != [2, 3] or dtype is not None:
        low.refuse(node, f"over {dim}; only over height and width")
    last = node
    if keepdim and (user := low.only_user(node, flatten)) and low.call(user)[1] in ({"start_dim": 1}, _FLATTEN):
        last, keepdim = user, False
    result = (1, 1, 1, shape[3]) if keepdim else (1, shape[3])
    axes = low.writer.constant("axes", np.array([1, 2], np.int32))
    return last, low.writer.operator("MEAN", [x, axes], last.name, result, "ReducerOptions", keepDims=keepdim)


def flatten(low: Lowering, node: fx.Node, start_dim: int = 0, end_dim: int = -1) -> Result:
    """Flattening of one pixel; of more, the order would be another than PyTorch's."""
    x = low.tensor(node)
    shape = low.writer.shape(x)
    if start_dim != 1 or end_dim not in (-1, len(shape) - 1) or (len(shape) == 4 and shape[1:3] != (1, 1)):
        low.refuse(node, f"of {shape} (NHWC) from dimension {start_dim}; only of one pixel, from dimension 1")
    if len(shape) == 2:
        return node, x
    target = (1, shape[3])
    size = low.writer.constant("shape", np.array(target, np.int32))
    return node, low.writer.operator("RESHAPE", [x, size], node.name, target, "ReshapeOptions", newShape=target)


def relu(low: Lowering, node: fx.Node) -> Result:
    """A ReLU that nothing before it could take in."""
    return _unary(low, node, "RELU")


def relu6(low: Lowering, node: fx.Node) -> Result:
    """A ReLU6 that nothing before it could take in."""
    return _unary(low, node, "RELU6")


def sigmoid(low: Lowering, node: fx.Node) -> Result:
    """The logistic function."""
    return _unary(low, node, "LOGISTIC")


def hard_swish(low: Lowering, node: fx.Node) -> Result:
    """The input times its hard sigmoid."""
    return _unary(low, node, "HARD_SWISH")


def hard_sigmoid(low: Lowering, node: fx.Node) -> Result:
    """min(max(x + 3, 0), 6) / 6: TFLite has no operator of this name."""
    x = low.tensor(node)
    three, sixth = (
        low.writer.constant(name, np.array([value], np.float32)) for name, value in (("three", 3), ("sixth", 1 / 6))
    )
    clipped = _arithmetic(low, "ADD", x, three, f"{node.name}.relu6", ACTIVATIONS["relu6"])
    return node, _arithmetic(low, "MUL", clipped, sixth, node.name)


def add(low: Lowering, node: fx.Node, other: Any, alpha: float = 1) -> Result:
    """The sum of two tensors."""
    if alpha != 1:
        low.refuse(node, f"with `alpha` {alpha}")
    return _binary(low, node, "ADD", other)


def mul(low: Lowering, node: fx.Node, other: Any) -> Result:
    """The product of two tensors."""
    return _binary(low, node, "MUL", other)


def getitem(low: Lowering, node: fx.Node, index: Any) -> Result:
    """Slices of step 1."""
    x, shape = low.image(node)
    slices = index if isinstance(index, tuple) else (index,)
    if len(slices) > 4 or not all(isinstance(one, slice) and one.step in (None, 1) for one in slices):
        low.refuse(node, f"[{index}]; only slices of step 1")
    spans = [(0, size) for size in shape]
    for axis, one in zip((0, 3, 1, 2), slices, strict=False):
        start, stop, _ = one.indices(shape[axis])
        spans[axis] = (start, stop - start)
    begin, size = (np.array(column, np.int32) for column in zip(*spans, strict=True))
    if size.min() < 1:
        low.refuse(node, f"[{index}] of {shape} (NHWC), which leaves nothing")
    inputs = [x, low.writer.constant("begin", begin), low.writer.constant("size", size)]
    return node, low.writer.operator("SLICE", inputs, node.name, [int(n) for n in size], "SliceOptions")


def pad(low: Lowering, node: fx.Node, pad: Any, mode: str = "constant", value: float | None = None) -> Result:
    """Zeros around an image or behind its channels."""
    x, _ = low.image(node)
    numbers = [*pad, *[0] * (8 - len(pad))]
    if mode != "constant" or value or len(numbers) != 8 or min(numbers) < 0 or any(numbers[6:]):
        low.refuse(node, f"{pad} of mode {mode!r} and value {value}; only added zeros, and none to the batch")
    width, height, channels = ((numbers[i], numbers[i + 1]) for i in (0, 2, 4))
    return node, low.pad(x, (height, width, channels), node.name)


def _unary(low: Lowering, node: fx.Node, code: str) -> Result:
    x = low.tensor(node)
    return node, low.writer.operator(code, [x], node.name, low.writer.shape(x))


def _binary(low: Lowering, node: fx.Node, code: str, other: Any) -> Result:
    a, b = low.operands(node, node.args[0] if node.args else node.kwargs["input"], other)
    shapes = low.writer.shape(a), low.writer.shape(b)
    if len(shapes[0]) != len(shapes[1]):
        low.refuse(node, f"of shapes {shapes[0]} and {shapes[1]} (NHWC)")
    last, activation = low.activation(node)
    return last, _arithmetic(low, code, a, b, last.name, activation)


def _arithmetic(low: Lowering, code: str, a: int, b: int, name: str, activation: int = ACTIVATIONS[None]) -> int:
    shape = np.broadcast_shapes(low.writer.shape(a), low.writer.shape(b))
    options = {"ADD": "AddOptions", "MUL": "MulOptions"}[code]
    return low.writer.operator(code, [a, b], name, shape, options, fusedActivationFunction=activation)


def _pair(value: Any) -> tuple[int, int]:
    first, second = value if isinstance(value, (tuple, list)) else (value, value)
    return first, second


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().to("cpu", torch.float32).numpy()


def _bias(layer: Any) -> np.ndarray:
    return _array(layer.bias) if layer.bias is not None else np.zeros(layer.weight.shape[0], np.float32)


def _scale_shift(norm: Any) -> tuple[np.ndarray, np.ndarray]:
    """What a batch norm in eval mode does, per channel: x * scale + shift. Worked out in float64."""
    if norm.running_mean is None:
        raise ExportError("BatchNorm2d must track running statistics to be exported, but one has none.")
    average, var = (_array(one).astype(np.float64) for one in (norm.running_mean, norm.running_var))
    scale = 1 / np.sqrt(var + norm.eps)
    shift = np.zeros_like(scale)
    if norm.weight is not None:
        scale, shift = scale * _array(norm.weight), _array(norm.bias).astype(np.float64)
    return scale.astype(np.float32), (shift - average * scale).astype(np.float32)


_FLATTEN = {"start_dim": 1, "end_dim": -1}
_POOL = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")

MODULES: dict[type[nn.Module], tuple[Callable[..., Result], tuple[str, ...]]] = {
    # type: (handler, attributes that are its settings)
    nn.Conv2d: (conv, ()),
    nn.BatchNorm2d: (batch_norm, ()),
    nn.Linear: (linear, ()),
    nn.ReLU: (relu, ()),
    nn.ReLU6: (relu6, ()),
    nn.Sigmoid: (sigmoid, ()),
    nn.Hardswish: (hard_swish, ()),
    nn.Hardsigmoid: (hard_sigmoid, ()),
    nn.AvgPool2d: (avg_pool, _POOL),
    nn.AdaptiveAvgPool2d: (adaptive_avg_pool, ("output_size",)),
    nn.Flatten: (flatten, ("start_dim", "end_dim")),
    nn.Dropout: (identity, ()),
    nn.Dropout2d: (identity, ()),
    nn.Identity: (identity, ()),
}

FUNCTIONS: dict[Any, Callable[..., Result]] = {  # functions by object, methods by name
    **dict.fromkeys((F.relu, torch.relu, "relu", "relu_"), relu),
    F.relu6: relu6,
    F.hardswish: hard_swish,
    F.hardsigmoid: hard_sigmoid,
    **dict.fromkeys((F.sigmoid, torch.sigmoid, "sigmoid", "sigmoid_"), sigmoid),
    **dict.fromkeys((operator.add, operator.iadd, torch.add, "add", "add_"), add),
    **dict.fromkeys((operator.mul, operator.imul, torch.mul, "mul", "mul_"), mul),
    **dict.fromkeys((torch.mean, "mean"), mean),
    **dict.fromkeys((torch.flatten, "flatten"), flatten),
    F.adaptive_avg_pool2d: adaptive_avg_pool,
    F.avg_pool2d: avg_pool,
    F.pad: pad,
    F.dropout: dropout,
    operator.getitem: getitem,
    "contiguous": identity,
}
