"""What becomes of a number taken on a phone: its record, and what must agree for it to stand for another."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import importlib.metadata
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from akd_gym.device_lab.canary import CANARY_VERSION
from akd_gym.device_lab.phones.facts import PhoneFacts
from akd_gym.device_lab.phones.protocol import PhoneProtocol
from akd_gym.device_lab.phones.runner import BenchmarkRun
from akd_gym.device_lab.phones.state import PhoneState
from akd_gym.device_lab.records import LatencyRecord
from akd_gym.device_lab.tflite_writer import EXPORTER, EXPORTER_VERSION, exporter_of, input_of

RUNTIME = "litert-benchmark_model"
SPREAD_WARNING = 0.10  # between the 5th and the 95th percentile, of the median


def phone_identity(facts: PhoneFacts, program: bytes, protocol: PhoneProtocol) -> dict[str, Any]:
    """What must agree for a number of one phone to stand for one of another: model, system, benchmark, protocol."""
    big = next(core for core in facts.cores if core.number == facts.big_core)
    return {
        "kind": facts.kind,
        "device": f"{facts.manufacturer} {facts.model}",
        "soc": facts.soc,
        "os": facts.os,
        "abi": facts.abi,
        "core": facts.big_core,
        "max_khz": big.max_khz,
        "runtime": RUNTIME,
        "runtime_sha256": hashlib.sha256(program).hexdigest(),
        "exporter": EXPORTER,
        "exporter_version": EXPORTER_VERSION,
        "canary_version": CANARY_VERSION,
        "protocol": dataclasses.asdict(protocol),
    }


def about(facts: PhoneFacts, program_sha256: str, protocol: PhoneProtocol, name: str, model: bytes) -> dict[str, Any]:
    """The fields of a record that are known before anything runs."""
    exporter, exporter_version = exporter_of(model)
    return {
        "architecture": name,
        "model_sha256": hashlib.sha256(model).hexdigest(),
        "exporter": exporter,
        "exporter_version": exporter_version,
        "kind": facts.kind,
        "runtime": RUNTIME,
        "runtime_version": program_sha256[:16],
        "runtime_sha256": program_sha256,
        "device": f"{facts.manufacturer} {facts.model}",
        "device_id": facts.serial_hash,
        "soc": facts.soc,
        "os": facts.os,
        "build": facts.build,
        "core": facts.big_core,
        "mask": facts.mask,
        "affinity": None,
        "governor": None,
        "threads": protocol.threads,
        "clock": "wall" if facts.kind == "phone" or protocol.threads > 1 else "thread_cpu",  # see `benchmark_model.py`
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "tool_version": importlib.metadata.version("akd-gym"),
    }


def measured_record(
    about_it: Mapping[str, Any],
    model: bytes,
    runs: Sequence[BenchmarkRun],
    before: PhoneState,
    after: PhoneState,
    *,
    canary_ms: float | None,
    canary_reference_ms: float | None,
    refused: Mapping[str, str],
    seconds: float,
) -> LatencyRecord:
    """The record of an attempt that counts.

    Args:
        about_it: From `about`.
        model: TFLite file.
        runs: One each start of the benchmark.
        before: State of the phone before the first.
        after: And after the last.
        canary_ms: The canary's median before them.
        canary_reference_ms: And on the phone's best day.
        refused: Conditions that the phone refused, with what it said.
        seconds: Of the attempt.
    """
    times = [run.times for run in runs]
    input_shape, dtype = input_of(model)
    frequencies = (before.cur_khz, after.cur_khz)
    middle = {
        name: statistics.median(getattr(one, name) for one in times)
        for name in ("p5_ms", "median_ms", "p95_ms", "mean_ms", "std_ms")
    }
    warnings = [f"the phone refused {condition}: {why}" for condition, why in refused.items()]
    warnings += times[0].warnings
    if (spread := (middle["p95_ms"] - middle["p5_ms"]) / middle["median_ms"]) > SPREAD_WARNING:
        warnings.append(f"from the 5th to the 95th percentile the runs lie {spread:.0%} apart: the phone was busy")
    if times[0].delegated is False:
        warnings.append("XNNPACK did not take the whole graph")
    fields = {
        "verdict": "ok",
        "warnings": tuple(warnings),
        "command": runs[0].command,
        "affinity": runs[0].affinity,
        "governor": before.governor,
        "frequencies_khz": None if None in frequencies else frequencies,
        "state_before": dataclasses.asdict(before),
        "state_after": dataclasses.asdict(after),
        "input_shape": input_shape,
        "dtype": dtype,
        "fully_delegated": times[0].delegated,
        "warmups": sum(one.warmups for one in times),
        "runs": sum(one.runs for one in times),
        "repeat_median_ms": tuple(one.median_ms for one in times),
        "min_ms": min(one.min_ms for one in times),
        "canary_ms": canary_ms,
        "canary_reference_ms": canary_reference_ms,
        "seconds": seconds,
    }
    return LatencyRecord(**{**about_it, **middle, **fields})
