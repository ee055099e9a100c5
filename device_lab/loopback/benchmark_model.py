"""Stands in for LiteRT's `benchmark_model` on a loopback phone: runs the model and prints what that tool prints.

`benchmark_program` makes this file an executable, which is pushed and started like the arm64 one; so it imports nothing
of akd_gym, and has no `from __future__` line, because a header goes before it. Rules and lines are those of LiteRT's
tool: a phase ends once it has made its runs *and* lasted its least time, or lasted its most; times are in whole
microseconds. One thing differs: with one thread a run is timed by the processor time of that thread, not the wall's,
since on a shared machine the former stands still while others have the core.

An environment variable that only the loopback daemon sets makes it misbehave, see `akd_gym.device_lab.loopback.faults`.
"""

import math
import os
import re
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

FAULT = "AKD_LOOPBACK_FAULT"
ROOT = "AKD_LOOPBACK_ROOT"
FLAGS: dict[str, tuple[type, Any, str]] = {
    "num_runs": (int, 50, "expected number of runs, see also min_secs, max_secs"),
    "min_secs": (float, 1.0, "minimum number of seconds to rerun for"),
    "max_secs": (float, 150.0, "maximum number of seconds to rerun for"),
    "num_threads": (int, -1, "number of threads"),
    "warmup_runs": (int, 1, "minimum number of runs performed on initialization"),
    "warmup_min_secs": (float, 0.5, "minimum number of seconds to rerun for on initialization"),
    "graph": (str, "", "The path to the model file."),
    "use_cpu": (str, "true", "Whether to use CPU accelerator."),
}
"""Type, default and help of each flag."""
_DRIP_S = 0.2


class Failure(Exception):
    """The benchmark cannot go on; the message says why."""


class Log:
    """Prints lines, at once, or keeps them for a fault of the stage `report` to tamper with."""

    def __init__(self, fault: str) -> None:
        stage, _, self._fault = fault.partition(":")
        self._kept: list[str] | None = [] if stage == "report" else None

    def info(self, text: str) -> None:
        """A line of the tool itself."""
        self._put(f"INFO: {text}", sys.stdout)

    def result(self, line: int, text: str, source: str = "benchmark_litert_model.h") -> None:
        """A line of LiteRT's logger, from that line of its source."""
        self._put(f"INFO: [{source}:{line}] {text}", sys.stderr)

    def error(self, text: str) -> None:
        """A line that says what went wrong."""
        self._put(f"ERROR: {text}", sys.stderr)

    def warning(self, text: str) -> None:
        """A line that says what is odd."""
        self._put(f"WARN: {text}", sys.stdout)

    def finish(self, code: int) -> int:
        """Prints what was kept, tampered with; returns the exit code."""
        if self._kept is None:
            return code
        text = "".join(f"{line}\n" for line in self._kept)
        if self._fault in ("truncate", "disk_full"):
            text = text[: len(text) // 2]
        if self._fault == "garble":
            text = re.sub(r"([^\n]{6})[^\n]", r"\1?", text)
        if self._fault != "no_permission":
            for part in text if self._fault == "drip" else [text]:
                print(part, end="", flush=True)
                if self._fault == "drip":
                    time.sleep(_DRIP_S)
        return refuse(self._fault) or code

    def _put(self, line: str, stream: TextIO) -> None:
        if self._kept is None:
            print(line, file=stream, flush=True)
        else:
            self._kept.append(line)


def refuse(fault: str) -> int:
    """Does what a fault demands of a program, and returns the exit code: 0 for a fault that demands nothing."""
    if fault == "hang":
        while True:
            signal.pause()
    messages = {
        "nonzero": "Benchmarking failed.",
        "disk_full": "write failed: No space left on device",
        "no_permission": "Permission denied",
    }
    if fault not in messages:
        return 0
    print(f"ERROR: {messages[fault]}", file=sys.stderr, flush=True)
    return 126 if fault == "no_permission" else 1


def main(arguments: Sequence[str]) -> int:
    """Runs the benchmark and returns its exit code."""
    fault = os.environ.get(FAULT, "")
    log = Log(fault)
    stage, _, name = fault.partition(":")
    if stage == "run" and (code := refuse(name)):
        return code
    log.info("STARTING!")
    flags, unknown = parse(arguments)
    if flags is None:
        log.error(usage())
        return 0
    try:
        if unknown:
            log.warning(f"Unconsumed cmdline flags: {' '.join(unknown)}")
        benchmark(flags, log)
    except Failure as failure:
        log.error(str(failure))
        log.error("Benchmarking failed.")
        return log.finish(1)
    return log.finish(0)


def parse(arguments: Sequence[str]) -> tuple[dict[str, Any] | None, list[str]]:
    """The flags' values (None if help is asked for), and the arguments that are none."""
    values = {name: default for name, (_, default, _) in FLAGS.items()}
    unknown = []
    for argument in arguments:
        name, _, text = argument.removeprefix("--").partition("=")
        if argument in ("--help", "-h", "--help=true"):
            return None, []
        if not argument.startswith("--") or name not in FLAGS:
            unknown.append(argument)
            continue
        try:
            values[name] = FLAGS[name][0](text)
        except ValueError:
            unknown.append(argument)
    return values, unknown


def usage() -> str:
    """What `--help` prints."""
    lines = ["usage: benchmark_model <flags>", "Flags:"]
    for name, (kind, default, description) in FLAGS.items():
        lines.append(f"\t{f'--{name}={default}':30}\t{kind.__name__}\toptional\t{description}")
    return "\n".join(lines)


def benchmark(flags: dict[str, Any], log: Log) -> None:
    """Loads the model, runs both phases, and prints their figures.

    Raises:
        Failure: The model cannot be loaded or run.
    """
    named = {"num_runs": "Min num runs", "min_secs": "Min runs duration (seconds)", "num_threads": "Num threads"}
    for name, text in named.items():
        log.info(f"{text}: [{flags[name]:g}]")
    memory_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # The phone's own name of the file: on this machine it lies in the phone's root.
    path = flags["graph"].removeprefix(os.environ.get(ROOT, ""))
    log.result(305, f"Loading model from: {path}", "benchmark_litert_model.cc")
    start = time.perf_counter_ns()
    invoke, input_bytes = load(flags["graph"], flags["num_threads"])
    init_us = (time.perf_counter_ns() - start) // 1000
    init_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory_kb
    log.info(f"The input model file size (MB): {Path(flags['graph']).stat().st_size / 1e6:g}")
    log.info(f"Initialized session in {init_us / 1000:g}ms.")

    clock = time.thread_time_ns if flags["num_threads"] == 1 else time.perf_counter_ns
    phases = []
    for runs, least_s in (("warmup_runs", "warmup_min_secs"), ("num_runs", "min_secs")):
        log.info(
            f"Running benchmark for at least {flags[runs]} iterations and at least {flags[least_s]:g} seconds but"
            f" terminate if exceeding {flags['max_secs']:g} seconds."
        )
        phases.append(run(invoke, clock, flags[runs], flags[least_s], flags["max_secs"]))
        log.info(f"{statistics_line(phases[-1])}\n")
    warmups, times = phases
    overall_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory_kb
    print_results(log, init_us, warmups, times, input_bytes, (init_kb, overall_kb))


def load(path: str, threads: int) -> tuple[Callable[[], None], int]:
    """What runs the model once, on random inputs, and the size of these inputs in bytes.

    Raises:
        Failure: It is no model that LiteRT can run.
    """
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_path=path, num_threads=threads if threads > 0 else None)
        interpreter.allocate_tensors()
        rng = np.random.default_rng(0)
        size = 0
        for given in interpreter.get_input_details():
            values = rng.random(given["shape"]).astype(given["dtype"])
            interpreter.set_tensor(given["index"], values)
            size += values.nbytes
    except (ValueError, RuntimeError, MemoryError) as error:
        raise Failure(f"Failed to load model. {error}") from error
    invoke: Callable[[], None] = interpreter.invoke
    return invoke, size


