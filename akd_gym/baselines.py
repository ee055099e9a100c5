"""Published mobile networks at any width, and the width at which one meets a latency: the baselines of Table 7.

A baseline is a `NetworkSpec` like any student, so that it trains, exports and measures through the same code. One ratio
scales the channels of all layers, rounded as the papers' own code rounds them.

Paper: MobileNetV2: Inverted Residuals and Linear Bottlenecks - https://arxiv.org/abs/1801.04381
Paper: Searching for MobileNetV3 - https://arxiv.org/abs/1905.02244
Paper: MnasNet: Platform-Aware Neural Architecture Search for Mobile - https://arxiv.org/abs/1807.11626

This module imports neither torch nor NumPy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from akd_gym.architecture import Activation, Block, NetworkSpec
from akd_gym.channels import expansion_for, round_channels
from akd_gym.errors import InvalidSettingError, UnknownNameError

LEAST_RATIO, GREATEST_RATIO = 0.05, 4.0


def baseline(name: str, ratio: float = 1.0, *, divisor: int = 8, undo_strides: int = 0) -> NetworkSpec:
    """A published network with its channels scaled.

    Args:
        name: One of `BASELINES`.
        ratio: What channels are multiplied by, before rounding.
        divisor: Of what number channels are multiples: 8 in the papers, less for finer steps between widths.
        undo_strides: Of how many layers, from the first on, the stride of 2 becomes 1. The networks were designed for
            224 px and shrink images 32 times; of an image of 28 px that leaves one pixel, unless two are undone.

    Raises:
        UnknownNameError: No such baseline.
        InvalidSettingError: A ratio or divisor out of range, or more strides to undo than there are.
    """
    if name not in BASELINES:
        raise UnknownNameError("baseline", name, BASELINES)
    if not LEAST_RATIO <= ratio <= GREATEST_RATIO:
        raise InvalidSettingError(f"`ratio` must be from {LEAST_RATIO} to {GREATEST_RATIO}, but got {ratio}.")
    if divisor < 1:
        raise InvalidSettingError(f"`divisor` must be at least 1, but got {divisor}.")

    def scaled(channels: int) -> int:
        return round_channels(channels * ratio, divisor)

    return _without_strides(BASELINES[name](scaled), undo_strides).canonical()


_Scaled = Callable[[int], int]


def _mobilenet_v2(scaled: _Scaled) -> NetworkSpec:
    """Table 2 of the paper; the last convolution does not shrink below its 1,280 channels."""
    rows = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    blocks = tuple(
        Block(
            "sepconv" if expansion == 1 else "mbconv",
            layers,
            kernel=3,
            stride=stride,
            expansion=expansion,
            channels=scaled(channels),
            skip="identity",
            act="relu6",
        )
        for expansion, channels, layers, stride in rows
    )
    head = max(1280, scaled(1280))
    return NetworkSpec(3, 2, scaled(32), blocks, head, stem_act="relu6", head_act="relu6")


_Row = tuple[int, int, int, bool, Literal["RE", "HS"], int]  # kernel, expanded, out, squeeze-and-excite, act, stride

_V3_SMALL: tuple[_Row, ...] = (
    (3, 16, 16, True, "RE", 2),
    (3, 72, 24, False, "RE", 2),
    (3, 88, 24, False, "RE", 1),
    (5, 96, 40, True, "HS", 2),
    (5, 240, 40, True, "HS", 1),
    (5, 240, 40, True, "HS", 1),
    (5, 120, 48, True, "HS", 1),
    (5, 144, 48, True, "HS", 1),
    (5, 288, 96, True, "HS", 2),
    (5, 576, 96, True, "HS", 1),
    (5, 576, 96, True, "HS", 1),
)
_V3_LARGE: tuple[_Row, ...] = (
    (3, 16, 16, False, "RE", 1),
    (3, 64, 24, False, "RE", 2),
    (3, 72, 24, False, "RE", 1),
    (5, 72, 40, True, "RE", 2),
    (5, 120, 40, True, "RE", 1),
    (5, 120, 40, True, "RE", 1),
    (3, 240, 80, False, "HS", 2),
    (3, 200, 80, False, "HS", 1),
    (3, 184, 80, False, "HS", 1),
    (3, 184, 80, False, "HS", 1),
    (3, 480, 112, True, "HS", 1),
    (3, 672, 112, True, "HS", 1),
    (5, 672, 160, True, "HS", 2),
    (5, 960, 160, True, "HS", 1),
    (5, 960, 160, True, "HS", 1),
)


def _mobilenet_v3(rows: tuple[_Row, ...], hidden: int, scaled: _Scaled) -> NetworkSpec:
    """Tables 1 and 2 of the paper, row by row; the head has six times the channels of the last block."""
    stem = channels = scaled(16)
    blocks = []
    for kernel, expanded, out, has_se, act, stride in rows:
        mid = scaled(expanded)
        activation: Activation = "hard_swish" if act == "HS" else "relu"
        blocks.append(
            Block(
                "sepconv" if mid == channels else "mbconv",
                layers=1,
                kernel=kernel,
                stride=stride,
                expansion=expansion_for(channels, mid),
                channels=scaled(out),
                skip="identity",
                se=0.25 if has_se else 0.0,
                se_style="mobilenet_v3",
                act=activation,
            )
        )
        channels = blocks[-1].channels
    return NetworkSpec(
        3,
        2,
        stem,
        tuple(blocks),
        6 * channels,
        hidden_channels=scaled(hidden),
        stem_act="hard_swish",
        head_act="hard_swish",
    )


_MNASNET_A1 = (
    "r1_k3_s11_e1_i32_o16_noskip",
    "r2_k3_s22_e6_i16_o24",
    "r3_k5_s22_e3_i24_o40_se0.25",
    "r4_k3_s22_e6_i40_o80",
    "r2_k3_s11_e6_i80_o112_se0.25",
    "r3_k5_s22_e6_i112_o160_se0.25",
    "r1_k3_s11_e6_i160_o320",
)
_MNASNET_B1 = (
    "r1_k3_s11_e1_i32_o16_noskip",
    "r3_k3_s22_e3_i16_o24",
    "r3_k5_s22_e3_i24_o40",
    "r3_k5_s22_e6_i40_o80",
    "r2_k3_s11_e6_i80_o96",
    "r4_k5_s22_e6_i96_o192",
    "r1_k3_s11_e6_i192_o320_noskip",
)


def _mnasnet(block_strings: tuple[str, ...], scaled: _Scaled) -> NetworkSpec:
    """The paper's block strings; the last convolution keeps its 1,280 channels."""
    spec = NetworkSpec.from_mnasnet(block_strings)
    blocks = tuple(replace(block, channels=scaled(block.channels)) for block in spec.blocks)
    return replace(spec, stem_channels=scaled(spec.stem_channels), blocks=blocks)


def _without_strides(spec: NetworkSpec, count: int) -> NetworkSpec:
    strides = [spec.stem_stride, *(block.stride for block in spec.blocks)]
    places = [place for place, stride in enumerate(strides) if stride > 1]
    if not 0 <= count <= len(places):
        raise InvalidSettingError(
            f"`undo_strides` must be from 0 to the {len(places)} strides of the network, but got {count}."
        )
    for place in places[:count]:
        strides[place] = 1
    blocks = tuple(replace(block, stride=stride) for block, stride in zip(spec.blocks, strides[1:], strict=True))
    return replace(spec, stem_stride=strides[0], blocks=blocks)


BASELINES: dict[str, Callable[[_Scaled], NetworkSpec]] = {
    "mobilenet_v2": _mobilenet_v2,
    "mobilenet_v3_small": lambda scaled: _mobilenet_v3(_V3_SMALL, 1024, scaled),
    "mobilenet_v3_large": lambda scaled: _mobilenet_v3(_V3_LARGE, 1280, scaled),
    "mnasnet_a1": lambda scaled: _mnasnet(_MNASNET_A1, scaled),
    "mnasnet_b1": lambda scaled: _mnasnet(_MNASNET_B1, scaled),
}
"""What makes each, given what scales a number of channels."""
