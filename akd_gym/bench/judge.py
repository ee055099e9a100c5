"""How far AKDBench's surfaces can be trusted: judged on networks that the fit did not see, by no signal and no seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import f as f_distribution
from scipy.stats import kendalltau

from akd_gym.bench.fit import Features, Surface, few_features, fit_surface
from akd_gym.bench.noise import NoiseModel
from akd_gym.bench.regression import fit_ridge

Array = NDArray[np.float64]

FOLDS = 5
REPEATS = 3
PERMUTATIONS = 199
SIGNIFICANT = 0.05

_BOOTSTRAPS = 1000
_CEILING_DRAWS = 20


class Score(NamedTuple):
    """A number and its 95 % interval over networks; None where it is undefined."""

    value: float | None
    low: float | None
    high: float | None


class Difference(NamedTuple):
    """What is known of one difference between signals.

    Attributes:
        r2: Share of its variance over networks that features explain, on networks that the fit did not see.
        p: Of the permutation test, see `difference_between`.
        varies: Whether it may depend on features in the surrogate.
    """

    r2: float
    p: float
    varies: bool


def folds_of(count: int, folds: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Which of the folds each network is in, shape (count,)."""
    return rng.permutation(np.arange(count) % folds)


def predict_held_out(
    features: Features,
    components: Array,
    kind: str,
    varying: tuple[bool, ...],
    *,
    folds: int = FOLDS,
    repeats: int = REPEATS,
    seed: int = 0,
    on_fit: Callable[[], None] = lambda: None,
) -> Array:
    """Predict mean, gain and preference of every network by fits that did not see it.

    Args:
        features: Of the networks.
        components: See `BenchData.components`.
        kind: One of `SURFACES`.
        varying: Whether gain and preference depend on features.
        folds: Into how many parts the networks are divided.
        repeats: How often they are divided anew.
        seed: Of the divisions.
        on_fit: Told after each fit.

    Returns:
        Shape (repeats, networks, 3).
    """
    rng = np.random.default_rng(seed)
    found = np.empty((repeats, *components.shape))
    theta = None
    for repeat in range(repeats):
        fold_of = folds_of(len(components), folds, rng)
        for fold in range(folds):
            seen, unseen = fold_of != fold, fold_of == fold
            surface: Surface = fit_surface(
                Features(features.values[seen], features.groups), components[seen], kind, varying, theta
            )
            theta = surface.mean.theta if theta is None else theta
            found[repeat, unseen] = surface.predict(Features(features.values[unseen], features.groups))
            on_fit()
    return found


def choose_surface(held_out: dict[str, Array], components: Array, *, seed: int = 0) -> str:
    """The simplest kind of surface whose rank correlation is within noise of the best.

    Args:
        held_out: By kind, the simplest first: from `predict_held_out`.
        components: See `BenchData.components`.
        seed: Of the bootstraps that say what is noise.
    """
    rng = np.random.default_rng(seed)
    count = len(components)
    draws = [np.arange(count), *(rng.integers(count, size=count) for _ in range(200))]
    taus = {
        kind: np.array([_tau(predicted[:, :, 0].mean(0)[rows], components[rows, 0]) for rows in draws])
        for kind, predicted in held_out.items()
    }
    best = max(taus, key=lambda kind: taus[kind][0])
    for kind, tau in taus.items():
        behind = taus[best] - tau
        if behind[0] <= behind[1:].std():
            return kind
    return best


def difference_between(features: Features, left_out: Array, difference: Array, *, seed: int = 0) -> Difference:
    """Whether features tell a difference between signals, and whether by more than chance.

    The test shuffles labels: which of the two signals is which is drawn anew for each network, after the mean of each
    signal is taken out, and all is fitted again. Without a taste of the signals for some networks, the shuffled data
    are like the real ones.

    Args:
        features: Of the networks.
        left_out: Mean of each network, predicted without it; shape (networks,).
        difference: Of each network, shape (networks,).
        seed: Of divisions and shuffles.
    """
    rng = np.random.default_rng(seed)
    few = few_features(features, left_out)
    fold_of = folds_of(len(difference), 2 * FOLDS, rng)
    centred = difference - difference.mean()
    real = _held_out_r2(few, centred, fold_of)
    shuffled = [
        _held_out_r2(few, centred * rng.choice([-1.0, 1.0], len(centred)), fold_of) for _ in range(PERMUTATIONS)
    ]
    p = (1 + sum(one >= real for one in shuffled)) / (1 + PERMUTATIONS)
    return Difference(real, p, real > 0 and p <= SIGNIFICANT)


def score(predicted: Array, measured: Array, *, seed: int = 0) -> dict[str, Score]:
    """Kendall's tau and R2 of predictions.

    Args:
        predicted: Shape (repeats, networks).
        measured: Shape (networks,).
        seed: Of the bootstraps.
    """
    rng = np.random.default_rng(seed)
    repeats, count = predicted.shape
    draws = [(rng.integers(repeats), rng.integers(count, size=count)) for _ in range(_BOOTSTRAPS)]
    found = {}
    for name, statistic in {"kendall": _tau, "r2": _r2}.items():
        value = _defined([statistic(row, measured) for row in predicted])
        if value is None:
            found[name] = Score(None, None, None)
            continue
        resampled = [statistic(predicted[repeat, rows], measured[rows]) for repeat, rows in draws]
        low, high = np.quantile([one for one in resampled if not np.isnan(one)], [0.025, 0.975]).tolist()
        found[name] = Score(value, low, high)
    return found


