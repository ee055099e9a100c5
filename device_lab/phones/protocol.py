"""How one latency is taken on a phone, and what makes it be thrown away and taken again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from akd_gym.errors import InvalidSettingError

_ROUNDING = 1e-9  # so that a limit itself is allowed


@dataclass(frozen=True)
class PhoneProtocol:
    """How one number is taken. Part of the identity: numbers of another protocol do not answer for it.

    An attempt runs the canary, then the model `repeats` times, and reads the phone's state before and after. It counts
    if the repeats agree, the canary was as fast as ever, and the state did not change.

    Args:
        warmups: Least untimed inferences of each start of the benchmark.
        warmup_s: Least seconds of them.
        runs: Least timed inferences of each start.
        min_s: Least seconds of them.
        max_s: Seconds after which a start of the benchmark begins no further inference.
        repeats: Starts of the benchmark on each model; the number is the median of their medians.
        agreement: How far (a fraction) the repeats' medians may lie apart.
        canary_tolerance: How much slower (a fraction) than on the phone's best day the canary may be.
        tries: Attempts until a model is given up.
        thermal_limit: Highest thermal status (Android's, 0 none to 6 shutdown) at which an attempt begins.
        battery_limit_c: Highest temperature of the battery, in degrees Celsius, at which an attempt begins.
        cool_down_s: Longest wait for the phone to cool down before an attempt.
        threads: Inference threads; the pinned core runs them all.

    Raises:
        InvalidSettingError: A value out of range.
    """

    warmups: int = 10
    warmup_s: float = 0.5
    runs: int = 50
    min_s: float = 1.0
    max_s: float = 20.0
    repeats: int = 2
    agreement: float = 0.03
    canary_tolerance: float = 0.05
    tries: int = 3
    thermal_limit: int = 0
    battery_limit_c: float = 40.0
    cool_down_s: float = 600.0
    threads: int = 1

    def __post_init__(self) -> None:
        least = {"warmups": 1, "runs": 2, "repeats": 1, "tries": 1, "thermal_limit": 0, "threads": 1}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise InvalidSettingError(f"`{name}` must be at least {bound}, but got {getattr(self, name)}.")
        for name in ("warmup_s", "min_s", "cool_down_s"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InvalidSettingError(f"`{name}` must not be negative, but got {getattr(self, name)}.")
        for name in ("max_s", "agreement", "canary_tolerance", "battery_limit_c"):
            if not 0 < getattr(self, name) < math.inf:
                raise InvalidSettingError(f"`{name}` must be positive, but got {getattr(self, name)}.")

    def disagreement(self, medians_ms: Sequence[float]) -> str | None:
        """Why the repeats' medians are not to be trusted, in words; None if they agree."""
        apart = max(medians_ms) / min(medians_ms) - 1
        if apart <= self.agreement + _ROUNDING:
            return None
        values = ", ".join(f"{value:.4g}" for value in medians_ms)
        return f"its repeats lie {apart:.1%} apart ({values} ms), at most {self.agreement:.1%} is allowed"

    def slowness(self, canary_ms: float, reference_ms: float) -> str | None:
        """Why the phone is slower than it can be, by its canary; None if it is not."""
        slower = canary_ms / reference_ms - 1
        if slower <= self.canary_tolerance + _ROUNDING:
            return None
        return (
            f"the canary took {canary_ms:.4g} ms, {slower:.1%} more than the {reference_ms:.4g} ms of this phone at "
            f"its best, at most {self.canary_tolerance:.1%} is allowed"
        )


LOOPBACK_PROTOCOL = PhoneProtocol(warmup_s=0.0, min_s=0.1, max_s=10.0, agreement=0.5, canary_tolerance=1.0)
"""For the loopback phone: this machine is shared and its clock is not held, so that the tolerances must be wide. Its
numbers are no phone's; they show that the path works."""
