from __future__ import annotations

import pytest
import torch

from akd_gym.data import TaskData, load_data
from akd_gym.images import ImageSet
from akd_gym.student_answers import Accuracy, evaluate, judge


class Ranking(torch.nn.Module):
    """Gives every image the same logits."""

    def __init__(self, logits: list[float]) -> None:
        super().__init__()
        self.logits = torch.nn.Parameter(torch.tensor(logits))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logits.expand(len(x), -1)


def task(labels: list[int], classes: int) -> TaskData:
    images = torch.zeros(len(labels), 1, 8, 8, dtype=torch.uint8)
    own = ImageSet(images, torch.tensor(labels), torch.arange(len(labels)))
    names = tuple(map(str, range(classes)))
    return TaskData("own", classes, names, (0.5,), (0.5,), own, own, None, "own")


def test_top_1_and_top_5_by_hand():
    """Ranked 3, 0, 6, 1, 5, then 2 and 4: of the eight labels two are ranked first, and six among the first five."""
    network = Ranking([0.9, 0.7, 0.1, 1.0, 0.0, 0.6, 0.8])
    data = task([3, 3, 0, 6, 1, 5, 2, 4], 7)
    assert judge(network, data.val, data) == Accuracy(2 / 8, 6 / 8, 8)
    assert evaluate(network, data.val, data) == 2 / 8


@pytest.mark.parametrize("classes", [2, 5])
def test_five_classes_or_fewer_have_no_top_5(classes):
    data = task([0, 1, 1], classes)
    assert judge(Ranking([1.0] + [0.0] * (classes - 1)), data.val, data) == Accuracy(1 / 3, None, 3)


def test_all_batches_are_counted():
    data = load_data(train_size=64, val_size=600, test_size=0)
    accuracy = judge(Ranking([0.0] * 9 + [1.0]), data.val, data)
    assert accuracy.images == 600
    assert accuracy.top1 == pytest.approx(float((data.val.labels == 9).float().mean()))
    assert evaluate(Ranking([0.0] * 9 + [1.0]), data.val, data) == accuracy.top1


def test_precision_is_that_of_the_answers():
    seen = []

    class Curious(Ranking):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(torch.nn.functional.linear(x.flatten(1)[:, :7], torch.eye(7)).dtype)
            return super().forward(x)

    data = task([3, 0], 7)
    for precision, expected in ((None, torch.float32), ("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        judge(Curious([0.0] * 7), data.val, data, precision)
        assert seen.pop() == expected
