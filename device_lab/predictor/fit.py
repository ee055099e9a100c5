"""Latency as a sum over features: non-negative least squares on relative errors, robust against disturbed numbers.

Paper: nn-Meter: Towards Accurate Latency Prediction of Deep-Learning Model Inference on Diverse Edge Devices
(Zhang et al., MobiSys 2021) predicts by kinds of kernels too; a linear table needs fewer networks to be measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from akd_gym.device_lab.predictor.features import Form, Operator, total_madds
from akd_gym.errors import InvalidSettingError, UnknownNameError

VECTORS = (1, 4, 8, 16, 32)  # float32 lanes of a vector, or of the tile that a kernel computes: NEON to AVX-512
CACHES = tuple(2**exponent for exponent in range(16, 23))  # elements: 256 KiB to 16 MiB of float32

_OUTLIER = 0.05  # relative error from which on a network pulls no harder: a measurement may have been disturbed
_REWEIGHTINGS = 6
_BETTER = 1.02  # a form must lose by more than this factor to give way to a later one
_NOTHING = 1e-8  # a loss that is none: relative errors of 0.01 %
_FAR = 2.0  # a feature this many times beyond all that was measured is doubted

Model = Sequence[Operator]


@dataclass(frozen=True)
class LatencyModel:
    """A fitted table of what each feature costs.

    Attributes:
        form: How features are counted.
        coefficients: Milliseconds by feature, for one of it.
        largest: The largest value of each feature among the networks measured.
        range_ms: The smallest and the largest latency among them.
    """

    form: Form
    coefficients: Mapping[str, float]
    largest: Mapping[str, float]
    range_ms: tuple[float, float]

    def predict(self, model: Model) -> float:
        """Milliseconds that a model takes.

        Raises:
            UnknownNameError: It has a kind of operator that none of the measured networks had.
        """
        known = {name.removesuffix(".count") for name in self.coefficients if name.endswith(".count")}
        for kind in (one.kind for one in model):
            if kind not in known:
                raise UnknownNameError("operator of this latency table", kind, sorted(known))
        return self.predict_known(model)

    def predict_known(self, model: Model) -> float:
        """As `predict`, with operators of unknown kinds for nothing: too little, but a number."""
        features = self.form.features(model)
        return sum(self.coefficients.get(name, 0.0) * value for name, value in features.items())

    def doubts(self, model: Model) -> tuple[str, ...]:
        """Why a prediction may be far off: what lies far beyond all that was measured; empty as a rule."""
        doubts = []
        features = self.form.features(model)
        beyond = {name: value / self.largest[name] for name, value in features.items() if name in self.largest}
        far = sorted((name for name in beyond if beyond[name] > _FAR), key=lambda name: -beyond[name])
        if far:
            listed = ", ".join(f"{name} {beyond[name]:.1f} times" for name in far[:3])
            more = f" and {len(far) - 3} more" if len(far) > 3 else ""
            doubts.append(f"far outside the networks that were measured: {listed}{more} the largest among them")
        low, high = self.range_ms
        predicted = self.predict_known(model)
        if not low / _FAR <= predicted <= high * _FAR:
            doubts.append(f"{predicted:.4g} ms is far outside of the {low:.4g} to {high:.4g} ms that were measured")
        return tuple(doubts)


def fit_latency(models: Sequence[Model], latencies_ms: Sequence[float]) -> LatencyModel:
    """Fit what each feature costs, and how the device counts them, to measured networks.

    Args:
        models: Operators of each network, see `read_operators`.
        latencies_ms: Of each.

    Raises:
        InvalidSettingError: Fewer than two networks, unequal lengths, or a latency that is not positive.
    """
    measured = checked_latencies(models, latencies_ms)
    vector = _best_form([Form(vector) for vector in VECTORS], models, measured).vector
    most = max(max(one.inputs, one.outputs) for model in models for one in model)
    caches = (None, *(elements for elements in CACHES if elements < most))
    form = _best_form([Form(vector, cache) for cache in caches], models, measured)
    names, table = tabulate(form, models)
    coefficients = solve(table, measured)
    return LatencyModel(
        form,
        dict(zip(names, coefficients.tolist(), strict=True)),
        dict(zip(names, table.max(axis=0).tolist(), strict=True)),
        (float(measured.min()), float(measured.max())),
    )


def fit_madds(models: Sequence[Model], latencies_ms: Sequence[float]) -> MAddsModel:
    """Fit latency to multiply-adds alone, the usual stand-in for it: what a predictor must be better than.

    Raises:
        InvalidSettingError: See `fit_latency`.
    """
    measured = checked_latencies(models, latencies_ms)
    table = np.array([[total_madds(model), 1.0] for model in models])
    a_madd_ms, constant_ms = solve(table, measured).tolist()
    return MAddsModel(a_madd_ms, constant_ms)


@dataclass(frozen=True)
class MAddsModel:
    """Latency by multiply-adds alone.

    Attributes:
        a_madd_ms: Milliseconds a multiply-add.
        constant_ms: Milliseconds of any network.
    """

    a_madd_ms: float
    constant_ms: float

    def predict(self, model: Model) -> float:
        """Milliseconds that a model takes."""
        return self.a_madd_ms * total_madds(model) + self.constant_ms


def checked_latencies(models: Sequence[Model], latencies_ms: Sequence[float]) -> NDArray[np.float64]:
    """The latencies as an array, shape (n,).

    Raises:
        InvalidSettingError: See `fit_latency`.
    """
    measured = np.asarray(latencies_ms, dtype=np.float64)
    if measured.shape != (len(models),) or len(models) < 2:
        raise InvalidSettingError(
            "A fit must have at least 2 networks and a latency each, "
            f"but got {len(models)} networks and latencies of shape {measured.shape}."
        )
    if not (np.isfinite(measured).all() and (measured > 0).all()):
        raise InvalidSettingError("Latencies must be positive and finite; leave networks that failed out.")
    return measured


def tabulate(form: Form, models: Sequence[Model]) -> tuple[list[str], NDArray[np.float64]]:
    """Names of all features that occur, sorted, and their values, shape (networks, features)."""
    rows = [form.features(model) for model in models]
    names = sorted({name for row in rows for name in row})
    return names, np.array([[row.get(name, 0.0) for name in names] for row in rows])


def solve(table: NDArray[np.float64], measured: NDArray[np.float64]) -> NDArray[np.float64]:
    """The non-negative cost of each column that makes relative errors smallest; shape (columns,).

    Errors weigh squared up to 5 % and evenly beyond (Huber), by reweighting.
    """
    scale = table.max(axis=0)
    rows = table / scale / measured[:, None]
    weights = np.ones(len(measured))
    for _ in range(_REWEIGHTINGS):
        coefficients, _ = nnls(rows * weights[:, None], weights)
        errors = np.abs(rows @ coefficients - 1)
        if errors.max() <= _OUTLIER:
            break
        weights = np.sqrt(_OUTLIER / np.maximum(errors, _OUTLIER))
    return coefficients / scale


def _best_form(forms: Sequence[Form], models: Sequence[Model], measured: NDArray[np.float64]) -> Form:
    """The form that fits best; of those about as good the first."""
    losses = []
    for form in forms:
        _, table = tabulate(form, models)
        scale = table.max(axis=0)
        coefficients, _ = nnls(table / scale / measured[:, None], np.ones(len(measured)))
        errors = np.abs(table @ (coefficients / scale) / measured - 1)
        losses.append(float(np.where(errors < _OUTLIER, errors**2, _OUTLIER * (2 * errors - _OUTLIER)).mean()))
    enough = min(losses) * _BETTER + _NOTHING
    return next(form for form, loss in zip(forms, losses, strict=True) if loss <= enough)
