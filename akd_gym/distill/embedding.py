"""Distillation of embeddings: no classes, the student's output is to be the teacher's penultimate layer.

Section 6 of Search to Distill: "we just distill the output feature of the penultimate layer by minimizing the mean
square error". A student of these methods has as many outputs as the teacher has features
(`build_network(spec, teacher.feature_dim, ...)`), and what a `Batch` calls labels only says who is on a picture.

    method = load_embedding_method("cc").prepare(Training(spec, data, recipe, teacher, ...))
    train(network, data, recipe, method, seed=0)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from akd_gym.distill.base import Answer, Batch, Distillation, Training
from akd_gym.distill.correlation import class_uniform_order, congruence, refuse_parts
from akd_gym.distill.features import FeatureTarget
from akd_gym.distill.route import anchor_at
from akd_gym.errors import TeacherError
from akd_gym.teachers.route import load_route

BETA = 3.0
"""Weight of the congruence beside the squared error. Outputs have both signs, unlike a student's features: a hundred,
as for classes, is more than they bear."""


class EmbeddingMSE(Distillation):
    """Mean squared error between the student's output and the teacher's features (see `FeatureTarget`).

    Args:
        target: Of the teacher.
    """

    def __init__(self, target: FeatureTarget) -> None:
        super().__init__()
        self.target = target

    @classmethod
    def prepare(cls, training: Training) -> EmbeddingMSE:
        """See `Distillation.prepare`."""
        return cls(FeatureTarget.measured(training.required_teacher, training))

    def loss(self, answer: Answer, batch: Batch) -> Tensor:
        """See `Distillation.loss`.

        Raises:
            TeacherError: The student's output has another width than the teacher's features.
        """
        return self.target.error(answer.logits, self.wanted(answer, batch))

    def wanted(self, answer: Answer, batch: Batch) -> Tensor:
        """The teacher's features of a batch, (B, feature_dim), of the width of the student's output."""
        features = self.target.features(batch.pictures)
        if features.shape != answer.logits.shape:
            raise TeacherError(
                f"A student of teacher {self.target.teacher.name!r} must have as many outputs as the teacher has "
                f"features, {features.shape[1]}, but has {answer.logits.shape[1]}."
            )
        return features


class EmbeddingCC(EmbeddingMSE):
    """`EmbeddingMSE`, and congruence of the correlations within a batch: CC-KD of embeddings (see `CC`).

    Args:
        target: Of the teacher.
        beta: Weight of the congruence.
    """

    beta: ClassVar[float] = BETA
    """The default of `prepare`."""

    def __init__(self, target: FeatureTarget, beta: float = beta) -> None:
        super().__init__(target)
        self.congruence_weight = beta

    @classmethod
    def prepare(cls, training: Training) -> EmbeddingCC:
        """See `Distillation.prepare`.

        Raises:
            InvalidSettingError: If the recipe cuts batches into parts.
        """
        refuse_parts(training)
        return cls(FeatureTarget.measured(training.required_teacher, training), cls.beta)

    def order(self, labels: Tensor, batch_size: int, generator: torch.Generator) -> Tensor:
        """See `Distillation.order`: several pictures of an identity stand side by side."""
        return class_uniform_order(labels, generator)

    def loss(self, answer: Answer, batch: Batch) -> Tensor:
        """See `EmbeddingMSE.loss`."""
        features = self.wanted(answer, batch)
        error = self.target.error(answer.logits, features)
        return error + self.congruence_weight * congruence(answer.logits, features)


class EmbeddingRCO(EmbeddingMSE):
    """`EmbeddingMSE` from one checkpoint of the teacher's training after the other: RCO-KD of embeddings (see `RCO`).

    Errors are counted in the spread of the finished teacher, whichever anchor is followed. After its first epochs a
    classifier puts all faces into nearly one place: in the spread of such an anchor every error is large, and a student
    that follows it at the usual learning rate diverges.

    Args:
        anchors: Of the teacher's route, easy to hard, all of one width.
        epochs: Of the student's training.
    """

    def __init__(self, anchors: Sequence[FeatureTarget], epochs: int) -> None:
        super().__init__(anchors[0])
        self.anchors, self.epochs = tuple(anchors), epochs

    @classmethod
    def prepare(cls, training: Training) -> EmbeddingRCO:
        """See `Distillation.prepare`: the anchors are looked for beside the teacher's file.

        Raises:
            TeacherError: The teacher has no anchors, or one is missing; says how to make them.
        """
        route = load_route(training.required_teacher, training.data)
        finished = FeatureTarget.measured(route[-1], training)
        return cls([replace(finished, teacher=anchor) for anchor in route], training.recipe.epochs)

    def begin_epoch(self, epoch: int, view: int, device: torch.device) -> None:
        """Take the anchor of this epoch."""
        self.target = self.anchors[anchor_at(epoch, self.epochs, len(self.anchors))]
