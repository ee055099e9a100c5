"""How fast AKDBench is beside CartPole, the environment that everybody knows."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import gymnasium as gym
import torch
from stable_baselines3 import PPO

import akd_gym  # noqa: F401 - registers the ids
from benchmarks.results import Measurement

OURS, THEIRS = "AKDBench-v0", "CartPole-v1"
NUM_ENVS = 64
REPEATS = 9
SINGLE_STEPS = 35_000
VECTOR_STEPS = 3_500
PPO_FRAMES = 8_192


def measure() -> dict[str, Measurement]:
    """Give `env_vs_cartpole`, `vector_vs_cartpole` and `ppo_vs_cartpole`."""
    return {
        "env_vs_cartpole": compare(single_rate),
        "vector_vs_cartpole": compare(vector_rate) | {"num_envs": NUM_ENVS},
        "ppo_vs_cartpole": ppo_vs_cartpole(),
    }


def compare(rate: Callable[[str, int], float], repeats: int = REPEATS) -> Measurement:
    """Takes both rates in turn, so that what else the machine does meets both.

    Args:
        rate: Of an id and a seed, in steps a second.
        repeats: Pairs.

    Returns:
        `value` is the median of the ratios of the pairs.
    """
    pairs = [(rate(OURS, seed), rate(THEIRS, seed)) for seed in range(repeats + 1)][1:]  # the first one warms up
    ratios = sorted(ours / theirs for ours, theirs in pairs)
    return {
        "value": median(ratios),
        "least": ratios[0],
        "most": ratios[-1],
        "ours_per_s": median(ours for ours, _ in pairs),
        "theirs_per_s": median(theirs for _, theirs in pairs),
        "repeats": repeats,
    }


def single_rate(env_id: str, seed: int, steps: int = SINGLE_STEPS) -> float:
    """Steps a second of one environment, resets included, under random actions drawn before."""
    env = gym.make(env_id)
    actions = _draw(env.action_space, seed, steps)
    env.reset(seed=seed)
    start = time.perf_counter()
    for action in actions:
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset()
    seconds = time.perf_counter() - start
    env.close()
    return steps / seconds


def vector_rate(env_id: str, seed: int, steps: int = VECTOR_STEPS) -> float:
    """Steps a second of all of `NUM_ENVS` environments together."""
    envs = gym.make_vec(env_id, num_envs=NUM_ENVS, vectorization_mode="vector_entry_point")
    actions = _draw(envs.action_space, seed, steps)
    envs.reset(seed=seed)
    start = time.perf_counter()
    for action in actions:
        envs.step(action)
    seconds = time.perf_counter() - start
    envs.close()
    return steps * NUM_ENVS / seconds


def ppo_vs_cartpole() -> Measurement:
    """Frames a second of Stable-Baselines3's PPO with its default settings, on one environment made by `gym.make`."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return compare(ppo_rate, repeats=5) | {"frames": PPO_FRAMES, "settings": "SB3's defaults, 1 thread"}
    finally:
        torch.set_num_threads(threads)


def ppo_rate(env_id: str, seed: int, frames: int = PPO_FRAMES) -> float:
    """Frames a second of rollouts and updates together."""
    model = PPO("MlpPolicy", gym.make(env_id), seed=seed, device="cpu")
    start = time.perf_counter()
    model.learn(frames)
    seconds = time.perf_counter() - start
    return frames / seconds


def _draw(space: gym.Space[Any], seed: int, count: int) -> list[Any]:
    space.seed(seed)
    return [space.sample() for _ in range(count)]
