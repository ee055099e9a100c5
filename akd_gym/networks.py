"""Students as `torch.nn` modules, built from a `NetworkSpec`.

Paper: MnasNet: Platform-Aware Neural Architecture Search for Mobile - https://arxiv.org/abs/1807.11626
Paper: Squeeze-and-Excitation Networks - https://arxiv.org/abs/1709.01507
Paper: Searching for MobileNetV3 - https://arxiv.org/abs/1905.02244
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from akd_gym.architecture import Activation, Layer, NetworkSpec

NormLayer = Callable[[int], nn.Module]
ActLayer = Callable[..., nn.Module]

_ACTIVATIONS: dict[Activation, ActLayer] = {"relu6": nn.ReLU6, "hard_swish": nn.Hardswish}
"""Those that an architecture names; a plain ReLU is whatever `act_layer` makes."""


class SqueezeExcite(nn.Module):
    """Rescale channels by a gate computed from their means, `(B, C, H, W)` -> `(B, C, H, W)`."""

    def __init__(
        self,
        channels: int,
        reduced_channels: int,
        act_layer: ActLayer = nn.ReLU,
        gate_layer: ActLayer = nn.Sigmoid,
    ) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(channels, reduced_channels, 1)
        self.act = act_layer()
        self.expand = nn.Conv2d(reduced_channels, channels, 1)
        self.gate = gate_layer()

    def forward(self, x: Tensor) -> Tensor:
        """Gate `x` of shape `(B, C, H, W)`."""
        return x * self.gate(self.expand(self.act(self.reduce(self.pool(x)))))


class PoolSkip(nn.Module):
    """Average pooling as a skip: `(B, C_in, H, W)` -> `(B, C_out, ceil(H / stride), ceil(W / stride))`.

    Padding is not counted, and channels are cut or zero-filled, so that the skip has no weights.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.missing_channels = max(0, out_channels - in_channels)
        self.surplus_channels = max(0, in_channels - out_channels)
        self.pool = (
            nn.AvgPool2d(3, 1, padding=1, count_include_pad=False)
            if stride == 1
            else nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Pool `x` and fit its channels."""
        x = self.pool(x)
        if self.missing_channels:
            return F.pad(x, (0, 0, 0, 0, 0, self.missing_channels))
        return x[:, : self.out_channels] if self.surplus_channels else x


class StudentLayer(nn.Module):
    """One layer of a block, `(B, C_in, H, W)` -> `(B, C_out, ceil(H / stride), ceil(W / stride))`.

    Args:
        layer: The layer to build.
        act_layer: Makes the activation where the block names no other than ReLU.
        norm_layer: Makes the normalisation from a channel count.
        se_layer: Makes squeeze-and-excite from channels, reduced channels and `act_layer`; for MobileNetV3's also
            from `gate_layer`.
    """

    def __init__(
        self,
        layer: Layer,
        act_layer: ActLayer = nn.ReLU,
        norm_layer: NormLayer = nn.BatchNorm2d,
        se_layer: Callable[..., nn.Module] = SqueezeExcite,
    ) -> None:
        super().__init__()
        block, mid = layer.block, layer.mid_channels
        act = _ACTIVATIONS.get(block.act, act_layer)

        def spatial_conv(inputs: int, groups: int) -> nn.Conv2d:
            padding = block.kernel // 2
            return nn.Conv2d(inputs, mid, block.kernel, layer.stride, padding, groups=groups, bias=False)

        modules: list[nn.Module] = []
        if block.op == "conv":
            modules += [
                spatial_conv(layer.in_channels, 1),
                norm_layer(mid),
                act(),
            ]
        else:
            if layer.expands:
                modules += [nn.Conv2d(layer.in_channels, mid, 1, bias=False), norm_layer(mid), act()]
            modules += [
                spatial_conv(mid, mid),
                norm_layer(mid),
                act(),
            ]
        if layer.se_channels:
            gate = {"gate_layer": nn.Hardsigmoid} if block.se_style == "mobilenet_v3" else {}
            modules.append(se_layer(mid, layer.se_channels, act_layer=act_layer, **gate))
        if block.op != "conv":
            modules += [nn.Conv2d(mid, block.channels, 1, bias=False), norm_layer(block.channels)]
        self.main = nn.Sequential(*modules)
        self.skip: nn.Module | None = None
        if layer.skip == "identity":
            self.skip = nn.Identity()
        elif layer.skip == "pool":
            self.skip = PoolSkip(layer.in_channels, block.channels, layer.stride)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer to `x` of shape `(B, C_in, H, W)`."""
        return self.main(x) if self.skip is None else self.main(x) + self.skip(x)


class StudentNetwork(nn.Module):
    """The network of a `NetworkSpec`: `(B, in_channels, H, W)` -> logits `(B, num_classes)`.

    `forward_features` gives the penultimate layer, `(B, spec.feature_channels)`, which feature distillation matches.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        num_classes: int,
        in_channels: int = 3,
        dropout: float = 0.0,
        act_layer: ActLayer = nn.ReLU,
        norm_layer: NormLayer = nn.BatchNorm2d,
        se_layer: Callable[..., nn.Module] = SqueezeExcite,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.stem = nn.Sequential(
            nn.Conv2d(
                in_channels,
                spec.stem_channels,
                spec.stem_kernel,
                stride=spec.stem_stride,
                padding=spec.stem_kernel // 2,
                bias=False,
            ),
            norm_layer(spec.stem_channels),
            _ACTIVATIONS.get(spec.stem_act, act_layer)(),
        )
        layers = list(spec.layers())
        self.layers = nn.Sequential(*(StudentLayer(layer, act_layer, norm_layer, se_layer) for layer in layers))
        head_act = _ACTIVATIONS.get(spec.head_act, act_layer)
        self.head = nn.Sequential(
            nn.Conv2d(layers[-1].block.channels, spec.head_channels, 1, bias=False),
            norm_layer(spec.head_channels),
            head_act(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(1),
        )
        if spec.hidden_channels is not None:
            self.head.extend([nn.Linear(spec.head_channels, spec.hidden_channels), head_act()])
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(spec.feature_channels, num_classes)
        self.apply(_initialise)

    def forward_features(self, x: Tensor) -> Tensor:
        """Embed `x` of shape `(B, in_channels, H, W)` as `(B, spec.feature_channels)`."""
        return self.head(self.layers(self.stem(x)))

    def classify(self, features: Tensor) -> Tensor:
        """Logits `(B, num_classes)` of features `(B, spec.feature_channels)`."""
        return self.classifier(self.dropout(features))

    def forward(self, x: Tensor) -> Tensor:
        """Classify `x` of shape `(B, in_channels, H, W)`: logits `(B, num_classes)`."""
        return self.classify(self.forward_features(x))


def build_network(
    spec: NetworkSpec,
    num_classes: int,
    in_channels: int = 3,
    *,
    dropout: float = 0.0,
    act_layer: ActLayer = nn.ReLU,
    norm_layer: NormLayer = nn.BatchNorm2d,
    generator: torch.Generator | None = None,
) -> StudentNetwork:
    """Build a student from its description, with weights of its own (the paper shares none).

    Args:
        spec: What to build, at any width; the network takes any resolution.
        num_classes: Outputs of the classifier.
        in_channels: Channels of the input image.
        dropout: Dropout rate before the classifier.
        act_layer: Makes every activation for which the architecture names no other than ReLU.
        norm_layer: Makes every normalisation from a channel count.
        generator: If given, the initial weights are drawn from it and global random state is left alone.
    """
    if generator is None:
        return StudentNetwork(spec, num_classes, in_channels, dropout, act_layer, norm_layer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        return StudentNetwork(spec, num_classes, in_channels, dropout, act_layer, norm_layer)


def _initialise(module: nn.Module) -> None:
    """He initialisation by fan-out for convolutions, as MnasNet and MobileNetV2 are trained."""
    if isinstance(module, nn.Conv2d):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2.0 / fan_out))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
        nn.init.zeros_(module.bias)
