"""What a student learns from: the training loop asks one of these for its loss and knows no method.

Paper: Distilling the Knowledge in a Neural Network - https://arxiv.org/abs/1503.02531
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from akd_gym.soft_labels import SoftLabels


class Distillation(Protocol):
    """A distillation method, as the training loop sees it."""

    def begin_epoch(self, epoch: int, device: torch.device) -> None:
        """Get ready for an epoch, in which image `i` is seen in its view number `epoch`."""
        ...

    def loss(self, logits: Tensor, labels: Tensor, rows: Tensor) -> Tensor:
        """The scalar to minimise.

        Args:
            logits: The student's, `(B, num_classes)`.
            labels: The true classes, `(B,)`.
            rows: Positions of the images in mini-train, `(B,)`.
        """
        ...


class HardLabels:
    """Cross-entropy with the true labels: the paper's "NASNet" baseline."""

    def begin_epoch(self, epoch: int, device: torch.device) -> None:
        """Nothing to prepare."""

    def loss(self, logits: Tensor, labels: Tensor, rows: Tensor) -> Tensor:
        """See `Distillation.loss`."""
        return F.cross_entropy(logits, labels)


class KD:
    """Hinton's distillation from cached soft labels.

    `alpha * T^2 * KL(teacher || student) + (1 - alpha) * cross-entropy`, both softmaxes at temperature `T`; the
    paper (section 3.2) has T = 1, alpha = 0.9. The divergence is summed over classes and averaged over images.

    Args:
        soft_labels: The teacher's logits for every view.
        temperature: T.
        alpha: Weight of the distillation term.
    """

    def __init__(self, soft_labels: SoftLabels, temperature: float = 1.0, alpha: float = 0.9) -> None:
        self.soft_labels, self.temperature, self.alpha = soft_labels, temperature, alpha
        self._log_teacher = torch.empty(0)

    def begin_epoch(self, epoch: int, device: torch.device) -> None:
        """Load the teacher's view of this epoch."""
        logits = self.soft_labels.view(epoch).to(device)
        self._log_teacher = F.log_softmax(logits / self.temperature, dim=1)

    def loss(self, logits: Tensor, labels: Tensor, rows: Tensor) -> Tensor:
        """See `Distillation.loss`."""
        log_student = F.log_softmax(logits / self.temperature, dim=1)
        divergence = F.kl_div(log_student, self._log_teacher[rows], reduction="batchmean", log_target=True)
        hard = F.cross_entropy(logits, labels)
        return self.alpha * self.temperature**2 * divergence + (1 - self.alpha) * hard
