"""RCO-KD: the student follows the route of the teacher's own training, from easy to hard.

Paper: Knowledge Distillation via Route Constrained Optimization - https://arxiv.org/abs/1904.09149
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from akd_gym.distill.base import Training
from akd_gym.distill.kd import KD
from akd_gym.soft_labels import SoftLabels
from akd_gym.teachers.route import load_route


def anchor_at(epoch: int, epochs: int, anchors: int) -> int:
    """Which anchor (from 0) teaches in an epoch (from 0): each for as long, the later ones for a rest.

    The last epoch has always the last anchor, which is the teacher; with fewer epochs than anchors some are left out.
    """
    return anchors - 1 - (epochs - 1 - epoch) * anchors // epochs


class RCO(KD):
    """KD from one checkpoint of the teacher's training after the other, the teacher itself being the last.

    A converged teacher is too hard to follow at once; what it was on its way is easier (section 3). The anchors lie
    evenly over the teacher's training (the paper's "equal epoch interval"), the student's epochs are divided evenly
    among them, and its learning rate goes on through one schedule. The loss is KD's with the anchor of the epoch.

    Args:
        anchors: The logits of every anchor for every view, easy to hard.
        epochs: Of the student's training.
        temperature: T.
        alpha: Weight of the distillation term.
    """

    def __init__(
        self, anchors: Sequence[SoftLabels], epochs: int, temperature: float = 1.0, alpha: float = 0.9
    ) -> None:
        super().__init__(anchors[0], temperature, alpha)
        self.anchors, self.epochs = tuple(anchors), epochs

    @classmethod
    def prepare(cls, training: Training) -> RCO:
        """See `Distillation.prepare`: the anchors are looked for beside the teacher's file.

        Raises:
            TeacherError: The teacher has no anchors, or one is missing; says how to make them.
        """
        recipe = training.recipe
        route = load_route(training.required_teacher, training.data)
        training.announce(f"RCO: {len(route)} anchors, one after the other over {recipe.epochs} epochs")
        return cls([training.soft_labels(a) for a in route], recipe.epochs, recipe.temperature, recipe.alpha)

    def begin_epoch(self, epoch: int, view: int, device: torch.device) -> None:
        """Load what the anchor of this epoch says of this view."""
        self.soft_labels = self.anchors[anchor_at(epoch, self.epochs, len(self.anchors))]
        super().begin_epoch(epoch, view, device)
