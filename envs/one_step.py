"""Episodes of one step: an action is a whole architecture, as integers or as a point in a box."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from akd_gym.envs.episodes import LOG_TARGET_BOUND, EpisodeLayout, Episodes, InvalidActionError


class OneStepEpisodes(Episodes):
    """All decisions in one step; the observation is `log(T / T_ref)` alone, before the step and after it.

    There is nothing else to see: no decision stands before the step, and after it the episode is over.

    Args:
        layout: Of the decisions.
        batch: `()` for one episode, `(N,)` for N.
    """

    def __init__(self, layout: EpisodeLayout, batch: tuple[int, ...] = ()) -> None:
        super().__init__(layout, batch)
        self.observation_space = spaces.Box(-LOG_TARGET_BOUND, LOG_TARGET_BOUND, (1,), np.float32)
        self._shape = (*batch, layout.num_decisions)
        self._counts = np.array(layout.option_counts)
        self._state: NDArray[np.float32] = np.zeros((*batch, 1), np.float32)

    def reset(self, log_target: float | NDArray[np.float64]) -> None:
        """See `Episodes`."""
        self.begun, self.due = True, 0
        self._state[..., 0] = np.clip(log_target, -LOG_TARGET_BOUND, LOG_TARGET_BOUND)

    def take(self, actions: Any) -> NDArray[np.bool_]:
        """See `Episodes`; no action is ever folded."""
        options = self.decode(actions)
        self.need_running("step")
        self.choices[...] = options
        self.due = self.layout.num_decisions
        return np.zeros(self.batch, np.bool_)

    def observation(self) -> NDArray[np.float32]:
        """See `Episodes`."""
        return self._state.copy()

    @abstractmethod
    def decode(self, actions: Any) -> NDArray[np.int64]:
        """The options that actions stand for, shape `(*batch, num_decisions)`.

        Raises:
            InvalidActionError: If an action is outside the action space.
        """

    def _array(self, actions: Any, kinds: str, what: str) -> NDArray[Any]:
        """The actions as an array of the right shape, whose dtype is of one of the `kinds`."""
        try:
            array = np.asarray(actions)
        except ValueError:  # rows of unequal length
            array = np.asarray(actions, object)
        if array.shape != self._shape or array.dtype.kind not in kinds:
            raise InvalidActionError(
                f"`action` must be {what} of shape {self._shape}, but got shape {array.shape} of {array.dtype}."
            )
        return array

    def _refuse(self, outside: NDArray[np.bool_], array: NDArray[Any], must: str) -> None:
        """Name the first entry that lies outside, if one does; `{last}` in `must` is its decision's last option."""
        if outside.any():
            place = tuple(np.argwhere(outside)[0].tolist())
            must = must.format(last=self.layout.option_counts[place[-1]] - 1)
            entry = ", ".join(map(str, place))
            raise InvalidActionError(f"`action[{entry}]` must be {must}, but got {array[place]}.")


class OneShotEpisodes(OneStepEpisodes):
    """An integer a decision: `MultiDiscrete(option_counts)`.

    Args:
        layout: Of the decisions.
        batch: `()` for one episode, `(N,)` for N.
    """

    def __init__(self, layout: EpisodeLayout, batch: tuple[int, ...] = ()) -> None:
        super().__init__(layout, batch)
        self.action_space = spaces.MultiDiscrete(self._counts)

    def decode(self, actions: Any) -> NDArray[np.int64]:
        """See `OneStepEpisodes`."""
        array = self._array(actions, "iu", "integers")
        self._refuse((array < 0) | (array >= self._counts), array, "from 0 to {last}")
        return array.astype(np.int64, copy=False)

    def mask(self) -> NDArray[np.bool_]:
        """Every option is valid: shape `(*batch, sum(option_counts))`.

        Raises:
            EpisodeOverError: If no decision is due.
        """
        self.need_running("ask for an action mask")
        return np.ones((*self.batch, self.layout.due_start), np.bool_)


class BoxEpisodes(OneStepEpisodes):
    """A number a decision: `Box(-1, 1)`, cut into as many bins of equal width as the decision has options.

    Args:
        layout: Of the decisions.
        batch: `()` for one episode, `(N,)` for N.
    """

    def __init__(self, layout: EpisodeLayout, batch: tuple[int, ...] = ()) -> None:
        super().__init__(layout, batch)
        self.action_space = spaces.Box(-1.0, 1.0, (layout.num_decisions,), np.float32)

    def decode(self, actions: Any) -> NDArray[np.int64]:
        """See `OneStepEpisodes`; a bin holds its lower edge, the last one both."""
        array = self._array(actions, "fiu", "numbers")
        self._refuse(~((array >= -1) & (array <= 1)), array, "from -1 to 1")  # NaN is neither
        bins = ((array.astype(np.float64) + 1) / 2 * self._counts).astype(np.int64)
        return np.minimum(bins, self._counts - 1)
