import math

import pytest
import torch

from akd_gym.distill import KD, Answer, Batch, HardLabels


def batch(labels, rows):
    return Batch(torch.zeros((len(rows), 1, 8, 8), dtype=torch.uint8), labels, rows)


class OneView:
    """Soft labels held in memory: logits (N, num_classes)."""

    def __init__(self, logits):
        self.logits = torch.tensor(logits)

    def open(self, view, device):
        return self.logits


def test_hard_labels_by_hand():
    loss = HardLabels().loss(Answer(torch.tensor([[math.log(3.0), 0.0]])), batch(torch.tensor([1]), torch.tensor([0])))
    assert float(loss) == pytest.approx(math.log(4))  # p(true) = 1 / (3 + 1)


@pytest.mark.parametrize(("alpha", "expected"), [
    (1.0, 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)),
    (0.0, math.log(4)),
    (0.9, 0.9 * (0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)) + 0.1 * math.log(4)),
])  # fmt: skip
def test_kd_by_hand(alpha, expected):
    """Teacher (1/2, 1/2), student (3/4, 1/4), true class 1; two equal images leave the mean unchanged."""
    method = KD(OneView([[9.0, 9.0], [0.0, 0.0], [5.0, 5.0]]), temperature=1.0, alpha=alpha)
    method.begin_epoch(0, 0, torch.device("cpu"))
    logits = torch.tensor([[math.log(3.0), 0.0]] * 2)
    loss = method.loss(Answer(logits), batch(torch.tensor([1, 1]), torch.tensor([0, 2])))
    assert float(loss) == pytest.approx(expected, abs=1e-6)


def test_kd_temperature_by_hand():
    """At T = 2 logits (2 ln 3, 0) are (3/4, 1/4); the divergence counts T^2 = 4 times."""
    method = KD(OneView([[0.0, 0.0]]), temperature=2.0, alpha=1.0)
    method.begin_epoch(0, 0, torch.device("cpu"))
    loss = method.loss(Answer(torch.tensor([[2 * math.log(3.0), 0.0]])), batch(torch.tensor([0]), torch.tensor([0])))
    assert float(loss) == pytest.approx(4 * (0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)), abs=1e-6)


def test_rows_pick_the_teachers_answers():
    method = KD(OneView([[4.0, 0.0], [0.0, 4.0]]), alpha=1.0)
    method.begin_epoch(0, 0, torch.device("cpu"))
    student = torch.tensor([[0.0, 4.0]])
    agreeing = method.loss(Answer(student), batch(torch.tensor([0]), torch.tensor([1])))
    contrary = method.loss(Answer(student), batch(torch.tensor([0]), torch.tensor([0])))
    assert float(agreeing) == pytest.approx(0.0, abs=1e-6)
    assert float(contrary) > 3
