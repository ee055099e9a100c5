"""Latency on this machine: single-thread LiteRT with XNNPACK on one pinned core, in a process of its own.

How a number is made: one process loads all models of a round and visits them in turn, with a probe of a fixed canary
model between two visits. A shared machine flips between clock speeds many times a minute (by a factor of 1.18 where
this was written), so each visit is set against the probes beside it, and counts if they agree. What repeats is the
minimum of a visit over the canary's: `LatencyRecord.latency_ms`.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import importlib.metadata
import os
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from akd_gym.device_lab import machine
from akd_gym.device_lab.canary import CALIBRATION_S, CANARY_VERSION, CanaryReference, canary_model
from akd_gym.device_lab.host_process import Outcome, WorkerRun, run_worker
from akd_gym.device_lab.lock import machine_lock
from akd_gym.device_lab.records import SCHEMA_VERSION, TIMEOUT_REASON, LatencyRecord
from akd_gym.device_lab.tflite_writer import EXPORTER, EXPORTER_VERSION, exporter_of
from akd_gym.errors import DeviceError, DeviceTimeoutError, InvalidSettingError, StorageError

RUNTIME = "litert-xnnpack"
SPREAD_WARNING = 0.10  # of the visits behind one number
_STRIKES = 2  # how often a model may end the measuring process before it is given up


@dataclass(frozen=True)
class HostProtocol:
    """How one number is taken. Part of the identity: numbers of another protocol do not answer for it.

    Args:
        passes: Steady visits that each model needs: visits with the canary alike before and after.
        pass_ms: Least time of one visit.
        min_runs: Least timed inferences of one visit.
        warmups: Untimed inferences at the start of a visit.
        probe_runs: Inferences of the canary between two visits; the fastest of them tells the machine's state.
        steady_tolerance: How far (a fraction) the canary may change around a steady visit.
        spread_tolerance: How far apart (a fraction) the middle half of the visits may lie for them to agree.
        round_s: Least seconds of a round, so that also a single model's visits spread over time.
        patience_s: Seconds, times the models of the round, after which no more visits are added.
        threads: Inference threads; the pinned core runs them all.
        samples_kept: Most raw samples that a record keeps (see `LatencyRecord.samples_ms`).

    Raises:
        InvalidSettingError: A value out of range.
    """

    passes: int = 12
    pass_ms: float = 8.0
    min_runs: int = 3
    warmups: int = 2
    probe_runs: int = 5
    steady_tolerance: float = 0.03
    spread_tolerance: float = 0.05
    round_s: float = 0.8
    patience_s: float = 0.5
    threads: int = 1
    samples_kept: int = 200

    def __post_init__(self) -> None:
        least = {"passes": 2, "min_runs": 1, "warmups": 0, "probe_runs": 1, "threads": 1, "samples_kept": 2}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise InvalidSettingError(f"`{name}` must be at least {bound}, but got {getattr(self, name)}.")
        for name in ("pass_ms", "steady_tolerance", "spread_tolerance", "patience_s"):
            if not 0 < getattr(self, name) < float("inf"):
                raise InvalidSettingError(f"`{name}` must be positive, but got {getattr(self, name)}.")
        if not 0 <= self.round_s < float("inf"):
            raise InvalidSettingError(f"`round_s` must not be negative, but got {self.round_s}.")


class HostLatency:
    """Measures TFLite models on this machine, one round at a time machine-wide.

    Measure in a quiet phase: the other processes of a search must not train meanwhile. One thread may use it.

    Args:
        protocol: How a number is taken.
        core: The core to measure on; None takes the idlest of the fastest.
        timeout_s: Longest silence of the measuring process before it is ended.
        lock_timeout_s: Longest wait for another measurement on this machine.

    Raises:
        InvalidSettingError: A core that this process may not use, or a time that is not positive.
    """

    kind = "host"
    needs_quiet = True

    def __init__(
        self,
        protocol: HostProtocol | None = None,
        *,
        core: int | None = None,
        timeout_s: float = 60.0,
        lock_timeout_s: float = 600.0,
    ) -> None:
        for name, value in {"timeout_s": timeout_s, "lock_timeout_s": lock_timeout_s}.items():
            if not value > 0:
                raise InvalidSettingError(f"`{name}` must be positive, but got {value}.")
        if core is not None and (not machine.can_pin() or core not in os.sched_getaffinity(0)):
            raise InvalidSettingError(f"`core` must be one that this process may use, but got {core}.")
        self.protocol = protocol or HostProtocol()
        self.timeout_s = timeout_s
        self.lock_timeout_s = lock_timeout_s
        self._reference = CanaryReference()
        self._fixed_core = core
        self._core = core

    def identity(self) -> dict[str, Any]:
        """Machine, runtime, exporter and protocol: what must agree for one number to stand for another."""
        return {
            "kind": self.kind,
            "device": machine.cpu_model(),
            "device_id": machine.machine_id(),
            "cores": os.cpu_count(),
            "os": platform.system(),
            "pinned": machine.can_pin(),
            "runtime": RUNTIME,
            "runtime_version": importlib.metadata.version("ai-edge-litert"),
            "exporter": EXPORTER,
            "exporter_version": EXPORTER_VERSION,
            "canary_version": CANARY_VERSION,
            "clock": machine.best_clock(self.protocol.threads),
            "protocol": dataclasses.asdict(self.protocol),
            "records": SCHEMA_VERSION,  # before version 2 a ledger took the raw minimum for the latency
        }

    def measure(self, models: Sequence[tuple[str, bytes]]) -> list[LatencyRecord]:
        """Measures a round of models under the machine-wide lock.

        Args:
            models: (architecture, TFLite file) of each.

        Returns:
            One record a model, in order. A model that the runtime refuses, or that twice crashed or silenced the
            measuring process, has verdict `"failed"` and its reason; the others keep their numbers.

        Raises:
            DeviceError: The measuring process failed apart from any model, or on the canary.
            DeviceTimeoutError: It said nothing for too long, or another measurement held the lock for too long.
            StorageError: The models cannot be written to the temporary directory.
        """
        if not models:
            return []
        with machine_lock("host-latency", self.lock_timeout_s):
            if self._fixed_core is None:
                self._core = machine.choose_core(self._core)
            run, outcomes = self._measure_round([content for _, content in models])
            assert run.canary_ms is not None
            reference_ms = self._reference.settle(run.canary_ms)
        return [
            self._record(name, content, run, outcome, reference_ms)
            for (name, content), outcome in zip(models, outcomes, strict=True)
        ]

    def close(self) -> None:
        """Does nothing: no process and no lock outlives a round."""

    def _measure_round(self, contents: list[bytes]) -> tuple[WorkerRun, list[Outcome]]:
        """Measures all models in one process, and again without those that end it."""
        failed: dict[int, Outcome] = {}
        strikes = [0] * len(contents)
        with tempfile.TemporaryDirectory(prefix="akd_gym-host-", ignore_cleanup_errors=True) as folder:
            paths = [Path(folder, f"model{i}.tflite") for i in range(len(contents))]
            canary = Path(folder, "canary.tflite")
            try:
                for path, content in zip([canary, *paths], [canary_model(), *contents], strict=True):
                    path.write_bytes(content)
            except OSError as error:
                raise StorageError(f"Models to measure must fit into {folder}: {error}.") from error
            reference_ms = self._reference.read()
            while True:
                left = [i for i in range(len(contents)) if i not in failed]
                request = {
                    "core": self._core,
                    "clock": machine.best_clock(self.protocol.threads),
                    "protocol": dataclasses.asdict(self.protocol),
                    "calibration_s": 0 if reference_ms else CALIBRATION_S,
                    "models": [str(canary), *(str(paths[i]) for i in left)],
                }
                run = run_worker(request, self.timeout_s)
                if run.failure is None:
                    break
                if not run.on:  # nothing was on, or the canary: the machine's fault and no model's
                    raise run.failure
                culprit = left[run.on - 1]
                strikes[culprit] += 1
                if strikes[culprit] == _STRIKES:
                    is_timeout = isinstance(run.failure, DeviceTimeoutError)
                    prefix = f"{TIMEOUT_REASON}: " if is_timeout else ""
                    failed[culprit] = Outcome(reason=f"{prefix}{run.failure}")
        self._check(run)
        measured = {i: run.outcomes[place] for place, i in enumerate(left, start=1)}
        return run, [(failed | measured)[i] for i in range(len(contents))]

    def _check(self, run: WorkerRun) -> None:
        if run.canary_ms is None:
            raise DeviceError(f"LiteRT on this machine must run the canary model, but: {run.outcomes[0].reason}.")
        if self._core is not None and run.ready["affinity"] != [self._core]:
            raise DeviceError(
                f"The measuring process must be pinned to core {self._core}, "
                f"but the system says it may use {run.ready['affinity']}."
            )

    def _record(
        self, name: str, content: bytes, run: WorkerRun, outcome: Outcome, reference_ms: float
    ) -> LatencyRecord:
        exporter, exporter_version = exporter_of(content)
        record = LatencyRecord.from_dict(
            {
                "architecture": name,
                "model_sha256": hashlib.sha256(content).hexdigest(),
                "exporter": exporter,
                "exporter_version": exporter_version,
                "kind": self.kind,
                "runtime": RUNTIME,
                "runtime_version": importlib.metadata.version("ai-edge-litert"),
                "device": machine.cpu_model(),
                "device_id": machine.machine_id(),
                "os": platform.platform(),
                "core": self._core,
                "affinity": run.ready["affinity"],
                "governor": run.ready["governor"],
                "threads": self.protocol.threads,
                "clock": machine.best_clock(self.protocol.threads),
                "canary_ms": run.canary_ms,
                "canary_reference_ms": reference_ms,
                "steady_tolerance": self.protocol.steady_tolerance,
                "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
                "tool_version": importlib.metadata.version("akd-gym"),
                "verdict": "ok" if outcome.result else "failed",
                "reason": outcome.reason,
                **outcome.result,
            }
        )
        return dataclasses.replace(record, warnings=tuple(self._warnings(record))) if outcome.result else record

    def _warnings(self, record: LatencyRecord) -> list[str]:
        warnings = []
        if record.steady_passes < self.protocol.passes:
            warnings.append(
                f"only {record.steady_passes} of {len(record.pass_min_ms)} passes were steady, "
                f"{self.protocol.passes} are wanted: the machine was busy"
            )
        if record.spread > SPREAD_WARNING:
            warnings.append(f"the middle half of the passes lies {record.spread:.0%} apart: the machine was busy")
        if record.core is None:
            warnings.append("this system cannot pin a process to a core; the number may depend on the one it got")
        if record.fully_delegated is False:
            warnings.append("XNNPACK did not take the whole graph")
        return warnings
