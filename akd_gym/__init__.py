"""Architecture-aware knowledge distillation as a Gymnasium environment.

Importing this package registers its environments and imports no torch; what needs it is imported when asked
for.
"""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import gymnasium

if TYPE_CHECKING:
    from akd_gym import agents, analysis, device_lab, envs
    from akd_gym.envs.sb3 import make_sb3_vec_env
    from akd_gym.evaluation import make_evaluator
    from akd_gym.networks import build_network
    from akd_gym.reward import Reward
    from akd_gym.space import SearchSpace, make_space

__all__ = [  # noqa: RUF022 - grouped
    "__version__",
    # architectures
    "SearchSpace",
    "make_space",
    "build_network",
    # what they are worth
    "Reward",
    "make_evaluator",
    # agents
    "make_sb3_vec_env",
    # subpackages
    "agents",
    "analysis",
    "device_lab",
    "envs",
]

__version__ = version("akd-gym")

_LATER = {
    "SearchSpace": "akd_gym.space",
    "make_space": "akd_gym.space",
    "build_network": "akd_gym.networks",
    "Reward": "akd_gym.reward",
    "make_evaluator": "akd_gym.evaluation",
    "make_sb3_vec_env": "akd_gym.envs.sb3",
}
"""Where each name lives; imported when it is first asked for."""

_SUBPACKAGES = ("agents", "analysis", "device_lab", "envs")


def __getattr__(name: str) -> Any:
    if name in _SUBPACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _LATER:
        return getattr(importlib.import_module(_LATER[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _register() -> None:
    """Register every id with its single and its vector environment; nothing of them is imported."""
    # AKDSearch is nondeterministic: its cost is a measured latency, which no seed fixes.
    for family, module, nondeterministic in (("AKDSearch", "search", True), ("AKDBench", "bench", False)):
        for form in ("", "OneShot", "Box"):
            gymnasium.register(
                id=f"{family}{form}-v0",
                entry_point=f"akd_gym.envs.{module}:{family}{form}Env",
                vector_entry_point=f"akd_gym.envs.vector:{family}{form}VectorEnv",
                nondeterministic=nondeterministic,
            )


_register()
