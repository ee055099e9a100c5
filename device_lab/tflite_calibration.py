"""What each activation of a network spans on calibration images."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, fx, nn

from akd_gym.errors import ExportError

Range = tuple[float, float]


def observe_ranges(
    module: nn.Module, graph: fx.Graph, batches: Iterable[Tensor], image_shape: tuple[int, ...]
) -> dict[fx.Node, Range]:
    """The least and the greatest value that each node of a traced module gives.

    Args:
        module: In eval mode.
        graph: `module`, traced.
        batches: (B, *image_shape) each; one is in memory at a time.
        image_shape: (C, H, W).

    Raises:
        ExportError: If there is no image, one of another shape, or a value that is not finite.
    """
    observer = _Observer(module, graph=graph)
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    images = 0
    with torch.no_grad():
        for batch in batches:
            if tuple(batch.shape[1:]) != image_shape:
                raise ExportError(
                    f"Calibration images must be {image_shape} (C, H, W), but got {tuple(batch.shape[1:])}."
                )
            if len(batch):
                observer.run(batch.to(device))
            images += len(batch)
    if not images:
        raise ExportError("An int8 export must have calibration images, but got none.")
    return observer.ranges


class _Observer(fx.Interpreter):
    """Runs a graph and keeps the range of each node."""

    def __init__(self, module: nn.Module, *, graph: fx.Graph) -> None:
        super().__init__(module, graph=graph)
        self.ranges: dict[fx.Node, Range] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Runs one node; called by `run`."""
        result = super().run_node(n)
        if isinstance(result, Tensor) and n.op != "output":
            low, high = (float(value) for value in result.aminmax())
            if not (math.isfinite(low) and math.isfinite(high)):
                raise ExportError(
                    f"Activations must be finite on the calibration images, but those of {n.name!r} are not."
                )
            least, greatest = self.ranges.get(n, (math.inf, -math.inf))
            self.ranges[n] = min(low, least), max(high, greatest)
        return result
