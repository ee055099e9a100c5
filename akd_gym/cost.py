"""What a network costs whatever the device, counted from its architecture. Imports neither torch nor NumPy."""

from __future__ import annotations

from typing import NamedTuple

from akd_gym.architecture import NetworkSpec


class Cost(NamedTuple):
    """What a network costs whatever the device: multiply-adds and parameters."""

    madds: int
    params: int


def count_cost(spec: NetworkSpec, resolution: int, in_channels: int = 3, num_classes: int = 1000) -> Cost:
    """Count multiply-adds of one image and parameters, without building the network.

    Convolutions and linear layers count, biases, batch norm, pooling and element-wise operators do not: the
    convention behind MnasNet-A1's 312 M multiply-adds at 224 px (parameters count everything trainable).

    Args:
        spec: The network.
        resolution: Height and width of the input image, in pixels.
        in_channels: Channels of the input image.
        num_classes: Outputs of the classifier.
    """
    madds = params = 0

    def conv(inputs: int, outputs: int, kernel: int, size: int, *, groups: int = 1, bias: bool = False) -> None:
        nonlocal madds, params
        weights = inputs // groups * outputs * kernel * kernel
        madds += weights * size * size
        params += weights + (outputs if bias else 2 * outputs)  # without a bias a batch norm follows

    size = -(-resolution // spec.stem_stride)
    conv(in_channels, spec.stem_channels, spec.stem_kernel, size)
    channels = spec.stem_channels
    for layer in spec.layers():
        block, mid = layer.block, layer.mid_channels
        out_size = -(-size // layer.stride)
        if block.op == "conv":
            conv(layer.in_channels, block.channels, block.kernel, out_size)
        else:
            if layer.expands:
                conv(layer.in_channels, mid, 1, size)
            conv(mid, mid, block.kernel, out_size, groups=mid)
            conv(mid, block.channels, 1, out_size)
        if layer.se_channels:
            conv(mid, layer.se_channels, 1, 1, bias=True)
            conv(layer.se_channels, mid, 1, 1, bias=True)
        size, channels = out_size, block.channels
    conv(channels, spec.head_channels, 1, size)
    if spec.hidden_channels is not None:
        conv(spec.head_channels, spec.hidden_channels, 1, 1, bias=True)
    conv(spec.feature_channels, num_classes, 1, 1, bias=True)
    return Cost(madds, params)
