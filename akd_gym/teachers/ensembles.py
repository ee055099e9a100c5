"""Ensembles: several teachers that answer as one (section 7 of the paper)."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from akd_gym.errors import TeacherError
from akd_gym.teachers.base import Teacher


class EnsembleTeacher(Teacher):
    """The mean of the members' probabilities; their features side by side.

    Each member resizes and scales the images for itself. The logits are logarithms of the mean probabilities, so their
    softmax at temperature 1 is that mean.

    Paper: Distilling the Knowledge in a Neural Network, section 2 - https://arxiv.org/abs/1503.02531

    Args:
        members: Two or more, of equally many channels. For logits they must know equally many classes; features need
            none in common.

    Raises:
        TeacherError: Fewer than two members, or other channels.
    """

    def __init__(self, members: Sequence[Teacher]) -> None:
        if len(members) < 2:
            raise TeacherError(f"An ensemble needs two members or more, but got {len(members)}.")
        if len({member.in_channels for member in members}) > 1:
            raise TeacherError(
                f"All members of an ensemble must take as many channels, but {_said(members, 'in_channels')}."
            )
        self.members = tuple(members)
        self.name = "+".join(member.name for member in members)
        hashes = json.dumps(["ensemble", *(member.weights_hash for member in members)])
        self.weights_hash = hashlib.sha256(hashes.encode()).hexdigest()
        self.in_channels = members[0].in_channels
        counts = {member.num_classes for member in members}
        self.num_classes = counts.pop() if len(counts) == 1 else 0

    @property
    def feature_dim(self) -> int:
        """See `Teacher.feature_dim`: the sum of the members'."""
        return sum(member.feature_dim for member in self.members)

    def logits(self, images: Tensor) -> Tensor:
        """See `Teacher.logits`: log of the mean probability.

        Raises:
            TeacherError: The members know other classes than each other.
        """
        if not self.num_classes:
            raise TeacherError(
                f"All members of an ensemble must know the same classes to answer with logits, but "
                f"{_said(self.members, 'num_classes')}."
            )
        each = torch.stack([member.logits(images).log_softmax(1) for member in self.members])
        return each.logsumexp(0) - math.log(len(self.members))

    def features(self, images: Tensor) -> Tensor:
        """See `Teacher.features`: the members' side by side, in their order."""
        return torch.cat([member.features(images) for member in self.members], 1)

    def to(self, device: str | torch.device) -> EnsembleTeacher:
        """See `Teacher.to`."""
        for member in self.members:
            member.to(device)
        return self


def split_ensemble(name: str, sources: Iterable[str]) -> list[str]:
    """Split `a+b+c` into the names of its members; a `+` inside a path stays.

    Args:
        name: Of one teacher or several.
        sources: What a teacher's name can begin with, before its colon.
    """
    begins = "|".join(re.escape(source) for source in sources)
    return re.split(rf"\+(?=(?:{begins}):)", name)


def _said(members: Sequence[Teacher], attribute: str) -> str:
    words = {"in_channels": "channels", "num_classes": "classes"}[attribute]
    return ", ".join(f"{member.name!r} has {getattr(member, attribute)} {words}" for member in members)
