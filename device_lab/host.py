"""Latency on this machine: single-thread LiteRT with XNNPACK on one pinned core, in a process of its own.

How a number is made (measured facts behind it are in the docs): all models of a round and the canary are loaded into
one process and timed in passes over all of them, so that a noisy second falls on all alike; the latency is the minimum,
the only statistic that repeats on a machine with other load; a round whose canary is slow is measured again.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import filelock

from akd_gym.device_lab import machine
from akd_gym.device_lab.canary import CANARY_VERSION, canary_model
from akd_gym.device_lab.host_process import Outcome, run_worker
from akd_gym.device_lab.records import TIMEOUT_REASON, LatencyRecord
from akd_gym.device_lab.tflite_writer import EXPORTER, EXPORTER_VERSION, exporter_of
from akd_gym.errors import DeviceError, DeviceTimeoutError, InvalidSettingError, StorageError

RUNTIME = "litert-xnnpack"
_SPREAD_WARNING = 0.10


@dataclass(frozen=True)
class HostProtocol:
    """How one number is taken. Part of the identity: numbers of another protocol do not answer for this one's.

    Args:
        passes: How often the measurement goes over all models of a round.
        pass_ms: Least time that a pass spends on one model.
        min_runs: Least timed inferences a pass spends on one model.
        warmups: Untimed inferences before each pass's timed ones.
        threads: Inference threads; the pinned core runs them all.
        samples_kept: Most raw samples that a record keeps (see `LatencyRecord.samples_ms`).
        canary_tolerance: How far the canary may lie above the session's best before the round is measured again.
        tries: How often a round is measured at most.
    """

    passes: int = 10
    pass_ms: float = 20.0
    min_runs: int = 3
    warmups: int = 2
    threads: int = 1
    samples_kept: int = 200
    canary_tolerance: float = 0.04
    tries: int = 3

    def __post_init__(self) -> None:
        for name, least in {
            "passes": 1,
            "min_runs": 1,
            "warmups": 0,
            "threads": 1,
            "samples_kept": 2,
            "tries": 1,
        }.items():
            if getattr(self, name) < least:
                raise InvalidSettingError(
                    f"`{name}` must be at least {least}, but got {getattr(self, name)}."
                )
        for name in ("pass_ms", "canary_tolerance"):
            if not 0 < getattr(self, name) < float("inf"):
                raise InvalidSettingError(f"`{name}` must be positive, but got {getattr(self, name)}.")


class HostLatency:
    """Measures TFLite models on this machine, one round at a time machine-wide.

    Measure in a quiet phase: other processes of a search must not train meanwhile. Not safe to share between threads.

    Args:
        protocol: How a number is taken.
        core: The core to measure on; None takes the idlest of the fastest.
        timeout_s: Longest silence of the measuring process before it is ended.
        lock_timeout_s: Longest wait for another measurement on this machine.

    Raises:
        InvalidSettingError: A core that this process may not use, or a time that is not positive.
    """

    kind: Literal["host"] = "host"

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
        self._fixed_core = core
        self._core = core
        self._canary_best_ms: float | None = None

    def identity(self) -> dict[str, Any]:
        """Machine, runtime, exporter and protocol: what must agree for one number to stand for another."""
        return {
            "kind": self.kind,
            "device": machine.cpu_model(),
            "device_id": machine.machine_id(),
            "cores": os.cpu_count(),
            "os": platform.system(),
            "runtime": RUNTIME,
            "runtime_version": _runtime_version(),
            "exporter": EXPORTER,
            "exporter_version": EXPORTER_VERSION,
            "canary": CANARY_VERSION,
            "pinned": machine.can_pin(),
            "protocol": dataclasses.asdict(self.protocol),
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
            DeviceTimeoutError: It did not start in time, or another measurement held the lock for too long.
        """
        if not models:
            return []
        with _machine_lock(self.lock_timeout_s):
            best: tuple[float, _Round] | None = None
            for number in range(1, self.protocol.tries + 1):
                self._core = (
                    self._fixed_core if self._fixed_core is not None else machine.choose_core(self._core)
                )
                current = self._measure_round([content for _, content in models])
                canary_ms = current.canary.result["min_ms"]
                if best is None or canary_ms < best[0]:
                    best = canary_ms, current
                self._canary_best_ms = min(canary_ms, self._canary_best_ms or canary_ms)
                if best[0] <= self._canary_best_ms * (1 + self.protocol.canary_tolerance):
                    break
        return [self._record(name, content, best[1], i, number) for i, (name, content) in enumerate(models)]

    def close(self) -> None:
        """Nothing is held between rounds."""

    def _measure_round(self, contents: list[bytes]) -> _Round:
        """One measurement of all models; those that crash or silence the process twice are left out and named."""
        outcomes: dict[int, Outcome] = {}
        strikes = dict.fromkeys(range(len(contents)), 0)
        with tempfile.TemporaryDirectory(prefix="akd_gym-host-") as folder:
            paths = [Path(folder, "canary.tflite")]
            try:
                paths[0].write_bytes(canary_model())
                for i, content in enumerate(contents):
                    paths.append(Path(folder, f"model{i}.tflite"))
                    paths[-1].write_bytes(content)
            except OSError as error:
                raise StorageError(f"The models cannot be written below {folder}: {error}.") from error
            while True:
                left = [i for i in range(len(contents)) if i not in outcomes]
                request = {
                    "core": self._core,
                    "protocol": dataclasses.asdict(self.protocol),
                    "models": [str(paths[0]), *(str(paths[i + 1]) for i in left)],
                }
                run = run_worker(request, self.timeout_s)
                outcomes |= {
                    left[i - 1]: one
                    for i, one in run.outcomes.items()
                    if i and (one.reason or not run.failure)
                }
                if run.failure is None:
                    break
                if run.on is None or run.on == 0:
                    raise run.failure
                culprit = left[run.on - 1]
                strikes[culprit] += 1
                if strikes[culprit] == 2:
                    timed_out = isinstance(run.failure, DeviceTimeoutError)
                    outcomes[culprit] = Outcome(
                        reason=f"{TIMEOUT_REASON}: {run.failure}" if timed_out else str(run.failure)
                    )
        canary = run.outcomes[0]
        if not canary.result:
            raise DeviceError(f"LiteRT on this machine refuses the canary model: {canary.reason}.")
        if self._core is not None and run.ready["affinity"] != [self._core]:
            raise DeviceError(
                f"The measurement must be pinned to core {self._core}, but ran on {run.ready['affinity']}."
            )
        return _Round(self._core, run.ready, canary, outcomes)

    def _record(self, name: str, content: bytes, done: _Round, index: int, tries: int) -> LatencyRecord:
        exporter, exporter_version = exporter_of(content)
        outcome = done.outcomes[index]
        result = outcome.result
        canary_ms, reference_ms = done.canary.result["min_ms"], self._canary_best_ms
        record = LatencyRecord(
            architecture=name,
            model_sha256=hashlib.sha256(content).hexdigest(),
            exporter=exporter,
            exporter_version=exporter_version,
            input_shape=tuple(result["input_shape"]) if result else None,
            dtype=result.get("dtype"),
            kind=self.kind,
            runtime=RUNTIME,
            runtime_version=_runtime_version(),
            fully_delegated=result.get("fully_delegated"),
            device=machine.cpu_model(),
            device_id=machine.machine_id(),
            soc=None,
            os=platform.platform(),
            core=done.core,
            affinity=tuple(done.ready["affinity"]) if done.ready["affinity"] else None,
            governor=done.ready["governor"],
            frequencies_khz=tuple(result["frequencies_khz"]) if result.get("frequencies_khz") else None,
            threads=self.protocol.threads,
            warmups=result.get("warmups", 0),
            runs=result.get("runs", 0),
            pass_min_ms=tuple(result.get("pass_min_ms", ())),
            samples_ms=tuple(result.get("samples_ms", ())),
            **{f"{key}_ms": result.get(f"{key}_ms") for key in ("min", "p5", "median", "p95", "mean", "std")},
            canary_ms=canary_ms,
            canary_reference_ms=reference_ms,
            tries=tries,
            created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            tool_version=importlib.metadata.version("akd-gym"),
            verdict="ok" if result else "failed",
            reason=outcome.reason,
        )
        return dataclasses.replace(record, warnings=tuple(self._warnings(record))) if result else record

    def _warnings(self, record: LatencyRecord) -> list[str]:
        warnings = []
        if record.spread is not None and record.spread > _SPREAD_WARNING:
            warnings.append(
                f"the median pass lies {record.spread:.0%} above the best one: the machine was busy"
            )
        assert record.canary_ms is not None and record.canary_reference_ms is not None
        excess = record.canary_ms / record.canary_reference_ms - 1
        if excess > self.protocol.canary_tolerance:
            warnings.append(
                f"after {record.tries} tries the canary was still {excess:.0%} above the session's best"
            )
        if record.core is None:
            warnings.append("this system cannot pin a process to a core: the number may wander between cores")
        if record.fully_delegated is False:
            warnings.append("XNNPACK did not take the whole graph")
        return warnings


