"""The process that times models on this machine: pinned, LiteRT only, one request on stdin, events on stdout.

`device_lab/host.py` runs this file by its path, so that it starts without importing the package. It is a process of its
own because a damaged model can crash the runtime. Each line on stdout is one JSON event; the line before a crash or
a hang tells which model it happened to.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple, TextIO

CANARY = 0  # the canary's place among the models of a request
CLOCKS = {"thread_cpu": time.thread_time_ns, "wall": time.perf_counter_ns}


def main(request: dict[str, Any], out: TextIO) -> None:
    """Loads all models, times them in interleaved passes, and writes events to `out`."""

    def tell(event: str, **fields: Any) -> None:
        print(json.dumps({"event": event, **fields}), file=out, flush=True)

    core, protocol = request["core"], request["protocol"]
    if core is not None:
        os.sched_setaffinity(0, {core})
    import numpy as np  # after pinning, so that no thread of a library escapes it
    from ai_edge_litert.interpreter import Interpreter

    tell("ready", affinity=_affinity(), governor=_governor(core))
    before = _frequency_khz(core)
    rng = np.random.default_rng(0)
    interpreters: dict[int, Any] = {}
    facts: dict[int, dict[str, Any]] = {}
    for index, path in enumerate(request["models"]):
        tell("on", model=index, doing="loading")
        try:
            interpreter = Interpreter(model_path=path, num_threads=protocol["threads"])
            interpreter.allocate_tensors()
            (given,) = interpreter.get_input_details()
            interpreter.set_tensor(given["index"], rng.standard_normal(given["shape"]).astype(given["dtype"]))
            interpreter.invoke()
        except (ValueError, RuntimeError, MemoryError) as error:
            tell("failed", model=index, reason=f"{type(error).__name__}: {error}")
            continue
        interpreters[index] = interpreter
        facts[index] = {
            "input_shape": [int(size) for size in given["shape"]],
            "dtype": np.dtype(given["dtype"]).name,
            "fully_delegated": _fully_delegated(interpreter),
        }

    if CANARY not in interpreters:
        tell("done")
        return
    gc.disable()
    passes, canary_ns = _time_all(interpreters, request, tell)
    after = _frequency_khz(core)

    frequencies = None if before is None or after is None else [before, after]
    for index, done in passes.items():
        all_ms = np.concatenate([one.times for one in done]) / 1e6
        kept = all_ms
        if len(all_ms) > protocol["samples_kept"]:
            kept = np.sort(all_ms)[np.linspace(0, len(all_ms) - 1, protocol["samples_kept"]).round().astype(int)]
        quantiles = np.percentile(all_ms, [5, 50, 95])
        tell(
            "result",
            model=index,
            warmups=1 + len(done) * protocol["warmups"],
            runs=len(all_ms),
            pass_min_ms=[min(one.times) / 1e6 for one in done],
            pass_canary_before_ms=[one.canary_before / 1e6 for one in done],
            pass_canary_after_ms=[one.canary_after / 1e6 for one in done],
            samples_ms=kept.tolist(),
            min_ms=float(all_ms.min()),
            p5_ms=float(quantiles[0]),
            median_ms=float(quantiles[1]),
            p95_ms=float(quantiles[2]),
            mean_ms=float(all_ms.mean()),
            std_ms=float(all_ms.std()),
            frequencies_khz=frequencies,
            **facts[index],
        )
    tell("done", canary_ms=canary_ns / 1e6)


class _Pass(NamedTuple):
    """One visit to one model: its runs, and the canary's probes around them; nanoseconds."""

    times: list[int]
    canary_before: int
    canary_after: int


def _time_all(interpreters: dict[int, Any], request: dict[str, Any], tell: Any) -> tuple[dict[int, list[_Pass]], int]:
    """Visits all models in turn until each has its steady passes and they agree, or patience ends.

    A pass is steady if the canary ran alike before and after it. Returns the passes, and the canary's best in this
    process: its third fastest probe, so that no single odd reading becomes the standard.
    """
    protocol = request["protocol"]
    clock = CLOCKS[request["clock"]]
    now = time.perf_counter
    canary = interpreters.pop(CANARY).invoke
    passes: dict[int, list[_Pass]] = {index: [] for index in interpreters}
    probes: list[int] = []

    def probe() -> int:
        tell("on", model=CANARY, doing="running")
        probes.append(min(_run(canary, clock, protocol["probe_runs"], 0)))
        return probes[-1]

    def wants_more(done: list[_Pass]) -> bool:
        ratios = [
            2 * min(one.times) / (one.canary_before + one.canary_after)
            for one in done
            if abs(one.canary_after / one.canary_before - 1) <= protocol["steady_tolerance"]
        ]
        if len(ratios) < protocol["passes"]:
            return True
        low, middle, high = statistics.quantiles(ratios, n=4)
        return high - low > protocol["spread_tolerance"] * middle

    end = now() + request["calibration_s"]
    while now() < end:
        probe()
    earliest = now() + protocol["round_s"]
    latest = now() + protocol["patience_s"] * len(interpreters)
    before = probe()
    while True:
        early, late = now() < earliest, now() > latest
        wanting = [
            index
            for index, done in passes.items()
            if early or len(done) < protocol["passes"] or (not late and wants_more(done))
        ]
        if not wanting:
            return passes, sorted(probes)[:3][-1]
        for index in wanting:
            tell("on", model=index, doing="running")
            invoke = interpreters[index].invoke
            for _ in range(protocol["warmups"]):
                invoke()
            times = _run(invoke, clock, protocol["min_runs"], protocol["pass_ms"])
            after = probe()
            passes[index].append(_Pass(times, before, after))
            before = after


def _run(invoke: Any, clock: Any, least_runs: int, least_ms: float) -> list[int]:
    """Nanoseconds of each of at least `least_runs` runs, and of as many as `least_ms` milliseconds hold."""
    times: list[int] = []
    end = time.perf_counter() + least_ms / 1e3
    while len(times) < least_runs or time.perf_counter() < end:
        start = clock()
        invoke()
        times.append(clock() - start)
    return times


def _fully_delegated(interpreter: Any) -> bool | None:
    """Whether one delegate node stands for the whole graph; None if this LiteRT does not say."""
    try:
        delegates = [op for op in interpreter._get_ops_details() if op["op_name"] == "DELEGATE"]
        inputs = {detail["index"] for detail in interpreter.get_input_details()}
        outputs = {detail["index"] for detail in interpreter.get_output_details()}
        return len(delegates) == 1 and inputs <= set(delegates[0]["inputs"]) and outputs == set(delegates[0]["outputs"])
    except (AttributeError, KeyError):
        return None


def _affinity() -> list[int] | None:
    """The cores this process may use, as the kernel reports them."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("Cpus_allowed_list:"):
                cores: list[int] = []
                for part in line.split(":")[1].split(","):
                    first, _, last = part.strip().partition("-")
                    cores += range(int(first), int(last or first) + 1)
                return cores
    return None


def _governor(core: int | None) -> str | None:
    return _cpufreq(core, "scaling_governor")


def _frequency_khz(core: int | None) -> int | None:
    text = _cpufreq(core, "scaling_cur_freq")
    return int(text) if text else None


def _cpufreq(core: int | None, name: str) -> str | None:
    try:
        return Path(f"/sys/devices/system/cpu/cpu{core}/cpufreq/{name}").read_text(encoding="utf-8").strip()
    except OSError:
        return None


if __name__ == "__main__":
    main(json.load(sys.stdin), sys.stdout)