def ceiling(
    held_out: Array, measured: Array, counts: Array, noise: NoiseModel, *, seed: int = 0
) -> dict[str, float | None]:
    """What a perfect surface would reach on data with this noise.

    A network's true accuracy is taken to be its held-out prediction plus what of the misfit is not noise; then
    trainings are drawn anew about it.

    Args:
        held_out: Predictions of mean and of the signal, shape (2, networks).
        measured: Of the signal, shape (networks,).
        counts: Seeds behind each, shape (networks,).
        noise: Its residuals are those of the signal, shape (draws,).
        seed: Of the drawn trainings.
    """
    rng = np.random.default_rng(seed)
    mean, predicted = held_out
    intercept, slope, low, high = noise.scale
    scale = np.exp(intercept + slope * np.clip(mean, low, high))
    noise_variance = float((scale**2 / counts).mean() * (noise.residuals**2).mean())
    misfit = measured - predicted
    real = np.sqrt(max(0.0, 1 - noise_variance / float(misfit.var())))
    truth = predicted + real * misfit
    found: dict[str, list[float]] = {"kendall": [], "r2": []}
    for _ in range(_CEILING_DRAWS):
        drawn = rng.choice(noise.residuals, (int(counts.max()), len(truth)))
        drawn = np.array([drawn[: int(k), i].mean() for i, k in enumerate(counts)])
        seen = truth + scale * drawn
        found["kendall"].append(_tau(truth, seen))
        found["r2"].append(_r2(truth, seen))
    return {name: _defined(values) for name, values in found.items()} | {
        "noise_std": float(np.sqrt((scale**2).mean() * (noise.residuals**2).mean())),
        "network_std": float(truth.std()),
    }


def variance_components(differences: list[Array]) -> dict[str, float]:
    """How much a difference varies over networks beside what seeds make it vary: one-way analysis of variance.

    Args:
        differences: Of each replicated network, shape (seeds,).

    Returns:
        `networks`, `network_std` (of the networks' true differences), `seed_std`, `f` and its `p`.
    """
    count = len(differences)
    sizes = np.array([len(one) for one in differences], dtype=np.float64)
    means = np.array([one.mean() for one in differences])
    grand = float((sizes * means).sum() / sizes.sum())
    between = float((sizes * (means - grand) ** 2).sum()) / (count - 1)
    within = float(sum(((one - one.mean()) ** 2).sum() for one in differences)) / float((sizes - 1).sum())
    ratio = between / within
    return {
        "networks": count,
        "network_std": float(np.sqrt(max(0.0, (between - within) / sizes.mean()))),
        "seed_std": float(np.sqrt(within)),
        "f": ratio,
        "p": float(f_distribution.sf(ratio, count - 1, (sizes - 1).sum())),
    }


def madds_alone(log_madds: Array, measured: Array, *, seed: int = 0) -> dict[str, Score]:
    """Scores of a line in the logarithm of multiply-adds, on networks that it did not see; both shape (networks,)."""
    rng = np.random.default_rng(seed)
    predicted = np.empty((REPEATS, len(measured)))
    for repeat in range(REPEATS):
        fold_of = folds_of(len(measured), FOLDS, rng)
        for fold in range(FOLDS):
            seen = fold_of != fold
            line = np.polyfit(log_madds[seen], measured[seen], 1)
            predicted[repeat, ~seen] = np.polyval(line, log_madds[~seen])
    return score(predicted, measured, seed=seed)


def _held_out_r2(few: Array, centred: Array, fold_of: NDArray[np.intp]) -> float:
    predicted = np.empty(len(centred))
    constant = np.empty(len(centred))
    for fold in range(int(fold_of.max()) + 1):
        seen = fold_of != fold
        predicted[~seen] = fit_ridge(few[seen], centred[seen]).predict(few[~seen])
        constant[~seen] = centred[seen].mean()
    return 1 - float(((centred - predicted) ** 2).sum() / ((centred - constant) ** 2).sum())


def _defined(values: Sequence[float]) -> float | None:
    """The mean; None where a value is undefined."""
    mean = float(np.mean(values))
    return None if np.isnan(mean) else mean


def _tau(predicted: Array, measured: Array) -> float:
    return float(kendalltau(predicted, measured).statistic) if np.ptp(predicted) > 1e-12 else float("nan")


def _r2(predicted: Array, measured: Array) -> float:
    if not np.ptp(measured):
        return float("nan")
    return 1 - float(((measured - predicted) ** 2).sum() / ((measured - measured.mean()) ** 2).sum())


def as_plain(scores: dict[str, Score]) -> dict[str, Any]:
    """Scores in JSON types."""
    return {name: one._asdict() for name, one in scores.items()}
