"""PyTorch module -> TFLite file, written directly for a closed set of operators.

Mobile kernels want channels last, batch norm folded and activations fused; the module's `torch.fx` graph is walked once
to say exactly that. Shapes follow from the operators, so nothing is executed.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import fx, nn

from akd_gym.device_lab.tflite_graph import Lowering
from akd_gym.device_lab.tflite_operators import MODULES
from akd_gym.errors import ExportError


def export_tflite(
    module: nn.Module, input_shape: Sequence[int] = (1, 3, 224, 224), *, description: str = "akd_gym"
) -> bytes:
    """Writes `module` as a float32 TFLite model.

    Known operators: Conv2d (dense or depthwise; any zero padding, stride, dilation), BatchNorm2d, ReLU, ReLU6, Sigmoid,
    AvgPool2d, mean and adaptive_avg_pool2d over all pixels, add, mul, slices, zero pad, flatten, Linear, Dropout; as
    modules, functions or methods.

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
    shape = tuple(int(size) for size in input_shape)
    if len(shape) != 4 or shape[0] != 1 or min(shape) < 1:
        raise ExportError(f"`input_shape` must be (1, C, H, W) with positive sizes, but got {shape}.")
    for path, child in module.named_modules():
        if child.training:
            raise ExportError(
                f"The module must be in eval mode, but {path or 'it'} is training: call `module.eval()` first."
            )
    if type(module) in MODULES:  # traced by itself, a layer is its parameters and functions
        module = nn.Sequential(module)
    try:
        graph = fx.Tracer().trace(module)
    except Exception as error:  # tracing runs the module's own forward, so anything can come out of it
        raise ExportError(f"`torch.fx` must be able to trace {type(module).__name__}, but: {error}") from error
    with torch.no_grad():
        return Lowering(module, graph).run(shape, description)
