"""How far off predictions are, judged on networks that the fit did not see."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr

from akd_gym.device_lab.predictor.fit import Model, checked_latencies
from akd_gym.errors import InvalidSettingError

CLOSE = 0.10
"""A prediction within this share of the measured latency counts as close."""

Interval = tuple[float, float]
Array = NDArray[np.float64]

_BOOTSTRAPS = 1000
_Z = 1.959964  # of a normal distribution, 95 % two-sided


Fit = Callable[[Sequence[Model], Sequence[float]], Callable[[Model], float]]
"""From networks and their latencies to a function that gives the milliseconds of another network."""


@dataclass(frozen=True)
class Accuracy:
    """How predictions compare with measurements. Errors are fractions of the measured latency.

    Intervals are of 95 %: Wilson's for the share, else bootstraps over the networks. They say how much another draw of
    networks of the same kind may differ; the fits behind cross-validated predictions share most of their networks, so
    that true intervals are somewhat wider.

    Attributes:
        networks: How many were judged.
        repeats: Predictions of each, by fits that did not see it.
        within_10: Share of predictions within 10 % of the measured latency.
        within_10_interval: Of it.
        mean_error: Mean absolute error.
        mean_error_interval: Of it.
        p95_error: Absolute error that 95 % of the predictions keep to.
        largest_error: The largest absolute error.
        spearman: Rank correlation; None where it is undefined, as for equal predictions.
        spearman_interval: Of it.
        kendall: Rank correlation by concordant pairs; None likewise.
        kendall_interval: Of it.
    """

    networks: int
    repeats: int
    within_10: float
    within_10_interval: Interval
    mean_error: float
    mean_error_interval: Interval
    p95_error: float
    largest_error: float
    spearman: float | None
    spearman_interval: Interval | None
    kendall: float | None
    kendall_interval: Interval | None

    def to_dict(self) -> dict[str, Any]:
        """In JSON types; `from_dict` is the inverse."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Accuracy:
        """The inverse of `to_dict`."""
        values: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in plain.items()}
        return cls(**values)


def cross_validate(
    models: Sequence[Model],
    latencies_ms: Sequence[float],
    fit: Fit,
    *,
    held_out: float = 0.2,
    repeats: int = 5,
    seed: int = 0,
) -> Array:
    """Predict every network by fits that did not see it: repeated k-fold cross-validation.

    Args:
        models: Operators of each network.
        latencies_ms: Of each.
        fit: Fits to the other networks, as `fit_latency` does.
        held_out: Share of the networks that a fit does not see.
        repeats: How often all networks are divided anew.
        seed: Of the divisions.

    Returns:
        Milliseconds, shape (repeats, networks).

    Raises:
        InvalidSettingError: A share outside 0 to 0.5, or too few networks.
    """
    measured = checked_latencies(models, latencies_ms)
    if not 0 < held_out <= 0.5:
        raise InvalidSettingError(f"`held_out` must be above 0 and at most 0.5, but got {held_out}.")
    folds = round(1 / held_out)
    if len(models) < max(4, folds):
        raise InvalidSettingError(
            f"Holding out {held_out:g} of them needs at least {max(4, folds)} networks, but got {len(models)}."
        )
    rng = np.random.default_rng(seed)
    predicted = np.empty((repeats, len(models)))
    for repeat in range(repeats):
        fold_of = rng.permutation(np.arange(len(models)) % folds)
        for fold in range(folds):
            seen, unseen = (np.flatnonzero(mask).tolist() for mask in (fold_of != fold, fold_of == fold))
            predict = fit([models[i] for i in seen], measured[seen].tolist())
            predicted[repeat, unseen] = [predict(models[i]) for i in unseen]
    return predicted


def judge(predicted_ms: Array, latencies_ms: Sequence[float] | Array, *, seed: int = 0) -> Accuracy:
    """Compare held-out predictions with measurements.

    Args:
        predicted_ms: Shape (repeats, networks).
        latencies_ms: Shape (networks,).
        seed: Of the bootstraps.
    """
    measured = np.asarray(latencies_ms, dtype=np.float64)
    errors = np.abs(predicted_ms / measured - 1)
    repeats, networks = errors.shape
    within = float((errors <= CLOSE).mean())
    rng = np.random.default_rng(seed)
    draws = [(rng.integers(repeats), rng.integers(networks, size=networks)) for _ in range(_BOOTSTRAPS)]
    spearmans = [_spearman(predicted_ms[r, chosen], measured[chosen]) for r, chosen in draws]
    kendalls = [_kendall(predicted_ms[r, chosen], measured[chosen]) for r, chosen in draws]
    of_network = errors.mean(axis=0)
    return Accuracy(
        networks=networks,
        repeats=repeats,
        within_10=within,
        within_10_interval=wilson_interval(within, networks),
        mean_error=float(errors.mean()),
        mean_error_interval=_quantiles([float(of_network[chosen].mean()) for _, chosen in draws]),
        p95_error=float(np.quantile(errors, 0.95)),
        largest_error=float(errors.max()),
        spearman=_mean([_spearman(row, measured) for row in predicted_ms]),
        spearman_interval=_interval(spearmans),
        kendall=_mean([_kendall(row, measured) for row in predicted_ms]),
        kendall_interval=_interval(kendalls),
    )


def wilson_interval(share: float, trials: int) -> Interval:
    """The 95 % interval of a share seen in so many trials (Wilson, 1927)."""
    centre = share + _Z**2 / (2 * trials)
    half = _Z * math.sqrt(share * (1 - share) / trials + _Z**2 / (4 * trials**2))
    scale = 1 + _Z**2 / trials
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def _spearman(a: Array, b: Array) -> float:
    return float(spearmanr(a, b).statistic) if np.ptp(a) and np.ptp(b) else math.nan


def _kendall(a: Array, b: Array) -> float:
    return float(kendalltau(a, b).statistic) if np.ptp(a) and np.ptp(b) else math.nan


def _mean(values: Sequence[float]) -> float | None:
    mean = float(np.mean(values))
    return None if math.isnan(mean) else mean


def _interval(values: Sequence[float]) -> Interval | None:
    defined = [value for value in values if not math.isnan(value)]
    return _quantiles(defined) if defined else None


def _quantiles(values: Sequence[float]) -> Interval:
    low, high = np.quantile(values, [0.025, 0.975]).tolist()
    return low, high
