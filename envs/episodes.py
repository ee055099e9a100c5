"""The episode: what the agent sees, which actions count, and when it is over.

One implementation in NumPy for a single episode and for N that go in lockstep (they are equally long, so the
decision now due is the same in all of them). A step writes three numbers a row, whatever was played before.
"""

from __future__ import annotations

import operator
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
        if ((array < 0) | (array >= self.num_actions)).any():
            raise InvalidActionError(
                f"`actions` must all be from 0 to {self.num_actions - 1}, but got {array.tolist()}."
            )
        return array.astype(np.int64, copy=False)


class LockstepEpisodes:
    """The state of one episode, or of N in lockstep.

    Args:
        layout: Of the observation.
        batch: `()` for one episode, `(N,)` for N. Observations have shape `(*batch, layout.size)`.
    """

    def __init__(self, layout: EpisodeLayout, batch: tuple[int, ...] = ()) -> None:
        self.layout = layout
        self.due = layout.num_decisions
        """Index of the decision now due; `layout.num_decisions` before the first reset and at the end."""
        self.choices: NDArray[np.int64] = np.zeros((*batch, layout.num_decisions), np.int64)
        """Options chosen so far, shape `(*batch, num_decisions)`; those from `due` on mean nothing."""
        self._state: NDArray[np.float32] = np.zeros((*batch, layout.size), np.float32)
        self._rows = tuple(np.arange(count) for count in batch)
        self.begun = False
        """Whether there ever was a reset."""

    @property
    def over(self) -> bool:
        """Whether no decision is due."""
        return self.due == self.layout.num_decisions

    def reset(self, log_target: float | NDArray[np.float64]) -> None:
        """Begin anew.

        Args:
            log_target: `log(T / T_ref)`, one for all or one an episode.
        """
        self.begun, self.due = True, 0
        self._state.fill(0.0)
        self._state[..., self.layout.due_start] = 1.0
        self._state[..., self.layout.target_index] = np.clip(log_target, -LOG_TARGET_BOUND, LOG_TARGET_BOUND)

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
        if due == layout.num_decisions:
            raise EpisodeOverError(self._not_running("step"))
        options = actions % layout.option_counts[due]
        self._state[(*self._rows, options + layout.offsets[due])] = 1.0
        self.choices[..., due] = options
        index = layout.due_start + due
        self._state[..., index] = 0.0
        self.due = due = due + 1
        if due < layout.num_decisions:
            self._state[..., index + 1] = 1.0
        return options != actions

    def observation(self) -> NDArray[np.float32]:
        """A fresh copy, shape `(*batch, layout.size)`."""
        return self._state.copy()

    def mask(self) -> NDArray[np.bool_]:
        """Valid actions of the due decision, shape (num_actions,): a fresh copy.

        Raises:
            EpisodeOverError: If no decision is due.
        """
        if self.over:
            raise EpisodeOverError(self._not_running("ask for an action mask"))
        return self.layout.masks[self.due].copy()

    def _not_running(self, what: str) -> str:
        state = "is over" if self.begun else "has not begun"
        return f"A decision must be due to {what}, but the episode {state}. Call `reset()` first."
