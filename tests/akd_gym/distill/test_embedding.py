"""Distillation of embeddings: numbers by hand, and students that learn to embed as the teacher does."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from akd_gym.data import TaskData
from akd_gym.distill import Answer, Batch, EmbeddingCC, EmbeddingMSE, EmbeddingRCO, FeatureTarget, Training
from akd_gym.distill.correlation import class_uniform_order
from akd_gym.distill.registry import EMBEDDING_METHODS, load_embedding_method
from akd_gym.errors import InvalidSettingError, TeacherError
from akd_gym.networks import StudentNetwork, build_network
from akd_gym.student_answers import Normalise
from akd_gym.teachers import Teacher
from akd_gym.teachers.route import load_route
from akd_gym.training import train


class Known(Teacher):
    """An embedding teacher that knows no classes."""

    name, weights_hash, num_classes, in_channels = "known", "", 0, 1

    def __init__(self, features: list[list[float]]) -> None:
        self.known = torch.tensor(features)

    @property
    def feature_dim(self) -> int:
        return self.known.shape[1]

    def logits(self, images: Tensor) -> Tensor:
        raise TeacherError("It embeds.")

    def features(self, images: Tensor) -> Tensor:
        return self.known[: len(images)]

    def to(self, device: str | torch.device) -> Teacher:
        return self


BATCH = Batch(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 1]), torch.tensor([0, 1]))
STUDENT = Answer(torch.tensor([[1.0, 1.0], [2.0, 2.0]]))


def student_for(training: Training) -> StudentNetwork:
    width = training.required_teacher.feature_dim
    network = build_network(training.spec, width, 1, generator=torch.Generator().manual_seed(0))
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def test_mse_by_hand() -> None:
    """(1, 1) and (2, 2) against (1, 0) and (0, 2): squared distances 1 and 4, mean 2.5, in units of 5."""
    method = EmbeddingMSE(FeatureTarget(Known([[1.0, 0.0], [0.0, 2.0]]), variance=5.0))
    assert float(method.loss(STUDENT, BATCH)) == pytest.approx(0.5)


def test_cc_by_hand() -> None:
    """As above, and 2 of 4 correlations that differ by exp(-0.8) (0.8 + 0.32), weighted."""
    method = EmbeddingCC(FeatureTarget(Known([[1.0, 0.0], [0.0, 2.0]]), variance=5.0), beta=10.0)
    assert float(method.loss(STUDENT, BATCH)) == pytest.approx(0.5 + 10 * (1.12 * math.exp(-0.8)) ** 2 / 2)
    labels = torch.arange(4).repeat(16)
    order = method.order(labels, 16, torch.Generator().manual_seed(0))
    assert torch.equal(order, class_uniform_order(labels, torch.Generator().manual_seed(0)))


def test_rco_by_hand() -> None:
    """The first anchor is met exactly, the second missed by 1 and 4 in units of 10."""
    easy = FeatureTarget(Known([[1.0, 1.0], [2.0, 2.0]]), variance=1.0)
    hard = FeatureTarget(Known([[1.0, 0.0], [0.0, 2.0]]), variance=10.0)
    method = EmbeddingRCO([easy, hard], epochs=2)
    losses = []
    for epoch in range(2):
        method.begin_epoch(epoch, 0, torch.device("cpu"))
        losses.append(float(method.loss(STUDENT, BATCH)))
    assert losses == pytest.approx([0.0, 0.25])


@pytest.mark.parametrize("name", EMBEDDING_METHODS)
def test_a_student_learns_to_embed(
    name: str, make_training: Callable[..., Training], more_data: TaskData, route_file: Path
) -> None:
    training = replace(make_training(f"file:{route_file}@resnet", epochs=6, learning_rate=0.2), data=more_data)
    method = load_embedding_method(name).prepare(training)
    assert not list(method.parameters())
    network = student_for(training)
    target = FeatureTarget.measured(training.required_teacher, training)
    train(network, more_data, training.recipe, method, seed=0)
    images = next(more_data.val.batches([torch.arange(300)], training.device))
    with torch.no_grad():
        found = network.eval()(Normalise(more_data, training.device)(images))
    assert float(target.error(found, target.features(images))) < 0.85  # 1 is what the mean of all gets


def test_the_route_of_an_embedding_teacher(make_training: Callable[..., Training], route_file: Path) -> None:
    training = make_training(f"file:{route_file}@resnet", epochs=3)
    method = EmbeddingRCO.prepare(training)
    names = [anchor.name for anchor in load_route(training.required_teacher, training.data)]
    taught = []
    for epoch in range(3):
        method.begin_epoch(epoch, epoch, training.device)
        taught.append(method.target.teacher.name)
    assert taught == names


def test_a_student_of_another_width_is_refused() -> None:
    method = EmbeddingMSE(FeatureTarget(Known([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]]), variance=1.0))
    with pytest.raises(TeacherError, match=r"as many outputs as the teacher has features, 3, but has 2\."):
        method.loss(STUDENT, BATCH)


def test_parts_of_batches_are_refused_by_cc_alone(make_training: Callable[..., Training]) -> None:
    training = make_training(accumulate=4)
    with pytest.raises(InvalidSettingError, match="`accumulate` must be 1, but got 4"):
        EmbeddingCC.prepare(training)
    EmbeddingMSE.prepare(training)
