"""The Gymnasium environments and their Stable-Baselines3 adapter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from akd_gym.envs.episodes import EpisodeLayout, EpisodeOverError, InvalidActionError
from akd_gym.envs.search import AKDSearchEnv
from akd_gym.envs.vector import AKDSearchVectorEnv

if TYPE_CHECKING:
    from akd_gym.envs.sb3 import AKDSB3VecEnv, make_sb3_vec_env
    from akd_gym.envs.synthetic import SyntheticEvaluator

__all__ = [  # noqa: RUF022 - grouped
    # Gymnasium
    "AKDSearchEnv",
    "AKDSearchVectorEnv",
    "EpisodeLayout",
    "EpisodeOverError",
    "InvalidActionError",
    # Stable-Baselines3
    "AKDSB3VecEnv",
    "make_sb3_vec_env",
    # an evaluator to try agents with
    "SyntheticEvaluator",
]

_LATER = {
    "AKDSB3VecEnv": "akd_gym.envs.sb3",
    "make_sb3_vec_env": "akd_gym.envs.sb3",
    "SyntheticEvaluator": "akd_gym.envs.synthetic",
}
"""What imports torch, and so is imported when it is first asked for."""


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LATER[name]), name)
