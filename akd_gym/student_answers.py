"""What a student says of images, and how often it is right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from akd_gym.data import TaskData
from akd_gym.distill import Answer
from akd_gym.images import Images
from akd_gym.networks import StudentNetwork
from akd_gym.recipes import Precision

_EVAL_BATCH = 256
_EVAL_PIXELS = 16 * 224 * 224  # of a batch: what students of any width can be asked at once without a gigabyte


@dataclass(frozen=True)
class Accuracy:
    """How often a network is right.

    Attributes:
        top1: Share of images whose class got the highest logit.
        top5: Share of images whose class is among the five highest; None where there are five classes or fewer.
        images: That were counted.
    """

    top1: float
    top5: float | None
    images: int


def ask(network: StudentNetwork, images: Tensor, with_features: bool, precision: Precision | None = None) -> Answer:
    """What the student says of normalised images (B, C, H, W), in 32 bits."""
    with mixed_precision(images.device, precision):
        if not with_features:
            return Answer(network(images).float())
        features = network.forward_features(images)
        return Answer(network.classify(features).float(), features.float())


@torch.no_grad()
def evaluate(network: nn.Module, images: Images, data: TaskData, precision: Precision | None = None) -> float:
    """Top-1 accuracy of `network` on `images`, a fraction; leaves the network in evaluation mode."""
    correct = 0
    for logits, labels in _answers(network, images, data, precision):
        correct += int((logits.argmax(1) == labels).sum())
    return correct / len(images)


@torch.no_grad()
def judge(network: nn.Module, images: Images, data: TaskData, precision: Precision | None = None) -> Accuracy:
    """Top-1 and top-5 accuracy of `network` on `images`; leaves the network in evaluation mode."""
    first = five = 0
    for logits, labels in _answers(network, images, data, precision):
        first += int((logits.argmax(1) == labels).sum())
        if data.num_classes > 5:
            five += int((logits.topk(5, 1).indices == labels[:, None]).sum())
    return Accuracy(first / len(images), five / len(images) if data.num_classes > 5 else None, len(images))


def _answers(
    network: nn.Module, images: Images, data: TaskData, precision: Precision | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits and labels of all images, a batch at a time."""
    device = next(network.parameters()).device
    normalise = Normalise(data, device)
    network.eval()
    pixels = images.shape[1] * images.shape[2]
    batches = torch.arange(len(images)).split(max(1, min(_EVAL_BATCH, _EVAL_PIXELS // pixels)))
    for rows, pictures in zip(batches, images.batches(batches, device), strict=True):
        with mixed_precision(device, precision):
            logits = network(normalise(pictures))
        yield logits, images.labels[rows].to(device)


class Normalise:
    """uint8 `(B, C, H, W)` -> float32 of zero mean and unit variance, channels last, on `device`."""

    def __init__(self, data: TaskData, device: torch.device) -> None:
        mean, std = torch.tensor(data.mean, device=device), torch.tensor(data.std, device=device)
        self.scale = (1 / (255 * std)).view(1, -1, 1, 1)
        self.shift = (-mean / std).view(1, -1, 1, 1)

    def __call__(self, images: Tensor) -> Tensor:
        """Normalise a batch."""
        return torch.addcmul(self.shift, images.float(), self.scale).contiguous(memory_format=torch.channels_last)


def mixed_precision(device: torch.device, precision: Precision | None = None) -> torch.autocast:
    """bfloat16 where it is wanted; by default where it is fast: on a GPU."""
    wanted = device.type == "cuda" if precision is None else precision == "bfloat16"
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=wanted)
