"""N episodes in lockstep, whose N architectures are evaluated together: what the vector environments share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from akd_gym.envs.episodes import EpisodeLayout, Episodes
from akd_gym.envs.rendering import RENDER_MODES, Scene, check_render_mode, render
from akd_gym.envs.task import TARGET_ARGUMENTS, SearchTask, share_or_make
from akd_gym.errors import InvalidSettingError

ActionsT = TypeVar("ActionsT")


class ArchitectureVectorEnv(VectorEnv[NDArray[np.float32], ActionsT, NDArray[Any]]):
    """Plays N episodes of one form on a task; subclasses are the registered vector environments.

    Args:
        num_envs: N, at least 1.
        task: What was given; None to make one.
        make_task: Makes it from the settings.
        settings: Of the task.
        render_mode: See `AKDSearchEnv`.
    """

    metadata = {  # noqa: RUF012 - Gymnasium's attribute
        "render_modes": list(RENDER_MODES),
        "render_fps": 4,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }
    form: ClassVar[type[Episodes]]
    """Of the actions; a subclass says which."""

    def __init__(
        self,
        num_envs: int,
        task: SearchTask | None,
        make_task: Callable[..., SearchTask],
        settings: Mapping[str, Any],
        render_mode: str | None,
    ) -> None:
        super().__init__()
        if isinstance(num_envs, bool) or not isinstance(num_envs, (int, np.integer)) or num_envs < 1:
            raise InvalidSettingError(f"`num_envs` must be an integer of at least 1, but got {num_envs!r}.")
        self.num_envs = int(num_envs)
        self.render_mode = check_render_mode(render_mode)
        self.task, self._owns_task = share_or_make(task, make_task, settings)
        self.space = self.task.space
        self.layout = EpisodeLayout(self.space.option_counts)
        self._episodes = self.form(self.layout, (self.num_envs,))
        self.single_observation_space = self._episodes.observation_space
        self.single_action_space = self._episodes.action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._targets: NDArray[np.float64] | None = None
        self._no_rewards = np.zeros(self.num_envs)
        self._no_ends = np.zeros(self.num_envs, bool)

    @property
    def targets(self) -> NDArray[np.float64]:
        """T of each episode, shape (N,), in the unit of the cost."""
        return np.full(self.num_envs, self.task.target) if self._targets is None else self._targets.copy()

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin N episodes, shape (N, observation); see the class for the options.

        Args:
            seed: One, or one an episode as for Gymnasium's vector environments, of which the first counts: the
                episodes have their randomness in common.
            options: See the class.

        Raises:
            UnknownNameError: Another option than the target.
            InvalidSettingError: A target that is not positive, in the other cost's name, or not 1 or N of
                them.
        """
        first = self._first_seed(seed)
        if first is not None:
            self._np_random, self._np_random_seed = seeding.np_random(first)
            self.task.reseed(first)
        if options:
            self._targets = self._pick_targets(options)
        self._begin()
        return self._episodes.observation(), {}

    def step(
        self, actions: ActionsT
    ) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Take one step in every episode; the last one evaluates all N architectures.

        Raises:
            InvalidActionError: If the actions are not N of the action space.
            EpisodeOverError: If `reset` was never called.
        """
        episodes = self._episodes
        folded = episodes.take(actions)
        info: dict[str, Any] = {"folded": folded, "_folded": folded.copy()} if np.count_nonzero(folded) else {}
        if not episodes.over:
            return (
                episodes.observation(),
                self._no_rewards.copy(),
                self._no_ends.copy(),
                self._no_ends.copy(),
                info,
            )
        last = episodes.observation()
        choices = [tuple(row) for row in episodes.choices.tolist()]
        outcomes = self.task.evaluate(choices, self.targets.tolist())
        all_of_them = ~self._no_ends
        final_obs = np.empty(self.num_envs, object)
        final_obs[:] = list(last)
        ends = {
            "final_obs": final_obs,
            "_final_obs": all_of_them,
            "final_info": info | _columns([outcome for _, outcome in outcomes]),
            "_final_info": all_of_them.copy(),
        }
        self._begin()
        rewards = np.array([reward for reward, _ in outcomes])
        return episodes.observation(), rewards, ~self._no_ends, self._no_ends.copy(), ends

    def render(self) -> tuple[Any, ...] | None:
        """The N networks chosen so far: texts, or pictures of shape (H, W, 3)."""
        if self.render_mode is None:
            return None
        taken = self._episodes.choices[:, : self._episodes.taken].tolist()
        return tuple(
            render(Scene(self.space, tuple(row), target, self.task.cost_unit), self.render_mode)
            for row, target in zip(taken, self.targets.tolist(), strict=True)
        )

    def close_extras(self, **kwargs: Any) -> None:
        """Release the task, if this environment made it."""
        if self._owns_task:
            self.task.close()

    def _first_seed(self, seed: int | Sequence[int | None] | None) -> int | None:
        if seed is None or isinstance(seed, (int, np.integer)):
            return None if seed is None else int(seed)
        if len(seed) != self.num_envs:
            raise InvalidSettingError(f"`seed` must be one or {self.num_envs}, but got {len(seed)} seeds.")
        return seed[0]

    def _begin(self) -> None:
        if self._targets is None:
            self._episodes.reset(self.task.log_ratio(self.task.target))
        else:
            self._episodes.reset(np.array([self.task.log_ratio(target) for target in self._targets.tolist()]))

    def _pick_targets(self, options: dict[str, Any]) -> NDArray[np.float64]:
        name = TARGET_ARGUMENTS[self.task.cost_unit]
        given = options.get(name)
        each = np.ravel(given).tolist() if isinstance(given, (Sequence, np.ndarray)) else [given] * self.num_envs
        if len(each) != self.num_envs:
            raise InvalidSettingError(f"`{name}` must be one or {self.num_envs}, but got {len(each)} targets.")
        current = self.targets.tolist()
        picked = [self.task.target_option(options | {name: target}) for target in each]
        return np.array([old if new is None else new for old, new in zip(current, picked, strict=True)])


def _columns(outcomes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One dict of arrays of N out of N dicts with the same keys, each array with its `_` mask."""
    columns: dict[str, Any] = {}
    count = len(outcomes)
    for key, first in outcomes[0].items():
        dtype = type(first) if isinstance(first, (bool, int, float)) else object
        columns[key] = np.fromiter([outcome[key] for outcome in outcomes], dtype, count)
        columns[f"_{key}"] = np.ones(count, bool)
    return columns
