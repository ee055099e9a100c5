"""Compare settings of the default agent on made-up searches of the right shape.

    python benchmarks/ppo_tuning.py --budget 48 --seeds 20
    python benchmarks/ppo_tuning.py --budget 1000 --seeds 3 --only default random

Each seed is another surface (`akd_gym.envs.SyntheticEvaluator`: real multiply-adds, invented accuracies of 2 points
standard deviation over random architectures, 0.8 over training seeds) and another agent. Of each setting it prints
what the later half of the candidates gains on the earlier half, in reward and in accuracy (points, mean and
standard deviation over seeds, and the worst), in how many seeds the gain is positive, the fewest distinct
architectures, and the mean reward of the last tenth and of the best candidate. What `ppo_settings` says was measured
comes from here.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import PPO

from akd_gym.agents import ppo_settings
from akd_gym.envs import SyntheticEvaluator, make_sb3_vec_env
from akd_gym.evaluation import Evaluation
from akd_gym.reward import Reward

MLP = {"policy_kwargs": {"net_arch": [64, 64], "table_scale": 0.0}}

SETTINGS: dict[str, dict[str, Any] | None] = {
    "default": {},
    "random": None,
    "critic": {"vf_coef": 0.5},
    "no table": {"policy_kwargs": {"table_scale": 0.0}},
    "table and MLP": {"policy_kwargs": {"net_arch": [64, 64]}},
    "MLP": MLP,
    "MLP, rate / 3": {"rate_factor": 1 / 3, **MLP},
    "no entropy bonus": {"ent_coef": 0.0},
    "rate / 3": {"rate_factor": 1 / 3},
    "rate x 3": {"rate_factor": 3.0},
    "rounds of 4": {"num_envs": 4, "rollout": 1},
}
"""Overrides of `ppo_settings`; and `rate_factor` on the learning rate, `num_envs` candidates a round, `rollout`
episodes of each an update. None draws architectures at random."""


class Recorder(SyntheticEvaluator):
    """Keeps what it answered."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed=seed)
        self.answers: list[Evaluation] = []

    def evaluate(self, choices: Any) -> list[Evaluation]:
        """As the made-up evaluator."""
        answers = super().evaluate(choices)
        self.answers += answers
        return answers


def search(setting: dict[str, Any] | None, budget: int, seed: int, target: float | None) -> Recorder:
    """One whole search."""
    evaluator = Recorder(seed)
    if setting is None:
        rng = np.random.default_rng(seed)
        evaluator.evaluate([evaluator.space.sample(rng) for _ in range(budget)])
        return evaluator
    overrides = dict(setting)
    factor, num_envs = overrides.pop("rate_factor", 1.0), overrides.pop("num_envs", 8)
    envs = make_sb3_vec_env(num_envs, evaluator=evaluator, target=target)
    length = len(evaluator.space.decisions)
    if "rollout" in overrides:
        overrides["n_steps"] = length * overrides.pop("rollout")
        overrides["batch_size"] = overrides["n_steps"] * num_envs
    settings = ppo_settings(envs, budget, seed=seed, **overrides)
    settings["learning_rate"] *= factor
    PPO(**settings).learn(length * budget)
    return evaluator


def measure(evaluator: Recorder, target: float | None) -> list[float]:
    """Gain in reward and in accuracy, distinct architectures, last tenth's and best reward; points."""
    reward, goal = Reward(), target or evaluator.reference_cost()
    accuracies = np.array([answer.accuracy for answer in evaluator.answers])
    rewards = np.array([reward(answer.accuracy, answer.cost, goal) for answer in evaluator.answers])
    half, tenth = len(rewards) // 2, max(len(rewards) // 10, 1)

    def gain(values: NDArray[np.float64]) -> float:
        return 100 * float(values[half:].mean() - values[:half].mean())

    distinct = len({answer.architecture for answer in evaluator.answers})
    best, last = 100 * rewards.max(), 100 * rewards[-tenth:].mean()
    return [gain(rewards), gain(accuracies), distinct, last, best]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=int, default=48, help="evaluations of a search")
    parser.add_argument("--seeds", type=int, default=20, help="searches of each setting")
    parser.add_argument("--only", nargs="*", choices=SETTINGS, default=list(SETTINGS), help="settings to compare")
    parser.add_argument("--target", type=float, help="in multiply-adds; the reference's cost by default")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("| setting | reward gain | worst | seeds up | accuracy gain | distinct | last tenth | best | s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in arguments.only:
        start = time.perf_counter()
        runs = [
            measure(search(SETTINGS[name], arguments.budget, seed, arguments.target), arguments.target)
            for seed in range(arguments.seeds)
        ]
        reward, accuracy, distinct, last, best = np.array(runs).T
        print(
            f"| {name} | {reward.mean():.2f} ± {reward.std():.2f} | {reward.min():.2f} "
            f"| {(reward > 0).sum()}/{len(runs)} | {accuracy.mean():.2f} ± {accuracy.std():.2f} "
            f"| {distinct.min():.0f} | {last.mean():.2f} | {best.mean():.2f} | {time.perf_counter() - start:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
