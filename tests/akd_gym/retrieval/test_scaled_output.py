"""The output layer in units of the teacher: the same answers folded, the same course of training at any scale."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from akd_gym.errors import TeacherError
from akd_gym.images import ImageSet
from akd_gym.retrieval.scaled_output import ScaledLinear, measure_embeddings
from akd_gym.teachers import Teacher

CPU = torch.device("cpu")


class Brightness(Teacher):
    """Embeds a picture by its first pixel: (p, 2 p) times a factor."""

    name, weights_hash, num_classes, in_channels, feature_dim = "brightness", "", 0, 1, 2

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    def logits(self, images: Tensor) -> Tensor:
        raise TeacherError("It embeds.")

    def features(self, images: Tensor) -> Tensor:
        return images[:, 0, 0, :1].float() * torch.tensor([1.0, 2.0]) * self.factor

    def to(self, device: str | torch.device) -> Teacher:
        return self


def pictures(*pixels: int) -> ImageSet:
    images = torch.tensor(pixels, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 8, 8)
    return ImageSet(images, torch.zeros(len(pixels), dtype=torch.int64), torch.arange(len(pixels)))


def test_spread_and_mean_by_hand() -> None:
    """(0, 0), (2, 4) and (4, 8): mean (2, 4), squared distances 20, 0, 20."""
    spread, mean = measure_embeddings(Brightness(), pictures(0, 2, 4), CPU)
    assert spread == pytest.approx((40 / 3) ** 0.5)
    assert mean.tolist() == [2, 4]
    for teacher in (Brightness(0.0), Brightness(float("nan"))):
        with pytest.raises(TeacherError, match="must have finite features that differ between pictures"):
            measure_embeddings(teacher, pictures(0, 2, 4), CPU)


def test_folded_it_gives_the_same_answers() -> None:
    torch.manual_seed(0)
    layer, x = ScaledLinear(nn.Linear(5, 3), 7.0, torch.tensor([1.0, -2.0, 30.0])), torch.randn(4, 5)
    folded = layer.folded()
    assert type(folded) is nn.Linear
    torch.testing.assert_close(folded(x), layer(x))
    assert set(folded.state_dict()) == {"weight", "bias"}


def test_it_begins_at_the_mean() -> None:
    plain = nn.Linear(5, 3)
    nn.init.zeros_(plain.weight)
    nn.init.zeros_(plain.bias)
    mean = torch.tensor([1.0, -2.0, 30.0])
    assert torch.equal(ScaledLinear(plain, 7.0, mean)(torch.randn(4, 5)), mean.expand(4, 3))


def test_a_teacher_of_another_scale_is_learned_in_the_same_steps() -> None:
    """The error in units of the teacher's spread falls alike; with a plain layer one of these would diverge."""
    x = torch.randn((16, 5), generator=torch.Generator().manual_seed(1))
    wanted = x @ torch.randn((5, 3), generator=torch.Generator().manual_seed(2))
    courses = []
    for factor in (1e-3, 1.0, 1e3):
        target = wanted * factor
        spread = float((target - target.mean(0)).square().sum(1).mean().sqrt())
        torch.manual_seed(3)
        layer = ScaledLinear(nn.Linear(5, 3), spread, target.mean(0))
        optimizer, course = torch.optim.SGD(layer.parameters(), lr=0.05), []
        for _ in range(20):
            loss = (layer(x) - target).square().sum(1).mean() / spread**2
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            course.append(loss.item())
        assert course[-1] < 0.5 * course[0]
        courses.append(course)
    assert courses[0] == pytest.approx(courses[1], rel=1e-3)
    assert courses[2] == pytest.approx(courses[1], rel=1e-3)
