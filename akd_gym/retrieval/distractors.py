"""Distractors beyond the gallery, a block at a time: embeddings of real pictures, then synthetic ones.

Synthetic distractors are embeddings, not pictures: draws from a normal distribution with the mean and the covariance
of the embeddings of real faces that are no probes. They say how crowded the space is that a network puts faces into.
They are easier than as many real faces: a normal distribution knows no look-alikes, and the fitted covariance spans
only what the few real faces vary in. Every output counts them and calls them synthetic.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from akd_gym.errors import DataError

BLOCK = 4096
"""Distractors a block: 8 MiB at 512 floats each."""


def unit(embeddings: Tensor) -> Tensor:
    """Scale embeddings (N, D) to length 1, float32; one of length 0 stays and is similar to nothing.

    Raises:
        DataError: Some are not finite.
    """
    broken = int((~torch.isfinite(embeddings).all(1)).sum())
    if broken:
        raise DataError(f"All embeddings must be finite, but {broken} of {len(embeddings)} are not.")
    return functional.normalize(embeddings.float(), dim=1)


@dataclass(frozen=True)
class Synthetic:
    """Normal distribution fitted to embeddings; draw i is the same however many are drawn (but for rounding).

    Args:
        mean: float32 (D,).
        factor: float32 (R, D): draws are `mean + z @ factor` with z standard normal (R,).
        seed: Of the draws.
    """

    mean: NDArray[np.float32]
    factor: NDArray[np.float32]
    seed: int = 0

    @classmethod
    def fit(cls, embeddings: Tensor, seed: int = 0) -> Synthetic:
        """Fit mean and covariance, exactly: to fewer embeddings than they are long, a covariance of that lower rank.

        Args:
            embeddings: Of faces that are no probes, (N, D); only directions count.
            seed: Of the draws.

        Raises:
            DataError: Fewer than two embeddings.
        """
        if len(embeddings) < 2:
            raise DataError(f"Synthetic distractors are fitted to 2 faces or more, but got {len(embeddings)}.")
        values = unit(embeddings.cpu()).double()
        mean = values.mean(0)
        centred = values - mean
        factor = centred / math.sqrt(len(values) - 1)
        if len(values) > values.shape[1]:
            spread, axes = torch.linalg.eigh(factor.T @ factor)
            factor = spread.clamp(min=0).sqrt()[:, None] * axes.T
        return cls(mean.float().numpy(), factor.float().numpy(), seed)

    def block(self, number: int, count: int) -> Tensor:
        """The first `count` draws of block `number`: float32 (count, D)."""
        rng = np.random.default_rng([self.seed, number])
        z = rng.standard_normal((count, len(self.factor)), dtype=np.float32)
        return torch.from_numpy(z @ self.factor + self.mean)


@dataclass(frozen=True)
class Distractors:
    """Real embeddings, then synthetic ones without end.

    Args:
        embeddings: Of real pictures, float32 (N, D): an array in memory or a memory-mapped file (`numpy.memmap`).
        synthetic: What follows; None for nothing.
    """

    embeddings: NDArray[np.float32] | None = None
    synthetic: Synthetic | None = None

    @property
    def real(self) -> int:
        """How many are real."""
        return 0 if self.embeddings is None else len(self.embeddings)

    def blocks(self, count: int) -> Iterator[Tensor]:
        """The first `count` distractors, or all there are if fewer: float32 (at most `BLOCK`, D) each."""
        real = min(self.real, count)
        for start in range(0, real, BLOCK):
            assert self.embeddings is not None
            yield torch.from_numpy(np.array(self.embeddings[start : min(start + BLOCK, real)], np.float32))
        if self.synthetic is None:
            return
        for number, start in enumerate(range(real, count, BLOCK)):
            yield self.synthetic.block(number, min(BLOCK, count - start))
