"""N episodes of `AKDSearch-v0` in lockstep, whose N architectures are evaluated together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from akd_gym.envs.episodes import EpisodeLayout, LockstepEpisodes
from akd_gym.envs.rendering import RENDER_MODES, Scene, check_render_mode, render
from akd_gym.envs.task import TARGET_ARGUMENTS, SearchTask
from akd_gym.errors import InvalidSettingError


class AKDSearchVectorEnv(VectorEnv[NDArray[np.float32], NDArray[np.int64], NDArray[Any]]):
    """`AKDSearchEnv`, N at once: what `gymnasium.make_vec("AKDSearch-v0", num_envs=N)` makes.

    All episodes are equally long, so they end together: the N architectures of a round go to the evaluator in
    one call, which trains them side by side and pays for equal ones once. Autoreset is `SAME_STEP`: the step
    that ends the episodes returns the next ones' first observations, the last ones are in `info["final_obs"]`
    (object array of N) and what `AKDSearchEnv` documents as `info` at the end in `info["final_info"]` (a dict
    of arrays of N), each with Gymnasium's `_` mask. Where an action was folded, `info["folded"]` says for
    which episodes.

    `reset(options={"target_ms": ...})`, or `{"target": ...}` where `cost="madds"`, takes one target for all
    or N.

    Args:
        num_envs: N, at least 1.
        workers: Candidates trained at once; None for one a core.
        render_mode: See `AKDSearchEnv`; `render()` returns N texts or pictures.
        **settings: The other arguments of `AKDSearchEnv`.

    Raises:
        UnknownNameError: See `AKDSearchEnv`.
        InvalidSettingError: If `num_envs` is less than 1; and see `AKDSearchEnv`.
    """

    metadata = {  # noqa: RUF012 - Gymnasium's attribute
        "render_modes": list(RENDER_MODES),
        "render_fps": 4,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    def __init__(
        self,
        num_envs: int = 8,
        *,
        workers: int | None = None,
        render_mode: str | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        if isinstance(num_envs, bool) or not isinstance(num_envs, (int, np.integer)) or num_envs < 1:
            raise InvalidSettingError(f"`num_envs` must be an integer of at least 1, but got {num_envs!r}.")
        self.num_envs = int(num_envs)
        self.render_mode = check_render_mode(render_mode)
        self.task = SearchTask(**settings, workers=workers)
        self.space = self.task.space
        self.layout = EpisodeLayout(self.space.option_counts)
        self.single_observation_space = self.layout.observation_space()
        self.single_action_space = self.layout.action_space()
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._episodes = LockstepEpisodes(self.layout, (self.num_envs,))
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
            seed: One, or one an episode as for Gymnasium's vector environments.
            options: See the class.

        Raises:
            UnknownNameError: Another option than the target.
            InvalidSettingError: A target that is not positive, in the other cost's name, or not 1 or N of
                them.
        """
        if isinstance(seed, (int, np.integer)):
            self._np_random, self._np_random_seed = seeding.np_random(int(seed))
        elif seed is not None:
            if len(seed) != self.num_envs:
                raise InvalidSettingError(f"`seed` must be one or {self.num_envs}, but got {len(seed)} seeds.")
            if seed[0] is not None:
                self._np_random, self._np_random_seed = seeding.np_random(seed[0])
        if options:
            self._targets = self._pick_targets(options)
        self._begin()
        return self._episodes.observation(), {}

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Take the due decision in every episode; the last one evaluates all N architectures.

        Raises:
            InvalidActionError: If the actions are not N integers in the action space.
            EpisodeOverError: If `reset` was never called.
        """
        episodes = self._episodes
        folded = episodes.advance(self.layout.check_actions(actions, self.num_envs))
        info: dict[str, Any] = {"folded": folded, "_folded": folded.copy()} if folded.any() else {}
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

    def action_masks(self) -> NDArray[np.bool_]:
        """Valid actions of the decision now due, shape (N, num_actions).

        Raises:
            EpisodeOverError: If `reset` was never called.
        """
        return np.tile(self._episodes.mask(), (self.num_envs, 1))

    def render(self) -> tuple[Any, ...] | None:
        """The N networks chosen so far: texts, or pictures of shape (H, W, 3)."""
        if self.render_mode is None:
            return None
        taken = self._episodes.choices[:, : self._episodes.due if self._episodes.begun else 0].tolist()
        return tuple(
            render(Scene(self.space, tuple(row), target, self.task.cost_unit), self.render_mode)
            for row, target in zip(taken, self.targets.tolist(), strict=True)
        )

    def close_extras(self, **kwargs: Any) -> None:
        """Release the evaluator, if this environment made it."""
        self.task.close()

    def _begin(self) -> None:
        self._episodes.reset(np.array([self.task.log_ratio(target) for target in self.targets.tolist()]))

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
    for key, first in outcomes[0].items():
        plain = isinstance(first, (bool, int, float))
        column = np.empty(len(outcomes), type(first) if plain else object)
        for index, outcome in enumerate(outcomes):
            column[index] = outcome[key]
        columns[key], columns[f"_{key}"] = column, np.ones(len(outcomes), bool)
    return columns
