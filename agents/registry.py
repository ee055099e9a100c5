"""Agents by name: those of this package, imported when they are asked for, and anybody's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym

from akd_gym.errors import AKDGymError, InvalidSettingError, UnknownNameError
from akd_gym.user_modules import import_user_module

Agent = Callable[[gym.Env[Any, Any], int, int], None]
"""`agent(env, budget, seed)`: plays at most `budget` episodes in an environment like `AKDSearch-v0`.

It may play them in `env` itself or in other forms over the same task (`AKDSearchVectorEnv(8,
task=env.unwrapped.task)`); every architecture evaluated counts, repeated ones too. Given the same environment, budget
and seed it plays the same architectures."""

AGENTS: dict[str, str] = {
    # Stable-Baselines3 and sb3-contrib
    "ppo": "akd_gym.agents.sb3:ppo",
    "rnn": "akd_gym.agents.sb3:rnn",
    "a2c": "akd_gym.agents.sb3:a2c",
    "dqn": "akd_gym.agents.sb3:dqn",
    "sac": "akd_gym.agents.sb3:sac",
    "td3": "akd_gym.agents.sb3:td3",
    "ddpg": "akd_gym.agents.sb3:ddpg",
    "trpo": "akd_gym.agents.sb3:trpo",
    "maskableppo": "akd_gym.agents.sb3:maskableppo",
    "qrdqn": "akd_gym.agents.sb3:qrdqn",
    "ars": "akd_gym.agents.sb3:ars",
    "tqc": "akd_gym.agents.sb3:tqc",
    "crossq": "akd_gym.agents.sb3:crossq",
    # others
    "random": "akd_gym.agents.random_search:random_search",
    "local_search": "akd_gym.agents.local_search:local_search",
    "evolution": "akd_gym.agents.evolution:evolution",
    "tpe": "akd_gym.agents.optuna_samplers:tpe",
    "nsga2": "akd_gym.agents.optuna_samplers:nsga2",
    "gp": "akd_gym.agents.optuna_samplers:gp",
    "reinforce": "akd_gym.agents.reinforce:reinforce",
}
"""Where the agent of each name lives, as `module:function`."""


def load_agent(name: str) -> Agent:
    """The agent of a name.

    Args:
        name: One of `AGENTS`, or `"module:function"` naming a function `(env, budget, seed)` of your own. Its module
            may also lie in the current directory.

    Raises:
        UnknownNameError: If no agent has the name.
        InvalidSettingError: If `module:function` cannot be imported or is nothing to call.
    """
    home = AGENTS.get(name, name)
    module, _, attribute = home.partition(":")
    if not (module and attribute):
        raise UnknownNameError("agent", name, [*AGENTS, "module:function"])
    try:
        found = getattr(import_user_module(module), attribute)
    except AKDGymError:
        raise
    except Exception as error:  # importing a module runs it: it can raise anything
        raise InvalidSettingError(f"The agent {name!r} must be importable, but got: {error!r}.") from error
    if not callable(found):
        raise InvalidSettingError(
            f"The agent {name!r} must be a function (env, budget, seed), but got {type(found).__name__}."
        )
    return found
