"""Whether searches end in different places: how well their candidates are told apart, and how often by chance.

The paper looks at its Figures 5 to 7 and finds searches "clearly separable". Here Fisher's linear discriminant learns
from the features of some candidates which side they come from, and is judged on candidates that it did not see.

**What may be exchanged.** Candidates of one search depend on each other: they come from one policy, which has drifted
its own way. A test that shuffles candidates calls any two searches separable, also two seeds of one setting. So here
candidates stay together, and what is shuffled are whole searches, or blocks of successive candidates:

- `separability_of_searches` shuffles which search belongs to which side. Its p-value speaks of the *settings*: how
  probable so high an accuracy is if the setting makes no difference. It is exact, but needs searches: 3 on a side
  give at best 0.1, 4 give 0.03, 5 give 0.008.
- `separability_of_pairs` swaps the two searches of a pair that share their seed, as in Figure 6, and speaks of the
  settings too. Where a seed leads both its own way it sees more; 5 pairs give at best 0.06, 6 give 0.03.
- `separability_of_two` swaps blocks of two single searches. Its p-value speaks of *these two searches* alone: whether
  they sample from different places at their ends. Two seeds of one setting that settled in different places are
  separable in this sense, and rightly so: it says nothing about what made them differ.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from akd_gym.analysis.aggregates import Interval, percentiles
from akd_gym.analysis.principal import range_scaled
from akd_gym.analysis.runs import SearchRun
from akd_gym.analysis.shared import shared_features
from akd_gym.errors import InvalidSettingError

TAIL = 0.2
"""The share of a search, at its end, whose architectures are told apart."""

SPLITS = 5_000
"""Ways to exchange what may be exchanged that are gone through; if there are more, as many are drawn at random."""

_SHRINKAGE = 0.1  # of the covariance towards a multiple of the identity
_SEED = 1911_09074

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]
Exchanged = Literal["searches", "pairs", "blocks"]

_MEANINGS: dict[Exchanged, str] = {
    "searches": "if the setting made no difference, so that searches might as well have been of the other side",
    "pairs": "if the setting made no difference, so that the searches of each pair might as well have been swapped",
    "blocks": "if these two searches sampled alike at their ends, block for block; of what made them differ, such as "
    "the setting or the seed, it says nothing, and it is too small where a search still wanders",
}


@dataclass(frozen=True)
class Separability:
    """How well the candidates of two sides are told apart.

    Attributes:
        exchanged: What the test exchanges between the sides.
        accuracy: Of the classifier on what was held out, the mean of both sides; 0.5 is guessing.
        chance: The same under exchange: its mean, and between what 95 % of it lies.
        p_value: Share of the exchanges, the true assignment among them, with at least this accuracy.
        smallest_p: What the p-value could have been at best with so few searches or blocks.
        splits: Exchanges that were gone through.
        exact: Whether these were all there are.
        units: Searches, or blocks, on either side.
        candidates: Distinct architectures on either side.
    """

    exchanged: Exchanged
    accuracy: float
    chance: Interval
    p_value: float
    smallest_p: float
    splits: int
    exact: bool
    units: tuple[int, int]
    candidates: tuple[int, int]

    @property
    def supposition(self) -> str:
        """What the p-value supposes, as a clause that begins with `if`."""
        return _MEANINGS[self.exchanged]

    @property
    def meaning(self) -> str:
        """The p-value in words."""
        return (
            f"p = {self.p_value:.3g} (at best {self.smallest_p:.2g} with {self.units[0]} and {self.units[1]} "
            f"{'blocks' if self.exchanged == 'blocks' else 'searches'}): how often candidates could be told apart with "
            f"at least {self.accuracy:.1%} accuracy {self.supposition}."
        )


def separability_of_searches(
    ones: Sequence[SearchRun], others: Sequence[SearchRun], *, tail: float = TAIL
) -> Separability:
    """Whether two settings, each searched with several seeds, end in different places.

    Each pair of a search a side is held out in turn; the classifier learns from the other searches. If the sides share
    their seeds, this is still valid, though cautious; see `separability_of_pairs`.

    Args:
        ones: Searches of the one setting, at least two.
        others: Of the other.
        tail: The share of each search, at its end, that counts.

    Raises:
        InvalidSettingError: Too few searches, a share outside 0 to 1, or spaces that share no decision.
    """
    if min(len(ones), len(others)) < 2:
        raise InvalidSettingError(
            "Exchanging searches needs at least two on either side, one to learn from and one to judge by, "
            f"but got {len(ones)} and {len(others)}; for two single ones see `separability_of_two`."
        )
    units = _tails([*ones, *others], tail)
    sides = np.arange(len(units)) < len(ones)
    return _test("searches", units, sides, np.zeros(len(units), dtype=np.int64))


def separability_of_pairs(pairs: Sequence[tuple[SearchRun, SearchRun]], *, tail: float = TAIL) -> Separability:
    """Whether two settings end in different places, each pair of searches alike in all else, as in its seed.

    Each pair is held out in turn; the classifier learns from the others. Pairs are moved to a common middle first, so
    that it sees what the setting changes, and not where the seed has led both.

    Args:
        pairs: A search of either setting each, at least two.
        tail: The share of each search, at its end, that counts.

    Raises:
        InvalidSettingError: Too few pairs, a share outside 0 to 1, or spaces that share no decision.
    """
    if len(pairs) < 2:
        raise InvalidSettingError(
            "Swapping pairs of searches needs at least two pairs, one to learn from and one to judge by, "
            f"but got {len(pairs)}; for a single one see `separability_of_two`."
        )
    ends = _tails([run for pair in pairs for run in pair], tail)
    middles = [(one.mean(axis=0) + other.mean(axis=0)) / 2 for one, other in zip(ends[::2], ends[1::2], strict=True)]
    units = [end - middles[i // 2] for i, end in enumerate(ends)]
    return _test("pairs", units, np.arange(len(units)) % 2 == 0, np.arange(len(units)) // 2)


def separability_of_two(one: SearchRun, other: SearchRun, *, tail: float = TAIL, blocks: int = 10) -> Separability:
    """Whether two single searches end in different places; of the settings that they had it says nothing.

    The end of each is cut into blocks of successive candidates. The blocks at the same place of both are held out, and
    exchanged, together, so that a drift which both have in common does no harm. A drift of its own does: the p-value
    holds for searches that have settled, with blocks longer than their memory.

    Args:
        one: A search.
        other: Another one.
        tail: The share of each search, at its end, that counts.
        blocks: Into how many this is cut.

    Raises:
        InvalidSettingError: Fewer than two blocks, fewer distinct architectures than blocks, a share outside 0 to 1, or
            spaces that share no decision.
    """
    ends = _tails([one, other], tail)
    fewest = min(len(end) for end in ends)
    if not 2 <= blocks <= fewest:
        raise InvalidSettingError(
            f"`blocks` must be at least 2 and at most the {fewest} distinct architectures that the searches end with, "
            f"but got {blocks}."
        )
    units = [block for end in ends for block in np.array_split(end, blocks)]
    return _test("blocks", units, np.arange(2 * blocks) < blocks, np.arange(2 * blocks) % blocks)


def _tails(runs: Sequence[SearchRun], tail: float) -> list[Array]:
    """The features of what each search ends with, each architecture once."""
    if not 0 < tail <= 1:
        raise InvalidSettingError(f"`tail` must be above 0 and at most 1, but got {tail}.")
    arrays, _ = shared_features(runs)
    kept = []
    for run, features in zip(runs, arrays, strict=True):
        start = len(features) - max(1, round(tail * len(features)))
        first: dict[str, int] = {}
        for number, outcome in enumerate(run.outcomes[start:], start):
            first.setdefault(outcome.architecture, number)
        kept.append(features[list(first.values())])
    return range_scaled(kept)


def _test(exchanged: Exchanged, units: Sequence[Array], sides: Bools, strata: NDArray[np.int64]) -> Separability:
    """Judges an assignment of units to sides among all those that keep the sides' numbers in each stratum."""
    splits, exact = _splits(sides, strata)
    found = _accuracies(units, splits, strata)
    of_all = found if exact else np.concatenate([found[:1], found])  # drawn ones: the true one counts besides
    low, high = percentiles(found)
    twins = all(sides[strata == stratum].mean() == 0.5 for stratum in np.unique(strata))  # as good with sides renamed
    return Separability(
        exchanged=exchanged,
        accuracy=float(found[0]),
        chance=Interval(float(found.mean()), float(low), float(high)),
        p_value=float((of_all >= found[0] - 1e-9).mean()),
        smallest_p=(1 + twins) / len(splits) if exact else 1 / len(splits),
        splits=len(splits),
        exact=exact,
        units=(int(sides.sum()), int((~sides).sum())),
        candidates=(
            sum(len(unit) for unit, side in zip(units, sides, strict=True) if side),
            sum(len(unit) for unit, side in zip(units, sides, strict=True) if not side),
        ),
    )


