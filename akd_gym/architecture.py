"""One student architecture: a frozen description, its canonical string, and what it costs.

The grammar is MnasNet's block strings (Tan et al., "MnasNet: Platform-Aware Neural Architecture Search for
Mobile" - https://arxiv.org/abs/1807.11626), extended by the operator and the skip:

    stem_k3_s2_c32 ds_r1_k3_s1_c16_noskip ir_r2_k3_s2_e6_c24_id ir_r3_k5_s2_e3_c40_se0.25_id head_c1280

| token | meaning |
|---|---|
| `cn`, `ds`, `ir` | convolution, depthwise-separable convolution, inverted residual (MBConv) |
| `r2` | identical layers in the block; only the first one strides |
| `k3`, `s2`, `c24` | kernel, stride, output channels |
| `e6` | expansion of an inverted residual |
| `se0.25` | squeeze-and-excite, its ratio relative to the block's input channels |
| `noskip`, `id`, `pool` | no skip, identity where the shape allows, average pooling |

This module imports neither torch nor NumPy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple, get_args

from akd_gym.errors import InvalidArchitectureError

Op = Literal["conv", "sepconv", "mbconv"]
Skip = Literal["none", "identity", "pool"]

_OP_TOKENS = {"conv": "cn", "sepconv": "ds", "mbconv": "ir"}
_SKIP_TOKENS = {"none": "noskip", "identity": "id", "pool": "pool"}
_OPS = {token: op for op, token in _OP_TOKENS.items()}
_SKIPS = {token: skip for skip, token in _SKIP_TOKENS.items()}

_STEM = re.compile(r"stem_k(\d+)_s(\d+)_c(\d+)")
_HEAD = re.compile(r"head_c(\d+)")
_BLOCK = re.compile(r"(cn|ds|ir)_r(\d+)_k(\d+)_s(\d+)(?:_e(\d+))?_c(\d+)(?:_se(\d+\.\d+))?_(noskip|id|pool)")
_MNASNET_BLOCK = re.compile(r"r(\d+)_k(\d+)_s(\d)\3_e(\d+)_i(\d+)_o(\d+)(?:_se(\d+\.\d+))?(_noskip)?")


@dataclass(frozen=True)
class Block:
    """A list of identical layers (section 3.1 of the paper): only the first one strides or changes channels.

    Attributes:
        op: The operator of every layer.
        layers: How many layers, at least 1.
        kernel: Odd kernel size of the spatial convolution.
        stride: Stride of the first layer.
        expansion: Channel expansion; 1 unless `op` is `"mbconv"`.
        channels: Output channels.
        skip: What is added to the output of each layer. `"identity"` acts where a layer keeps its shape;
            `"pool"` always acts: average pooling, with channels cut or zero-filled to fit.
        se: Squeeze-and-excite ratio relative to the input channels of the layer; 0 for none.

    Raises:
        InvalidArchitectureError: If a field is out of its range.
    """

    op: Op
    layers: int
    kernel: int
    stride: int
    expansion: int
    channels: int
    skip: Skip = "none"
    se: float = 0.0

    def __post_init__(self) -> None:
        _require(self.op in get_args(Op), f"`op` must be one of {get_args(Op)}, but got {self.op!r}.")
        _require(self.skip in get_args(Skip), f"`skip` must be one of {get_args(Skip)}, but got {self.skip!r}.")
        for field in ("layers", "stride", "expansion", "channels"):
            value = getattr(self, field)
            _require(value >= 1, f"`{field}` of a block must be at least 1, but got {value}.")
        _require(self.kernel >= 1 and self.kernel % 2 == 1, f"`kernel` must be odd, but got {self.kernel}.")
        _require(
            self.op == "mbconv" or self.expansion == 1,
            f"`expansion` must be 1 for {self.op!r} (only mbconv expands), but got {self.expansion}.",
        )
        _require(0.0 <= self.se <= 1.0, f"`se` must be a ratio from 0 to 1, but got {self.se}.")

    def __str__(self) -> str:
        expansion = f"_e{self.expansion}" if self.op == "mbconv" else ""
        se = f"_se{self.se}" if self.se else ""
        return (
            f"{_OP_TOKENS[self.op]}_r{self.layers}_k{self.kernel}_s{self.stride}{expansion}"
            f"_c{self.channels}{se}_{_SKIP_TOKENS[self.skip]}"
        )

    def canonical(self, in_channels: int) -> Block:
        """The same network with one spelling: an identity skip that no layer can use is `"none"`."""
        keeps_shape = self.stride == 1 and self.channels == in_channels
        if self.skip == "identity" and self.layers == 1 and not keeps_shape:
            return replace(self, skip="none")
        return self


class Layer(NamedTuple):
    """One layer of a block, in place: what `networks.py` builds and `count_cost` counts."""

    block: Block
    in_channels: int
    stride: int
    skip: Skip

    @property
    def mid_channels(self) -> int:
        """Channels of the spatial convolution's output."""
        return self.block.channels if self.block.op == "conv" else self.in_channels * self.block.expansion

    @property
    def se_channels(self) -> int:
        """Channels inside squeeze-and-excite, 0 for none (MnasNet: relative to the layer's input)."""
        return max(1, int(self.in_channels * self.block.se)) if self.block.se else 0


