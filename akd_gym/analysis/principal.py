"""The plane in which searches are seen to move: principal components of the features of all of them (Figures 5 to 7).

**Scale.** Every feature is divided by its range over all candidates, and not by its deviation: a one-hot feature is 0
or 1 anyway, and a numeric one (kernels 3 and 5, filters 0.75 to 1.25) then counts by how much of what the space offers
it goes through, whatever its unit. Divided by deviations, options that all searches have given up, and which a few
early candidates still have, would weigh as much as those that the searches are about; left as they are, kernels would
outweigh filters twenty-five-fold.

**Weight.** Every search counts the same, however many candidates it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from akd_gym.analysis.runs import SearchRun
from akd_gym.analysis.shared import shared_features
from akd_gym.errors import InvalidSettingError

END = 0.1
"""The share of a search, at its end, that counts as where it has come to."""

Array = NDArray[np.float64]


class Loading(NamedTuple):
    """How much of a feature, from one end of its range to the other, there is in a component."""

    feature: str
    weight: float


@dataclass(frozen=True, eq=False)
class SearchPath:
    """One search in the plane.

    Attributes:
        name: Of the search.
        points: Its candidates in order, shape (n, 2).
        windows: Means over equal parts of the search in order, shape (windows, 2).
    """

    name: str
    points: Array
    windows: Array

    @property
    def end(self) -> Array:
        """The points of the last tenth, at least one, shape (m, 2)."""
        return self.points[-max(1, round(END * len(self.points))) :]


@dataclass(frozen=True, eq=False)
class PrincipalPlane:
    """The first two principal components of some searches, and the searches in them.

    Attributes:
        features: Names, those that all searches have.
        components: Loadings, shape (2, features), rows of length 1; the largest of a row is positive.
        explained: Shares of the variance of all candidates, shape (2,).
        paths: One a search.
    """

    features: tuple[str, ...]
    components: Array
    explained: Array
    paths: tuple[SearchPath, ...]

    def top_loadings(self, component: int, count: int = 8) -> list[Loading]:
        """The features that make the most of a component (0 or 1), the largest loading first."""
        weights = self.components[component]
        order = np.argsort(-np.abs(weights), kind="stable")[:count]
        return [Loading(self.features[i], float(weights[i])) for i in order]


def principal_plane(runs: Sequence[SearchRun], *, windows: int = 10) -> PrincipalPlane:
    """Fits the plane to all searches together and lays each of them in it.

    Searches of different spaces are compared on the features that they share.

    Args:
        runs: At least one, with at least two different candidates between them.
        windows: Equal parts of a search to take means over; a search of fewer candidates has one a candidate.

    Raises:
        InvalidSettingError: Fewer than one window, fewer than two features that vary, or no shared features.
    """
    if windows < 1:
        raise InvalidSettingError(f"`windows` must be at least 1, but got {windows}.")
    arrays, names = shared_features(runs)
    scaled = range_scaled(arrays)
    centre = np.mean([array.mean(axis=0) for array in scaled], axis=0)
    centred = [array - centre for array in scaled]
    covariance = np.mean([array.T @ array / len(array) for array in centred], axis=0)
    variances, vectors = np.linalg.eigh(covariance)
    if len(variances) < 2 or variances[-2] < 1e-12:
        raise InvalidSettingError(
            "Candidates must differ in at least two directions to span a plane, "
            f"but those of {', '.join(repr(run.name) for run in runs)} do not."
        )
    components = vectors[:, :-3:-1].T
    largest = np.abs(components).argmax(axis=1)
    components = components * np.sign(components[[0, 1], largest])[:, None]
    points = [array @ components.T for array in centred]
    return PrincipalPlane(
        names,
        components,
        variances[:-3:-1] / variances.sum(),
        tuple(SearchPath(run.name, own, _window_means(own, windows)) for run, own in zip(runs, points, strict=True)),
    )


def range_scaled(arrays: Sequence[NDArray[np.floating]]) -> list[Array]:
    """Features from 0 to 1 over all arrays, each of shape (n, features); a feature that does not vary is 0."""
    low = np.min([array.min(axis=0) for array in arrays], axis=0).astype(np.float64)
    span = np.max([array.max(axis=0) for array in arrays], axis=0) - low
    return [(array - low) / np.where(span > 0, span, 1.0) for array in arrays]


def _window_means(points: Array, windows: int) -> Array:
    return np.stack([part.mean(axis=0) for part in np.array_split(points, min(windows, len(points)))])
