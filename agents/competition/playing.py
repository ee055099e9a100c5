"""One run: one agent, one seed, one budget, and a meter that counts whatever the agent has evaluated."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

import gymnasium as gym
import numpy as np

from akd_gym.agents.registry import Agent
from akd_gym.analysis.competition import AgentRun
from akd_gym.envs.task import SearchTask
from akd_gym.errors import BudgetExceededError
from akd_gym.evaluation import Evaluation
from akd_gym.space import Choices

Report = Callable[[int], None]

_REPORT_EVERY_S = 0.2


class TruthfulEvaluator(Protocol):
    """An evaluator that can also say what an architecture is worth without noise."""

    def truth(self, choices: Sequence[Choices]) -> list[Evaluation]:
        """The noiseless evaluations."""
        ...


class Meter:
    """Counts and times what a task evaluates, and refuses what goes beyond the budget: its `RoundWatch`.

    Every architecture counts, repeated ones too. The agent's own time is that between evaluations. The noise is that of
    `seed`, whatever the agent resets its environments with: to see an architecture under another noise is not for sale.

    Args:
        task: What is metered; an evaluation at another target than it has now is a breach.
        budget: Evaluations.
        seed: Of the noise.
        report: Told now and then how many evaluations there have been.

    Attributes:
        breach: The first breach of the rules, in words; None as long as there is none. An agent that catches the
            error does not undo it.
        choices: What was evaluated, in order.
        rewards: What was shown for it.
        seconds: The agent's own, up to each.
    """

    def __init__(self, task: SearchTask, budget: int, seed: int, report: Report = lambda count: None) -> None:
        self.budget, self.target = budget, task.target
        self._task, self._seed = task, seed
        self.breach: str | None = None
        self.choices: list[Choices] = []
        self.rewards: list[float] = []
        self.seconds: list[float] = []
        self._report, self._reported = report, 0.0
        self._evaluating_s = 0.0
        self._began = self._asked = time.perf_counter()

    def own_seconds(self) -> float:
        """Seconds since this meter was made, without those of evaluations."""
        return time.perf_counter() - self._began - self._evaluating_s

    def before(self, count: int) -> None:
        """See `RoundWatch.before`.

        Raises:
            BudgetExceededError: If that would be more than the budget.
        """
        spent = len(self.rewards)
        if spent + count > self.budget:
            error = BudgetExceededError(self.budget, spent, count)
            self.breach = self.breach or f"{type(error).__name__}: {error}"
            raise error
        self._asked = time.perf_counter()
        self._task.reseed(self._seed)

    def after(self, rewards: Sequence[float], infos: Sequence[dict[str, Any]]) -> None:
        """See `RoundWatch.after`."""
        seconds = self._asked - self._began - self._evaluating_s
        for reward, info in zip(rewards, infos, strict=True):
            if info["target"] != self.target and self.breach is None:
                self.breach = f"It aimed at {info['target']:g}, but the competition's target is {self.target:g}."
            self.choices.append(info["choices"])
            self.rewards.append(float(reward))
            self.seconds.append(seconds)
        now = time.perf_counter()
        if now - self._reported > _REPORT_EVERY_S:
            self._report(len(self.rewards))
            self._reported = now
        self._evaluating_s += time.perf_counter() - self._asked


def play_agent(
    agent: Agent, env: gym.Env[Any, Any], *, name: str, budget: int, seed: int, report: Report = lambda count: None
) -> AgentRun:
    """Let an agent search, and judge what it evaluated by what that is worth without noise.

    The run is disqualified if the agent raises, exceeds its budget (also if it catches the error), takes the meter
    off, changes the target, or ends without one evaluation.

    Args:
        agent: Who searches.
        env: `AKDSearch-v0`-like, with a `TruthfulEvaluator`.
        name: The agent's.
        budget: Evaluations.
        seed: Given to the agent, and of the noise.
        report: Told now and then how many evaluations there have been.
    """
    task = cast(SearchTask, env.unwrapped.task)  # type: ignore[attr-defined]
    target, reward = task.target, task.reward
    meter = Meter(task, budget, seed, report)
    task.watch = meter
    reason = None
    try:
        agent(env, budget, seed)
    except BaseException as error:  # SystemExit too: the agent's end is not the competition's
        if isinstance(error, KeyboardInterrupt):
            raise
        traceback.print_exc()
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    total_seconds = meter.own_seconds()
    if task.watch is not meter:
        reason = reason or "It took the meter off its task."
    if not meter.choices:
        reason = reason or meter.breach or "It ended without one evaluation."
    truths = cast(TruthfulEvaluator, task.evaluator).truth(meter.choices) if meter.choices else []
    worth = [(t.accuracy, t.cost) if t.status == "ok" else (None, None) for t in truths]
    return AgentRun(
        agent=name,
        seed=seed,
        reason=_in_a_line(meter.breach or reason),
        choices=np.array(meter.choices, np.int64).reshape(len(worth), len(task.space.decisions)),
        observed=np.array(meter.rewards, np.float64),
        values=np.array([reward(accuracy, cost, target) for accuracy, cost in worth], np.float64),
        accuracies=np.array([accuracy for accuracy, _ in worth], np.float64),  # None becomes NaN
        costs=np.array([cost for _, cost in worth], np.float64),
        seconds=np.array(meter.seconds, np.float64),
        total_seconds=total_seconds,
    )


def _in_a_line(reason: str | None) -> str | None:
    return None if reason is None else " ".join(reason.split())[:500]