@dataclass(frozen=True)
class NetworkSpec:
    """A whole student: stem convolution, blocks, head convolution, then pooling and a classifier.

    `str(spec)` is the canonical string that names it everywhere, `NetworkSpec.parse` its inverse.
    """

    stem_kernel: int
    stem_stride: int
    stem_channels: int
    blocks: tuple[Block, ...]
    head_channels: int

    def __post_init__(self) -> None:
        _require(len(self.blocks) > 0, "A network must have at least one block, but got none.")
        for field in ("stem_stride", "stem_channels", "head_channels"):
            value = getattr(self, field)
            _require(value >= 1, f"`{field}` must be at least 1, but got {value}.")
        _require(self.stem_kernel % 2 == 1, f"`stem_kernel` must be odd, but got {self.stem_kernel}.")

    def __str__(self) -> str:
        stem = f"stem_k{self.stem_kernel}_s{self.stem_stride}_c{self.stem_channels}"
        return " ".join([stem, *map(str, self.blocks), f"head_c{self.head_channels}"])

    @classmethod
    def parse(cls, text: str) -> NetworkSpec:
        """Read a canonical string.

        Raises:
            InvalidArchitectureError: If the text does not follow the grammar; names the offending token.
        """
        tokens = text.split()
        _require(len(tokens) >= 3, f"An architecture is 'stem_... BLOCK ... head_...', but got {text!r}.")
        stem = _match(_STEM, tokens[0], "stem_k3_s2_c32")
        head = _match(_HEAD, tokens[-1], "head_c1280")
        blocks = []
        for token in tokens[1:-1]:
            op, layers, kernel, stride, expansion, channels, se, skip = _match(
                _BLOCK, token, "ir_r2_k3_s2_e6_c24_se0.25_id"
            ).groups()
            blocks.append(
                Block(
                    op=_OPS[op],  # type: ignore[arg-type]
                    layers=int(layers),
                    kernel=int(kernel),
                    stride=int(stride),
                    expansion=int(expansion or 1),
                    channels=int(channels),
                    skip=_SKIPS[skip],  # type: ignore[arg-type]
                    se=float(se or 0),
                )
            )
        kernel, stride, channels = map(int, stem.groups())
        return cls(kernel, stride, channels, tuple(blocks), int(head.group(1)))

    @classmethod
    def from_mnasnet(
        cls, block_strings: Sequence[str], *, stem_channels: int = 32, head_channels: int = 1280
    ) -> NetworkSpec:
        """Read MnasNet's own block strings, such as `r2_k3_s22_e6_i16_o24_se0.25`.

        Raises:
            InvalidArchitectureError: If a string does not follow MnasNet's grammar or two do not chain.
        """
        blocks, channels = [], stem_channels
        for text in block_strings:
            layers, kernel, stride, expansion, inputs, outputs, se, noskip = _match(
                _MNASNET_BLOCK, text, "r2_k3_s22_e6_i16_o24_se0.25"
            ).groups()
            _require(int(inputs) == channels, f"{text!r} must take {channels} channels, but takes {inputs}.")
            op: Op = "sepconv" if expansion == "1" else "mbconv"
            skip: Skip = "none" if noskip else "identity"
            blocks.append(
                Block(
                    op,
                    int(layers),
                    int(kernel),
                    int(stride),
                    int(expansion),
                    int(outputs),
                    skip,
                    float(se or 0),
                )
            )
            channels = int(outputs)
        return cls(3, 2, stem_channels, tuple(blocks), head_channels).canonical()

    def canonical(self) -> NetworkSpec:
        """The one spelling of this network, by which evaluations are keyed."""
        inputs = (self.stem_channels, *(block.channels for block in self.blocks))
        return replace(self, blocks=tuple(b.canonical(c) for b, c in zip(self.blocks, inputs, strict=False)))

    def layers(self) -> Iterator[Layer]:
        """Every layer of every block, first to last, with the skip that acts on it."""
        channels = self.stem_channels
        for block in self.blocks:
            for index in range(block.layers):
                stride = block.stride if index == 0 else 1
                keeps_shape = stride == 1 and block.channels == channels
                skip: Skip = "none" if block.skip == "identity" and not keeps_shape else block.skip
                yield Layer(block, channels, stride, skip)
                channels = block.channels

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict; `from_json` is its inverse."""
        return asdict(self) | {"blocks": [asdict(block) for block in self.blocks]}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> NetworkSpec:
        """Inverse of `to_json`."""
        return cls(**data | {"blocks": tuple(Block(**block) for block in data["blocks"])})


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
            if block.expansion > 1:
                conv(layer.in_channels, mid, 1, size)
            conv(mid, mid, block.kernel, out_size, groups=mid)
            conv(mid, block.channels, 1, out_size)
        if layer.se_channels:
            conv(mid, layer.se_channels, 1, 1, bias=True)
            conv(layer.se_channels, mid, 1, 1, bias=True)
        size, channels = out_size, block.channels
    conv(channels, spec.head_channels, 1, size)
    conv(spec.head_channels, num_classes, 1, 1, bias=True)
    return Cost(madds, params)


def _match(pattern: re.Pattern[str], token: str, example: str) -> re.Match[str]:
    match = pattern.fullmatch(token)
    if match is None:
        raise InvalidArchitectureError(f"Every token must look like {example!r}, but got {token!r}.")
    return match


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise InvalidArchitectureError(message)