def _splits(sides: Bools, strata: NDArray[np.int64]) -> tuple[Bools, bool]:
    """Assignments of units to sides, shape (splits, units), the true one first; and whether they are all there are."""
    members = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    counts = [int(sides[own].sum()) for own in members]
    total = math.prod(math.comb(len(own), count) for own, count in zip(members, counts, strict=True))
    if total <= SPLITS:
        choices = (combinations(own.tolist(), count) for own, count in zip(members, counts, strict=True))
        chosen = [[unit for part in parts for unit in part] for parts in product(*choices)]
        splits = np.zeros((total, len(sides)), dtype=bool)
        for row, units in zip(splits, chosen, strict=True):
            row[units] = True
        is_true = (splits == sides).all(axis=1)
        return np.concatenate([splits[is_true], splits[~is_true]]), True
    rng = np.random.default_rng(_SEED)
    drawn = np.tile(sides, (SPLITS, 1))
    for own in members:
        drawn[1:, own] = rng.permuted(drawn[1:, own], axis=1)
    return drawn, False


def _accuracies(units: Sequence[Array], splits: Bools, strata: NDArray[np.int64]) -> Array:
    """The held-out accuracy under each assignment, shape (splits,).

    Two units of one stratum are held out where they are on different sides. The rest is Fisher's discriminant, with
    every unit of the same weight. Its direction is that of the inverse covariance of all the rest, sides aside, times
    the difference of the sides' means (the covariance within the sides gives the same direction), so that one
    factorisation serves every assignment.
    """
    means = np.stack([unit.mean(axis=0) for unit in units])
    squares = np.stack([unit.T @ unit / len(unit) for unit in units])
    found, judged = np.zeros(len(splits)), np.zeros(len(splits))
    for i, j in combinations(range(len(units)), 2):
        if strata[i] != strata[j]:
            continue
        rows = np.flatnonzero(splits[:, i] != splits[:, j])
        rest = np.delete(np.arange(len(units)), [i, j])
        centre = means[rest].mean(axis=0)
        covariance = squares[rest].mean(axis=0) - np.outer(centre, centre)
        ridge = max(float(np.trace(covariance)) / len(centre), 1e-12)
        covariance = (1 - _SHRINKAGE) * covariance + _SHRINKAGE * ridge * np.eye(len(centre))
        on_one = splits[np.ix_(rows, rest)].astype(np.float64)
        one = on_one @ means[rest] / on_one.sum(axis=1, keepdims=True)
        other = (1 - on_one) @ means[rest] / (1 - on_one).sum(axis=1, keepdims=True)
        directions = np.linalg.solve(covariance, (one - other).T)
        middles = ((one + other) / 2 * directions.T).sum(axis=1)
        shares = [(_said_one(units[unit] @ directions - middles)) for unit in (i, j)]
        right = np.where(splits[rows, i], shares[0] + 1 - shares[1], shares[1] + 1 - shares[0]) / 2
        found[rows] += right
        judged[rows] += 1
    return found / judged


def _said_one(scores: Array) -> Array:
    """The share of candidates said to be of the one side, shape (splits,); one in the middle counts half."""
    return ((scores > 1e-9).mean(axis=0) + (scores >= -1e-9).mean(axis=0)) / 2
