"""The vector environments as Stable-Baselines3 wants it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv, VecMonitor

from akd_gym.envs.task import TARGET_ARGUMENTS
from akd_gym.envs.vector import VECTOR_ENVS
from akd_gym.envs.vector_base import ArchitectureVectorEnv
from akd_gym.errors import InvalidSettingError, UnknownNameError


class AKDSB3VecEnv(VecEnv):
    """Adapter: `AKDSearchVectorEnv`, or the vector environment of another id, as a Stable-Baselines3 `VecEnv`.

    The observation that ended an episode is in `info["terminal_observation"]`, beside what `AKDSearchEnv`
    documents as `info` at the end. The N episodes are one object: attributes are common to all of them, and
    methods that make sense for one episode are `action_masks` and `render`.

    Args:
        envs: What is adapted.
    """

    def __init__(self, envs: ArchitectureVectorEnv[Any]) -> None:
        self.envs = envs
        self.spec = envs.spec
        self._actions: NDArray[Any] | None = None
        super().__init__(envs.num_envs, envs.single_observation_space, envs.single_action_space)

    def reset(self) -> NDArray[np.float32]:
        """Begin N episodes, with the seed and options set since the last reset."""
        name = TARGET_ARGUMENTS[self.envs.task.cost_unit]
        options: dict[str, Any] = {key: None for given in self._options for key in given}
        if name in options:
            current = self.envs.targets.tolist()
            options[name] = [given.get(name, target) for given, target in zip(self._options, current, strict=True)]
        observations, _ = self.envs.reset(seed=self._seeds, options=options)
        self.reset_infos = [{} for _ in range(self.num_envs)]
        self._reset_seeds()
        self._reset_options()
        return observations

    def step_async(self, actions: NDArray[Any]) -> None:
        """Note the actions, one an episode, for `step_wait`."""
        self._actions = actions

    def step_wait(
        self,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Take the noted actions.

        Raises:
            InvalidActionError: If they are not N of the action space.
            EpisodeOverError: If `reset` was never called.
        """
        observations, rewards, ends, _, info = self.envs.step(self._actions)
        infos: list[dict[str, Any]] = [{"TimeLimit.truncated": False} for _ in range(self.num_envs)]
        if "folded" in info:
            for folded in np.flatnonzero(info["folded"]).tolist():
                infos[folded]["folded"] = True
        if "final_info" in info:
            for index, own in enumerate(infos):
                own["terminal_observation"] = info["final_obs"][index]
                own |= _one(info["final_info"], index)
        return observations, rewards.astype(np.float32), ends, infos

    def close(self) -> None:
        """Close the vector environment."""
        self.envs.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The attribute of the vector environment, once an index.

        Raises:
            AttributeError: If there is none.
        """
        value = getattr(self.envs, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of the vector environment, for all episodes.

        Raises:
            InvalidSettingError: If `indices` leaves an episode out.
        """
        if sorted(self._get_indices(indices)) != list(range(self.num_envs)):
            raise InvalidSettingError(
                f"`indices` must be None or name all {self.num_envs} episodes, which share their attributes, "
                f"but got {indices}. For a target an episode, use `set_options`."
            )
        setattr(self.envs, attr_name, value)

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Call `action_masks` or `render`; one result an index.

        Raises:
            AttributeError: Another method.
        """
        if method_name not in ("action_masks", "render"):
            raise AttributeError(
                f"`env_method` must name a method of one episode, 'action_masks' or 'render', but got {method_name!r}."
            )
        results = getattr(self.envs, method_name)(*method_args, **method_kwargs)
        return [None if results is None else results[index] for index in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """No episode is wrapped by itself."""
        return [False for _ in self._get_indices(indices)]

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """One picture an episode where `render_mode="rgb_array"`."""
        frames = self.envs.render() if self.render_mode == "rgb_array" else None
        return [None] * self.num_envs if frames is None else list(frames)


def make_sb3_vec_env(num_envs: int = 8, env_id: str = "AKDSearch-v0", **settings: Any) -> VecMonitor:
    """Make N episodes in lockstep for Stable-Baselines3, with episode rewards in its logs.

    Args:
        num_envs: Candidates of a round, evaluated together.
        env_id: `"AKDSearch-v0"`, `"AKDBench-v0"`, or one of their forms, `"AKDSearchOneShot-v0"`, ...
        **settings: The arguments of that environment; `task=env.unwrapped.task` shares another's task.

    Returns:
        `VecMonitor` over `AKDSB3VecEnv`: `ep_info_buffer` and `rollout/ep_rew_mean` hold what candidates
        earned.

    Raises:
        UnknownNameError: No such id; and see `AKDSearchEnv` and `AKDBenchEnv`.
        InvalidSettingError: See `AKDSearchVectorEnv` and `AKDBenchVectorEnv`.
    """
    if env_id not in VECTOR_ENVS:
        raise UnknownNameError("environment", str(env_id), VECTOR_ENVS)
    make: Callable[..., ArchitectureVectorEnv[Any]] = VECTOR_ENVS[env_id]
    return VecMonitor(AKDSB3VecEnv(make(num_envs, **settings)))


def _one(info: dict[str, Any], index: Any) -> dict[str, Any]:
    """The `info` of one episode, as `AKDSearchEnv` gives it, out of a dict of arrays with `_` masks."""
    return {
        key: value[index].item() if isinstance(value[index], np.generic) else value[index]
        for key, value in info.items()
        if not key.startswith("_") and info[f"_{key}"][index]
    }
