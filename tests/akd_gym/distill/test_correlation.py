"""CC-KD: the kernel, the congruence and the order of images by hand, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from akd_gym.distill import CC, Answer, Batch, FeatureTarget, Training
from akd_gym.distill.correlation import class_uniform_order, congruence, correlation_matrix
from akd_gym.errors import InvalidSettingError
from akd_gym.soft_labels import SoftLabels


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_kernel_by_hand() -> None:
    """Two vectors at 60 degrees, gamma 1/2, order 2: exp(-1) (1 + c + c^2 / 2) at c = 1 and c = 1/2."""
    features = torch.tensor([[3.0, 0.0], [1.0, math.sqrt(3)]])
    same, apart = math.exp(-1) * 2.5, math.exp(-1) * 1.625
    matrix = correlation_matrix(features, gamma=0.5, order=2)
    assert torch.allclose(matrix, torch.tensor([[same, apart], [apart, same]]))


def test_a_high_order_is_the_gaussian_kernel() -> None:
    features = torch.randn(5, 7, generator=generator())
    unit = features / features.norm(dim=1, keepdim=True)
    gaussian = torch.exp(-0.4 * torch.cdist(unit, unit) ** 2)
    assert torch.allclose(correlation_matrix(features, 0.4, order=12), gaussian, atol=1e-5)


def test_the_congruence_by_hand() -> None:
    """Students' two images are one direction, the teacher's are at right angles, in another width.

    The diagonals agree; off them exp(-0.8) (1 + 0.8 + 0.32) meets exp(-0.8): 2 of 4 entries differ by 1.12 exp(-0.8).
    """
    student, teacher = torch.tensor([[1.0, 1.0], [2.0, 2.0]]), torch.tensor([[5.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    assert float(congruence(student, teacher)) == pytest.approx((1.12 * math.exp(-0.8)) ** 2 / 2)
    assert float(congruence(teacher * 3, teacher)) == pytest.approx(0, abs=1e-12)


def test_the_loss_is_kd_and_the_weighted_congruence(make_training: Callable[..., Training]) -> None:
    training = make_training()
    method = CC.prepare(training)
    method.begin_epoch(0, 0, torch.device("cpu"))
    rows = torch.arange(8)
    pictures = next(training.data.train.batches([rows], training.device, training.augment, 0))
    batch = Batch(pictures, training.data.train.labels[rows], rows)
    features = torch.rand(8, 24, generator=generator())
    answer = Answer(torch.randn(8, 10, generator=generator()), features)
    weight, method.congruence_weight = method.congruence_weight, 0.0
    kd = float(method.loss(answer, batch))
    method.congruence_weight = weight
    expected = kd + weight * float(congruence(features, training.teacher.features(pictures)))  # type: ignore[union-attr]
    assert float(method.loss(answer, batch)) == pytest.approx(expected, rel=1e-6)
    assert expected > kd + 0.01


def test_its_own_loss_falls(make_training: Callable[..., Training]) -> None:
    """A few steps on free features bring the correlations of 16 images to the teacher's."""
    training = make_training()
    images = training.data.train.images[:16]
    wanted = training.teacher.features(images)  # type: ignore[union-attr]
    features = torch.nn.Parameter(torch.rand(16, 24, generator=generator()))
    first = float(congruence(features, wanted).detach())
    for _ in range(50):
        (gradient,) = torch.autograd.grad(congruence(features, wanted), [features])
        features.data -= 20 * gradient
    assert float(congruence(features, wanted).detach()) < 0.2 * first


@pytest.mark.parametrize("sizes", [(40, 40, 40), (100, 20, 7), (5, 3, 1), (1,) * 30])
def test_every_image_is_there_once(sizes: tuple[int, ...]) -> None:
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    labels = labels[torch.randperm(len(labels), generator=generator(3))]
    order = class_uniform_order(labels, generator())
    assert order.sort()[0].tolist() == list(range(len(labels)))
    assert torch.equal(order, class_uniform_order(labels, generator()))
    if len(labels) > 10:
        assert not torch.equal(order, class_uniform_order(labels, generator(1)))


def test_batches_are_class_uniform() -> None:
    """10 classes of 80 in random order: 8 neighbours are of one class, and of 10 such groups none share a class."""
    labels = torch.arange(10).repeat(80)
    order = class_uniform_order(labels, generator())
    groups = labels[order].view(10, 10, 8)
    assert (groups == groups[..., :1]).all()
    assert (groups[..., 0].sort(1)[0] == torch.arange(10)).all()
    assert len({tuple(turn.tolist()) for turn in groups[..., 0]}) > 1
    method = CC(SoftLabels(None, 1, 0, 10), FeatureTarget(None, 1.0))  # type: ignore[arg-type]
    assert torch.equal(method.order(labels, 64, generator()), order)


def test_a_rare_class_is_spread_over_the_epoch() -> None:
    labels = torch.tensor([0] * 160 + [1] * 16)
    places = (labels[class_uniform_order(labels, generator())] == 1).nonzero()[:, 0]
    assert places[0] < 88 <= places[8]


def test_parts_of_batches_are_refused(make_training: Callable[..., Training]) -> None:
    with pytest.raises(InvalidSettingError, match="every two images of a batch, so `accumulate` must be 1, but got 2"):
        CC.prepare(make_training(accumulate=2))
