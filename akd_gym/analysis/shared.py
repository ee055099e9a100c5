"""What searches of different spaces can be compared on: the features that mean the same in all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akd_gym.analysis.runs import SearchRun
from akd_gym.errors import InvalidSettingError


def shared_features(runs: Sequence[SearchRun]) -> tuple[list[NDArray[np.float32]], tuple[str, ...]]:
    """The feature columns that all searches have, in the order of the first one.

    A decision is shared if all spaces take it from the same options. One that is taken from others has no columns
    here, even those of options that the spaces have in common: where squeeze-and-excite is an option of the skip,
    fewer skips are plain identities than where it is a decision of its own, whatever the search found.

    Args:
        runs: At least one.

    Returns:
        For each search an array of shape (its candidates, shared features), and the features' names.

    Raises:
        InvalidSettingError: There is no search, or they share no decision.
    """
    if not runs:
        raise InvalidSettingError("At least one search must be given to compare, but got none.")
    common = set.intersection(*(set(_decisions(run)) for run in runs))
    names = tuple(name for key, own in _decisions(runs[0]).items() if key in common for name in own)
    if not names:
        spaces = ", ".join(f"{run.space.name!r} of {run.name!r}" for run in runs)
        raise InvalidSettingError(
            f"Searches must share a decision with the same options to be compared, but these share none: {spaces}."
        )
    columns = ([run.feature_names.index(name) for name in names] for run in runs)
    return [run.features[:, own] for run, own in zip(runs, columns, strict=True)], names


def unshared_decisions(runs: Sequence[SearchRun]) -> tuple[str, ...]:
    """Decisions, such as `block3.skip_op`, that `shared_features` leaves out; none for searches of one space."""
    every = [set(_decisions(run)) for run in runs]
    common = set.intersection(*every) if every else set()
    return tuple(dict.fromkeys(key[0] for run in runs for key in _decisions(run) if key not in common))


def _decisions(run: SearchRun) -> dict[tuple[str, frozenset[Any]], tuple[str, ...]]:
    """Feature names by what makes a decision the same in another space: its name and its options."""
    return {(d.name, frozenset(d.options)): d.feature_names for d in run.space.decisions}
