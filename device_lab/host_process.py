"""Runs `host_worker.py` for one request, and says what came of it: numbers, refusals, a crash, a silence."""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from akd_gym.errors import DeviceError, DeviceTimeoutError

WORKER = Path(__file__).with_name("host_worker.py")


@dataclass
class Outcome:
    """What came of one model: a result, or the reason why there is none."""

    result: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None


@dataclass
class WorkerRun:
    """What came of one process.

    Attributes:
        ready: Facts about the process: affinity, governor.
        outcomes: By position in the request; complete exactly when `failure` is None.
        failure: How the process ended if it did not end well.
        canary_ms: The canary's fastest run; None if it did not run.
        on: The model that was being loaded or run at that moment; None before the first.
    """

    ready: dict[str, Any] = field(default_factory=dict)
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    canary_ms: float | None = None
    failure: DeviceError | None = None
    on: int | None = None
    doing: str = "starting"


def run_worker(request: dict[str, Any], timeout_s: float) -> WorkerRun:
    """Runs one measuring process to its end.

    Args:
        request: See `host_worker.main`.
        timeout_s: Longest silence; then the process is killed.
    """
    run = WorkerRun()
    done = False
    with tempfile.TemporaryFile() as errors, _start(errors) as process:
        lines: queue.Queue[str | None] = queue.Queue()
        reader = threading.Thread(target=_read, args=(process.stdout, lines), daemon=True)
        reader.start()
        try:
            _send(process, request)
            while (line := lines.get(timeout=timeout_s)) is not None:
                done = _take(json.loads(line), run) or done
            code = process.wait(timeout_s)
        except (queue.Empty, subprocess.TimeoutExpired):
            run.failure = DeviceTimeoutError(
                f"the measuring process said nothing for {timeout_s:g} s while {run.doing}"
            )
        except ValueError:
            run.failure = DeviceError(f"the measuring process wrote something else than events while {run.doing}")
        else:
            if code != 0 or not done:
                errors.seek(0)
                run.failure = DeviceError(
                    f"the measuring process ended with {_name(code)} while {run.doing}{_tail(errors.read())}"
                )
        finally:
            process.kill()
            process.wait()
            reader.join()
    return run


def _start(errors: IO[bytes]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(WORKER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        encoding="utf-8",
    )


def _send(process: subprocess.Popen[str], request: dict[str, Any]) -> None:
    assert process.stdin is not None
    try:
        json.dump(request, process.stdin)
        process.stdin.close()
    except BrokenPipeError:
        pass  # it died at once; its exit code says more


def _read(stream: IO[str] | None, lines: queue.Queue[str | None]) -> None:
    assert stream is not None
    for line in stream:
        lines.put(line)
    lines.put(None)


def _take(event: dict[str, Any], run: WorkerRun) -> bool:
    """Notes one event; True for the last one."""
    kind = event.pop("event")
    if kind == "ready":
        run.ready = event
    elif kind == "on":
        run.on = event["model"]
        run.doing = f"{event['doing']} the model"
    elif kind == "failed":
        run.outcomes[event["model"]] = Outcome(reason=event["reason"])
        run.on, run.doing = None, "between two models"
    elif kind == "result":
        run.outcomes[event.pop("model")] = Outcome(result=event)
        run.on, run.doing = None, "reporting"
    elif kind == "done":
        run.canary_ms = event.get("canary_ms")
    return kind == "done"


def _name(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def _tail(errors: bytes) -> str:
    lines = [line for line in errors.decode(errors="replace").splitlines() if line.strip() and "INFO:" not in line]
    return f": {' | '.join(lines[-3:])[-400:]}" if lines else ""
