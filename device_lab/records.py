"""What one latency measurement was: the number, and everything needed to trust or repeat it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from akd_gym.errors import CorruptFileError, DeviceError, DeviceTimeoutError, SchemaVersionError

SCHEMA_VERSION = 1
TIMEOUT_REASON = "timeout"  # how the `reason` of a record starts when the model did not finish in time


@dataclass(frozen=True, kw_only=True)
class LatencyRecord:
    """One model measured on one device, or the reason why it could not be.

    Times are in milliseconds for one inference of batch 1. The statistics are None exactly when `verdict` is
    `"failed"`: a failure is never a number.

    Attributes:
        architecture: Canonical architecture string (or the name the caller gave the model).
        model_sha256: Hash of the model file that ran.
        exporter: Who wrote the model file, `"unknown"` if the file does not say.
        exporter_version: Version of that writer.
        input_shape: Shape of the input as the model has it (NHWC); None if the model did not load.
        dtype: Type of the input, e.g. `"float32"`; None if the model did not load.
        kind: Where the number comes from. A host's or a loopback's number never answers for a phone.
        runtime: Inference engine and delegate.
        runtime_version: Version of the engine.
        fully_delegated: Whether the delegate took the whole graph; None if unknown.
        device: CPU model of a host.
        device_id: Hash that tells this machine from others of the same model.
        soc: System on chip, on a phone.
        os: Operating system with version.
        core: The core the measurement was pinned to; None where the system cannot pin.
        affinity: Cores allowed to the measuring process while it ran, read back from the system.
        governor: Frequency governor of the core, None where it cannot be read.
        frequencies_khz: Frequency of the core before and after, None where it cannot be read.
        threads: Inference threads.
        warmups: Untimed inferences, over all passes.
        runs: Timed inferences, over all passes.
        pass_min_ms: The minimum of each pass over the round's models.
        samples_ms: Raw samples in the order they were taken; if there were more than the protocol keeps, evenly
            spaced order statistics of them instead (first the minimum, last the maximum).
        canary_ms: Minimum of the built-in canary model in the same round.
        canary_reference_ms: The lowest canary of the session so far, which `canary_ms` was judged by.
        tries: How often the round was measured until the canary was accepted (or given up on).
        created: UTC time, ISO 8601.
        tool_version: Version of akd_gym.
        verdict: `"ok"` or `"failed"`.
        reason: Why it failed.
        warnings: What a reader should know about a number that is not a failure.
    """

    architecture: str
    model_sha256: str
    exporter: str
    exporter_version: str
    input_shape: tuple[int, ...] | None
    dtype: str | None
    kind: Literal["host"]
    runtime: str
    runtime_version: str
    fully_delegated: bool | None
    device: str
    device_id: str
    soc: str | None
    os: str
    core: int | None
    affinity: tuple[int, ...] | None
    governor: str | None
    frequencies_khz: tuple[int, int] | None
    threads: int
    warmups: int
    runs: int
    pass_min_ms: tuple[float, ...]
    samples_ms: tuple[float, ...]
    min_ms: float | None
    p5_ms: float | None
    median_ms: float | None
    p95_ms: float | None
    mean_ms: float | None
    std_ms: float | None
    canary_ms: float | None
    canary_reference_ms: float | None
    tries: int
    created: str
    tool_version: str
    verdict: Literal["ok", "failed"]
    reason: str | None = None
    warnings: tuple[str, ...] = ()
    schema_version: int = SCHEMA_VERSION

    @property
    def latency_ms(self) -> float:
        """The latency this record stands for: the minimum on a host, where everything else is other load.

        Raises:
            DeviceError: The model could not be measured (`DeviceTimeoutError` if it did not finish in time).
        """
        if self.min_ms is None:
            error = DeviceTimeoutError if (self.reason or "").startswith(TIMEOUT_REASON) else DeviceError
            raise error(f"{self.architecture} has no latency: {self.reason}.")
        return self.min_ms

    @property
    def spread(self) -> float | None:
        """How far the median pass lies above the best one, as a fraction; None without passes."""
        if not self.pass_min_ms or not self.min_ms:
            return None
        ordered = sorted(self.pass_min_ms)
        return ordered[len(ordered) // 2] / self.min_ms - 1

    def to_dict(self) -> dict[str, Any]:
        """This record in JSON types."""
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> LatencyRecord:
        """The record that `to_dict` wrote.

        Raises:
            SchemaVersionError: Written by a newer version of this package.
            CorruptFileError: Fields missing, or others than those of its version.
        """
        version = plain.get("schema_version")
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise SchemaVersionError(
                f"`schema_version` of a latency record must be at most {SCHEMA_VERSION}, but got {version}: "
                "it was written by a newer akd_gym. Update this one."
            )
        try:
            return cls(**{name: tuple(v) if isinstance(v, list) else v for name, v in plain.items()})
        except TypeError as error:
            raise CorruptFileError(
                f"A latency record must have the fields of version {version}: {error}."
            ) from error
