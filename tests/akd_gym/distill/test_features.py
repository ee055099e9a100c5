"""Feature distillation: numbers by hand, the projection, and what it makes of a student."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from akd_gym.data import TaskData
from akd_gym.distill import Answer, Batch, FeatureMSE, FeatureTarget, Training
from akd_gym.errors import TeacherError
from akd_gym.student_answers import Normalise
from akd_gym.teachers import Teacher
from akd_gym.training import build_student, train


class Known(Teacher):
    """Features that are given, the same for all pictures or one row a picture."""

    name, weights_hash, num_classes, in_channels = "known", "", 2, 1

    def __init__(self, features: list[list[float]]) -> None:
        self.known = torch.tensor(features)

    @property
    def feature_dim(self) -> int:
        return self.known.shape[1]

    def logits(self, images: Tensor) -> Tensor:
        raise AssertionError("not asked for")

    def features(self, images: Tensor) -> Tensor:
        return self.known.expand(len(images), -1) if len(self.known) == 1 else self.known[: len(images)]

    def to(self, device: str | torch.device) -> Teacher:
        return self


def batch(count: int) -> Batch:
    pictures = torch.zeros((count, 1, 8, 8), dtype=torch.uint8)
    return Batch(pictures, torch.zeros(count, dtype=torch.int64), torch.arange(count))


def test_the_loss_by_hand() -> None:
    """Squared distances 1 + 1 and 4 + 0, mean 3, in units of 6; cross-entropy of equal logits ln 2."""
    method = FeatureMSE(FeatureTarget(Known([[1.0, 0.0], [0.0, 2.0]]), variance=6.0), width=2, weight=4.0)
    student = Answer(torch.zeros(2, 2), torch.tensor([[0.0, 1.0], [2.0, 2.0]]))
    assert float(method.loss(student, batch(2))) == pytest.approx(math.log(2) + 4 * 3 / 6)


def test_the_variance_by_hand(make_training: Callable[..., Training]) -> None:
    """Features (0, 0) and (2, 4) in turn: their mean is (1, 2), each is sqrt(5) from it."""
    teacher = Known([[0.0, 0.0], [2.0, 4.0]] * 32)
    target = FeatureTarget.measured(teacher, make_training(teacher))
    assert target.variance == pytest.approx(5)
    assert float(target.error(torch.tensor([[1.0, 2.0]]), torch.tensor([[2.0, 4.0]]))) == pytest.approx(1)


def test_a_student_of_the_teachers_width_has_no_projection() -> None:
    assert not list(FeatureMSE(FeatureTarget(Known([[1.0, 2.0]]), 1.0), width=2).parameters())


def test_a_projection_is_drawn_by_the_seed_and_leaves_global_randomness_alone() -> None:
    target = FeatureTarget(Known([[1.0, 2.0]]), 1.0)
    before = torch.get_rng_state()
    first, again, other = (FeatureMSE(target, 3, seed=seed).projection.weight for seed in (0, 0, 1))
    assert first.shape == (2, 3)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_teacher_sees_the_pictures_and_gets_no_gradients(make_training: Callable[..., Training]) -> None:
    training = make_training()
    method = FeatureMSE.prepare(training)
    pictures = training.data.train.images[:4]
    assert training.teacher is not None
    expected = training.teacher.features(pictures)
    with torch.enable_grad():
        assert torch.equal(method.target.features(pictures), expected)
    assert not method.target.features(pictures).requires_grad
    assert not any("teacher" in name for name in method.state_dict())


@pytest.mark.parametrize("teacher", ["shipped:resnet", "shipped:mixer"])
def test_a_student_learns_the_features(
    teacher: str, make_training: Callable[..., Training], more_data: TaskData
) -> None:
    """The error of a student that answers all images alike is 1."""
    training = replace(make_training(teacher, epochs=6, learning_rate=0.2), data=more_data)
    method = FeatureMSE.prepare(training)
    assert method.projection.weight.shape[1] == training.spec.feature_channels
    network = build_student(training.spec, more_data, 0, training.device)
    losses: list[float] = []
    train(network, more_data, training.recipe, method, seed=0, on_epoch=lambda _, loss: losses.append(loss))
    images = next(more_data.val.batches([torch.arange(300)], training.device))
    with torch.no_grad():
        found = method.projection(network.eval().forward_features(Normalise(more_data, training.device)(images)))
    assert float(method.target.error(found, method.target.features(images))) < 0.85
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("features", [[[1.0, 2.0]], [[math.nan, 0.0], [0.0, 0.0]] * 32])
def test_features_that_teach_nothing_are_refused(
    features: list[list[float]], make_training: Callable[..., Training]
) -> None:
    teacher = Known(features)
    with pytest.raises(TeacherError, match="must have finite features that differ between images"):
        FeatureMSE.prepare(make_training(teacher))


def test_without_a_teacher(make_training: Callable[..., Training]) -> None:
    with pytest.raises(TeacherError, match="needs a teacher, but got none"):
        FeatureMSE.prepare(replace(make_training(), teacher=None))
