"""RCO-KD: which anchor teaches when, and that it is that one's soft labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from akd_gym.distill import RCO, Answer, Batch, Training
from akd_gym.distill.route import anchor_at
from akd_gym.teachers.route import load_route


@pytest.mark.parametrize(
    ("epochs", "anchors", "expected"),
    [
        (4, 4, [0, 1, 2, 3]),
        (6, 3, [0, 0, 1, 1, 2, 2]),
        (5, 2, [0, 0, 1, 1, 1]),  # the last ones for longer
        (2, 4, [1, 3]),  # never without the teacher itself
        (1, 3, [2]),
        (3, 1, [0, 0, 0]),
    ],
)
def test_epochs_are_divided_among_the_anchors(epochs: int, anchors: int, expected: list[int]) -> None:
    assert [anchor_at(epoch, epochs, anchors) for epoch in range(epochs)] == expected


class Constant:
    """Soft labels that are the same for all views and images."""

    def __init__(self, logits: list[float]) -> None:
        self.logits = torch.tensor([logits])

    def open(self, view: int, device: torch.device) -> torch.Tensor:
        return self.logits


def test_the_loss_by_hand() -> None:
    """A student that agrees with the second anchor: KL from (1/2, 1/2) to (3/4, 1/4) first, then nothing."""
    agreeing, even = [1.0986123, 0.0], [0.0, 0.0]
    method = RCO([Constant(even), Constant(agreeing)], epochs=2, alpha=1.0)  # type: ignore[list-item]
    answer = Answer(torch.tensor([agreeing]))
    batch = Batch(torch.zeros(1, 1, 8, 8, dtype=torch.uint8), torch.tensor([0]), torch.tensor([0]))
    losses = []
    for epoch in range(2):
        method.begin_epoch(epoch, 0, torch.device("cpu"))
        losses.append(float(method.loss(answer, batch)))
    assert losses == pytest.approx([0.1438410, 0.0], abs=1e-6)  # ln(2 / sqrt 3)


def test_each_anchor_has_soft_labels_of_its_own(make_training: Callable[..., Training], route_file: Path) -> None:
    training = make_training(f"file:{route_file}@resnet", epochs=3)
    method = RCO.prepare(training)
    assert len(method.anchors) == 3
    assert method.anchors[-1] == training.soft_labels()
    route = load_route(training.required_teacher, training.data)
    for epoch, anchor in enumerate(route):
        method.begin_epoch(epoch, epoch, torch.device("cpu"))
        assert method._teacher is not None
        pictures = training.augment.view(training.data.train.images, training.data.train.indices, epoch)
        live = anchor.logits(pictures).log_softmax(1)
        assert torch.allclose(method._teacher[:].log_softmax(1), live, atol=2e-2)  # float16
