"""PyTorch module -> TFLite file, written directly for a closed set of operators.

Mobile kernels want NHWC, batch norm folded and activations fused; this walks the module's `torch.fx` graph once and
says exactly that. Shapes follow from the operators, so nothing is executed. An operator outside the set is an error.
"""

from __future__ import annotations

import inspect
import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import torch
import torch.nn.functional as F
from ai_edge_litert import schema_py_generated as schema
from torch import fx, nn

from akd_gym.device_lab.tflite_writer import ACTIVATIONS, TFLiteWriter
from akd_gym.errors import ExportError

_SAME, _VALID = schema.Padding.SAME, schema.Padding.VALID


def export_tflite(
    module: nn.Module, input_shape: Sequence[int] = (1, 3, 224, 224), *, description: str = "akd_gym"
) -> bytes:
    """Writes `module` as a float32 TFLite model.

    Known operators: Conv2d (dense, depthwise; any zero padding, stride, dilation), BatchNorm2d, ReLU, ReLU6, Sigmoid,
    AvgPool2d, mean and adaptive_avg_pool2d over all pixels, add, mul, slicing, zero pad, flatten, Linear, Dropout.

    Args:
        module: Network in eval mode that maps (1, C, H, W) to one tensor; traceable by `torch.fx`.
        input_shape: (1, C, H, W).
        description: Text stored in the file, e.g. the architecture string.

    Returns:
        The file's bytes. Its input is (1, H, W, C); its output is (1, H, W, C) or (1, N) as the module's is an image
        or a vector. Signature `serving_default` with `input` and `output`. The same module gives the same bytes.

    Raises:
        ExportError: An operator or setting that is not known (named with its place), training mode, a wrong shape.
    """
    shape = tuple(int(size) for size in input_shape)
    if len(shape) != 4 or shape[0] != 1 or min(shape) < 1:
        raise ExportError(f"`input_shape` must be (1, C, H, W) with positive sizes, but got {shape}.")
    if any(child.training for child in module.modules()):
        raise ExportError("The module must be in eval mode (call `module.eval()`), but a part of it is training.")
    try:
        graph = fx.Tracer().trace(module)
    except Exception as error:  # tracing runs the module's own forward: anything can come out of it
        raise ExportError(f"`torch.fx` cannot trace {type(module).__name__}: {error}") from error
    with torch.no_grad():
        return _Lowering(module, graph).run(shape, description)