def run(invoke: Callable[[], None], clock: Callable[[], int], runs: int, least_s: float, most_s: float) -> list[int]:
    """Whole microseconds of each run.

    Raises:
        Failure: A run failed.
    """
    times: list[int] = []
    now = time.perf_counter
    start = now()
    try:
        while (len(times) < runs or now() < start + least_s) and now() <= start + most_s:
            begin = clock()
            invoke()
            times.append((clock() - begin) // 1000)
    except (ValueError, RuntimeError) as error:
        raise Failure(f"Run failed: {error}") from error
    return times


def statistics_line(times: Sequence[int]) -> str:
    """The figures of a phase as the tool prints them."""
    if not times:
        return "count=0"
    last = len(times) - 1
    ordered = sorted(times)
    p5, median, p95 = (ordered[last * percent // 100] for percent in (5, 50, 95))
    quantiles = f"p5={p5} median={median} p95={p95}"
    if ordered[0] == ordered[-1]:
        return f"count={len(times)} curr={times[-1]}{'(all same)' if last else ''} {quantiles}"
    return (
        f"count={len(times)} first={times[0]} curr={times[-1]} min={ordered[0]} max={ordered[-1]} "
        f"avg={mean(times):g} std={deviation(times)} {quantiles}"
    )


def print_results(
    log: Log, init_us: int, warmups: Sequence[int], times: Sequence[int], input_bytes: int, memory_kb: tuple[int, int]
) -> None:
    """The block that closes the output."""
    log.result(86, "\n========== BENCHMARK RESULTS ==========")
    log.result(91, f"Model initialization: {init_us / 1000:.2f} ms")
    log.result(92, f"Warmup (first):       {(warmups[0] if warmups else 0) / 1000:.2f} ms")
    log.result(94, f"Warmup (avg):         {mean(warmups) / 1000:.2f} ms ({len(warmups)} runs)")
    log.result(96, f"Inference (avg):      {mean(times) / 1000:.2f} ms ({len(times)} runs)")
    if times:
        log.result(100, f"Inference (min):      {min(times) / 1000:.2f} ms")
        log.result(102, f"Inference (max):      {max(times) / 1000:.2f} ms")
        log.result(104, f"Inference (std):      {deviation(times) / 1000:.2f}")
    else:
        log.result(107, "No inference runs were performed.")
    if sum(times):
        log.result(112, f"Throughput:           {input_bytes * len(times) / 2**20 / sum(times) * 1e6:.2f} MB/s")
    else:
        log.result(114, "No throughput data available (throughput <= 0).")
    log.result(121, "\nMemory Usage:")
    log.result(122, f"Init footprint:       {memory_kb[0] / 1024:.2f} MB")
    log.result(124, f"Overall footprint:    {memory_kb[1] / 1024:.2f} MB")
    log.result(136, "======================================\n")


def mean(times: Sequence[int]) -> float:
    """The average; 0 of nothing."""
    return sum(times) / len(times) if times else 0.0


def deviation(times: Sequence[int]) -> int:
    """The standard deviation in whole microseconds, as the tool has it."""
    centre = mean(times)
    return int(math.sqrt(sum((one - centre) ** 2 for one in times) / len(times)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
