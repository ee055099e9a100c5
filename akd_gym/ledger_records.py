"""What a ledger keeps: trainings, latencies, and the candidates of a search that point to them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from akd_gym.errors import InvalidSettingError


def utc_now() -> str:
    """The time now, as stored: ISO 8601 in UTC, to the millisecond."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def canonical_json(mapping: Mapping[str, Any], name: str) -> str:
    """A mapping as the one JSON text that equal mappings share: sorted keys, no spaces, no NaN.

    Args:
        mapping: Strings, numbers, booleans, None, and sequences and mappings of them.
        name: What the mapping is, for the message.

    Raises:
        InvalidSettingError: It holds something that JSON cannot express.
    """
    try:
        return json.dumps(dict(mapping), sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidSettingError(f"`{name}` must be plain JSON (no NaN, no objects): {error}.") from error


def latency_ms(record: Mapping[str, Any]) -> float | None:
    """The latency that a `LatencyRecord`, as a dict, stands for; None if it is a failure.

    It is what the record itself states as `"latency_ms"`. One that states none (schema version 1 of hosts' records)
    stands for its minimum on a host and for its median elsewhere.

    Raises:
        InvalidSettingError: Neither a failure nor a positive, finite latency.
    """
    if record.get("verdict") == "failed":
        return None
    value = record.get("latency_ms", record.get("min_ms" if record.get("kind") == "host" else "median_ms"))
    if record.get("verdict") != "ok" or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise InvalidSettingError(
            "A latency record must have the verdict 'failed', or 'ok' and a positive latency, "
            f"but got {record.get('verdict')!r} and {value}."
        )
    return float(value)


@dataclass(frozen=True)
class TrainingRecord:
    """What training a candidate gave.

    Args:
        status: `"ok"` or `"infeasible"`.
        reason: A short stable code where infeasible (see `InfeasibleCandidateError`), else None.
        detail: What happened, in words.
        accuracy: Fraction in [0, 1]; None unless `"ok"`.
        loss: Of the last epoch; None if there is none or it was not finite.
        seconds: Paid for training and evaluating.
        epochs: Trained.
        created: ISO 8601, UTC.

    Raises:
        InvalidSettingError: An accuracy, status and reason that do not fit together.
    """

    status: str
    reason: str | None = None
    detail: str | None = None
    accuracy: float | None = None
    loss: float | None = None
    seconds: float = 0.0
    epochs: int = 0
    created: str = field(default_factory=utc_now)

    def __post_init__(self) -> None:
        if self.status == "ok":
            if self.accuracy is None or not 0 <= self.accuracy <= 1 or self.reason is not None:
                raise InvalidSettingError(
                    "A training that is ok must have an `accuracy` in [0, 1] and no `reason`, "
                    f"but got accuracy {self.accuracy} and reason {self.reason!r}."
                )
        elif self.status == "infeasible":
            if self.accuracy is not None or not self.reason:
                raise InvalidSettingError(
                    "An infeasible training must have a `reason` and no `accuracy`, "
                    f"but got reason {self.reason!r} and accuracy {self.accuracy}."
                )
        else:
            raise InvalidSettingError(f"`status` must be 'ok' or 'infeasible', but got {self.status!r}.")
        for name, value in (("loss", self.loss), ("seconds", self.seconds)):
            if value is not None and not math.isfinite(value):
                raise InvalidSettingError(f"`{name}` must be finite, but got {value}.")


@dataclass(frozen=True)
class Candidate:
    """One candidate of a search's trajectory, in the order they were proposed; architectures may repeat.

    Args:
        number: From 0, unique within its search.
        round: The round (of candidates evaluated together) it belongs to.
        choices: One option index a decision.
        architecture: The canonical string.
        training_context: `Ledger.context` of the task and recipe.
        seed: Of the training.
        latency_context: `Ledger.context` of the device and protocol; None where multiply-adds are the cost.
        madds: Multiply-adds of one image.
        params: Parameters.
        target: What it should have cost, in ms or, where multiply-adds are the cost, in those.
        from_ledger: Whether it was known before, and so cost nothing.
        search: Which search, where several share the ledger.
        created: ISO 8601, UTC.
    """

    number: int
    round: int
    choices: tuple[int, ...]
    architecture: str
    training_context: str
    seed: int
    latency_context: str | None
    madds: int
    params: int
    target: float | None
    from_ledger: bool = False
    search: str = ""
    created: str = field(default_factory=utc_now)


@dataclass(frozen=True)
class EvaluatedCandidate:
    """A candidate with what is known of it: its training and its latency, where there are such rows."""

    candidate: Candidate
    training: TrainingRecord | None
    latency: dict[str, Any] | None

    @property
    def latency_ms(self) -> float | None:
        """The latency in milliseconds; None if it was not asked for or could not be measured."""
        return latency_ms(self.latency) if self.latency else None

    @property
    def cost(self) -> float | None:
        """In `cost_unit`; None if it could not be measured."""
        return self.latency_ms if self.candidate.latency_context else float(self.candidate.madds)

    @property
    def cost_unit(self) -> str:
        """`"ms"` or `"madds"`."""
        return "ms" if self.candidate.latency_context else "madds"

    @property
    def accuracy(self) -> float | None:
        """Fraction in [0, 1]; None unless it was trained."""
        return self.training.accuracy if self.training else None

    @property
    def reason(self) -> str | None:
        """The short code of why it is infeasible (see `InfeasibleCandidateError`); None if it is not."""
        if self.training is not None and self.training.reason is not None:
            return self.training.reason
        if self.cost is None:
            return "unmeasurable"
        return "not_trained" if self.training is None else None

    @property
    def status(self) -> str:
        """`"ok"` or `"infeasible"`."""
        return "ok" if self.reason is None else "infeasible"
