"""Model zoos whose networks can teach: torchvision's, timm's, pytorchcv's. None of them is imported here."""

from akd_gym.teachers.zoos.base import Entry, Weights, Zoo
from akd_gym.teachers.zoos.registry import ZOOS, build_zoo_network, find_zoo

__all__ = ["ZOOS", "Entry", "Weights", "Zoo", "build_zoo_network", "find_zoo"]