@dataclass(frozen=True)
class _Window:
    """How a kernel moves over one image axis."""

    size: int
    kernel: int  # with dilation counted
    stride: int
    pad: int
    ceil: bool = False

    @property
    def out(self) -> int:
        span = self.size + 2 * self.pad - self.kernel
        out = (math.ceil(span / self.stride) if self.ceil else span // self.stride) + 1
        if self.ceil and (out - 1) * self.stride >= self.size + self.pad:
            out -= 1  # PyTorch: the last window must start inside the image or its left padding
        return out

    @property
    def is_same(self) -> bool:
        """Whether TFLite's SAME puts every window where PyTorch does."""
        out = -(-self.size // self.stride)
        total = max((out - 1) * self.stride + self.kernel - self.size, 0)
        return out == self.out and total // 2 == self.pad

    @property
    def is_valid(self) -> bool:
        return self.pad == 0 and self.out == (self.size - self.kernel) // self.stride + 1


class _Lowering:
    """One walk over a traced graph. A tensor here is its index in the writer; its shape is the file's (NHWC)."""

    def __init__(self, module: nn.Module, graph: fx.Graph) -> None:
        self.modules = dict(module.named_modules())
        self.graph = graph
        self.writer = TFLiteWriter()
        self.tensors: dict[fx.Node, int] = {}

    def run(self, input_shape: tuple[int, ...], description: str) -> bytes:
        inputs: dict[str, int] = {}
        for node in self.graph.nodes:
            if node in self.tensors:
                continue  # already inside an earlier operator: a folded batch norm, a fused activation
            if node.op == "placeholder":
                if inputs:
                    raise ExportError(f"The module must take one tensor, but it also takes `{node.name}`.")
                _, channels, height, width = input_shape
                inputs["input"] = self.tensors[node] = self.writer.tensor("input", (1, height, width, channels))
            elif node.op == "output":
                (result,) = node.args
                if not isinstance(result, fx.Node):
                    raise ExportError(f"The module must return one tensor, but it returns {type(result).__name__}.")
                return self.writer.finish(inputs, {"output": self._of(result)}, description=description)
            elif node.op == "call_module":
                self._call_module(node)
            elif node.op in ("call_function", "call_method"):
                self._call(node, _FUNCTIONS.get(node.target), node.args[1:], node.kwargs)
            else:
                self._refuse(node, "a parameter or buffer used outside the known layers")
        raise AssertionError("an fx graph ends with its output")

    def _call_module(self, node: fx.Node) -> None:
        module = self.modules[str(node.target)]
        handler, names = _MODULES.get(type(module), (None, ()))
        self._call(node, handler, (), {name: getattr(module, name) for name in names})

    def _call(self, node: fx.Node, handler: _Handler | None, args: Any, kwargs: Any) -> None:
        if handler is None:
            self._refuse(node)
        kwargs = {name: value for name, value in kwargs.items() if name not in ("input", "inplace")}
        try:
            inspect.signature(handler).bind(self, node, *args, **kwargs)
        except TypeError as error:
            self._refuse(node, str(error))
        last, tensor = handler(self, node, *args, **kwargs)
        self.tensors[node] = tensor
        while node is not last:  # everything fused behind it is done too
            (node,) = node.users
            self.tensors[node] = tensor

    # -- operators: each returns the last node it covers, and its tensor ------------------------------------------

    def _identity(self, node: fx.Node, **_: Any) -> tuple[fx.Node, int]:
        return node, self._of(node.all_input_nodes[0])

    def _dropout(self, node: fx.Node, p: float = 0.5, training: bool = True) -> tuple[fx.Node, int]:
        if training and p > 0:
            self._refuse(node, "active in eval mode")
        return self._identity(node)

    def _conv(self, node: fx.Node) -> tuple[fx.Node, int]:
        conv: Any = self.modules[str(node.target)]
        x = self._image(node)
        _, height, width, channels = self.writer.shape(x)
        if conv.padding_mode != "zeros" or not isinstance(conv.padding, tuple):
            self._refuse(node, f"padding {conv.padding!r} of mode {conv.padding_mode!r}; only zero padding in numbers")
        if conv.in_channels != channels:
            self._refuse(node, f"it takes {conv.in_channels} channels and gets {channels}")
        depthwise = conv.groups == conv.in_channels and conv.groups > 1
        if conv.groups != 1 and not depthwise:
            self._refuse(node, f"{conv.groups} groups over {conv.in_channels} channels; only dense and depthwise")

        last, norm = self._next(node, nn.BatchNorm2d)
        last, activation = self._activation(last)
        weight, bias = _fold(conv, norm)
        weight = weight.transpose(1, 2, 3, 0) if depthwise else weight.transpose(0, 2, 3, 1)
        windows = tuple(
            _Window(size, (kernel - 1) * dilation + 1, stride, pad)
            for size, kernel, dilation, stride, pad in zip(
                (height, width), conv.kernel_size, conv.dilation, conv.stride, conv.padding, strict=True
            )
        )
        x, padding = self._padded(node, x, windows)
        settings: dict[str, Any] = {
            "padding": padding,
            "strideH": conv.stride[0],
            "strideW": conv.stride[1],
            "dilationHFactor": conv.dilation[0],
            "dilationWFactor": conv.dilation[1],
            "fusedActivationFunction": activation,
        }
        if depthwise:
            settings["depthMultiplier"] = conv.out_channels // conv.in_channels
        return last, self.writer.operator(
            "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D",
            [
                x,
                self.writer.constant(f"{node.name}.weight", weight),
                self.writer.constant(f"{node.name}.bias", bias),
            ],
            last.name,
            (1, windows[0].out, windows[1].out, conv.out_channels),
            "DepthwiseConv2DOptions" if depthwise else "Conv2DOptions",
            **settings,
        )

    def _batch_norm(self, node: fx.Node) -> tuple[fx.Node, int]:
        """A batch norm that no convolution could take in: a product and a sum."""
        scale, shift = _scale_shift(self.modules[str(node.target)])
        x = self._image(node)
        scaled = self._binary_operator("MUL", x, self.writer.constant(f"{node.name}.scale", scale), f"{node.name}.mul")
        last, activation = self._activation(node)
        shift_tensor = self.writer.constant(f"{node.name}.shift", shift)
        return last, self._binary_operator("ADD", scaled, shift_tensor, last.name, activation)

    def _linear(self, node: fx.Node) -> tuple[fx.Node, int]:
        linear: Any = self.modules[str(node.target)]
        x = self._of(node.all_input_nodes[0])
        if self.writer.shape(x) != (1, linear.in_features):
            self._refuse(node, f"its input must be (1, {linear.in_features}), but is {self.writer.shape(x)}")
        last, activation = self._activation(node)
        weight, bias = _array(linear.weight), _bias(linear)
        return last, self.writer.operator(
            "FULLY_CONNECTED",
            [
                x,
                self.writer.constant(f"{node.name}.weight", weight),
                self.writer.constant(f"{node.name}.bias", bias),
            ],
            last.name,
            (1, linear.out_features),
            "FullyConnectedOptions",
            fusedActivationFunction=activation,
        )

    def _avg_pool(
        self,
        node: fx.Node,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> tuple[fx.Node, int]:
        x = self._image(node)
        _, height, width, channels = self.writer.shape(x)
        kernels, pads = _pair(kernel_size), _pair(padding)
        strides = _pair(stride or kernel_size)
        windows = tuple(
            _Window(*sizes, ceil=ceil_mode) for sizes in zip((height, width), kernels, strides, pads, strict=True)
        )
        if divisor_override is not None:
            self._refuse(node, "with `divisor_override`")
        last, activation = self._activation(node)
        if all(window.is_valid for window in windows):
            mode = _VALID
        elif all(window.is_same for window in windows) and not (count_include_pad and any(pads)):
            mode = _SAME  # TFLite leaves padding out of the average
        elif count_include_pad and not ceil_mode:
            x, mode = self._padded(node, x, windows, same=False)
        else:
            self._refuse(node, f"of kernel {kernels}, stride {strides}, padding {pads} over {height}x{width} pixels")
        return last, self.writer.operator(
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

    def _adaptive_avg_pool(self, node: fx.Node, output_size: Any) -> tuple[fx.Node, int]:
        if _pair(output_size) != (1, 1):
            self._refuse(node, f"to {output_size}; only to 1")
        return self._mean(node, (2, 3), keepdim=True)

    def _mean(self, node: fx.Node, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> tuple[fx.Node, int]:
        x = self._image(node)
        if dim is None or sorted(d % 4 for d in dim) != [2, 3] or dtype is not None:
            self._refuse(node, f"over {dim}; only over height and width")
        channels = self.writer.shape(x)[3]
        last = node
        if keepdim and (flat := self._next(node, "flatten"))[1]:
            last, keepdim = flat[0], False
        shape = (1, 1, 1, channels) if keepdim else (1, channels)
        axes = self.writer.constant("axes", np.array([1, 2], np.int32))
        return last, self.writer.operator("MEAN", [x, axes], last.name, shape, "ReducerOptions", keepDims=keepdim)

    def _flatten(self, node: fx.Node, start_dim: int = 0, end_dim: int = -1) -> tuple[fx.Node, int]:
        x = self._of(node.all_input_nodes[0])
        shape = self.writer.shape(x)
        if start_dim != 1 or end_dim not in (-1, len(shape) - 1) or (len(shape) == 4 and shape[1:3] != (1, 1)):
            self._refuse(node, f"of {shape} (NHWC) from dimension {start_dim}; only of one pixel, from dimension 1")
        if len(shape) == 2:
            return node, x
        target = (1, shape[3])
        size = self.writer.constant("shape", np.array(target, np.int32))
        return node, self.writer.operator("RESHAPE", [x, size], node.name, target, "ReshapeOptions", newShape=target)

    def _relu(self, node: fx.Node) -> tuple[fx.Node, int]:
        return self._unary(node, "RELU")

    def _relu6(self, node: fx.Node) -> tuple[fx.Node, int]:
        return self._unary(node, "RELU6")

    def _sigmoid(self, node: fx.Node) -> tuple[fx.Node, int]:
        return self._unary(node, "LOGISTIC")

    def _add(self, node: fx.Node, other: Any, alpha: float = 1) -> tuple[fx.Node, int]:
        if alpha != 1:
            self._refuse(node, f"with `alpha` {alpha}")
        return self._binary(node, "ADD", other)

    def _mul(self, node: fx.Node, other: Any) -> tuple[fx.Node, int]:
        return self._binary(node, "MUL", other)

    def _getitem(self, node: fx.Node, index: Any) -> tuple[fx.Node, int]:
        x = self._image(node)
        shape = self.writer.shape(x)
        slices = index if isinstance(index, tuple) else (index,)
        if len(slices) > 4 or not all(isinstance(item, slice) and item.step in (None, 1) for item in slices):
            self._refuse(node, f"[{index}]; only slices of step 1")
        spans = [(0, size) for size in shape]
        for axis, item in zip((0, 3, 1, 2), slices, strict=False):
            start, stop, _ = item.indices(shape[axis])
            spans[axis] = (start, max(stop - start, 0))
        begin, size = (np.array(column, np.int32) for column in zip(*spans, strict=True))
        if size.min() < 1:
            self._refuse(node, f"[{index}] of {shape} (NHWC), which leaves nothing")
        if tuple(size) == shape:
            return node, x
        inputs = [x, self.writer.constant("begin", begin), self.writer.constant("size", size)]
        return node, self.writer.operator("SLICE", inputs, node.name, [int(n) for n in size], "SliceOptions")

    def _pad(self, node: fx.Node, pad: Any, mode: str = "constant", value: float | None = None) -> tuple[fx.Node, int]:
        x = self._image(node)
        numbers = [*pad, *[0] * (8 - len(pad))]
        if mode != "constant" or value or len(numbers) != 8 or min(numbers) < 0 or any(numbers[6:]):
            self._refuse(node, f"{pad} of mode {mode!r} and value {value}; only added zeros, and none to the batch")
        w, h, c = (tuple(numbers[i : i + 2]) for i in (0, 2, 4))
        return node, self._pad_operator(x, (h, w, c), node.name)

    # -- helpers ---------------------------------------------------------------------------------------------------

    def _of(self, node: fx.Node) -> int:
        return self.tensors[node]

    def _image(self, node: fx.Node) -> int:
        x = self._of(node.all_input_nodes[0])
        if len(self.writer.shape(x)) != 4:
            self._refuse(node, f"of a tensor of shape {self.writer.shape(x)}; only of images")
        return x

    def _unary(self, node: fx.Node, code: str) -> tuple[fx.Node, int]:
        x = self._of(node.all_input_nodes[0])
        return node, self.writer.operator(code, [x], node.name, self.writer.shape(x))

    def _binary(self, node: fx.Node, code: str, other: Any) -> tuple[fx.Node, int]:
        first = node.args[0] if node.args else node.kwargs.get("input")
        if not isinstance(first, fx.Node) or not isinstance(other, fx.Node):
            self._refuse(node, "with a constant; only of two tensors")
        a, b = self._of(first), self._of(other)
        if len(self.writer.shape(a)) != len(self.writer.shape(b)):
            self._refuse(node, f"of shapes {self.writer.shape(a)} and {self.writer.shape(b)} (NHWC)")
        last, activation = self._activation(node)
        return last, self._binary_operator(code, a, b, last.name, activation)

    def _binary_operator(self, code: str, a: int, b: int, name: str, activation: int = ACTIVATIONS[None]) -> int:
        shape = np.broadcast_shapes(self.writer.shape(a), self.writer.shape(b))
        options = {"ADD": "AddOptions", "MUL": "MulOptions"}[code]
        return self.writer.operator(code, [a, b], name, shape, options, fusedActivationFunction=activation)

    def _padded(self, node: fx.Node, x: int, windows: Sequence[_Window], *, same: bool = True) -> tuple[int, int]:
        """The tensor to put a kernel on, and the padding mode that gives PyTorch's windows."""
        if min(window.out for window in windows) < 1:
            self._refuse(node, f"whose kernel is larger than its padded input of {self.writer.shape(x)} (NHWC)")
        if all(window.is_valid for window in windows):
            return x, _VALID
        if same and all(window.is_same for window in windows):
            return x, _SAME
        h, w = ((window.pad, window.pad) for window in windows)
        return self._pad_operator(x, (h, w, (0, 0)), f"{node.name}.pad"), _VALID

    def _pad_operator(self, x: int, hwc: Sequence[tuple[int, ...]], name: str) -> int:
        amounts = np.array([(0, 0), *hwc], np.int32)
        shape = [size + int(extra) for size, extra in zip(self.writer.shape(x), amounts.sum(1), strict=True)]
        return self.writer.operator("PAD", [x, self.writer.constant("pad", amounts)], name, shape, "PadOptions")

    def _next(self, node: fx.Node, kind: type[nn.Module] | str) -> tuple[fx.Node, Any]:
        """The only user of `node`, if it is a module of type `kind` or a flatten; else `node` itself and None."""
        user = next(iter(node.users)) if len(node.users) == 1 else None
        if user is None:
            return node, None
        if user.op == "call_module":
            module = self.modules[str(user.target)]
            if type(module) is (nn.Flatten if kind == "flatten" else kind):
                return (user, module) if kind != "flatten" or module.start_dim == 1 else (node, None)
        elif kind == "flatten" and _FUNCTIONS.get(user.target) is _Lowering._flatten:
            if (*user.args[1:], *user.kwargs.values()) == (1,):
                return user, True
        return node, None

    def _activation(self, node: fx.Node) -> tuple[fx.Node, int]:
        """The activation to fuse behind `node`, with the node it replaces; NONE where there is none to fuse."""
        user = next(iter(node.users)) if len(node.users) == 1 else None
        if user is None:
            return node, ACTIVATIONS[None]
        target = type(self.modules[str(user.target)]) if user.op == "call_module" else user.target
        name = _FUSABLE.get(target)
        return (user, ACTIVATIONS[name]) if name else (node, ACTIVATIONS[None])

    def _refuse(self, node: fx.Node, what: str = "") -> NoReturn:
        stack = node.meta.get("nn_module_stack") or {}
        place = str(node.target) if node.op == "call_module" else next(reversed(list(stack)), "") or "the top module"
        if node.op == "call_module":
            name = type(self.modules[place]).__name__
        else:
            name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
        raise ExportError(
            f"The TFLite writer cannot express `{name}` at `{place}`{f' ({what})' if what else ''}. "
            "Known: the operators in the docstring of `export_tflite`; for others use a general converter (litert-torch)."
        )


def _pair(value: Any) -> tuple[int, int]:
    first, second = value if isinstance(value, (tuple, list)) else (value, value)
    return first, second


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().to("cpu", torch.float32).numpy()


def _bias(layer: Any) -> np.ndarray:
    return _array(layer.bias) if layer.bias is not None else np.zeros(layer.weight.shape[0], np.float32)


def _scale_shift(norm: Any) -> tuple[np.ndarray, np.ndarray]:
    """What a batch norm in eval mode does: x * scale + shift, per channel, worked out in float64."""
    if norm.running_mean is None:
        raise ExportError("BatchNorm2d must track running statistics to be exported.")
    mean, var = (_array(tensor).astype(np.float64) for tensor in (norm.running_mean, norm.running_var))
    scale = 1 / np.sqrt(var + norm.eps)
    shift = np.zeros_like(scale)
    if norm.weight is not None:
        scale, shift = scale * _array(norm.weight), _array(norm.bias).astype(np.float64)
    return scale.astype(np.float32), (shift - mean * scale).astype(np.float32)


def _fold(conv: Any, norm: Any) -> tuple[np.ndarray, np.ndarray]:
    """Weight (torch's order) and bias of a convolution with the batch norm behind it folded in."""
    weight, bias = _array(conv.weight), _bias(conv)
    if norm is None:
        return weight, bias
    scale, shift = _scale_shift(norm)
    return weight * scale[:, None, None, None], bias * scale + shift


_Handler = Callable[..., tuple[fx.Node, int]]

_MODULES: dict[type[nn.Module], tuple[_Handler, tuple[str, ...]]] = {
    nn.Conv2d: (_Lowering._conv, ()),
    nn.BatchNorm2d: (_Lowering._batch_norm, ()),
    nn.Linear: (_Lowering._linear, ()),
    nn.ReLU: (_Lowering._relu, ()),
    nn.ReLU6: (_Lowering._relu6, ()),
    nn.Sigmoid: (_Lowering._sigmoid, ()),
    nn.AvgPool2d: (
        _Lowering._avg_pool,
        ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"),
    ),
    nn.AdaptiveAvgPool2d: (_Lowering._adaptive_avg_pool, ("output_size",)),
    nn.Flatten: (_Lowering._flatten, ("start_dim", "end_dim")),
    nn.Dropout: (_Lowering._identity, ()),
    nn.Dropout2d: (_Lowering._identity, ()),
    nn.Identity: (_Lowering._identity, ()),
}

_FUNCTIONS: dict[Any, _Handler] = {  # functions by object, methods by name
    **dict.fromkeys((F.relu, torch.relu, "relu", "relu_"), _Lowering._relu),
    F.relu6: _Lowering._relu6,
    **dict.fromkeys((F.sigmoid, torch.sigmoid, "sigmoid", "sigmoid_"), _Lowering._sigmoid),
    **dict.fromkeys((operator.add, operator.iadd, torch.add, "add", "add_"), _Lowering._add),
    **dict.fromkeys((operator.mul, operator.imul, torch.mul, "mul", "mul_"), _Lowering._mul),
    **dict.fromkeys((torch.mean, "mean"), _Lowering._mean),
    **dict.fromkeys((torch.flatten, "flatten"), _Lowering._flatten),
    F.adaptive_avg_pool2d: _Lowering._adaptive_avg_pool,
    F.avg_pool2d: _Lowering._avg_pool,
    F.pad: _Lowering._pad,
    F.dropout: _Lowering._dropout,
    operator.getitem: _Lowering._getitem,
    "contiguous": _Lowering._identity,
}

_FUSABLE: dict[Any, str] = {
    **dict.fromkeys((nn.ReLU, F.relu, torch.relu, "relu", "relu_"), "relu"),
    **dict.fromkeys((nn.ReLU6, F.relu6), "relu6"),
}
