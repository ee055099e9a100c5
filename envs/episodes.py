"""The episode: what the agent sees, which actions count, and when it is over.

One implementation in NumPy for a single episode and for N that go in lockstep (they are equally long, so the
decision now due is the same in all of them). Here is the form that takes a decision a step; those that take all at
once are in `akd_gym.envs.one_step`. A step writes three numbers a row, whatever was played before.
"""

from __future__ import annotations

import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from akd_gym.errors import AKDGymError, InvalidSettingError

LOG_TARGET_BOUND = 10.0
"""Bound of the observation's `log(T / T_ref)`; a target beyond `exp(10)` times T_ref is shown as that."""


class InvalidActionError(AKDGymError, gymnasium.error.InvalidAction, ValueError):
    """An action outside the action space."""


class EpisodeOverError(AKDGymError, gymnasium.error.ResetNeeded):
    """Something asked of an episode that has ended, or has not begun."""


class EpisodeLayout:
    """Where things stand in the observation, and how many options each decision has.

    | index | what | unit |
    |---|---|---|
    | `0` to `due_start - 1` | one-hot of the decisions made so far, zero where none | - |
    | `due_start` to `target_index - 1` | one-hot of the decision now due, zero at the end | - |
    | `target_index` | `log(T / T_ref)`: the target against the reference architecture's cost | nat |

    Args:
        option_counts: Options of each decision, in the order they are taken.

    Raises:
        InvalidSettingError: If there is no decision, or one without options.
    """

    def __init__(self, option_counts: Sequence[int] | NDArray[np.int64]) -> None:
        counts = [int(count) for count in option_counts]
        if not counts or min(counts) < 1:
            raise InvalidSettingError(
                f"`option_counts` must hold at least one decision of at least one option, but got {counts}."
            )
        self.option_counts = tuple(counts)
        self.num_decisions = len(counts)
        self.num_actions = max(counts)
        self.offsets = tuple(sum(counts[:index]) for index in range(len(counts)))
        self.due_start = sum(counts)
        self.target_index = self.due_start + self.num_decisions
        self.size = self.target_index + 1
        self.masks: NDArray[np.bool_] = np.arange(self.num_actions) < np.array(counts)[:, None]
        """Valid actions of each decision, shape (num_decisions, num_actions)."""

    def observation_space(self) -> spaces.Box:
        """The space of one observation, shape `(size,)`, float32."""
        low, high = np.zeros(self.size, np.float32), np.ones(self.size, np.float32)
        low[self.target_index], high[self.target_index] = -LOG_TARGET_BOUND, LOG_TARGET_BOUND
        return spaces.Box(low, high, dtype=np.float32)

    def action_space(self) -> spaces.Discrete:
        """The space of one action: as many as the decision with the most options has."""
        return spaces.Discrete(self.num_actions)

    def check_action(self, action: Any) -> int:
        """One action as an integer.

        Raises:
            InvalidActionError: If it is no integer, or outside the action space.
        """
        try:
            index = operator.index(action)
        except TypeError:
            index = -1
        if not 0 <= index < self.num_actions:
            raise InvalidActionError(
                f"`action` must be an integer from 0 to {self.num_actions - 1}, but got {action!r}."
            )
        return index

    def check_actions(self, actions: Any, num_envs: int) -> NDArray[np.int64]:
        """One action an episode, shape (num_envs,).

        Raises:
            InvalidActionError: If the shape is another, or an action is no integer or outside the action
                space.
        """
        array = np.asarray(actions)
        if array.shape != (num_envs,) or array.dtype.kind not in "iu":
            raise InvalidActionError(
                f"`actions` must be {num_envs} integers, but got shape {array.shape} of {array.dtype}."
            )
        # Counting is several times quicker than `any` on as few as these; so is one comparison than two.
        if np.count_nonzero(array.astype(np.uint64) >= self.num_actions):
            raise InvalidActionError(
                f"`actions` must all be from 0 to {self.num_actions - 1}, but got {array.tolist()}."
            )
        return array.astype(np.int64, copy=False)


