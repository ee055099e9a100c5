"""From the tables of AKDBench to its surrogate and its card."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau
from scipy.stats import t as t_distribution

from akd_gym.bench import judge
from akd_gym.bench.dataset import BenchData, check_enough
from akd_gym.bench.fit import (
    SURFACES,
    Features,
    assemble,
    fit_latencies,
    fit_surface,
    fit_surface_noise,
    make_features,
)
from akd_gym.bench.latency import row_operators
from akd_gym.bench.noise import NoiseModel
from akd_gym.bench.plan import SIGNALS
from akd_gym.bench.surrogate import COMPONENTS, LOGS, MIXING, VERSION, Surrogate, bench_tables
from akd_gym.device_lab.predictor import cross_validate, fit_latency, fit_madds
from akd_gym.device_lab.predictor import judge as judge_latencies

Array = NDArray[np.float64]
Announce = Callable[[str], None]

_DIFFERENCES = COMPONENTS[1:]


class Made(NamedTuple):
    """A surrogate with all that is said of it.

    Attributes:
        surrogate: The model.
        card: What is known of it, plain JSON.
        measured: Accuracies by network and signal.
        held_out: Predictions of them by fits that did not see the network, means over repeats; likewise.
    """

    surrogate: Surrogate
    card: dict[str, Any]
    measured: Array
    held_out: Array


def data_hash(data: BenchData) -> str:
    """SHA-256 of all rows of the tables, whatever their order."""
    trainings = sorted(json.dumps([*row.training, *row[1:]]) for row in data.trainings)
    measured = sorted(json.dumps(row) for row in data.measured)
    return hashlib.sha256("\n".join([*trainings, *measured]).encode()).hexdigest()


def first_look(data: BenchData) -> Surrogate:
    """A surrogate of the simplest kind, unjudged: to see where the second stage should be.

    Raises:
        InvalidSettingError: Too few networks.
    """
    check_enough(data)
    _, latency_ms = fit_latencies(data)
    features = make_features(latency_ms, data)
    surface = fit_surface(features, data.components, next(iter(SURFACES)), (False, False))
    noise = fit_surface_noise(data, surface.mean.left_out)
    return assemble(surface, noise, features, latency_ms, data, {"version": VERSION, "data": data_hash(data)})


def make_surrogate(
    data: BenchData,
    second_stage: Sequence[str] = (),
    *,
    default_recipe: Mapping[str, float] | None = None,
    announce: Announce = lambda text: None,
) -> Made:
    """Fit, choose and judge.

    Args:
        data: Of both stages.
        second_stage: Networks of the second, which are judged by themselves too.
        default_recipe: Accuracies of some networks by the default search's recipe, to compare the two recipes.
        announce: Told what is done.

    Raises:
        InvalidSettingError: Too few networks.
    """
    check_enough(data)
    announce("latency: fitting")
    latency_model, latency_ms = fit_latencies(data)
    features, components, measured = make_features(latency_ms, data), data.components, data.accuracies

    announce("differences between signals: testing against shuffled labels")
    looked = fit_surface(features, components, next(iter(SURFACES)), (False, False))
    differences = [
        judge.difference_between(features, looked.mean.left_out, components[:, i + 1]) for i in range(len(_DIFFERENCES))
    ]
    varying = tuple(one.varies for one in differences)

    by_kind = {}
    for kind in SURFACES:
        announce(f"accuracy, {kind}: predicting networks that the fit does not see")
        by_kind[kind] = judge.predict_held_out(features, components, kind, varying)
    kind = judge.choose_surface(by_kind, components)
    held_out = by_kind[kind]

    announce(f"accuracy, {kind}: fitting to all")
    surface = fit_surface(features, components, kind, varying)
    noise = fit_surface_noise(data, surface.mean.left_out)
    about = {
        "version": VERSION,
        "signals": list(SIGNALS),
        "features": [*bench_tables().feature_names, *LOGS],
        "networks": len(data.architectures),
        "trainings": len(data.trainings),
        "surface": kind,
        "varying": [name for name, varies in zip(_DIFFERENCES, varying, strict=True) if varies],
        "data": data_hash(data),
    }
    surrogate = assemble(surface, noise, features, latency_ms, data, about)

    announce("judging")
    predicted = held_out @ MIXING.T
    card: dict[str, Any] = {
        "hash": surrogate.hash,
        "data_hash": about["data"],
        "counts": _counts(data, second_stage),
        "surface": kind,
        "surfaces_tried": {
            name: judge.as_plain(judge.score(one[:, :, 0], components[:, 0])) for name, one in by_kind.items()
        },
        "signals": {
            signal: _judge_signal(place, predicted, held_out, data, features, noise, second_stage)
            for place, signal in enumerate(SIGNALS)
        },
        "differences": {
            name: _judge_difference(place, differences[place - 1], data)
            for place, name in enumerate(COMPONENTS)
            if place > 0
        },
        "noise": _describe_noise(noise, surface.mean.left_out),
        "latency": _judge_latency(data, latency_model.form),
    }
    if default_recipe is not None:
        card["default_recipe"] = _compare_recipes(surrogate, default_recipe)
    return Made(surrogate, card, measured, predicted.mean(0))


def _counts(data: BenchData, second_stage: Sequence[str]) -> dict[str, int]:
    names = set(data.architectures)
    return {
        "networks": len(names),
        "second_stage": len(names & set(second_stage)),
        "with_several_seeds": len(data.replicated),
        "trainings": len(data.trainings),
        "infeasible": sum(row.accuracy is None for row in data.trainings),
        "seconds": round(sum(row.seconds for row in data.trainings)),
        "latencies": sum(row.latency_ms is not None for row in data.measured),
        "latencies_with_warnings": sum(row.has_warnings for row in data.measured),
    }


def _judge_signal(
    place: int,
    predicted: Array,
    held_out: Array,
    data: BenchData,
    features: Features,
    noise: NoiseModel,
    second_stage: Sequence[str],
) -> dict[str, Any]:
    measured = data.accuracies[:, place]
    counts = np.array([len(runs) for runs in data.runs], dtype=np.float64)
    means = np.stack([held_out[:, :, 0].mean(0), predicted[:, :, place].mean(0)])
    own_noise = NoiseModel(noise.residuals[:, place], noise.scale)
    found = {
        "mean": float(measured.mean()),
        "std": float(measured.std(ddof=1)),
        **judge.as_plain(judge.score(predicted[:, :, place], measured)),
        "ceiling": judge.ceiling(means, measured, counts, own_noise),
        "madds_alone": judge.as_plain(judge.madds_alone(features.values[:, -len(LOGS)], measured)),
    }
    later = np.isin(data.architectures, list(second_stage))
    if later.sum() > 2:
        found["second_stage"] = judge.as_plain(judge.score(predicted[:, later, place], measured[later]))
    return found


def _judge_difference(component: int, found: judge.Difference, data: BenchData) -> dict[str, Any]:
    values = data.components[:, component]
    error = float(values.std(ddof=1) / np.sqrt(len(values)))
    reach = error * float(t_distribution.ppf(0.975, len(values) - 1))
    unmix = np.linalg.inv(MIXING)[component]
    replicated = [data.runs[i] @ unmix for i in data.replicated]
    return {
        "mean": float(values.mean()),
        "low": float(values.mean()) - reach,
        "high": float(values.mean()) + reach,
        "std": float(values.std(ddof=1)),
        "held_out_r2": found.r2,
        "permutations": judge.PERMUTATIONS,
        "p": found.p,
        "varies_in_surrogate": found.varies,
        "over_networks_and_seeds": judge.variance_components(replicated),
    }


def _describe_noise(noise: NoiseModel, means: Array) -> dict[str, Any]:
    intercept, slope, low, high = noise.scale
    at = {name: float(np.quantile(means, share)) for name, share in (("poor", 0.1), ("median", 0.5), ("good", 0.9))}
    sizes = np.sqrt((noise.residuals**2).mean(0))
    return {
        "draws": len(noise.residuals),
        "std_at": {
            name: {"accuracy": mean}
            | {
                signal: float(np.exp(intercept + slope * np.clip(mean, low, high)) * size)
                for signal, size in zip(SIGNALS, sizes, strict=True)
            }
            for name, mean in at.items()
        },
        "correlations": np.corrcoef(noise.residuals.T).tolist(),
        "kurtosis": float((noise.residuals**4).mean() / (noise.residuals**2).mean() ** 2),
    }


def _judge_latency(data: BenchData, form: Any) -> dict[str, Any]:
    operators, space = row_operators(), bench_tables().space
    ok = {row.architecture: row.latency_ms for row in data.measured if row.latency_ms is not None}
    models = [operators.of_network(space.choices(name)) for name in ok]
    values = list(ok.values())
    fits = {
        "table": lambda seen, seen_ms: fit_latency(seen, seen_ms).predict_known,
        "madds_alone": lambda seen, seen_ms: fit_madds(seen, seen_ms).predict,
    }
    return {
        name: judge_latencies(cross_validate(models, values, fit, repeats=1), values).to_dict()
        for name, fit in fits.items()
    } | {"form": vars(form), "range_ms": [min(values), max(values)], "median_ms": float(np.median(values))}


def _compare_recipes(surrogate: Surrogate, accuracies: Mapping[str, float]) -> dict[str, Any]:
    space = bench_tables().space
    features = surrogate.features([space.choices(name) for name in accuracies])
    predicted = surrogate.components(features)[:, 0]
    values = np.array(list(accuracies.values()))
    rng = np.random.default_rng(0)
    draws = [rng.integers(len(values), size=len(values)) for _ in range(1000)]
    taus = [kendalltau(predicted[rows], values[rows]).statistic for rows in draws]
    low, high = np.nanquantile(taus, [0.025, 0.975]).tolist()
    return {
        "networks": len(values),
        "kendall": float(kendalltau(predicted, values).statistic),
        "low": low,
        "high": high,
    }
