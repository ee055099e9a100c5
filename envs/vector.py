"""The vector environments: N episodes of each id at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from akd_gym.envs.base import ActionMasks
from akd_gym.envs.bench import make_bench_task
from akd_gym.envs.episodes import LockstepEpisodes
from akd_gym.envs.one_step import BoxEpisodes, OneShotEpisodes
from akd_gym.envs.task import SearchTask
from akd_gym.envs.vector_base import ActionsT, ArchitectureVectorEnv


class _SearchVectorEnv(ArchitectureVectorEnv[ActionsT]):
    """The arguments that the forms of AKDSearch have in common; see `AKDSearchVectorEnv`."""

    def __init__(
        self,
        num_envs: int = 8,
        *,
        workers: int | None = None,
        render_mode: str | None = None,
        task: SearchTask | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(num_envs, task, SearchTask, {**settings, "workers": workers}, render_mode)


class _BenchVectorEnv(ArchitectureVectorEnv[ActionsT]):
    """The arguments that the forms of AKDBench have in common; see `AKDBenchVectorEnv`."""

    def __init__(
        self,
        num_envs: int = 8,
        *,
        render_mode: str | None = None,
        task: SearchTask | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(num_envs, task, make_bench_task, settings, render_mode)


class AKDSearchVectorEnv(ActionMasks, _SearchVectorEnv[NDArray[np.int64]]):
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
        task: Of another environment, shared; takes the place of `workers` and all other settings.
        **settings: The other arguments of `AKDSearchEnv`.

    Raises:
        UnknownNameError: See `AKDSearchEnv`.
        InvalidSettingError: If `num_envs` is less than 1; and see `AKDSearchEnv`.
    """

    form = LockstepEpisodes


class AKDSearchOneShotVectorEnv(ActionMasks, _SearchVectorEnv[NDArray[np.int64]]):
    """`AKDSearchOneShotEnv`, N at once: actions have shape (N, 35) for the space `akd`; each step is a round.

    Arguments, autoreset and `info` are those of `AKDSearchVectorEnv`.
    """

    form = OneShotEpisodes


class AKDSearchBoxVectorEnv(_SearchVectorEnv[NDArray[np.float32]]):
    """`AKDSearchBoxEnv`, N at once: actions have shape (N, 35) for the space `akd`; each step is a round.

    Arguments, autoreset and `info` are those of `AKDSearchVectorEnv`.
    """

    form = BoxEpisodes


class AKDBenchVectorEnv(ActionMasks, _BenchVectorEnv[NDArray[np.int64]]):
    """`AKDBenchEnv`, N at once: what `gymnasium.make_vec("AKDBench-v0", num_envs=N)` makes.

    Autoreset, `info` and the options of `reset` are those of `AKDSearchVectorEnv`. All N episodes see the same
    realisation of the noise, that of the (first) seed.

    Args:
        num_envs: N, at least 1.
        render_mode: See `AKDSearchEnv`; `render()` returns N texts or pictures.
        task: Of another environment, shared; takes the place of all other settings.
        **settings: The other arguments of `AKDBenchEnv`.

    Raises:
        UnknownNameError: See `AKDBenchEnv`.
        InvalidSettingError: If `num_envs` is less than 1; and see `AKDBenchEnv`.
    """

    form = LockstepEpisodes


class AKDBenchOneShotVectorEnv(ActionMasks, _BenchVectorEnv[NDArray[np.int64]]):
    """`AKDBenchOneShotEnv`, N at once: actions have shape (N, 35); each step is a round.

    Arguments, autoreset and `info` are those of `AKDBenchVectorEnv`.
    """

    form = OneShotEpisodes


class AKDBenchBoxVectorEnv(_BenchVectorEnv[NDArray[np.float32]]):
    """`AKDBenchBoxEnv`, N at once: actions have shape (N, 35); each step is a round.

    Arguments, autoreset and `info` are those of `AKDBenchVectorEnv`.
    """

    form = BoxEpisodes


VECTOR_ENVS: dict[str, type[ArchitectureVectorEnv[Any]]] = {
    "AKDSearch-v0": AKDSearchVectorEnv,
    "AKDSearchOneShot-v0": AKDSearchOneShotVectorEnv,
    "AKDSearchBox-v0": AKDSearchBoxVectorEnv,
    "AKDBench-v0": AKDBenchVectorEnv,
    "AKDBenchOneShot-v0": AKDBenchOneShotVectorEnv,
    "AKDBenchBox-v0": AKDBenchBoxVectorEnv,
}
"""By the id of the single environment; `akd_gym` registers them."""
