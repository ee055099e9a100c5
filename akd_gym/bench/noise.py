"""How far one training is off: fitted to networks that were trained with several seeds.

Poor networks scatter more than good ones, and the signals' errors are alike where seeds are equal. So the deviations of
a network's runs from their mean, of all signals together, are divided by a scale that depends on the network's
accuracy, and drawn as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

Array = NDArray[np.float64]

_SLOPE_STD = 20.0  # of the slope's prior: 5 points of accuracy may change the scale by a factor of e
_TINY = 1e-8  # of a variance


class NoiseModel(NamedTuple):
    """See `Surrogate.residuals` and `Surrogate.noise_scale`."""

    residuals: Array
    scale: Array


def fit_noise(runs: Sequence[Array], means: Array) -> NoiseModel:
    """Fit the noise to replicated networks.

    Args:
        runs: Of each network its accuracies, shape (seeds, signals), with at least two seeds.
        means: What the surface says of each network, shape (networks,).
    """
    # A deviation from the mean of k runs has the variance of one run times (k - 1) / k.
    deviations = [(run - run.mean(0)) * np.sqrt(len(run) / (len(run) - 1)) for run in runs]
    variances = np.array([max(float((one**2).mean()), _TINY) for one in deviations])
    weights = np.array([len(run) - 1.0 for run in runs])
    centre = float(means.mean())
    low, high = np.quantile(means, [0.02, 0.98]).tolist()
    x = np.clip(means, low, high) - centre

    def loss(parameters: Array) -> float:
        """Negative log likelihood of normal deviations, which is consistent for others too, with a prior."""
        intercept, slope = parameters
        logs = 2 * (intercept + slope * x)
        return float((weights * (logs + variances * np.exp(-logs))).sum() / 2 + 0.5 * (slope / _SLOPE_STD) ** 2)

    start = np.array([0.5 * np.log(variances.mean()), 0.0])
    intercept, slope = minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-9}).x
    scales = np.exp(intercept + slope * x)
    residuals = np.concatenate([one / scale for one, scale in zip(deviations, scales, strict=True)])
    unit = float(np.sqrt((residuals**2).mean()))
    scale = np.array([intercept + np.log(unit) - slope * centre, slope, low, high])
    return NoiseModel(residuals / unit, scale)
