"""A search as analysis sees it: every candidate with its choices, its features, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akd_gym.analysis.outcomes import Outcome, derive_outcomes
from akd_gym.errors import InvalidSettingError
from akd_gym.ledger_records import EvaluatedCandidate
from akd_gym.reward import Reward
from akd_gym.space import SearchSpace


@dataclass(frozen=True)
class SearchRun:
    """The candidates of one search, in the order they were proposed; the search may still be running.

    Args:
        name: What tells it from others, for legends and columns.
        space: What was searched.
        evaluations: From `Ledger.evaluations`, at least one.
        reward: How accuracy and cost were weighed.
        budget: Candidates that the search was to evaluate.
        settings: Plain JSON: the search's own settings.

    Raises:
        InvalidSettingError: There is no candidate.
    """

    name: str
    space: SearchSpace
    evaluations: Sequence[EvaluatedCandidate] = field(repr=False)
    reward: Reward = field(default_factory=Reward)
    budget: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not self.evaluations:
            raise InvalidSettingError(f"The search {self.name!r} must have at least one candidate, but has none yet.")

    @cached_property
    def outcomes(self) -> list[Outcome]:
        """What became of each candidate, under the search's own reward and target."""
        return derive_outcomes(self.evaluations, self.reward)

    @property
    def target(self) -> float:
        """The cost aimed at, in `unit`."""
        return self.outcomes[-1].target

    @property
    def unit(self) -> str:
        """`"ms"` or `"madds"`."""
        return self.outcomes[-1].unit

    @cached_property
    def features(self) -> NDArray[np.float32]:
        """Shape (n, features of the space): 77 in the space `akd`."""
        return np.stack([self.space.features(evaluation.candidate.choices) for evaluation in self.evaluations])

    @cached_property
    def feature_names(self) -> tuple[str, ...]:
        """One name a column of `features`, such as `block3.skip_op=identity`."""
        return tuple(name for decision in self.space.decisions for name in decision.feature_names)

    @cached_property
    def feasible(self) -> NDArray[np.bool_]:
        """Shape (n,): whether a candidate was trained and measured."""
        return np.array([outcome.feasible for outcome in self.outcomes])

    @cached_property
    def accuracies(self) -> NDArray[np.float64]:
        """Shape (n,), fractions; NaN where a candidate was not trained."""
        return np.array([np.nan if o.accuracy is None else o.accuracy for o in self.outcomes])

    @cached_property
    def costs(self) -> NDArray[np.float64]:
        """Shape (n,), in `unit`; NaN where a candidate could not be measured."""
        return np.array([np.nan if o.cost is None else o.cost for o in self.outcomes])

    @cached_property
    def latencies_ms(self) -> NDArray[np.float64]:
        """Shape (n,); NaN where a candidate has no latency, as in all of a search whose cost is multiply-adds."""
        return np.array([np.nan if o.latency_ms is None else o.latency_ms for o in self.outcomes])

    @cached_property
    def madds(self) -> NDArray[np.int64]:
        """Shape (n,): multiply-adds of one image."""
        return np.array([outcome.madds for outcome in self.outcomes])

    @cached_property
    def rewards(self) -> NDArray[np.float64]:
        """Shape (n,); those of infeasible candidates are the lowest there is."""
        return np.array([outcome.reward for outcome in self.outcomes])
