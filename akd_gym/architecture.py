"""One student architecture: a frozen description, its canonical string, and what it costs.

The grammar is MnasNet's block strings (Tan et al., "MnasNet: Platform-Aware Neural Architecture Search for
Mobile" - https://arxiv.org/abs/1807.11626), extended by the operator and the skip:

    stem_k3_s2_c32 ds_r1_k3_s1_c16_noskip ir_r2_k3_s2_e6_c24_id ir_r3_k5_s2_e3_c40_se0.25_id head_c1280

and, for networks outside the search spaces (`akd_gym.baselines`), by activations, a second kind of squeeze-and-excite
and a hidden layer behind the head:

    stem_k3_s2_c16_nhs ds_r1_k3_s2_c16_hse0.25_noskip ir_r1_k3_s1_e3.67_c24_id head_c576_f1024_nhs

| token | meaning |
|---|---|
| `cn`, `ds`, `ir` | convolution, depthwise-separable convolution, inverted residual (MBConv) |
| `r2` | identical layers in the block; only the first one strides |
| `k3`, `s2`, `c24` | kernel, stride, output channels |
| `e6`, `e3.67` | expansion of an inverted residual; the product is rounded to whole channels (half up) |
| `se0.25` | squeeze-and-excite, its ratio relative to the block's input channels, with a sigmoid gate |
| `hse0.25` | MobileNetV3's: relative to the expanded channels, rounded to 8, with a hard-sigmoid gate |
| `nhs`, `nr6` | hard-swish or ReLU6 (timm's letters) as the activation, of a block, stem or head; else ReLU |
| `noskip`, `id`, `pool` | no skip, identity where the shape allows, average pooling |
| `f1024` | a linear layer of 1,024 outputs with the head's activation, between pooling and classifier |

This module imports neither torch nor NumPy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple, get_args

from akd_gym.channels import expanded_channels, round_channels, shortest_expansion, whole
from akd_gym.errors import InvalidArchitectureError

Op = Literal["conv", "sepconv", "mbconv"]
Skip = Literal["none", "identity", "pool"]
Activation = Literal["relu", "relu6", "hard_swish"]
SqueezeStyle = Literal["mnasnet", "mobilenet_v3"]

_OP_TOKENS = {"conv": "cn", "sepconv": "ds", "mbconv": "ir"}
_SKIP_TOKENS = {"none": "noskip", "identity": "id", "pool": "pool"}
_ACT_TOKENS = {"relu": "", "relu6": "_nr6", "hard_swish": "_nhs"}
_SE_TOKENS = {"mnasnet": "se", "mobilenet_v3": "hse"}
_OPS = {token: op for op, token in _OP_TOKENS.items()}
_SKIPS = {token: skip for skip, token in _SKIP_TOKENS.items()}

_ACTS = {token: act for act, token in _ACT_TOKENS.items()}
_SE_STYLES = {token: style for style, token in _SE_TOKENS.items()}

_STEM = re.compile(r"stem_k(\d+)_s(\d+)_c(\d+)(_nr6|_nhs)?")
_HEAD = re.compile(r"head_c(\d+)(?:_f(\d+))?(_nr6|_nhs)?")
_BLOCK = re.compile(
    r"(cn|ds|ir)_r(\d+)_k(\d+)_s(\d+)(?:_e(\d+(?:\.\d*[1-9])?))?_c(\d+)"
    r"(?:_(h?se)(\d+\.\d+))?(_nr6|_nhs)?_(noskip|id|pool)"
)
_MNASNET_BLOCK = re.compile(r"r(\d+)_k(\d+)_s(\d)\3_e(\d+)_i(\d+)_o(\d+)(?:_se(\d+\.\d+))?(_noskip)?")


@dataclass(frozen=True)
class Block:
    """A list of identical layers (section 3.1 of the paper): only the first one strides or changes channels.

    Attributes:
        op: The operator of every layer.
        layers: How many layers, at least 1.
        kernel: Odd kernel size of the spatial convolution.
        stride: Stride of the first layer.
        expansion: Channel expansion; 1 unless `op` is `"mbconv"`. `channels.expansion_for` gives exact channels.
        channels: Output channels.
        skip: What is added to the output of each layer. `"identity"` acts where a layer keeps its shape;
            `"pool"` always acts: average pooling, with channels cut or zero-filled to fit.
        se: Squeeze-and-excite ratio; 0 for none.
        se_style: What the ratio is relative to, and the gate: MnasNet's (the layer's input channels, sigmoid) or
            MobileNetV3's (the expanded channels, rounded by `channels.round_channels`; hard-sigmoid).
        act: Activation behind every convolution but a projection.

    Raises:
        InvalidArchitectureError: If a field is out of its range.
    """

    op: Op
    layers: int
    kernel: int
    stride: int
    expansion: float
    channels: int
    skip: Skip = "none"
    se: float = 0.0
    se_style: SqueezeStyle = "mnasnet"
    act: Activation = "relu"

    def __post_init__(self) -> None:
        kinds = {"op": Op, "skip": Skip, "se_style": SqueezeStyle, "act": Activation}
        for field, kind in kinds.items():
            _require_one_of(field, getattr(self, field), kind)
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
        expansion = f"_e{whole(self.expansion)}" if self.op == "mbconv" else ""
        se = f"_{_SE_TOKENS[self.se_style]}{self.se}" if self.se else ""
        return (
            f"{_OP_TOKENS[self.op]}_r{self.layers}_k{self.kernel}_s{self.stride}{expansion}"
            f"_c{self.channels}{se}{_ACT_TOKENS[self.act]}_{_SKIP_TOKENS[self.skip]}"
        )

    def canonical(self, in_channels: int) -> Block:
        """The same network with one spelling.

        An identity skip that no layer can use is `"none"`, a fractional expansion has the fewest decimals that give
        the same channels, and no squeeze-and-excite has no style.
        """
        block = self
        keeps_shape = self.stride == 1 and self.channels == in_channels
        if self.skip == "identity" and self.layers == 1 and not keeps_shape:
            block = replace(block, skip="none")
        if isinstance(self.expansion, float):
            inputs = (in_channels, self.channels)[: self.layers]
            expanded = {channels: expanded_channels(channels, self.expansion) for channels in inputs}
            block = replace(block, expansion=shortest_expansion(expanded) or self.expansion)
        if not self.se and self.se_style != "mnasnet":
            block = replace(block, se_style="mnasnet")
        return block


class Layer(NamedTuple):
    """One layer of a block, in place: what `networks.py` builds and `count_cost` counts."""

    block: Block
    in_channels: int
    stride: int
    skip: Skip

    @property
    def mid_channels(self) -> int:
        """Channels of the spatial convolution's output."""
        if self.block.op == "conv":
            return self.block.channels
        return expanded_channels(self.in_channels, self.block.expansion)

    @property
    def expands(self) -> bool:
        """Whether a 1x1 convolution comes before the spatial one."""
        return self.block.op == "mbconv" and self.mid_channels != self.in_channels

    @property
    def se_channels(self) -> int:
        """Channels inside squeeze-and-excite, 0 for none."""
        if not self.block.se:
            return 0
        if self.block.se_style == "mobilenet_v3":
            return round_channels(int(self.mid_channels * self.block.se))
        return max(1, int(self.in_channels * self.block.se))


