"""Identification at rank 1 among many distractors, in blocks: the protocol of MegaFace.

For every probe picture and every other picture of the same identity, that other picture alone is hidden among N
distractors. The pair counts as identified if the hidden picture is more similar to the probe than every distractor;
a tie counts against it. The rank-1 rate is the share of pairs identified.

Paper: The MegaFace Benchmark: 1 Million Faces for Recognition at Scale - https://arxiv.org/abs/1512.00596
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from akd_gym.analysis.aggregates import Interval, percentiles
from akd_gym.errors import DataError, InvalidSettingError
from akd_gym.retrieval.distractors import Distractors, unit

TIE = 1e-6
"""Cosines closer than this are equal: what rounding leaves of a float32 product differs with the shape of its block."""
_CELLS = 2**22  # similarities held at a time: 16 MiB
_REPLICATES, _REPLICATES_AT_ONCE = 2_000, 100
_BOOTSTRAP_SEED = 1512_00596


@dataclass(frozen=True)
class Identification:
    """How often the right picture came first.

    Attributes:
        distractors: Numbers of distractors N, rising, (C,).
        synthetic: How many of them were synthetic, for the probe that had most of these, (C,).
        hits: Pairs identified by identity and number of distractors, int64 (identities, C).
        pairs: Pairs of each identity, int64 (identities,); those with one picture are not among them.
    """

    distractors: tuple[int, ...]
    synthetic: tuple[int, ...]
    hits: NDArray[np.int64]
    pairs: NDArray[np.int64]

    def rates(self) -> list[Interval]:
        """The rank-1 rate at each number of distractors, with its 95 % bootstrap interval over identities.

        Pictures of one person succeed and fail together, so persons are drawn anew, not pairs.
        """
        rng = np.random.default_rng(_BOOTSTRAP_SEED)
        count = len(self.pairs)
        replicates = []
        for _ in range(_REPLICATES // _REPLICATES_AT_ONCE):
            weights = rng.multinomial(count, np.full(count, 1 / count), size=_REPLICATES_AT_ONCE)
            replicates.append(weights @ self.hits / (weights @ self.pairs)[:, None])
        low, high = percentiles(np.concatenate(replicates))
        values = self.hits.sum(0) / self.pairs.sum()
        return [Interval(float(v), float(a), float(b)) for v, a, b in zip(values, low, high, strict=True)]


@torch.no_grad()
def identify(
    embeddings: Tensor,
    identities: Tensor,
    counts: Sequence[int],
    distractors: Distractors | None = None,
    *,
    seed: int = 0,
    device: str | torch.device = "cpu",
    on_block: Callable[[int, int], None] | None = None,
) -> Identification:
    """Find every picture's companions among N distractors, for each N of `counts`.

    The first distractors of a probe are the other identities' pictures, in an order drawn by `seed`, and then those
    of `distractors`. The sets are nested: a larger N has the distractors of the smaller one and more. What is held
    beyond `embeddings` is one block of distractors, its similarities and one maximum a probe and count.

    Args:
        embeddings: Of the gallery, (G, D).
        identities: Who is on each, int64 (G,).
        counts: Numbers of distractors.
        distractors: What follows when the gallery has no more.
        seed: Of the order of the gallery.
        device: Where similarities are computed.
        on_block: Told how many of `distractors` are done, and how many there will be.

    Raises:
        DataError: No identity has two pictures, embeddings are not finite, or there are too few distractors.
        InvalidSettingError: A count below 1.
    """
    wanted = tuple(sorted(set(counts)))
    if not wanted or wanted[0] < 1:
        raise InvalidSettingError(f"`distractors` must be numbers of 1 or more, but got {tuple(counts)}.")
    device = torch.device(device)
    own = unit(embeddings).to(device)
    _, people, sizes = torch.unique(identities.to(device), return_inverse=True, return_counts=True)
    probes = torch.nonzero(sizes[people] > 1)[:, 0]
    if not len(probes):
        raise DataError("An identity must have two pictures or more to be looked for, but none of the gallery has.")
    others = len(own) - sizes[people[probes]]  # real distractors that each probe has
    beyond = max(0, wanted[-1] - int(others.min()))
    best, pair_probes, pair_similarities = _among_gallery(own, people, probes, wanted, seed)
    if beyond:
        if distractors is None:
            raise DataError(
                f"{wanted[-1]:,} distractors were asked for, but a probe has {int(others.min()):,} pictures of other "
                "identities: lower the number or add distractors."
            )
        limits = torch.tensor(wanted, device=device)[None] - others[:, None]  # how far each probe's sets reach
        _among_blocks(own[probes], distractors, beyond, limits, best, on_block)
    identified = pair_similarities[:, None] > best[pair_probes] + TIE
    persons = people[probes][pair_probes]
    hits = torch.zeros((len(sizes), len(wanted)), dtype=torch.int64, device=device)
    hits.index_add_(0, persons, identified.long())
    pairs = torch.bincount(persons, minlength=len(sizes))
    real = 0 if distractors is None else distractors.real
    synthetic = tuple(max(0, count - int(others.min()) - real) for count in wanted)
    can = pairs > 0
    return Identification(wanted, synthetic, hits[can].cpu().numpy(), pairs[can].cpu().numpy())


def _among_gallery(
    own: Tensor, people: Tensor, probes: Tensor, counts: Sequence[int], seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Compare the probes with the gallery.

    Returns:
        The largest similarity to the first N other people's pictures, (probes, counts); and of each pair the place of
        its probe and its similarity, (pairs,).
    """
    order = torch.from_numpy(np.random.default_rng([seed, 0xFACE]).permutation(len(own))).to(own.device)
    gallery, owners = own[order], people[order]
    best, places, similarities = [], [], []
    done = 0
    for part in probes.split(max(1, _CELLS // len(own))):
        sims = own[part] @ gallery.T
        foreign = owners[None] != people[part][:, None]
        number = foreign.cumsum(1)  # among the distractors of its probe, from 1
        best.append(
            torch.stack([sims.masked_fill(~foreign | (number > count), -torch.inf).amax(1) for count in counts], 1)
        )
        mates = ~foreign & (order[None] != part[:, None])
        places.append(torch.nonzero(mates)[:, 0] + done)
        similarities.append(sims[mates])
        done += len(part)
    return torch.cat(best), torch.cat(places), torch.cat(similarities)


def _among_blocks(
    probes: Tensor,
    distractors: Distractors,
    count: int,
    limits: Tensor,
    best: Tensor,
    on_block: Callable[[int, int], None] | None,
) -> None:
    """Raise `best` (probes, counts) by the first `limits` (probes, counts) distractors of the stream, in place."""
    start = 0
    for raw in distractors.blocks(count):
        block = unit(raw.to(probes.device))
        end = start + len(block)
        columns = torch.arange(start, end, device=probes.device)
        for rows in torch.arange(len(probes), device=probes.device).split(max(1, _CELLS // len(block))):
            sims = probes[rows] @ block.T
            whole = sims.amax(1)
            for number in range(limits.shape[1]):
                limit = limits[rows, number]
                inside = limit >= end
                best[rows, number] = torch.where(inside, best[rows, number].maximum(whole), best[rows, number])
                cut = torch.nonzero(~inside & (limit > start))[:, 0]
                if len(cut):
                    part = sims[cut].masked_fill(columns[None] >= limit[cut, None], -torch.inf).amax(1)
                    best[rows[cut], number] = best[rows[cut], number].maximum(part)
        start = end
        if on_block is not None:
            on_block(start, count)
    if start < count:
        raise DataError(f"{count:,} distractors beyond the gallery were asked for, but there are {start:,}.")
