"""Training by hard labels, and Hinton's distillation.

Paper: Distilling the Knowledge in a Neural Network - https://arxiv.org/abs/1503.02531
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from akd_gym.distill.base import Answer, Batch, Distillation, Training
from akd_gym.soft_labels import SoftLabels, ViewLabels


class HardLabels(Distillation):
    """Cross-entropy with the true labels: the paper's "NASNet" baseline.

    Args:
        smoothing: Share of the label that goes to all classes alike.
    """

    needs_teacher: ClassVar[bool] = False

    def __init__(self, smoothing: float = 0.0) -> None:
        super().__init__()
        self.smoothing = smoothing

    @classmethod
    def prepare(cls, training: Training) -> HardLabels:
        """See `Distillation.prepare`."""
        return cls(training.recipe.label_smoothing)

    def loss(self, answer: Answer, batch: Batch) -> Tensor:
        """See `Distillation.loss`."""
        return F.cross_entropy(answer.logits, batch.labels, label_smoothing=self.smoothing)


class KD(Distillation):
    """Hinton's distillation from cached soft labels.

    `alpha * T^2 * KL(teacher || student) + (1 - alpha) * cross-entropy`, both softmaxes at temperature `T`; the
    paper (section 3.2) has T = 1, alpha = 0.9. The divergence is summed over classes and averaged over images.

    Args:
        soft_labels: The teacher's logits for every view.
        temperature: T.
        alpha: Weight of the distillation term.
    """

    def __init__(self, soft_labels: SoftLabels, temperature: float = 1.0, alpha: float = 0.9) -> None:
        super().__init__()
        self.soft_labels, self.temperature, self.alpha = soft_labels, temperature, alpha
        self._teacher: ViewLabels | None = None

    @classmethod
    def prepare(cls, training: Training) -> KD:
        """See `Distillation.prepare`."""
        return cls(training.soft_labels(), training.recipe.temperature, training.recipe.alpha)

    def begin_epoch(self, epoch: int, view: int, device: torch.device) -> None:
        """Open the teacher's answers for this view."""
        self._teacher = self.soft_labels.open(view, device)

    def loss(self, answer: Answer, batch: Batch) -> Tensor:
        """See `Distillation.loss`."""
        assert self._teacher is not None, "an epoch must begin before its first step"
        log_teacher = F.log_softmax(self._teacher[batch.rows] / self.temperature, dim=1)
        log_student = F.log_softmax(answer.logits / self.temperature, dim=1)
        divergence = F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
        hard = F.cross_entropy(answer.logits, batch.labels)
        return self.alpha * self.temperature**2 * divergence + (1 - self.alpha) * hard