@dataclass(frozen=True)
class NetworkSpec:
    """A whole student: stem convolution, blocks, head convolution, then pooling and a classifier.

    `str(spec)` is the canonical string that names it everywhere, `NetworkSpec.parse` its inverse.

    Attributes:
        stem_kernel: Odd kernel size of the stem.
        stem_stride: Its stride.
        stem_channels: Its output channels.
        blocks: At least one.
        head_channels: Output channels of the head convolution.
        hidden_channels: Outputs of a linear layer behind the pooling, as MobileNetV3 has; None for no such layer.
        stem_act: Activation of the stem.
        head_act: Activation of the head convolution, and of the hidden layer if there is one.
    """

    stem_kernel: int
    stem_stride: int
    stem_channels: int
    blocks: tuple[Block, ...]
    head_channels: int
    hidden_channels: int | None = None
    stem_act: Activation = "relu"
    head_act: Activation = "relu"

    def __post_init__(self) -> None:
        _require(len(self.blocks) > 0, "A network must have at least one block, but got none.")
        for field in ("stem_stride", "stem_channels", "head_channels"):
            value = getattr(self, field)
            _require(value >= 1, f"`{field}` must be at least 1, but got {value}.")
        _require(self.stem_kernel % 2 == 1, f"`stem_kernel` must be odd, but got {self.stem_kernel}.")
        hidden = self.hidden_channels
        _require(hidden is None or hidden >= 1, f"`hidden_channels` must be at least 1 or None, but got {hidden}.")
        for field in ("stem_act", "head_act"):
            _require_one_of(field, getattr(self, field), Activation)

    def __str__(self) -> str:
        stem = f"stem_k{self.stem_kernel}_s{self.stem_stride}_c{self.stem_channels}{_ACT_TOKENS[self.stem_act]}"
        hidden = "" if self.hidden_channels is None else f"_f{self.hidden_channels}"
        head = f"head_c{self.head_channels}{hidden}{_ACT_TOKENS[self.head_act]}"
        return " ".join([stem, *map(str, self.blocks), head])

    @property
    def feature_channels(self) -> int:
        """Size of the penultimate layer, which the classifier takes and feature distillation matches."""
        return self.head_channels if self.hidden_channels is None else self.hidden_channels

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
            op, layers, kernel, stride, expansion, channels, se_token, se, act, skip = _match(
                _BLOCK, token, "ir_r2_k3_s2_e6_c24_se0.25_id"
            ).groups()
            blocks.append(
                Block(
                    op=_OPS[op],  # type: ignore[arg-type]
                    layers=int(layers),
                    kernel=int(kernel),
                    stride=int(stride),
                    expansion=whole(float(expansion or 1)),
                    channels=int(channels),
                    skip=_SKIPS[skip],  # type: ignore[arg-type]
                    se=float(se or 0),
                    se_style=_SE_STYLES[se_token or "se"],  # type: ignore[arg-type]
                    act=_ACTS[act or ""],  # type: ignore[arg-type]
                )
            )
        kernel, stride, channels = map(int, stem.groups()[:3])
        head_channels, hidden, head_act = head.groups()
        return cls(
            kernel,
            stride,
            channels,
            tuple(blocks),
            int(head_channels),
            hidden_channels=None if hidden is None else int(hidden),
            stem_act=_ACTS[stem.group(4) or ""],  # type: ignore[arg-type]
            head_act=_ACTS[head_act or ""],  # type: ignore[arg-type]
        )

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
        """A JSON-able dict; `from_json` is its inverse. What only some networks have is left out of the others."""
        blocks = [_without_defaults(asdict(block), Block) for block in self.blocks]
        return _without_defaults(asdict(self), NetworkSpec) | {"blocks": blocks}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> NetworkSpec:
        """Inverse of `to_json`."""
        return cls(**data | {"blocks": tuple(Block(**block) for block in data["blocks"])})


def _without_defaults(fields: dict[str, Any], kind: type[Block] | type[NetworkSpec]) -> dict[str, Any]:
    """Without the fields that joined after files had been written, where they say nothing."""
    later = {"se_style", "act"} if kind is Block else {"hidden_channels", "stem_act", "head_act"}
    return {name: value for name, value in fields.items() if name not in later or value != getattr(kind, name)}


def _match(pattern: re.Pattern[str], token: str, example: str) -> re.Match[str]:
    match = pattern.fullmatch(token)
    if match is None:
        raise InvalidArchitectureError(f"Every token must look like {example!r}, but got {token!r}.")
    return match


def _require_one_of(field: str, value: str, kind: Any) -> None:
    _require(value in get_args(kind), f"`{field}` must be one of {get_args(kind)}, but got {value!r}.")


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise InvalidArchitectureError(message)
