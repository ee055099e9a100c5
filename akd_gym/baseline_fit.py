"""The ratio at which a baseline meets a latency, found by measuring (Table 7 of the paper).

Latency grows with the ratio, in steps: channels come in multiples of a divisor. Few measurements close in on the target
from both sides, until one is close enough or no network lies between the two nearest.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

from akd_gym.baselines import GREATEST_RATIO, LEAST_RATIO, baseline
from akd_gym.errors import InvalidSettingError

_STEP = 0.005  # of ratios that are told apart
_FIRST, _LAST = round(LEAST_RATIO / _STEP), round(GREATEST_RATIO / _STEP)
_USUAL_EXPONENT = 1.5  # of latency over the ratio, before two measurements say better


@dataclass(frozen=True)
class Trial:
    """One width that was measured.

    Attributes:
        ratio: What the channels were multiplied by.
        architecture: Canonical string of the network.
        latency_ms: Its latency.
    """

    ratio: float
    architecture: str
    latency_ms: float


@dataclass(frozen=True)
class Fit:
    """The width whose latency is nearest to a target.

    Attributes:
        best: That width.
        trials: All that were measured, in order.
        target_ms: The target.
        is_met: Whether `best` is within the tolerance; else no network lies nearer.
    """

    best: Trial
    trials: tuple[Trial, ...]
    target_ms: float
    is_met: bool


def fit_baseline(
    name: str,
    target_ms: float,
    measure: Callable[[str], float],
    *,
    tolerance: float = 0.03,
    divisor: int = 8,
    undo_strides: int = 0,
    on_trial: Callable[[Trial], None] | None = None,
) -> Fit:
    """Find the ratio at which a baseline meets a latency.

    Args:
        name: One of `baselines.BASELINES`.
        target_ms: Latency to meet.
        measure: Gives the latency of a canonical architecture string, ms; asked once for each.
        tolerance: How far from the target (a fraction of it) a latency may lie to be taken without looking further.
        divisor: See `baselines.baseline`; steps of 8 can be 15 % of the latency apart, where early layers widen.
        undo_strides: See `baselines.baseline`.
        on_trial: Told of each measurement.

    Raises:
        UnknownNameError: No such baseline.
        InvalidSettingError: A target or tolerance out of range, or a target that no ratio meets: it says what the
            network takes at its narrowest or widest.
    """
    if not 0 < target_ms < math.inf:
        raise InvalidSettingError(f"`target_ms` must be positive, but got {target_ms}.")
    if not 0 < tolerance < 1:
        raise InvalidSettingError(f"`tolerance` must be between 0 and 1, but got {tolerance}.")
    trials: dict[str, Trial] = {}

    @functools.cache
    def network(step: int) -> str:
        return str(baseline(name, step * _STEP, divisor=divisor, undo_strides=undo_strides))

    def try_out(step: int) -> Trial:
        text = network(step)
        if text not in trials:
            trials[text] = Trial(round(step * _STEP, 3), text, measure(text))
            if on_trial is not None:
                on_trial(trials[text])
        return trials[text]

    bracket = _Bracket(target_ms, network)
    step: int | None = round(1 / _STEP)
    while step is not None:
        trial = try_out(step)
        if abs(trial.latency_ms / target_ms - 1) <= tolerance:
            break
        bracket.narrow(step, trial)
        step = bracket.next_step()
    best = min(trials.values(), key=lambda one: abs(math.log(one.latency_ms / target_ms)))
    is_met = abs(best.latency_ms / target_ms - 1) <= tolerance
    if not is_met and (bracket.below is None or bracket.above is None):
        end, bound = ("narrowest", "at least") if bracket.below is None else ("widest", "at most")
        raise InvalidSettingError(
            f"`target_ms` of {name} must be {bound} {best.latency_ms:.4g}, which it takes at its {end} "
            f"(ratio {best.ratio:g}), but got {target_ms:g}."
        )
    return Fit(best, tuple(trials.values()), target_ms, is_met)


class _Bracket:
    """The nearest widths known below and above a target, and where to measure next.

    Args:
        target_ms: The target.
        network: What a step builds; neighbouring steps may build the same.
    """

    def __init__(self, target_ms: float, network: Callable[[int], str]) -> None:
        self.target_ms, self.network = target_ms, network
        self.below: tuple[int, float] | None = None
        self.above: tuple[int, float] | None = None
        self._moved_below = False
        self._moves = 0  # of the same end in a row

    def narrow(self, step: int, trial: Trial) -> None:
        """Takes in what was measured at a step."""
        is_below = trial.latency_ms < self.target_ms
        self._moves = self._moves + 1 if is_below == self._moved_below else 1
        self._moved_below = is_below
        if is_below:
            self.below = step, trial.latency_ms
        else:
            self.above = step, trial.latency_ms

    def next_step(self) -> int | None:
        """The next to measure: where a power law through what is known meets the target; None if nothing is left."""
        if self.below is None or self.above is None:
            step, latency_ms = self.below or self.above or (0, 0.0)
            end = _LAST if self.below is not None else _FIRST
            guess = step * (self.target_ms / latency_ms) ** (1 / _USUAL_EXPONENT)
            guess = min(max(round(guess), _FIRST), _LAST)
            return self._other_than(guess, end, (self.network(step),))
        (low, low_ms), (high, high_ms) = self.below, self.above
        known = (self.network(low), self.network(high))
        fraction = math.log(self.target_ms / low_ms) / math.log(high_ms / low_ms)
        if self._moves >= 2:  # the other end stands still: the law falls short, so go further each time, up to half way
            share = fraction if self._moved_below else 1 - fraction
            share = max(share, min(0.5, share * 2 ** (self._moves - 1)))
            fraction = share if self._moved_below else 1 - share
        guess = round(low * (high / low) ** fraction)
        for candidate in sorted(range(low + 1, high), key=lambda one: abs(one - guess)):
            if self.network(candidate) not in known:
                return candidate
        return None

    def _other_than(self, guess: int, end: int, known: tuple[str, ...]) -> int | None:
        """`guess`, or the first step from there to `end` that builds something new."""
        for step in range(guess, end + (1 if end >= guess else -1), 1 if end >= guess else -1):
            if self.network(step) not in known:
                return step
        return None