class Episodes(ABC):
    """The state of one episode, or of N in lockstep; a subclass is one form of action.

    Args:
        layout: Of the decisions.
        batch: `()` for one episode, `(N,)` for N.

    Attributes:
        observation_space: Of one episode.
        action_space: Of one episode.
    """

    observation_space: spaces.Box
    action_space: spaces.Space[Any]

    def __init__(self, layout: EpisodeLayout, batch: tuple[int, ...] = ()) -> None:
        self.layout, self.batch = layout, batch
        self.due = layout.num_decisions
        """Index of the decision now due; `layout.num_decisions` before the first reset and at the end."""
        self.choices: NDArray[np.int64] = np.zeros((*batch, layout.num_decisions), np.int64)
        """Options chosen so far, shape `(*batch, num_decisions)`; those from `due` on mean nothing."""
        self.begun = False
        """Whether there ever was a reset."""

    @property
    def over(self) -> bool:
        """Whether no decision is due."""
        return self.due == self.layout.num_decisions

    @property
    def taken(self) -> int:
        """How many of the `choices` were made."""
        return self.due if self.begun else 0

    @abstractmethod
    def reset(self, log_target: float | NDArray[np.float64]) -> None:
        """Begin anew.

        Args:
            log_target: `log(T / T_ref)`, one for all or one an episode.
        """

    @abstractmethod
    def take(self, actions: Any) -> Any:
        """Take one step in every episode.

        Args:
            actions: One of the action space, or N of them.

        Returns:
            Which actions were folded: a bool, or shape (N,).

        Raises:
            InvalidActionError: If an action is outside the action space.
            EpisodeOverError: If no decision is due.
        """

    @abstractmethod
    def observation(self) -> NDArray[np.float32]:
        """A fresh copy, shape `(*batch, *observation_space.shape)`."""

    def need_running(self, what: str) -> None:
        """Refuse what needs a due decision where there is none.

        Args:
            what: Was asked for, e.g. `"step"`.

        Raises:
            EpisodeOverError: As said.
        """
        if self.due == self.layout.num_decisions:
            state = "is over" if self.begun else "has not begun"
            raise EpisodeOverError(f"A decision must be due to {what}, but the episode {state}. Call `reset()` first.")


class LockstepEpisodes(Episodes):
    """One decision a step: `Discrete` actions, the decisions made and the one now due in the observation.

    Args:
        layout: Of the observation.
        batch: `()` for one episode, `(N,)` for N. Observations have shape `(*batch, layout.size)`.
    """

    def __init__(self, layout: EpisodeLayout, batch: tuple[int, ...] = ()) -> None:
        super().__init__(layout, batch)
        self.observation_space, self.action_space = layout.observation_space(), layout.action_space()
        # Decisions first: what a step writes lies together.
        self._chosen: NDArray[np.int64] = np.zeros((layout.num_decisions, *batch), np.int64)
        self.choices = np.moveaxis(self._chosen, 0, -1)
        self._state: NDArray[np.float32] = np.zeros((*batch, layout.size), np.float32)
        self._flat = self._state.reshape(-1)
        rows = np.arange(math.prod(batch)).reshape(batch) * layout.size
        self._places = [rows + offset for offset in layout.offsets]
        """Of each decision's first option in `_flat`, shape `batch` each."""

    def reset(self, log_target: float | NDArray[np.float64]) -> None:
        """See `Episodes`."""
        self.begun, self.due = True, 0
        self._state.fill(0.0)
        self._state[..., self.layout.due_start] = 1.0
        self._state[..., self.layout.target_index] = np.clip(log_target, -LOG_TARGET_BOUND, LOG_TARGET_BOUND)

    def take(self, actions: Any) -> Any:
        """See `Episodes`."""
        if self.batch:
            return self.advance(self.layout.check_actions(actions, self.batch[0]))
        return self.advance(self.layout.check_action(actions))

    def advance(self, actions: int | NDArray[np.int64]) -> Any:
        """Take the due decision in every episode; an action that it does not have is folded in by `a % n`.

        Args:
            actions: In the action space; an integer, or shape (N,).

        Returns:
            Which actions were folded: a bool, or shape (N,).

        Raises:
            EpisodeOverError: If no decision is due.
        """
        due, layout = self.due, self.layout
        if due == layout.num_decisions:  # before the call, which a step need not wait for
            self.need_running("step")
        options = actions % layout.option_counts[due]
        self._flat[self._places[due] + options] = 1.0
        self._chosen[due] = options
        index = layout.due_start + due
        self._state[..., index] = 0.0
        self.due = due = due + 1
        if due < layout.num_decisions:
            self._state[..., index + 1] = 1.0
        return options != actions

    def observation(self) -> NDArray[np.float32]:
        """See `Episodes`."""
        return self._state.copy()

    def mask(self) -> NDArray[np.bool_]:
        """Valid actions of the due decision, shape `(*batch, num_actions)`: a fresh copy.

        Raises:
            EpisodeOverError: If no decision is due.
        """
        self.need_running("ask for an action mask")
        return np.tile(self.layout.masks[self.due], (*self.batch, 1) if self.batch else 1)
