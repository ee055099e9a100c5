"""Rewards on the scale that value-based agents expect."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv, VecNormalize


class StandardisedRewards(VecNormalize):
    """Rewards of finished episodes, less the mean of all so far, over their standard deviation.

    Architectures earn some 0.7, give or take 0.03. Agents that regress on values would spend a search on learning the
    0.7, and `VecNormalize` alone only divides. Its place is taken because off-policy algorithms know it: they store
    rewards as they came and standardise them when they are sampled, by what is known then.

    A reward of exactly 0 is that of a step under way and stays 0. Observations are left as they are.

    Args:
        venv: Made by `make_sb3_vec_env`.
        clip: Largest magnitude, in standard deviations: one infeasible candidate must not outweigh a batch.
    """

    def __init__(self, venv: VecEnv, clip: float = 5.0) -> None:
        super().__init__(venv, norm_obs=False, clip_reward=clip)

    def _update_reward(self, reward: NDArray[Any]) -> None:
        earned = reward[reward != 0]
        if earned.size:
            self.ret_rms.update(earned)

    def normalize_reward(self, reward: NDArray[Any]) -> NDArray[np.float32]:
        """Standardised by what is known now."""
        scaled = (reward - self.ret_rms.mean) / np.sqrt(self.ret_rms.var + self.epsilon)
        return np.where(reward != 0, np.clip(scaled, -self.clip_reward, self.clip_reward), 0.0).astype(np.float32)

    def unnormalize_reward(self, reward: NDArray[Any]) -> NDArray[Any]:
        """Inverse of `normalize_reward`, but for what was clipped."""
        return np.where(reward != 0, reward * np.sqrt(self.ret_rms.var + self.epsilon) + self.ret_rms.mean, 0.0)