@dataclass(frozen=True)
class _Round:
    core: int | None
    ready: dict[str, Any]
    canary: Outcome
    outcomes: dict[int, Outcome]


@functools.cache
def _runtime_version() -> str:
    return importlib.metadata.version("ai-edge-litert")


def _lock_path() -> Path:
    """One file a machine. Its folder has no sticky bit, which would let the kernel refuse a file of another user."""
    folder = Path(tempfile.gettempdir(), "akd_gym-locks")
    try:
        folder.mkdir(exist_ok=True)
        if folder.stat().st_uid == getattr(os, "getuid", lambda: 0)():
            folder.chmod(0o777)
    except OSError as error:
        raise StorageError(f"The lock folder {folder} must be writable: {error}.") from error
    return folder / "host-latency.lock"


def _machine_lock(timeout_s: float) -> Any:
    return _Lock(timeout_s)


class _Lock:
    """The machine-wide lock as a context; waiting for too long is a `DeviceTimeoutError`."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.lock = filelock.FileLock(_lock_path(), timeout=timeout_s, mode=0o666)

    def __enter__(self) -> None:
        try:
            self.lock.acquire()
        except filelock.Timeout as error:
            raise DeviceTimeoutError(
                f"Another measurement holds {self.lock.lock_file} for more than {self.timeout_s:g} s. "
                "Wait for it, or raise `lock_timeout_s`."
            ) from error
        except OSError as error:
            raise StorageError(f"The lock {self.lock.lock_file} cannot be opened: {error}.") from error

    def __exit__(self, *_: object) -> None:
        self.lock.release()
