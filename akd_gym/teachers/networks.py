"""The three networks that ship as teachers: one residual, one inception-like, one without convolutions.

They differ in kind on purpose: what a student finds easy to learn from one may differ from another, which is
what architecture-aware distillation is about.

Papers: Deep Residual Learning - https://arxiv.org/abs/1512.03385;
Going Deeper with Convolutions - https://arxiv.org/abs/1409.4842;
MLP-Mixer: An all-MLP Architecture for Vision - https://arxiv.org/abs/2105.01601
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from akd_gym.errors import InvalidSettingError, UnknownNameError
from akd_gym.teachers.settings import TEACHER_NETWORKS


def conv_bn(
    in_channels: int,
    out_channels: int,
    kernel: int,
    stride: int = 1,
    act_layer: Callable[..., nn.Module] | None = nn.ReLU,
) -> nn.Sequential:
    """Convolution that keeps the size (at stride 1), batch normalisation and, unless None, an activation."""
    layers: list[nn.Module] = [
        nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(out_channels),
    ]
    if act_layer is not None:
        layers.append(act_layer(inplace=True))
    return nn.Sequential(*layers)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut: (B, C, H, W) -> (B, out, H/stride, W/stride)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv_bn(in_channels, out_channels, 3, stride),
            conv_bn(out_channels, out_channels, 3, act_layer=None),
        )
        same = in_channels == out_channels and stride == 1
        self.shortcut = nn.Identity() if same else conv_bn(in_channels, out_channels, 1, stride, None)

    def forward(self, x: Tensor) -> Tensor:
        """Add the shortcut to the body's output."""
        return torch.relu(self.body(x) + self.shortcut(x))


class TeacherResNet(nn.Module):
    """Residual teacher: (B, C, H, W) -> (B, num_classes), any resolution of 8 pixels or more."""

    def __init__(self, num_classes: int, in_channels: int, widths: tuple[int, ...] = (32, 64, 96)) -> None:
        super().__init__()
        stages: list[nn.Module] = [conv_bn(in_channels, widths[0], 3, 2)]
        before = widths[0]
        for number, width in enumerate(widths):
            stages.append(ResidualBlock(before, width, stride=2 if number else 1))
            before = width
        self.features = nn.Sequential(*stages)
        self.classifier = nn.Linear(before, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.classifier(self.features(x).mean((2, 3)))


class InceptionBlock(nn.Module):
    """Four parallel branches (1x1; 3x3; 3x3 twice, so 5x5; pool) concatenated to `out_channels`."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        quarter = out_channels // 4
        self.point = conv_bn(in_channels, quarter, 1)
        self.three = nn.Sequential(conv_bn(in_channels, quarter, 1), conv_bn(quarter, quarter, 3))
        self.five = nn.Sequential(
            conv_bn(in_channels, quarter, 1), conv_bn(quarter, quarter, 3), conv_bn(quarter, quarter, 3)
        )
        self.pool = nn.Sequential(nn.MaxPool2d(3, 1, 1), conv_bn(in_channels, quarter, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Concatenate the branches."""
        return torch.cat([self.point(x), self.three(x), self.five(x), self.pool(x)], 1)


class TeacherInception(nn.Module):
    """Inception-like teacher: (B, C, H, W) -> (B, num_classes), any resolution of 8 pixels or more."""

    def __init__(self, num_classes: int, in_channels: int, widths: tuple[int, ...] = (64, 128, 192)) -> None:
        super().__init__()
        first, second, third = widths
        self.features = nn.Sequential(
            conv_bn(in_channels, 16, 5, 2),
            InceptionBlock(16, first),
            nn.MaxPool2d(3, 2, 1),
            InceptionBlock(first, second),
            InceptionBlock(second, third),
        )
        self.classifier = nn.Linear(third, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.classifier(self.features(x).mean((2, 3)))


class MixerBlock(nn.Module):
    """Mix over positions, then over channels: (B, tokens, dim) -> the same shape."""

    def __init__(self, tokens: int, dim: int, token_hidden: int, channel_hidden: int) -> None:
        super().__init__()
        self.token_norm = nn.LayerNorm(dim)
        self.token_mlp = nn.Sequential(nn.Linear(tokens, token_hidden), nn.GELU(), nn.Linear(token_hidden, tokens))
        self.channel_norm = nn.LayerNorm(dim)
        self.channel_mlp = nn.Sequential(nn.Linear(dim, channel_hidden), nn.GELU(), nn.Linear(channel_hidden, dim))

    def forward(self, x: Tensor) -> Tensor:
        """Two residual multi-layer perceptrons."""
        x = x + self.token_mlp(self.token_norm(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channel_mlp(self.channel_norm(x))


class TeacherMixer(nn.Module):
    """MLP-Mixer teacher: (B, C, R, R) -> (B, num_classes) at the one resolution R it was built for."""

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        resolution: int = 28,
        patch: int = 7,
        dim: int = 128,
        depth: int = 4,
    ) -> None:
        super().__init__()
        if resolution % patch:
            raise InvalidSettingError(
                f"The mixer cuts an image into patches of {patch} pixels: `resolution` must be a multiple of "
                f"{patch}, but got {resolution}."
            )
        tokens = (resolution // patch) ** 2
        margin = patch // 2  # patches overlap by half: a garment that is shifted a little keeps its tokens
        self.embed = nn.Conv2d(in_channels, dim, patch + 2 * margin, patch, margin)
        self.blocks = nn.Sequential(*(MixerBlock(tokens, dim, tokens, 2 * dim) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)
        self.classifier = nn.Linear(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        tokens = self.embed(x).flatten(2).transpose(1, 2)
        return self.classifier(self.norm(self.blocks(tokens)).mean(1))


def build_teacher_network(name: str, num_classes: int, in_channels: int, resolution: int) -> nn.Module:
    """Build one of the three with fresh weights: (B, C, resolution, resolution) -> (B, num_classes).

    Raises:
        UnknownNameError: No such network.
        InvalidSettingError: The mixer cannot cut images of this resolution into its patches.
    """
    if name == "resnet":
        return TeacherResNet(num_classes, in_channels)
    if name == "inception":
        return TeacherInception(num_classes, in_channels)
    if name == "mixer":
        return TeacherMixer(num_classes, in_channels, resolution)
    raise UnknownNameError("teacher network", name, TEACHER_NETWORKS)
