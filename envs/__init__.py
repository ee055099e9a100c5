"""The Gymnasium environments and their Stable-Baselines3 adapter."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from akd_gym.envs.bench import AKDBenchBoxEnv, AKDBenchEnv, AKDBenchOneShotEnv
from akd_gym.envs.episodes import EpisodeLayout, EpisodeOverError, InvalidActionError
from akd_gym.envs.search import AKDSearchBoxEnv, AKDSearchEnv, AKDSearchOneShotEnv
from akd_gym.envs.synthetic import SyntheticEvaluator
from akd_gym.envs.task import RoundWatch, SearchTask
from akd_gym.envs.vector import (
    AKDBenchBoxVectorEnv,
    AKDBenchOneShotVectorEnv,
    AKDBenchVectorEnv,
    AKDSearchBoxVectorEnv,
    AKDSearchOneShotVectorEnv,
    AKDSearchVectorEnv,
)

if TYPE_CHECKING:
    from akd_gym.envs.sb3 import AKDSB3VecEnv, make_sb3_vec_env

__all__ = [  # noqa: RUF022 - grouped
    # real trainings
    "AKDSearchEnv",
    "AKDSearchOneShotEnv",
    "AKDSearchBoxEnv",
    "AKDSearchVectorEnv",
    "AKDSearchOneShotVectorEnv",
    "AKDSearchBoxVectorEnv",
    # the benchmark
    "AKDBenchEnv",
    "AKDBenchOneShotEnv",
    "AKDBenchBoxEnv",
    "AKDBenchVectorEnv",
    "AKDBenchOneShotVectorEnv",
    "AKDBenchBoxVectorEnv",
    # what they are made of
    "SearchTask",
    "RoundWatch",
    "EpisodeLayout",
    "EpisodeOverError",
    "InvalidActionError",
    # Stable-Baselines3
    "AKDSB3VecEnv",
    "make_sb3_vec_env",
    # an evaluator to try agents with
    "SyntheticEvaluator",
]

_LATER = ("AKDSB3VecEnv", "make_sb3_vec_env")
"""What Stable-Baselines3, and so torch, is imported for: when it is first asked for."""


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("akd_gym.envs.sb3"), name)
