"""What one latency measurement was: the number, and everything needed to trust or repeat it."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from akd_gym.errors import CorruptFileError, DeviceError, DeviceTimeoutError, SchemaVersionError

SCHEMA_VERSION = 2
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
        kind: Where the number comes from. A host's or a loopback's number never answers for a phone.
        runtime: Inference engine and delegate.
        runtime_version: Version of the engine; on a phone the first digits of `runtime_sha256`.
        device: CPU model of a host, maker and model of a phone.
        device_id: Hash that tells this device from others of the same model; never a serial number itself.
        os: Operating system with version.
        core: The core the measurement was pinned to; None where the system cannot pin, or nothing was measured.
        affinity: Cores allowed to the measuring process, read back from the system; None if it does not say.
        governor: Frequency governor of the core; None where it cannot be read.
        threads: Inference threads.
        clock: What inferences were timed with: `"thread_cpu"` stands still while others have the core; None of a
            prediction.
        created: UTC time, ISO 8601.
        tool_version: Version of akd_gym.
        verdict: `"ok"` or `"failed"`.
        reason: Why it failed.
        warnings: What a reader should know about a number that is not a failure.
        soc: System on chip, on a phone.
        build: Fingerprint of a phone's system image.
        runtime_sha256: Hash of the benchmark that ran on a phone.
        command: The benchmark's full command line on a phone.
        mask: CPU mask given to `taskset` on a phone, hexadecimal.
        input_shape: Shape of the input as the model has it (NHWC).
        dtype: Type of the input, e.g. `"float32"`.
        fully_delegated: Whether the delegate took the whole graph; None if unknown.
        frequencies_khz: Frequency of the core before and after; None where it cannot be read.
        state_before: A phone's heat, battery, cores and screen before (see `PhoneState`).
        state_after: The same afterwards.
        tries: Attempts made on a phone until one was accepted, that one included.
        seconds: Of the attempt on a phone that was accepted, without the canary.
        warmups: Untimed inferences, over all passes or repeats.
        runs: Timed inferences, over all passes or repeats.
        repeat_median_ms: The median of each start of the benchmark on a phone.
        pass_min_ms: The fastest run of each pass (each visit to the model).
        pass_canary_before_ms: The canary just before each pass.
        pass_canary_after_ms: The canary just after each pass.
        samples_ms: Raw samples in the order they were taken; if there were more than the protocol keeps, evenly
            spaced order statistics instead (the first is the minimum, the last the maximum).
        min_ms: Over all samples on a host, as are `p5_ms`, `median_ms`, `p95_ms`, `mean_ms` and `std_ms`. A phone
            reports each for every start of the benchmark: the minimum is that of all, the others the median of theirs.
            Of a prediction only `median_ms` is set.
        canary_ms: The canary at its best in this round of a host; beside this measurement on a phone.
        canary_reference_ms: The canary at its best when this device was first used.
        steady_tolerance: How far (a fraction) the canary may change around a steady pass.
        schema_version: Of these fields.
    """

    architecture: str
    model_sha256: str
    exporter: str
    exporter_version: str
    kind: Literal["host", "phone", "loopback", "predicted"]
    runtime: str
    runtime_version: str
    device: str
    device_id: str
    os: str
    core: int | None
    affinity: tuple[int, ...] | None
    governor: str | None
    threads: int
    clock: Literal["thread_cpu", "wall"] | None
    created: str
    tool_version: str
    verdict: Literal["ok", "failed"]
    reason: str | None = None
    warnings: tuple[str, ...] = ()
    soc: str | None = None
    build: str | None = None
    runtime_sha256: str | None = None
    command: str | None = None
    mask: str | None = None
    input_shape: tuple[int, ...] | None = None
    dtype: str | None = None
    fully_delegated: bool | None = None
    frequencies_khz: tuple[int, ...] | None = None
    state_before: Mapping[str, Any] | None = None
    state_after: Mapping[str, Any] | None = None
    tries: int = 1
    seconds: float | None = None
    warmups: int = 0
    runs: int = 0
    repeat_median_ms: tuple[float, ...] = ()
    pass_min_ms: tuple[float, ...] = ()
    pass_canary_before_ms: tuple[float, ...] = ()
    pass_canary_after_ms: tuple[float, ...] = ()
    samples_ms: tuple[float, ...] = ()
    min_ms: float | None = None
    p5_ms: float | None = None
    median_ms: float | None = None
    p95_ms: float | None = None
    mean_ms: float | None = None
    std_ms: float | None = None
    canary_ms: float | None = None
    canary_reference_ms: float | None = None
    steady_tolerance: float | None = None
    schema_version: int = SCHEMA_VERSION

    @property
    def latency_ms(self) -> float:
        """The latency this record stands for.

        On a host: the minimum of a pass, above which all is other load, as it would be at the machine's reference
        speed, by the canary run beside it: the median over the steady passes of
        `pass_min_ms * canary_reference_ms / canary`. Where the clock speed is constant this is the plain minimum.
        On a phone, whose clock is held and which does nothing else, and of a prediction: `median_ms`.

        Raises:
            DeviceError: The model could not be measured (`DeviceTimeoutError` if it did not finish in time).
        """
        if self.verdict == "failed":
            is_timeout = (self.reason or "").startswith(TIMEOUT_REASON)
            error = DeviceTimeoutError if is_timeout else DeviceError
            raise error(f"{self.architecture!r} has no latency: {self.reason}.")
        if self.kind == "host":
            return statistics.median(self._scaled_passes()[0])
        assert self.median_ms is not None
        return self.median_ms

    @property
    def steady_passes(self) -> int:
        """Passes with the canary alike before and after."""
        return self._scaled_passes()[1]

    @property
    def spread(self) -> float:
        """How far apart the middle half of the passes behind `latency_ms` lies, as a fraction; 0 of a failure."""
        values = self._scaled_passes()[0]
        if len(values) < 2:
            return 0.0
        low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
        return (high - low) / middle

    def _scaled_passes(self) -> tuple[list[float], int]:
        """Each steady pass at the reference speed (each pass, if none was steady), and how many were steady."""
        reference, tolerance = self.canary_reference_ms or 1.0, self.steady_tolerance or 0.0
        passes = list(zip(self.pass_min_ms, self.pass_canary_before_ms, self.pass_canary_after_ms, strict=True))
        steady = [one for one in passes if abs(one[2] / one[1] - 1) <= tolerance]
        return [fastest * reference * 2 / (b + a) for fastest, b, a in steady or passes], len(steady)

    def to_dict(self) -> dict[str, Any]:
        """This record in JSON types, with `latency_ms` unless it failed."""
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}
        return plain | ({"latency_ms": self.latency_ms} if self.verdict == "ok" else {})

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> LatencyRecord:
        """The record that `to_dict` wrote.

        Raises:
            SchemaVersionError: Written by a newer version of this package.
            CorruptFileError: A field is missing or unknown, or a success lacks what its latency is made from.
        """
        version = plain.get("schema_version", SCHEMA_VERSION)
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise SchemaVersionError(
                f"`schema_version` of a latency record must be at most {SCHEMA_VERSION}, but got {version}: "
                "a newer akd_gym wrote it. Update this one."
            )
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()}
        fields.pop("latency_ms", None)
        try:
            record = cls(**fields)
        except TypeError as error:
            raise CorruptFileError(f"A latency record must have the fields of version {version}: {error}.") from error
        has_latency = bool(record.pass_min_ms) if record.kind == "host" else (record.median_ms or 0) > 0
        if (record.verdict == "ok") != has_latency:
            raise CorruptFileError(
                "A latency record must have passes (on a host) or a positive median (elsewhere) exactly when its "
                f"verdict is 'ok', but got {record.verdict!r} with {len(record.pass_min_ms)} passes and the median "
                f"{record.median_ms}."
            )
        return record
