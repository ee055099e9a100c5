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
import sys
import time
from pathlib import Path
from typing import Any, TextIO


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

    samples: dict[int, list[list[int]]] = {index: [] for index in interpreters}
    gc.disable()
    for _ in range(protocol["passes"]):
        for index, interpreter in interpreters.items():
            tell("on", model=index, doing="running")
            samples[index].append(_time_pass(interpreter.invoke, protocol))
    after = _frequency_khz(core)

    frequencies = None if before is None or after is None else [before, after]
    for index, passes in samples.items():
        all_ms = np.concatenate([np.asarray(one) for one in passes]) / 1e6
        kept = all_ms
        if len(all_ms) > protocol["samples_kept"]:
            kept = np.sort(all_ms)[
                np.linspace(0, len(all_ms) - 1, protocol["samples_kept"]).round().astype(int)
            ]
        quantiles = np.percentile(all_ms, [5, 50, 95])
        tell(
            "result",
            model=index,
            warmups=1 + protocol["passes"] * protocol["warmups"],
            runs=len(all_ms),
            pass_min_ms=[round(min(one) / 1e6, 6) for one in passes],
            samples_ms=kept.round(6).tolist(),
            min_ms=float(all_ms.min()),
            p5_ms=float(quantiles[0]),
            median_ms=float(quantiles[1]),
            p95_ms=float(quantiles[2]),
            mean_ms=float(all_ms.mean()),
            std_ms=float(all_ms.std()),
            frequencies_khz=frequencies,
            **facts[index],
        )
    tell("done")


def _time_pass(invoke: Any, protocol: dict[str, Any]) -> list[int]:
    """Nanoseconds of each run: at least `min_runs` of them, and then until `pass_ms` are over."""
    clock = time.perf_counter_ns
    for _ in range(protocol["warmups"]):
        invoke()
    times: list[int] = []
    end = clock() + int(protocol["pass_ms"] * 1e6)
    start = clock()
    while start < end or len(times) < protocol["min_runs"]:
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
        return (
            len(delegates) == 1
            and inputs <= set(delegates[0]["inputs"])
            and outputs == set(delegates[0]["outputs"])
        )
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
