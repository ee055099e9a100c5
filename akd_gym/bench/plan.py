"""What AKDBench is made of: which architectures are trained, by whose labels, with which seeds.

The sample covers the space by a Latin hypercube: in every run of so many architectures each decision takes each of its
options equally often. Every architecture is trained by hard labels and by KD from two teachers that differ most in kind
(a residual network and an MLP-Mixer), with the same seeds for all three, so that their differences are paired. Every
eighth is trained with three seeds: how far a result varies by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from akd_gym.recipes import Recipe
from akd_gym.space import Choices, SearchSpace, make_space

DATA = "fashion"
SIGNALS = ("none", "shipped:resnet", "shipped:mixer")
"""Teachers: `none` is hard labels."""

RECIPE = Recipe(train_size=2048, val_size=7904, learning_rate=0.1)
"""The default search's in shape (5 epochs, the first a warm-up), on half of its images."""

COVERING = 800
"""Architectures that cover the space."""

REPLICATE_EVERY = 8
SEEDS = (0, 1, 2)
"""Of the architectures that are trained more than once; the others have the first."""

_DESIGN_SEED = 20201
_DESIGN_ROWS = 144  # a multiple of 2, 3 and 4, so that options are exactly balanced


class Training(NamedTuple):
    """One training of the benchmark."""

    architecture: str
    signal: str
    seed: int


def bench_space() -> SearchSpace:
    """The space that the benchmark is about: `akd` on the skeleton of small images."""
    return make_space("akd", "small")


def covering_architectures(space: SearchSpace, count: int = COVERING, seed: int = _DESIGN_SEED) -> list[str]:
    """Distinct networks by Latin hypercubes of 144 rows, one after the other; more of them begin with the same ones.

    Args:
        space: What to cover.
        count: How many.
        seed: Of the permutations.

    Returns:
        Canonical strings.
    """
    rng = np.random.default_rng(seed)
    names: dict[str, None] = {}
    while len(names) < count:
        names |= {str(space.network(row)): None for row in _latin_hypercube(space, rng)}
    return list(names)[:count]


def trainings_of(architectures: Sequence[str], start: int = 0) -> Iterator[Training]:
    """The trainings of architectures, signal by signal.

    Args:
        architectures: Canonical strings.
        start: Place of the first of them in the whole sample: every eighth has three seeds.
    """
    for signal in SIGNALS:
        for place, architecture in enumerate(architectures, start):
            for seed in SEEDS if place % REPLICATE_EVERY == 0 else SEEDS[:1]:
                yield Training(architecture, signal, seed)


def _latin_hypercube(space: SearchSpace, rng: np.random.Generator) -> list[Choices]:
    columns = [rng.permutation(np.arange(_DESIGN_ROWS) % count) for count in space.option_counts.tolist()]
    return [tuple(row) for row in np.stack(columns, axis=1).tolist()]
