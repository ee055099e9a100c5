"""PyTorch module -> TFLite file, written directly for a closed set of operators.

Mobile kernels want channels last, batch norm folded and activations fused; the module's `torch.fx` graph is walked once
to say exactly that. Shapes follow from the operators, so nothing is executed, but for the calibration of int8.

Files of all formats take and give float32, so that one can stand in for the other. Known operators: Conv2d (dense or
depthwise; any zero padding, stride, dilation), BatchNorm2d, ReLU, ReLU6, Sigmoid, Hardswish, Hardsigmoid, AvgPool2d,
mean and adaptive_avg_pool2d over all pixels, add, mul, slices, zero pad, flatten, Linear, Dropout; as modules,
functions or methods.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, fx, nn

from akd_gym.device_lab.tflite_calibration import observe_ranges
from akd_gym.device_lab.tflite_float16 import with_float16_weights
from akd_gym.device_lab.tflite_graph import Graph, Lowering
from akd_gym.device_lab.tflite_int8 import quantized
from akd_gym.device_lab.tflite_operators import MODULES
from akd_gym.errors import ExportError

FORMATS = ("float32", "float16", "int8")


def export_tflite(
    module: nn.Module, input_shape: Sequence[int] = (1, 3, 224, 224), *, description: str = "akd_gym"
) -> bytes:
    """Writes `module` as a float32 TFLite model.

    Args:
        module: Network in eval mode that maps (1, C, H, W) to one tensor; traceable by `torch.fx`.
        input_shape: (1, C, H, W).
        description: Text stored in the file, e.g. the architecture string.

    Returns:
        The file's bytes. Its input is (1, H, W, C); its output is (1, H, W, C) or (1, N), as the module gives an image
        or a vector. Signature `serving_default` with `input` and `output`. The same module gives the same bytes.

    Raises:
        ExportError: An operator or setting that is not known (named with its place), training mode, a wrong shape.
    """
    _, graph = _lower(*_traced(module), input_shape)
    return graph.write(description)


def export_float16(
    module: nn.Module, input_shape: Sequence[int] = (1, 3, 224, 224), *, description: str = "akd_gym"
) -> bytes:
    """Writes `module` with weights stored as float16: half the size; everything is computed in float32 where it was.

    Arguments, result and errors are those of `export_tflite`; also weights beyond what float16 holds are refused.
    """
    _, graph = _lower(*_traced(module), input_shape)
    return with_float16_weights(graph).write(description)


def export_int8(
    module: nn.Module,
    input_shape: Sequence[int] = (1, 3, 224, 224),
    *,
    calibration: Iterable[Tensor],
    description: str = "akd_gym",
) -> bytes:
    """Writes `module` with int8 weights and activations: a quarter of the size, computed in integers throughout.

    Quantised after training (see `tflite_int8`): the module runs on calibration images, and what each activation spans
    there is what its int8 will span. Input and output stay float32 by a quantise and a dequantise at the ends.

    Args:
        module: As for `export_tflite`.
        input_shape: (1, C, H, W).
        calibration: Batches (B, C, H, W) as the module takes them (normalised); a hundred images or so, of those it
            trained on.
        description: Text stored in the file.

    Raises:
        ExportError: As `export_tflite`; also without a calibration image, or with one on which an activation is not
            finite.
    """
    module, traced = _traced(module)
    low, graph = _lower(module, traced, input_shape)
    ranges = observe_ranges(module, traced, calibration, tuple(input_shape)[1:])
    return quantized(graph, {low.tensors[node]: ranges[node] for node in traced.nodes if node in ranges}).write(
        description
    )


def _traced(module: nn.Module) -> tuple[nn.Module, fx.Graph]:
    for path, child in module.named_modules():
        if child.training:
            raise ExportError(
                f"The module must be in eval mode, but {path or 'it'} is training: call `module.eval()` first."
            )
    if type(module) in MODULES:  # traced by itself, a layer is its parameters and functions
        module = nn.Sequential(module).eval()
    try:
        return module, fx.Tracer().trace(module)
    except Exception as error:  # tracing runs the module's own forward, so anything can come out of it
        raise ExportError(f"`torch.fx` must be able to trace {type(module).__name__}, but: {error}") from error


def _lower(module: nn.Module, traced: fx.Graph, input_shape: Sequence[int]) -> tuple[Lowering, Graph]:
    shape = tuple(int(size) for size in input_shape)
    if len(shape) != 4 or shape[0] != 1 or min(shape) < 1:
        raise ExportError(f"`input_shape` must be (1, C, H, W) with positive sizes, but got {shape}.")
    low = Lowering(module, traced)
    with torch.no_grad():
        return low, low.lower(shape)
