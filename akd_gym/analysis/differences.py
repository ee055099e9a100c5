"""How the best students of searches differ, decision by decision: the paper's Figure 8.

The paper averages the features of the 500 most accurate models of either search within a range of latency and
subtracts the means. It shows no intervals; here each difference has one, over the architectures of two searches
(`search_differences`), or over several searches a side (`group_differences`), which says more: on AKDBench two seeds
of one setting differ as clearly as distillation and hard labels do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from akd_gym.analysis.aggregates import percentiles
from akd_gym.analysis.formats import cost_in_words
from akd_gym.analysis.pareto import Band, within_band
from akd_gym.analysis.runs import SearchRun
from akd_gym.analysis.shared import shared_features, unshared_decisions
from akd_gym.errors import InvalidSettingError

BEST = 500
"""Of how many students of a search features are averaged, as in the paper."""

_REPLICATES = 2_000
_SEED = 8  # of the figure
_TOLERANCE = 0.1


@dataclass(frozen=True)
class FeatureDifference:
    """One feature, averaged over the best students of two sides.

    Attributes:
        block: From 1.
        role: `"conv_op"`, `"skip_op"`, `"kernel"`, `"layers"`, `"filters"` or `"se"`.
        option: Of a categorical decision, whose feature is the share of students that have it; None of a numeric one.
        means: Of the first and of the second side, in the feature's own unit.
        span: From the least option to the largest; 1 of a share.
        low: Lower end of the 95 % interval of the difference, in its own unit; NaN where there is none.
        high: Upper end.
    """

    block: int
    role: str
    option: str | None
    means: tuple[float, float]
    span: float
    low: float
    high: float

    @property
    def difference(self) -> float:
        """First less second, in the feature's own unit."""
        return self.means[0] - self.means[1]

    @property
    def is_apart(self) -> bool:
        """Whether there is an interval and it leaves 0 out."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class SearchDifferences:
    """The best students of two sides compared (Figure 8).

    Attributes:
        names: Of the two sides.
        searches: How many each side has.
        band: Of the costs of the students.
        unit: Of these costs.
        counts: Students of each side; fewer than `wanted` a search where fewer distinct ones lie in the band.
        wanted: How many of each search were asked for.
        over: What the intervals are over: `"architectures"` of two searches, or `"searches"`.
        features: In the order of the first search's decisions.
        left_out: Decisions that the spaces do not share.
    """

    names: tuple[str, str]
    searches: tuple[int, int]
    band: Band
    unit: str
    counts: tuple[int, int]
    wanted: int
    over: Literal["architectures", "searches"]
    features: tuple[FeatureDifference, ...]
    left_out: tuple[str, ...]

    @property
    def caption(self) -> str:
        """What is seen, in sentences without markup."""
        few = [
            f"{count:,} of {name}, of {self.wanted * searches:,} asked for"
            for name, count, searches in zip(self.names, self.counts, self.searches, strict=True)
            if count < self.wanted * searches
        ]
        apart, tests = sum(feature.is_apart for feature in self.features), len(self.features)
        if self.over == "architectures":
            intervals = (
                f"Bars are 95 % bootstrap intervals over architectures; {apart} of {tests} leave 0 out. Architectures "
                "of one search are not independent: two searches that differ in their seed alone can differ as clearly."
            )
        else:
            intervals = (
                f"Bars are 95 % intervals of Welch's t over {self.searches[0]} and {self.searches[1]} searches; "
                f"{apart} of {tests} leave 0 out, where chance alone would make about {0.05 * tests:.0f} do so. What "
                "does not vary among the searches of either side has no interval."
            )
        sentences = [
            f"Mean features of the {self.wanted} most accurate distinct architectures of {self.names[0]} less those of "
            f"{self.names[1]}, at a cost of {cost_in_words(self.band.centre, self.unit)} ± "
            f"{cost_in_words(self.band.tolerance, self.unit)}.",
            f"In that band lie only {'; only '.join(few)}." if few else "",
            "Operators and skips are shares of the architectures that have them; kernels, layers and filters are "
            "scaled to the range of their options.",
            "One option of the skip joins an identity with squeeze-and-excite (SE): what is said of it is said of both."
            if any(feature.option == "identity+se" for feature in self.features)
            else "",
            intervals,
            f"Left out, as the spaces differ in them: {', '.join(self.left_out)}." if self.left_out else "",
        ]
        return " ".join(sentence for sentence in sentences if sentence)


def search_differences(
    first: SearchRun, second: SearchRun, band: Band | None = None, best: int = BEST
) -> SearchDifferences:
    """Compares the best students of two searches within a band of costs (Figure 8).

    Intervals are bootstraps over architectures. They take the architectures of a search for independent, which they are
    not: an agent learned from the earlier ones what it proposed later, and good ones are often neighbours. They say how
    exactly these two searches are described, and not what searches with other seeds would give; `group_differences`
    does.

    Architectures count once, with the choices by which they first came up. Choices that make no difference to a
    network, such as an identity over a changing shape, count like any other.

    Args:
        first: Finished or not.
        second: With the same unit of cost; of spaces that differ, what both decide alike is compared.
        band: Ends included; if None the target of both ± 10 %.
        best: How many students of each, the most accurate first; those there are where there are fewer.

    Raises:
        InvalidSettingError: Different units of cost; no band for searches of different targets; a search without a
            student in the band; spaces that share no decision; or `best` less than 1.
    """
    runs = [first, second]
    band = _checked_band(runs, band, best)
    samples, names = _best_features(runs, band, best)
    rng = np.random.default_rng(_SEED)
    low, high = percentiles(_resampled_means(samples[0], rng) - _resampled_means(samples[1], rng))
    return SearchDifferences(
        names=(first.name, second.name),
        searches=(1, 1),
        band=band,
        unit=first.unit,
        counts=(len(samples[0]), len(samples[1])),
        wanted=best,
        over="architectures",
        features=_described(first, names, samples[0].mean(axis=0), samples[1].mean(axis=0), low, high),
        left_out=unshared_decisions(runs),
    )


def group_differences(
    names: tuple[str, str],
    first: Sequence[SearchRun],
    second: Sequence[SearchRun],
    band: Band | None = None,
    best: int = BEST,
) -> SearchDifferences:
    """Compares the best students of two settings, each searched with several seeds (Figure 8).

    A search counts as one: its best students are averaged, and intervals are Welch's of the difference between the two
    sides' means over searches. So a difference that is apart is one that other seeds would show too.

    Args:
        names: Of the two settings.
        first: At least 2 searches, finished or not, with different seeds.
        second: Likewise.
        band: See `search_differences`.
        best: See `search_differences`.

    Raises:
        InvalidSettingError: Fewer than 2 searches on a side, or as `search_differences`.
    """
    if min(len(first), len(second)) < 2:
        raise InvalidSettingError(
            f"Both sides must have at least 2 searches for an interval over searches, but have {len(first)} and "
            f"{len(second)}. `search_differences` compares single searches."
        )
    runs = [*first, *second]
    band = _checked_band(runs, band, best)
    samples, features = _best_features(runs, band, best)
    means = np.stack([sample.mean(axis=0) for sample in samples])
    ones, others = means[: len(first)], means[len(first) :]
    low, high = _welch(ones, others)
    counts = [len(sample) for sample in samples]
    return SearchDifferences(
        names=names,
        searches=(len(first), len(second)),
        band=band,
        unit=runs[0].unit,
        counts=(sum(counts[: len(first)]), sum(counts[len(first) :])),
        wanted=best,
        over="searches",
        features=_described(runs[0], features, ones.mean(axis=0), others.mean(axis=0), low, high),
        left_out=unshared_decisions(runs),
    )


def _checked_band(runs: Sequence[SearchRun], band: Band | None, best: int) -> Band:
    if best < 1:
        raise InvalidSettingError(f"`best` must be at least 1 architecture, but got {best}.")
    units = {run.unit for run in runs}
    if len(units) > 1:
        got = ", ".join(f"{run.name!r} has {run.unit!r}" for run in runs)
        raise InvalidSettingError(f"Searches must have the same unit of cost to be compared within a band, but {got}.")
    if band is not None:
        return band
    targets = [run.target for run in runs]
    if not np.allclose(targets, targets[0], rtol=1e-6, atol=0):
        got = ", ".join(f"{run.name!r} at {cost_in_words(run.target, run.unit)}" for run in runs)
        raise InvalidSettingError(f"`band` must be given where targets differ, but got {got}.")
    return Band(targets[0], _TOLERANCE * targets[0])


def _best_features(
    runs: Sequence[SearchRun], band: Band, best: int
) -> tuple[list[NDArray[np.float64]], tuple[str, ...]]:
    """Of each search's best architectures in the band the features that all searches share."""
    features, names = shared_features(runs)
    return [own[_best_rows(run, band, best)].astype(np.float64) for own, run in zip(features, runs, strict=True)], names


