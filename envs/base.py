"""One architecture an episode, whatever the form of its actions: what the single environments share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from akd_gym.envs.episodes import EpisodeLayout, Episodes
from akd_gym.envs.rendering import RENDER_MODES, Scene, check_render_mode, render
from akd_gym.envs.task import SearchTask, share_or_make

ActionT = TypeVar("ActionT")


class ActionMasks:
    """`action_masks()` for environments, single or vector, of a form whose actions can be masked."""

    _episodes: Any

    def action_masks(self) -> NDArray[np.bool_]:
        """Valid actions of the step now due, as sb3-contrib's MaskablePPO asks for them: one row an episode.

        Raises:
            EpisodeOverError: If no decision is due.
        """
        masks: NDArray[np.bool_] = self._episodes.mask()
        return masks


class ArchitectureEnv(gym.Env[NDArray[np.float32], ActionT]):
    """Plays episodes of one form on a task; subclasses are the registered environments.

    Args:
        task: What was given; None to make one.
        make_task: Makes it from the settings.
        settings: Of the task.
        render_mode: See `AKDSearchEnv`.
    """

    metadata = {"render_modes": list(RENDER_MODES), "render_fps": 4}  # noqa: RUF012 - Gymnasium's attribute
    form: ClassVar[type[Episodes]]
    """Of the actions; a subclass says which."""

    def __init__(
        self,
        task: SearchTask | None,
        make_task: Callable[..., SearchTask],
        settings: Mapping[str, Any],
        render_mode: str | None,
    ) -> None:
        self.render_mode = check_render_mode(render_mode)
        self.task, self._owns_task = share_or_make(task, make_task, settings)
        self.space = self.task.space
        self.layout = EpisodeLayout(self.space.option_counts)
        self._episodes = self.form(self.layout)
        self.observation_space: spaces.Box = self._episodes.observation_space  # type: ignore[assignment]
        self.action_space: spaces.Space[ActionT] = self._episodes.action_space
        self._outcome: dict[str, Any] | None = None

    @property
    def target(self) -> float:
        """T, in the unit of the cost."""
        return self.task.target

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode; see the class for the options.

        Raises:
            UnknownNameError: Another option than the target.
            InvalidSettingError: A target that is not positive, or in the other cost's name.
        """
        super().reset(seed=seed)
        if seed is not None:
            self.task.reseed(seed)
        target = self.task.target_option(options)
        if target is not None:
            self.task.target = target
        self._episodes.reset(self.task.log_ratio(self.task.target))
        self._outcome = None
        return self._episodes.observation(), {}

    def step(self, action: ActionT) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Take one step; after the last one the architecture is evaluated.

        Raises:
            InvalidActionError: If the action is outside the action space.
            EpisodeOverError: If the episode is over, or has not begun.
        """
        episodes = self._episodes
        info = {"folded": True} if episodes.take(action) else {}
        if not episodes.over:
            return episodes.observation(), 0.0, False, False, info
        [(reward, outcome)] = self.task.evaluate([tuple(episodes.choices.tolist())], [self.task.target])
        self._outcome = {"reward": reward, **outcome}
        return episodes.observation(), reward, True, False, info | outcome

    def render(self) -> str | NDArray[np.uint8] | None:
        """The network chosen so far: text, or a picture of shape (H, W, 3)."""
        if self.render_mode is None:
            gym.logger.warn('Give `render_mode="ansi"` or `"rgb_array"` to `gymnasium.make` for `render()` to show it.')
            return None
        choices = tuple(self._episodes.choices[: self._episodes.taken].tolist())
        scene = Scene(self.space, choices, self.task.target, self.task.cost_unit, self._outcome)
        return render(scene, self.render_mode)

    def close(self) -> None:
        """Release the task, if this environment made it."""
        if self._owns_task:
            self.task.close()
