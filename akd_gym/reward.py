"""What a candidate is worth: its accuracy weighed against its cost.

Accuracy and cost are stored; the reward is *derived* from them, so that any reward can be computed anew over
a finished search without training anything again.

Papers:
    Search to Distill: Pearls are Everywhere but not the Eyes, section 3.1 - https://arxiv.org/abs/1911.09074
    MnasNet: Platform-Aware Neural Architecture Search for Mobile, eq. 2-3 - https://arxiv.org/abs/1807.11626
    TuNAS: Can Weight Sharing Outperform Random Architecture Search?, section 4 -
    https://arxiv.org/abs/2008.06120
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from akd_gym.errors import InvalidSettingError, UnknownNameError

INFEASIBLE_REWARD = -1.0
"""The reward of a candidate that could not be trained or measured: below every feasible one."""

MAX_PENALTY = 0.99
"""The most that the absolute reward takes off the accuracy, so that a feasible candidate stays above
`INFEASIBLE_REWARD` whatever it costs. At the default weight it is reached at 20.8 times the target."""

DEFAULT_WEIGHTS = {"absolute": 0.05, "soft": -0.07, "hard": -1.0}
"""The weight of each kind of reward where none is given.

That of `"absolute"` is half of TuNAS's 0.1: over random architectures of the default search, 0.1 leaves accuracy less
than a fifth of the reward's variance, and 0.05 more than half (`benchmarks/proxy_study.json`). A search whose reward is
mostly cost only learns to be of the right size."""


@dataclass(frozen=True)
class Reward:
    """Accuracy `a` (a fraction) and cost `c` against a target `T` in the same unit, as one number.

    | kind | reward | default weight `w` |
    |---|---|---|
    | `"absolute"` | `a - w * abs(c / T - 1)`, the penalty at most `MAX_PENALTY` (TuNAS) | 0.05 |
    | `"soft"` | `a * (c / T) ** w` (MnasNet eq. 2 with both exponents equal; the paper's) | -0.07 |
    | `"hard"` | `a` at or below the target, `a * (c / T) ** w` above it (MnasNet eq. 3) | -1 |

    The default is `"absolute"` because it keeps to the target: its best architecture is one that costs about
    `T`. With `"soft"`, `T ** -w` is a constant factor of every reward: it never changes which of two
    architectures is the better one, so the search does not depend on the target at all, and where accuracies
    lie close together the cheapest network wins. It is here because the paper uses it (section 3.1). Its
    weight can be set from measured data by `mnasnet_exponent`.

    Args:
        kind: `"absolute"`, `"soft"` or `"hard"`.
        weight: The weight `w` of the cost; the kind's default if None. At least 0 for `"absolute"`, at most 0
            for the other two.

    Raises:
        UnknownNameError: No such kind.
        InvalidSettingError: A weight that is not finite or would pay for cost.
    """

    kind: str = "absolute"
    weight: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in DEFAULT_WEIGHTS:
            raise UnknownNameError("reward", self.kind, DEFAULT_WEIGHTS)
        if self.weight is None:
            object.__setattr__(self, "weight", DEFAULT_WEIGHTS[self.kind])
        sign, bound = (1, "at least") if self.kind == "absolute" else (-1, "at most")
        if not math.isfinite(self._weight) or sign * self._weight < 0:
            raise InvalidSettingError(
                f"`weight` of the {self.kind} reward must be finite and {bound} 0 (the other sign would "
                f"pay for cost), but got {self.weight}."
            )

    @property
    def _weight(self) -> float:
        assert self.weight is not None
        return self.weight

    def __call__(self, accuracy: float | None, cost: float | None, target: float) -> float:
        """Weighs one candidate.

        Args:
            accuracy: Fraction of right answers in [0, 1]; None if the candidate was infeasible.
            cost: What it costs, in the target's unit (ms or multiply-adds); None if it could not be measured.
            target: What it should cost.

        Returns:
            `INFEASIBLE_REWARD` if accuracy or cost is None, else a number greater than that and at most 1 for
            `"absolute"` and `"hard"`.

        Raises:
            InvalidSettingError: A target or cost that is not positive and finite, or an accuracy outside
                [0, 1].
        """
        check_target(target)
        if accuracy is None or cost is None:
            return INFEASIBLE_REWARD
        if not 0 <= accuracy <= 1:
            raise InvalidSettingError(f"`accuracy` must be a fraction in [0, 1], but got {accuracy}.")
        if not (cost > 0 and math.isfinite(cost)):
            raise InvalidSettingError(f"`cost` must be positive and finite, but got {cost}.")
        ratio = float(cost) / float(target)
        if self.kind == "absolute":
            return float(accuracy) - min(self._weight * abs(ratio - 1), MAX_PENALTY)
        if self.kind == "hard" and ratio <= 1:
            return float(accuracy)
        return float(accuracy) * ratio**self._weight

    def variance_share(self, accuracies: Sequence[float], costs: Sequence[float], target: float) -> float:
        """The share of the reward's variance over these candidates that comes from accuracy.

        It is `cov(accuracy, reward) / var(reward)`; what is left, `cov(reward - accuracy, reward) /
        var(reward)`, comes from cost. The two add up to 1; one of them is negative where accuracy and cost
        pull against each other so strongly that the reward moves against it. A search whose share is small
        only learns to be small.

        Args:
            accuracies: Fractions, shape (n,), of feasible candidates.
            costs: Shape (n,).
            target: In the unit of the costs.

        Raises:
            InvalidSettingError: Fewer than two candidates, unequal lengths, or rewards that do not vary.
        """
        check_pairs(accuracies, costs)
        rewards = np.array([self(a, c, target) for a, c in zip(accuracies, costs, strict=True)])
        covariance = np.cov(np.asarray(accuracies, dtype=np.float64), rewards)
        if not covariance[1, 1] > 0:
            raise InvalidSettingError("The rewards must vary for shares of their variance, but all are equal.")
        return float(covariance[0, 1] / covariance[1, 1])


def check_target(target: float) -> None:
    """Refuses a target that is not a positive finite number.

    Raises:
        InvalidSettingError: As said.
    """
    if not (target > 0 and math.isfinite(target)):
        raise InvalidSettingError(
            f"`target` must be a positive, finite cost in ms or multiply-adds, but got {target}. "
            "Leave it out to aim at the cost of the space's reference architecture."
        )


def check_pairs(accuracies: Sequence[float], costs: Sequence[float]) -> None:
    """Refuses accuracies and costs that do not belong together or are fewer than two.

    Raises:
        InvalidSettingError: As said.
    """
    if len(accuracies) != len(costs) or len(costs) < 2:
        raise InvalidSettingError(
            "`accuracies` and `costs` must have the same length of at least 2, "
            f"but got {len(accuracies)} and {len(costs)}."
        )


def mnasnet_exponent(costs: Sequence[float], accuracies: Sequence[float]) -> float:
    """The soft reward's exponent at which doubling the cost is worth the accuracy that it usually buys.

    MnasNet (section 3) saw that doubling the latency brings about 5 % relative accuracy and solves `a * (2 c
    / T)^w * 1.05 = a * (c / T)^w` for `w = -log2(1.05) = -0.07`. Here the gain is fitted to measured
    candidates: `log accuracy = b + s * log cost` by least squares, so that a doubling buys a factor `2^s` and
    `w = -s`.

    Args:
        costs: Shape (n,), any unit.
        accuracies: Shape (n,), fractions greater than 0.

    Returns:
        `w`, less than 0.

    Raises:
        InvalidSettingError: Fewer than two candidates, values that have no logarithm, costs that are all equal, or data
            in which costlier networks are not the more accurate ones.
    """
    check_pairs(accuracies, costs)
    cost, accuracy = np.asarray(costs, dtype=np.float64), np.asarray(accuracies, dtype=np.float64)
    if not (np.isfinite(cost) & np.isfinite(accuracy) & (cost > 0) & (accuracy > 0)).all():
        raise InvalidSettingError("`costs` and `accuracies` must all be positive and finite to fit an exponent.")
    x = np.log(cost) - np.log(cost).mean()
    if not x.any():
        raise InvalidSettingError("`costs` must differ to fit an exponent, but all are equal.")
    slope = float(x @ np.log(accuracy) / (x @ x))
    if slope <= 0:
        raise InvalidSettingError(
            "Costlier networks must be the more accurate ones to fit an exponent, but here accuracy changes "
            f"with cost^{slope:.3g}. Use more candidates, spread over cost, or give the weight yourself."
        )
    return -slope