def _best_rows(run: SearchRun, band: Band, best: int) -> list[int]:
    """Rows of the best architectures in the band, the most accurate first."""
    found = within_band(run.outcomes, band)
    if not found:
        costs = run.costs[run.feasible]
        have = "no candidate is feasible"
        if len(costs):
            have = f"they cost {cost_in_words(costs.min(), run.unit)} to {cost_in_words(costs.max(), run.unit)}"
        raise InvalidSettingError(
            f"Every search must have a student in the band {band} {run.unit}, but {run.name!r} has none: {have}. "
            "Choose another band."
        )
    row_of = {outcome.number: row for row, outcome in enumerate(run.outcomes)}
    return [row_of[outcome.number] for outcome in found[:best]]


def _resampled_means(sample: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Means of bootstrap replicates of the rows; shape (replicates, features)."""
    count = len(sample)
    weights = rng.multinomial(count, np.full(count, 1 / count), size=_REPLICATES)
    return weights @ sample / count


def _welch(ones: NDArray[np.float64], others: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ends of the 95 % intervals of the columns' differences of means; NaN where neither side varies."""
    from scipy import stats  # here: it takes its time

    parts = [side.var(axis=0, ddof=1) / len(side) for side in (ones, others)]
    total = parts[0] + parts[1]
    varied = total > 1e-18
    squares = parts[0] ** 2 / (len(ones) - 1) + parts[1] ** 2 / (len(others) - 1)
    freedom = np.divide(total**2, squares, out=np.ones_like(total), where=varied)
    reach = np.where(varied, stats.t.ppf(0.975, freedom) * np.sqrt(total), np.nan)
    differences = ones.mean(axis=0) - others.mean(axis=0)
    return differences - reach, differences + reach


def _described(
    run: SearchRun,
    names: Sequence[str],
    means: NDArray[np.float64],
    other_means: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
) -> tuple[FeatureDifference, ...]:
    """What each of the columns `names` is about, in the space of `run`."""
    column = {name: i for i, name in enumerate(names)}
    return tuple(
        FeatureDifference(
            block=decision.block,
            role=decision.role,
            option=str(decision.options[i]) if decision.categorical else None,
            means=(float(means[column[name]]), float(other_means[column[name]])),
            span=1.0 if decision.categorical else float(max(decision.options) - min(decision.options)),
            low=float(low[column[name]]),
            high=float(high[column[name]]),
        )
        for decision in run.space.decisions
        for i, name in enumerate(decision.feature_names)
        if name in column
    )
