"""The layer before the last: what a classification network knows of a picture before it names a class."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from akd_gym.errors import TeacherError


def classifiers(module: nn.Module, num_classes: int) -> list[nn.Linear | nn.Conv2d]:
    """Layers that could give the classes: linear layers and 1x1 convolutions to `num_classes`, as registered."""
    return [
        layer
        for layer in module.modules()
        if (isinstance(layer, nn.Linear) and layer.out_features == num_classes)
        or (isinstance(layer, nn.Conv2d) and layer.out_channels == num_classes and layer.kernel_size == (1, 1))
    ]


def width(layer: nn.Linear | nn.Conv2d) -> int:
    """Length of what goes into a classifier, for one position of the picture."""
    return layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels


def embed(module: nn.Module, pictures: Tensor, num_classes: int) -> Tensor:
    """Run a network and return what goes into its classifier.

    The classifier is the last candidate that *runs*: auxiliary heads (GoogLeNet, Inception-v3) run only in training,
    wherever they are registered. A classifier that is applied to every position (a 1x1 convolution as in SqueezeNet,
    a linear layer over tokens) embeds by the mean over positions.

    Args:
        module: In evaluation mode: pictures -> (B, num_classes).
        pictures: Prepared for it, (B, C, H, W).
        num_classes: Of its answers.

    Returns:
        (B, width of the classifier).

    Raises:
        TeacherError: No such layer runs, or several answer together (distillation tokens).
    """
    calls: list[tuple[nn.Linear | nn.Conv2d, Tensor, Tensor]] = []

    def keep(layer: nn.Linear | nn.Conv2d, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        calls.append((layer, inputs[0], output))

    hooks = [layer.register_forward_hook(keep) for layer in classifiers(module, num_classes)]
    try:
        answer = module(pictures) if hooks else None
    finally:
        for hook in hooks:
            hook.remove()
    if not calls:
        raise TeacherError(
            f"must end in a linear layer or 1x1 convolution to {num_classes} classes to give features, but has none."
        )
    layer, taken, given = calls[-1]
    if len(calls) > 1 and isinstance(answer, Tensor) and given.shape == answer.shape and not torch.equal(given, answer):
        raise TeacherError(
            f"must end in one layer to {num_classes} classes to give features, but several answer together."
        )
    if isinstance(layer, nn.Conv2d):
        return taken.mean((2, 3))
    return taken.flatten(1, -2).mean(1) if taken.ndim > 2 else taken
