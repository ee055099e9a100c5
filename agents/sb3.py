"""The algorithms of Stable-Baselines3 and sb3-contrib as agents, each on the form of actions that it needs.

| agent | algorithm | form | |
|---|---|---|---|
| `ppo` | PPO | a decision a step | the default agent: `ppo_settings` |
| `rnn` | RecurrentPPO | a decision a step | the paper's: `rnn_settings` |
| `a2c`, `trpo` | A2C, TRPO | a decision a step | PPO's policy: a table and a linear layer, no critic |
| `maskableppo` | MaskablePPO | a decision a step | PPO's settings, a linear policy, the environment's masks |
| `dqn`, `qrdqn` | DQN, QR-DQN | a decision a step | masked; returns of whole episodes as targets |
| `sac`, `td3`, `ddpg`, `tqc`, `crossq` | the same | all decisions at once, in a box | |
| `ars` | ARS | all decisions at once, in a box | one episode at a time |

Discrete actions that are taken all at once (`AKDSearchOneShot-v0`) are a product of independent choices; every
algorithm that could play them can also play a decision a step, where a choice may depend on those before it.

What the off-policy ones learn from are standardised rewards (`StandardisedRewards`). Their settings, like all here,
were chosen on made-up searches (`akd_gym.envs.SyntheticEvaluator`), never on AKDBench.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from sb3_contrib import ARS, TQC, TRPO, CrossQ, MaskablePPO, RecurrentPPO
from stable_baselines3 import A2C, DDPG, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import VecEnv

from akd_gym.agents.masked_dqn import MaskedDQN, MaskedDQNPolicy, MaskedQRDQN, MaskedQRDQNPolicy
from akd_gym.agents.play import check_budget
from akd_gym.agents.policies import ZeroCriticMaskablePolicy
from akd_gym.agents.ppo import by_budget, option_counts, ppo_settings
from akd_gym.agents.rnn import rnn_settings
from akd_gym.agents.standardised import StandardisedRewards
from akd_gym.envs.sb3 import make_sb3_vec_env
from akd_gym.envs.task import SearchTask
from akd_gym.errors import InvalidSettingError

MAX_ENVS = 8
"""Most episodes side by side."""

_LARGEST_BUFFER = 100_000
"""Transitions that an off-policy agent remembers at most: 120 MB of observations of the space `akd`."""

_STEPS, _BOX = "AKDSearch-v0", "AKDSearchBox-v0"

Settings = Callable[[VecEnv, int], dict[str, Any]]
"""Arguments of an algorithm for environments and a budget; `env` may be among them."""


@dataclass(frozen=True)
class SB3Agent:
    """One algorithm as an agent: `agent(env, budget, seed)` plays at most `budget` episodes.

    Attributes:
        algorithm: The class.
        settings: Its arguments, as a function of environments and budget.
        env_id: The form of actions that it is given, over the task of the environment.
        max_envs: Most episodes side by side.
        standardise: Whether it learns from `StandardisedRewards`.
    """

    algorithm: type[BaseAlgorithm]
    settings: Settings
    env_id: str = _STEPS
    max_envs: int = MAX_ENVS
    standardise: bool = False

    def __call__(self, env: gym.Env[Any, Any], budget: int, seed: int) -> None:
        """Play `budget` episodes.

        They are played through an environment of this agent's own on the same task, as many side by side as divide
        the budget, up to `max_envs`.

        Args:
            env: Like `AKDSearch-v0`.
            budget: Episodes.
            seed: Of the agent, from 0 to 2^32 - 1. It does not seed `env`.

        Raises:
            InvalidSettingError: If `budget` is less than 1, or `env` has no task, so is none of this package's.
        """
        check_budget(budget)
        task = getattr(env.unwrapped, "task", None)
        if not isinstance(task, SearchTask):
            raise InvalidSettingError(f"`env` must be like AKDSearch-v0, with a `task`, but got {env}.")
        envs: VecEnv = make_sb3_vec_env(_side_by_side(budget, self.max_envs), self.env_id, task=task)
        if self.standardise:
            envs = StandardisedRewards(envs)
        arguments: dict[str, Any] = {"env": envs} | self.settings(envs, budget) | {"device": "cpu"}
        # The algorithm's own `seed` would seed the environments too, and so choose the noise of AKDBench.
        set_random_seed(seed)
        envs.action_space.seed(seed)
        model = self.algorithm(**arguments)
        steps = budget * (_decisions(envs) if self.env_id == _STEPS else 1)
        with contextlib.suppress(_BudgetSpentError):
            model.learn(steps, callback=_StopAfter(steps))


class _BudgetSpentError(Exception):
    """Ends `learn` from within: ARS ignores what callbacks return, and a last update would serve nobody."""


class _StopAfter(BaseCallback):
    """Stops in the middle of a rollout, where the algorithm would collect it whole beyond the budget."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self._steps = steps

    def _on_step(self) -> bool:
        if self.num_timesteps >= self._steps:
            raise _BudgetSpentError
        return True


def _side_by_side(budget: int, most: int) -> int:
    return next(count for count in range(min(most, budget), 0, -1) if budget % count == 0)


def _decisions(envs: VecEnv) -> int:
    return len(option_counts(envs))


def _policy_gradient(envs: VecEnv, budget: int) -> dict[str, Any]:
    """What PPO's settings say of the policy and the rollouts, for algorithms that have no more arguments in common."""
    settings = ppo_settings(envs, budget)
    names = ("policy", "n_steps", "gamma", "gae_lambda", "normalize_advantage", "policy_kwargs")
    return {name: settings[name] for name in names}


