"""Which zoos there are, and their networks by name."""

from __future__ import annotations

from torch import nn

from akd_gym.errors import UnknownNameError
from akd_gym.teachers.zoos.base import Zoo
from akd_gym.teachers.zoos.pytorchcv import PytorchcvZoo
from akd_gym.teachers.zoos.timm import TimmZoo
from akd_gym.teachers.zoos.torchvision import TorchvisionZoo

ZOOS: dict[str, Zoo] = {zoo.prefix: zoo for zoo in (TorchvisionZoo(), TimmZoo(), PytorchcvZoo())}
"""All zoos, by the prefix of their networks' names."""


def find_zoo(name: str) -> tuple[Zoo, str] | None:
    """Split `timm:resnet50` into the zoo and the name that it knows; None if it is of no zoo."""
    prefix, _, rest = name.partition(":")
    return (ZOOS[prefix], rest) if prefix in ZOOS and rest else None


def build_zoo_network(name: str, num_classes: int, in_channels: int = 3) -> nn.Module:
    """Build a network of a zoo with random weights: (B, in_channels, R, R) -> (B, num_classes).

    Args:
        name: `torchvision:NAME`, `timm:NAME` or `pytorchcv:NAME`.
        num_classes: Of its answers.
        in_channels: Of the pictures.

    Raises:
        UnknownNameError: No zoo has such a network.
        TeacherError: The zoo is not installed, or cannot build the network so.
    """
    found = find_zoo(name)
    if found is None:
        raise UnknownNameError("network", name, [f"{prefix}:NAME" for prefix in ZOOS])
    zoo, own = found
    return zoo.build(own, num_classes, in_channels)
