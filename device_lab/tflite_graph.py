"""The walk over a traced module that `export_tflite` makes: order, shapes, fusing, and refusing."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from torch import fx, nn

from akd_gym.device_lab import tflite_operators as operators
from akd_gym.device_lab.tflite_windows import SAME, VALID, Window
from akd_gym.device_lab.tflite_writer import ACTIVATIONS, TFLiteWriter
from akd_gym.errors import ExportError


@dataclass(frozen=True)
class Graph:
    """A whole network as TFLite operators, ready to be written.

    Args:
        writer: Holds tensors and operators.
        inputs: Tensor by the name that the signature gives it.
        outputs: Likewise.
    """

    writer: TFLiteWriter
    inputs: dict[str, int]
    outputs: dict[str, int]

    def write(self, description: str) -> bytes:
        """The file."""
        return self.writer.finish(self.inputs, self.outputs, description=description)


class Lowering:
    """One walk over one traced module. Tensors are indices in `writer`, with the file's shapes (channels last).

    A handler lowers one node: it gets the node and its settings, adds operators to `writer`, and returns the last node
    it covers (a fused activation's, say) with the tensor that comes out of it.
    """

    def __init__(self, module: nn.Module, graph: fx.Graph) -> None:
        self.writer = TFLiteWriter()
        self._modules = dict(module.named_modules())
        self._graph = graph
        self._tensors: dict[fx.Node, int] = {}

    @property
    def tensors(self) -> Mapping[fx.Node, int]:
        """The tensor that holds what a node gives; of nodes that became one operator, what the last one gives."""
        return self._tensors

    def lower(self, input_shape: tuple[int, ...]) -> Graph:
        """Lowers the whole graph for an input of (1, C, H, W)."""
        inputs: dict[str, int] = {}
        for node in self._graph.nodes:
            if node in self._tensors:
                continue  # inside an earlier operator: a folded batch norm, a fused activation
            if node.op == "placeholder":
                if inputs:
                    raise ExportError(f"The module must take one tensor, but it also takes {node.name!r}.")
                _, channels, height, width = input_shape
                inputs["input"] = self._tensors[node] = self.writer.tensor("input", (1, height, width, channels))
            elif node.op == "output":
                (result,) = node.args
                if not isinstance(result, fx.Node):
                    raise ExportError(f"The module must return one tensor, but it returns {type(result).__name__}.")
                return Graph(self.writer, inputs, {"output": self._tensors[result]})
            else:
                self._lower(node)
        raise AssertionError("an fx graph ends with its output")

    def _lower(self, node: fx.Node) -> None:
        handler, settings = self.call(node)
        if handler is None:
            self.refuse(node)
        last, tensor = handler(self, node, **settings)
        self._tensors[node] = tensor
        while node is not last:
            (node,) = node.users
            self._tensors[node] = tensor

    def call(self, node: fx.Node) -> tuple[Handler | None, dict[str, Any]]:
        """The handler of a node, None if there is none, and the settings to call it with."""
        if node.op == "call_module":
            module = self.module(node)
            handler, names = operators.MODULES.get(type(module), (None, ()))
            return handler, {name: getattr(module, name) for name in names}
        handler = operators.FUNCTIONS.get(node.target) if node.op in ("call_function", "call_method") else None
        if handler is None:
            return None, {}
        named = {name: value for name, value in node.kwargs.items() if name not in ("input", "inplace")}
        try:
            bound = inspect.signature(handler).bind(self, node, *node.args[1:], **named)
        except TypeError as error:
            self.refuse(node, str(error))
        return handler, dict(list(bound.arguments.items())[2:])

    def module(self, node: fx.Node) -> Any:
        """The module that a node calls."""
        return self._modules[str(node.target)]

    def tensor(self, node: fx.Node) -> int:
        """The tensor that `node` takes first."""
        return self._tensors[node.all_input_nodes[0]]

    def operands(self, node: fx.Node, *nodes: Any) -> list[int]:
        """The tensors of several operands; refuses constants."""
        if not all(isinstance(one, fx.Node) for one in nodes):
            self.refuse(node, "with a constant; only of tensors")
        return [self._tensors[one] for one in nodes]

    def image(self, node: fx.Node) -> tuple[int, tuple[int, ...]]:
        """The tensor that `node` takes first and its shape; refuses all but images."""
        x = self.tensor(node)
        shape = self.writer.shape(x)
        if len(shape) != 4:
            self.refuse(node, f"of a tensor of shape {shape}; only of images")
        return x, shape

    def only_user(self, node: fx.Node, handler: Handler) -> fx.Node | None:
        """The node that alone takes what `node` gives, if `handler` would lower it."""
        if len(node.users) != 1:
            return None
        (user,) = node.users
        return user if self.call(user)[0] is handler else None

    def activation(self, node: fx.Node) -> tuple[fx.Node, int]:
        """The activation to fuse behind `node` and the node it covers; NONE and `node` itself if there is none."""
        for handler, name in ((operators.relu, "relu"), (operators.relu6, "relu6")):
            if user := self.only_user(node, handler):
                return user, ACTIVATIONS[name]
        return node, ACTIVATIONS[None]

    def padded(self, node: fx.Node, x: int, windows: Sequence[Window], *, same: bool = True) -> tuple[int, int]:
        """The tensor to put windows on, and the TFLite padding that puts them where PyTorch does."""
        if min(window.out for window in windows) < 1:
            self.refuse(node, f"whose kernel is larger than its padded input of {self.writer.shape(x)} (NHWC)")
        if all(window.is_valid for window in windows):
            return x, VALID
        if same and all(window.is_same for window in windows):
            return x, SAME
        height, width = ((window.pad, window.pad) for window in windows)
        return self.pad(x, (height, width, (0, 0)), f"{node.name}.pad"), VALID

    def pad(self, x: int, zeros: Sequence[tuple[int, int]], name: str) -> int:
        """Adds zeros before and after height, width and channels."""
        amounts = np.array([(0, 0), *zeros], np.int32)
        shape = [size + int(extra) for size, extra in zip(self.writer.shape(x), amounts.sum(1), strict=True)]
        return self.writer.operator("PAD", [x, self.writer.constant("pad", amounts)], name, shape, "PadOptions")

    def refuse(self, node: fx.Node, what: str = "") -> NoReturn:
        """Raises the error that names the operator and where it is."""
        stack = list(node.meta.get("nn_module_stack") or {})
        place = str(node.target) if node.op == "call_module" else next(reversed(stack), "")
        if node.op == "call_module":
            name = type(self.module(node)).__name__
        elif node.op == "get_attr":
            name, what = str(node.target), "a parameter outside the known layers"
        else:
            name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
        raise ExportError(
            f"The TFLite writer cannot express {name!r} at {place or 'the top of the module'!r}"
            f"{f' ({what})' if what else ''}. Build the network from the operators that `export_tflite` lists, "
            "or use a general converter (litert-torch)."
        )


Handler = Callable[..., tuple[fx.Node, int]]