def _a2c(envs: VecEnv, budget: int) -> dict[str, Any]:
    """One Adam step an update, where PPO takes ten: a larger learning rate."""
    return _policy_gradient(envs, budget) | {
        "learning_rate": by_budget(budget, (1e-1, 1e-2, 3e-3)),
        "use_rms_prop": False,
        "ent_coef": 0.003,
        "vf_coef": 0.0,
    }


def _trpo(envs: VecEnv, budget: int) -> dict[str, Any]:
    """The step is set by `target_kl`; the learning rate is the critic's alone, which is not to learn."""
    return _policy_gradient(envs, budget) | {
        "batch_size": ppo_settings(envs, budget)["batch_size"],
        "learning_rate": 0.0,
        "target_kl": by_budget(budget, (0.05, 0.02, 0.005)),
        "n_critic_updates": 1,
    }


def _maskable_ppo(envs: VecEnv, budget: int) -> dict[str, Any]:
    """Its policy has no table with a scale of its own: a larger learning rate."""
    return ppo_settings(envs, budget) | {
        "policy": ZeroCriticMaskablePolicy,
        "learning_rate": by_budget(budget, (1e-1, 1e-2, 3e-3)),
        "policy_kwargs": {"net_arch": []},
    }


def _values(envs: VecEnv, budget: int) -> dict[str, Any]:
    """Of DQN and QR-DQN: a value is regressed on what its episode earned, so nothing has to creep back 35 steps.

    The network is one linear layer on the one-hots, as PPO's is; layers of 64-64 learn no better for three times the
    time.
    """
    counts = option_counts(envs)
    length = len(counts)
    return {
        "learning_rate": by_budget(budget, (3e-2, 1e-2, 3e-3)),
        "buffer_size": min(budget * length, _LARGEST_BUFFER),
        "learning_starts": length * max(budget // 20, 8),
        "batch_size": 256,
        "gamma": 1.0,
        "n_steps": length,
        "train_freq": length,
        "gradient_steps": length,
        "target_update_interval": length * MAX_ENVS,
        "exploration_fraction": 0.5,
        "exploration_final_eps": 0.01,
        "max_grad_norm": 10.0,
        "policy_kwargs": {"option_counts": counts, "net_arch": []},
    }


def _dqn(envs: VecEnv, budget: int) -> dict[str, Any]:
    return _values(envs, budget) | {"policy": MaskedDQNPolicy}


def _qrdqn(envs: VecEnv, budget: int) -> dict[str, Any]:
    settings = _values(envs, budget)
    policy_kwargs = settings["policy_kwargs"] | {"n_quantiles": 16}
    return settings | {"policy": MaskedQRDQNPolicy, "policy_kwargs": policy_kwargs}


def _box(envs: VecEnv, budget: int) -> dict[str, Any]:
    """Of all that learn a value in a box: every episode is one step, and the value of an action is its reward."""
    return {
        "policy": "MlpPolicy",
        "learning_rate": 3e-3,
        "buffer_size": budget,
        "learning_starts": max(min(budget // 10, 100), 8),
        "batch_size": 128,
        "train_freq": 1,
        "gradient_steps": 8,
    }


def _soft_box(envs: VecEnv, budget: int) -> dict[str, Any]:
    """A fixed entropy bonus: tuned to its target of 35 nats below uniform, it begins at 1 and drowns the rewards."""
    return _box(envs, budget) | {"ent_coef": 0.01}


def _crossq(envs: VecEnv, budget: int) -> dict[str, Any]:
    """Its critics are 1024 wide by default, for robots with tens of thousands of steps."""
    return _soft_box(envs, budget) | {"policy_kwargs": {"net_arch": [256, 256]}}


def _noisy_box(envs: VecEnv, budget: int) -> dict[str, Any]:
    """A deterministic actor explores by noise: 0.3 in a box from -1 to 1 reaches the next option often.

    Larger learning rates drive it into a corner of the box before it has seen the middle.
    """
    shape = envs.action_space.shape
    assert shape is not None
    noise = NormalActionNoise(np.zeros(shape), np.full(shape, 0.3))
    return _box(envs, budget) | {"learning_rate": 1e-3, "action_noise": noise}


def _ars(envs: VecEnv, budget: int) -> dict[str, Any]:
    """The observation is always the same, so the policy is its bias: 35 numbers, moved by finite differences.

    Eight episodes an update, as for the others.
    """
    return {
        "policy": "LinearPolicy",
        "policy_kwargs": {"with_bias": True, "squash_output": True},
        "n_delta": 4,
        "delta_std": 0.3,
        "learning_rate": 0.1,
    }


ppo = SB3Agent(PPO, ppo_settings)
rnn = SB3Agent(RecurrentPPO, rnn_settings)
a2c = SB3Agent(A2C, _a2c)
trpo = SB3Agent(TRPO, _trpo)
maskableppo = SB3Agent(MaskablePPO, _maskable_ppo)
dqn = SB3Agent(MaskedDQN, _dqn, standardise=True)
qrdqn = SB3Agent(MaskedQRDQN, _qrdqn, standardise=True)
sac = SB3Agent(SAC, _soft_box, _BOX, standardise=True)
td3 = SB3Agent(TD3, _noisy_box, _BOX, standardise=True)
ddpg = SB3Agent(DDPG, _noisy_box, _BOX, standardise=True)
tqc = SB3Agent(TQC, _soft_box, _BOX, standardise=True)
crossq = SB3Agent(CrossQ, _crossq, _BOX, standardise=True)
ars = SB3Agent(ARS, _ars, _BOX, max_envs=1)
