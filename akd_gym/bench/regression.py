"""Regression for few, noisy points: a Gaussian process of linear parts and a bend, robust against outliers.

Source: Rasmussen and Williams, "Gaussian Processes for Machine Learning", chapters 2 (prediction), 5 (marginal
likelihood and its gradient; leave-one-out) - http://gaussianprocess.org/gpml/.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky
from scipy.linalg.lapack import dpotri
from scipy.optimize import minimize

from akd_gym.bench.surrogate import squared_distances

Array = NDArray[np.float64]

_PRIOR_STD = 1.5  # of the logarithm of each hyper-parameter about where the search for it begins
_OUTLIER = 1.5  # standard deviations from which on a point pulls no harder (Huber)
_REWEIGHTINGS = 4
_SEARCH = {"maxiter": 40, "ftol": 1e-7}
_STRENGTHS = np.geomspace(1e6, 1e-2, 25)  # of shrinkage, a point; the strongest leaves next to nothing
_LEAST_SPREAD = 1e-9  # of a target that does not vary


@dataclass(frozen=True)
class Process:
    """A fitted process; targets are `constant + features @ weights + bend`.

    Attributes:
        weights: Of each feature, shape (features,).
        constant: What is left.
        projection: From features to the space in which the bend knows near from far; shape (dimensions, features).
        support: The points fitted to, projected; shape (points, dimensions), without points where there is no bend.
        support_weights: Shape (points,).
        left_out: What each point would be predicted to be by a fit without it, shape (points,).
        deviations: The standard deviation that the fit grants each point, shape (points,).
        theta: The hyper-parameters found.
    """

    weights: Array
    constant: float
    projection: Array
    support: Array
    support_weights: Array
    left_out: Array
    deviations: Array
    theta: Array

    def predict(self, features: Array) -> Array:
        """Targets of points, shape (points,)."""
        found = self.constant + features @ self.weights
        if len(self.support):
            bend = np.exp(-squared_distances(features @ self.projection.T, self.support))
            found = found + bend @ self.support_weights
        return found


def fit_process(
    features: Array, targets: Array, groups: Sequence[Array], *, bend: bool, theta: Array | None = None
) -> Process:
    """Fit to points.

    Args:
        features: Shape (points, features).
        targets: Shape (points,).
        groups: Maps from the features to a few that belong together, shape (dimensions, features) each: how much those
            of a group weigh is learnt once for all of them.
        bend: Whether to add a smooth function (Gaussian kernel) to the linear parts.
        theta: Where to begin to look for the hyper-parameters, such as those of a fit to nearly the same points.
    """
    model = _Model(features, targets, groups, bend)
    variances = np.ones(len(targets))
    theta = model.start if theta is None else theta
    for round_ in range(_REWEIGHTINGS):
        if round_ < 2:  # outliers first stand out from a fit that has them, then the fit can do without
            found = minimize(model.loss, theta, args=(variances,), jac=True, method="L-BFGS-B", options=_SEARCH)
            theta = found.x
        errors, granted = model.left_out(theta, variances)
        excess = np.abs(errors) / granted * np.sqrt(variances)  # against what an ordinary point is granted
        variances = np.maximum(1.0, excess / _OUTLIER)
    return model.process(theta, variances)


@dataclass(frozen=True)
class Ridge:
    """A linear fit with shrunken weights: targets are `constant + features @ weights`."""

    weights: Array
    constant: float

    def predict(self, features: Array) -> Array:
        """Targets of points, shape (points,)."""
        return self.constant + features @ self.weights


def fit_ridge(features: Array, targets: Array) -> Ridge:
    """Fit weights, shrunken as far as leave-one-out says, robustly; an offset is not shrunken.

    Args:
        features: Shape (points, features).
        targets: Shape (points,).
    """
    mean, spread = features.mean(0), features.std(0)
    spread = np.where(spread > 0, spread, 1.0)
    table = (features - mean) / spread
    pull = np.ones(len(targets))
    for _ in range(_REWEIGHTINGS):
        root = np.sqrt(pull)
        offset = float(pull @ targets / pull.sum())
        left, sizes, right = np.linalg.svd(root[:, None] * (table - pull @ table / pull.sum()), full_matrices=False)
        rotated = left.T @ (root * (targets - offset))
        losses, found = [], []
        for strength in _STRENGTHS * len(targets):
            kept = sizes**2 / (sizes**2 + strength)
            errors = root * (targets - offset) - left @ (kept * rotated)
            leverage = (left**2) @ kept + pull / pull.sum()
            losses.append(float(((errors / (1 - np.minimum(leverage, 0.99))) ** 2).sum()))
            found.append(right.T @ (sizes / (sizes**2 + strength) * rotated))
        weights = found[int(np.argmin(losses))]
        errors = targets - table @ weights
        errors = errors - np.median(errors)
        granted = _OUTLIER * max(float(np.median(np.abs(errors))) / 0.6745, _LEAST_SPREAD)
        pull = 1 / np.maximum(1.0, np.abs(errors) / granted)
    constant = float((targets - table @ weights).mean())  # not robust: rare failures belong to what is expected
    return Ridge(weights / spread, constant - float(mean / spread @ weights))


class _Model:
    """The process before its hyper-parameters are known.

    These are logarithms: of the variance of each group's weights; with a bend of its variance and of the nearness of
    each group; last of the variance of the noise. Targets are scaled to unit variance.
    """

    def __init__(self, features: Array, targets: Array, groups: Sequence[Array], bend: bool) -> None:
        self.mean = features.mean(0)
        self.centre, self.spread = float(targets.mean()), max(float(targets.std()), _LEAST_SPREAD)
        self.targets = (targets - self.centre) / self.spread
        self.groups = []
        for group in groups:  # of unit variance in total
            scale = np.sqrt(max(float(((features - self.mean) @ group.T).var(0).sum()), _LEAST_SPREAD))
            self.groups.append(group / scale)
        self.features, self.bend = features, bend
        projected = [(features - self.mean) @ group.T for group in self.groups]
        self.products = [one @ one.T for one in projected]
        self.distances = [squared_distances(one, one) for one in projected] if bend else []
        linear = [np.log(0.3)] * len(groups)
        bent = [np.log(0.2), *[np.log(0.3)] * len(groups)] if bend else []
        self.start = np.array([*linear, *bent, np.log(0.5)])

    def loss(self, theta: Array, variances: Array) -> tuple[float, Array]:
        """The negative log of the posterior of the hyper-parameters, and its gradient."""
        covariance, slopes = self._covariance(theta)
        noise = np.exp(theta[-1]) * variances
        inverse, log_determinant = _invert(covariance + np.diag(noise))
        weights = inverse @ self.targets
        inner = inverse - np.outer(weights, weights)
        gradient = [0.5 * float((inner * slope).sum()) for slope in slopes]
        gradient.append(0.5 * float((np.diag(inner) * noise).sum()))
        away = (theta - self.start) / _PRIOR_STD
        value = 0.5 * float(self.targets @ weights) + 0.5 * log_determinant
        return value + 0.5 * float(away @ away), np.array(gradient) + away / _PRIOR_STD

    def left_out(self, theta: Array, variances: Array) -> tuple[Array, Array]:
        """The error of each point's prediction without it, and the deviation granted to it; scaled."""
        inverse, _ = _invert(self._covariance(theta)[0] + np.diag(np.exp(theta[-1]) * variances))
        precision = np.diag(inverse)
        return inverse @ self.targets / precision, 1 / np.sqrt(precision)

    def process(self, theta: Array, variances: Array) -> Process:
        """What the hyper-parameters make of the points."""
        covariance, _ = self._covariance(theta)
        weights = np.linalg.solve(covariance + np.diag(np.exp(theta[-1]) * variances), self.targets)
        errors, granted = self.left_out(theta, variances)
        count = len(self.groups)
        centred = self.features - self.mean
        linear = np.zeros(len(self.mean))
        for variance, group in zip(np.exp(theta[:count]), self.groups, strict=True):
            linear += variance * group.T @ (group @ (centred.T @ weights))
        linear *= self.spread
        constant = self.centre - float(self.mean @ linear) + self.spread * float(weights.sum())
        projection = np.zeros((0, len(self.mean)))
        support, support_weights = np.zeros((0, 0)), np.zeros(0)
        if self.bend:
            nearness = np.exp(theta[count + 1 : -1])
            projection = np.concatenate([np.sqrt(n) * g for n, g in zip(nearness, self.groups, strict=True)])
            support = self.features @ projection.T
            support_weights = self.spread * np.exp(theta[count]) * weights
        return Process(
            weights=linear,
            constant=constant,
            projection=projection,
            support=support,
            support_weights=support_weights,
            left_out=self.centre + self.spread * (self.targets - errors),
            deviations=self.spread * granted,
            theta=theta,
        )

    def _covariance(self, theta: Array) -> tuple[Array, list[Array]]:
        """Of the noiseless targets, and its derivative by each hyper-parameter but the noise."""
        count = len(self.groups)
        parts = [np.exp(t) * product for t, product in zip(theta[:count], self.products, strict=True)]
        total = sum(parts) + 1.0  # a constant of unit variance
        if not self.bend:
            return total, parts
        nearness = np.exp(theta[count + 1 : -1])
        scaled = [n * distance for n, distance in zip(nearness, self.distances, strict=True)]
        bend = np.exp(theta[count] - sum(scaled))
        return total + bend, [*parts, bend, *(-bend * one for one in scaled)]


def _invert(matrix: Array) -> tuple[Array, float]:
    """The inverse of a positive definite matrix, and the logarithm of its determinant."""
    factor = cholesky(matrix, lower=True)
    lower, _ = dpotri(factor, lower=True)
    inverse = np.tril(lower) + np.tril(lower, -1).T
    return inverse, 2 * float(np.log(np.diag(factor)).sum())
