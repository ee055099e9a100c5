"""A student's output layer in units of the teacher's embedding, so that one learning rate serves every teacher."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from akd_gym.errors import TeacherError
from akd_gym.images import Images
from akd_gym.teachers import Teacher

GAIN = 2.0
"""How fast the layer learns, at a learning rate of 0.1 four times as fast as with 1; with 4 students get lost."""
_BATCH, _MEASURED = 64, 1024


class ScaledLinear(nn.Linear):
    """A linear layer (B, F) -> (B, D) whose answers are scaled and shifted by constants.

    The error of an embedding is counted in the spread of the teacher's embeddings. A plain layer with weights W and
    inputs h then has the curvature `2 |h|^2 / spread^2`: steps that suit one teacher diverge for another whose
    embeddings lie closer together. Here the answers are `scale * (W h + b) + shift` with
    `scale = GAIN * spread / sqrt(F)`: the curvature is `2 GAIN^2 |h|^2 / F`, whatever the teacher and however wide the
    student. The answers begin at the teacher's mean. `folded` gives the plain layer with the same answers.

    Args:
        plain: Its initial weights.
        spread: Root of the mean squared distance of the teacher's embeddings from their mean.
        mean: Their mean, (D,).
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, plain: nn.Linear, spread: float, mean: Tensor) -> None:
        super().__init__(plain.in_features, plain.out_features, device="meta")  # so that nothing random is drawn
        self.weight, self.bias = plain.weight, plain.bias
        device = plain.weight.device
        self.register_buffer("scale", torch.tensor(GAIN * spread / plain.in_features**0.5, device=device))
        self.register_buffer("shift", mean.to(device))

    def forward(self, x: Tensor) -> Tensor:
        """Embed features `x` of shape (B, F)."""
        return self.scale * super().forward(x) + self.shift

    @torch.no_grad()
    def folded(self) -> nn.Linear:
        """The plain layer that gives the same answers."""
        plain = nn.Linear(self.in_features, self.out_features, device="meta")
        plain.weight = nn.Parameter(self.scale * self.weight)
        plain.bias = nn.Parameter(self.scale * self.bias + self.shift)
        return plain


@torch.no_grad()
def measure_embeddings(teacher: Teacher, images: Images, device: torch.device) -> tuple[float, Tensor]:
    """Spread (see `ScaledLinear`) and mean (D,) of a teacher's embeddings of some pictures, evenly chosen.

    Raises:
        TeacherError: They are not finite or all the same.
    """
    rows = torch.linspace(0, len(images) - 1, min(_MEASURED, len(images))).long()
    embeddings = torch.cat([teacher.features(part) for part in images.batches(rows.split(_BATCH), device)])
    mean = embeddings.mean(0)
    spread = float((embeddings - mean).square().sum(1).mean().sqrt())
    if not 0 < spread < float("inf"):
        raise TeacherError(
            f"Teacher {teacher.name!r} must have finite features that differ between pictures, but their spread over "
            f"{len(rows)} pictures is {spread}."
        )
    return spread, mean
