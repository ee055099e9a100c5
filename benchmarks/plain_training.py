"""The proxy task as a competent user of PyTorch writes it, and what makes ours quicker, one thing at a time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from akd_gym.architecture import NetworkSpec
from akd_gym.augment import AugmentRecipe
from akd_gym.data import TaskData
from akd_gym.images import ImageSet
from akd_gym.networks import build_network
from akd_gym.recipes import Recipe
from akd_gym.student_answers import Normalise

Batches = Iterable[tuple[Tensor, Tensor]]
_TEST_BATCH = 256


@dataclass(frozen=True)
class Ingredients:
    """What makes our proxy training quick. All on: what `akd_gym.training` does; all off: the plain loop.

    Attributes:
        channels_last: Weights and activations in the channels-last memory format.
        one_thread: One torch thread, so that as many students train side by side as there are cores.
        resident_data: The epoch's view of all images made at once, and batches indexed from it; else a `DataLoader`
            over PIL pictures.
        flushed_denormals: Denormal numbers flushed to zero.
        fused_step: All weights updated by one kernel.
    """

    channels_last: bool = True
    one_thread: bool = True
    resident_data: bool = True
    flushed_denormals: bool = True
    fused_step: bool = True


PLAIN = Ingredients(*[False] * 5)


class Trained(NamedTuple):
    """Accuracy on mini-val, and the seconds of training and testing."""

    accuracy: float
    seconds: float


def train_student_with(
    ingredients: Ingredients, spec: NetworkSpec, data: TaskData, recipe: Recipe, seed: int = 0
) -> Trained:
    """Train a student by hard labels, with the initial weights that `akd_gym.training` gives it."""
    start = time.perf_counter()
    torch.manual_seed(seed)  # of the order and the transforms of a `DataLoader`
    network = build_network(spec, data.num_classes, data.in_channels, generator=torch.Generator().manual_seed(seed))
    if ingredients.channels_last:
        network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=True,
        fused=True if ingredients.fused_step else None,
    )
    batches = ResidentBatches if ingredients.resident_data else picture_batches
    with _machine_settings(ingredients):
        train(network, optimizer, batches(data.train, data, recipe), recipe)
        accuracy = test(network, batches(data.val, data, None))
    return Trained(accuracy, time.perf_counter() - start)


def train(network: nn.Module, optimizer: torch.optim.Optimizer, batches: Any, recipe: Recipe) -> None:
    """The textbook loop."""
    network.train()
    steps = len(batches)
    for epoch in range(recipe.epochs):
        for step, (images, labels) in enumerate(batches):
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate_at(epoch + (step + 1) / steps)
            loss = functional.cross_entropy(network(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


@torch.no_grad()
def test(network: nn.Module, batches: Batches) -> float:
    """The textbook test; top-1 accuracy, a fraction."""
    network.eval()
    correct = total = 0
    for images, labels in batches:
        correct += int((network(images).argmax(1) == labels).sum())
        total += len(labels)
    return correct / total


class Pictures(Dataset[tuple[Tensor, int]]):
    """Grey images as torchvision's data sets give them: PIL pictures, transformed one at a time."""

    def __init__(self, images: ImageSet, transform: v2.Compose) -> None:
        self.arrays, self.labels, self.transform = images.images[:, 0].numpy(), images.labels.tolist(), transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.arrays[index])), self.labels[index]


def picture_batches(images: ImageSet, data: TaskData, recipe: Recipe | None) -> DataLoader[Any]:
    """A `DataLoader` with its default settings, for training by `recipe` or, without one, for testing."""
    scale = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(data.mean, data.std)]
    if recipe is None:
        return DataLoader(Pictures(images, v2.Compose(scale)), batch_size=_TEST_BATCH)
    augment = [v2.RandomCrop(data.resolution, padding=recipe.shift), v2.RandomHorizontalFlip()]
    pictures = Pictures(images, v2.Compose([*augment, *scale]))
    return DataLoader(pictures, batch_size=recipe.batch_size, shuffle=True, drop_last=True)


class ResidentBatches:
    """The batches of `akd_gym.training`; every iteration is the next epoch."""

    def __init__(self, images: ImageSet, data: TaskData, recipe: Recipe | None) -> None:
        self.images, self.recipe = images, recipe
        self.normalise = Normalise(data, torch.device("cpu"))
        self.epoch = 0

    def __len__(self) -> int:
        assert self.recipe is not None
        return len(self.images) // self.recipe.batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        if self.recipe is None:
            for rows in torch.arange(len(self.images)).split(_TEST_BATCH):
                yield self.normalise(self.images.images[rows]), self.images.labels[rows]
            return
        augment = AugmentRecipe(self.recipe.augment_seed, self.recipe.shift, self.recipe.flip)
        pictures = augment.view(self.images.images, self.images.indices, self.epoch)
        self.epoch += 1
        for rows in torch.randperm(len(self.images)).split(self.recipe.batch_size)[: len(self)]:
            yield self.normalise(pictures[rows]), self.images.labels[rows]


@contextlib.contextmanager
def _machine_settings(ingredients: Ingredients) -> Iterator[None]:
    threads = torch.get_num_threads()
    if ingredients.one_thread:
        torch.set_num_threads(1)
    torch.set_flush_denormal(ingredients.flushed_denormals)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)
