"""How well host latencies repeat: random architectures of a space, measured several times, as JSON on stdout.

    python -m benchmarks.latency_repeat --architectures 30 --repeats 3 --workers 2

Each repeat measures all architectures again, in rounds as a search does, so repeats of one architecture lie far apart
in time. With `--workers` every round is followed by trainings in so many processes, as in a search: they pause while
it measures. Run it beside other load to see what that does.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

from akd_gym.device_lab import HostLatency, HostProtocol
from akd_gym.device_lab.tflite import export_tflite
from akd_gym.executors import Job, ProcessExecutor, TrainingTask
from akd_gym.networks import build_network
from akd_gym.recipes import RECIPES
from akd_gym.space import make_space


def latency_repeat(
    architectures: int = 30,
    repeats: int = 3,
    *,
    space: str = "akd",
    skeleton: str = "small",
    resolution: int = 28,
    in_channels: int = 1,
    round_size: int = 8,
    protocol: HostProtocol | None = None,
    core: int | None = None,
    seed: int = 0,
    workers: int = 0,
) -> dict[str, Any]:
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    searched = make_space(space, skeleton=skeleton)
    specs: dict[str, Any] = {}
    while len(specs) < architectures:
        spec = searched.network(searched.sample(rng))
        specs.setdefault(str(spec), spec)
    shape = (1, in_channels, resolution, resolution)
    export_start = time.perf_counter()
    models = [
        (name, export_tflite(build_network(spec, 10, in_channels).eval(), shape, description=name))
        for name, spec in specs.items()
    ]
    export_s = time.perf_counter() - export_start

    meter = HostLatency(protocol, core=core)
    executor = ProcessExecutor(workers) if workers else None
    task = TrainingTask("fashion", RECIPES["fashion"])
    jobs = (Job(name, seed) for seed in itertools.count() for name in specs)
    training_s = 0.0
    latencies = np.empty((repeats, architectures))
    raw = np.empty_like(latencies)
    passes: list[int] = []
    steady: list[int] = []
    warnings = 0
    start = time.perf_counter()
    for repeat in range(repeats):
        for first in range(0, architectures, round_size):
            records = meter.measure(models[first : first + round_size])
            latencies[repeat, first : first + round_size] = [record.latency_ms for record in records]
            raw[repeat, first : first + round_size] = [record.min_ms for record in records]
            steady += [record.steady_passes for record in records]
            passes += [len(record.pass_min_ms) for record in records]
            warnings += sum(bool(record.warnings) for record in records)
            if executor is not None:
                began = time.perf_counter()
                list(executor.run(task, list(itertools.islice(jobs, workers))))
                training_s += time.perf_counter() - began
    measure_s = time.perf_counter() - start - training_s
    if executor is not None:
        executor.close()

    deviation = np.abs(latencies / np.median(latencies, axis=0) - 1)
    pairs = [(a, b) for a in range(repeats) for b in range(a)]
    ranks = [float(spearmanr(latencies[a], latencies[b]).statistic) for a, b in pairs]
    return {
        "architectures": architectures,
        "repeats": repeats,
        "training_workers": workers,
        "latency_ms_min_median_max": [float(f(latencies)) for f in (np.min, np.median, np.max)],
        "deviation_median": float(np.median(deviation)),
        "deviation_p95": float(np.percentile(deviation, 95)),
        "deviation_max": float(deviation.max()),
        "repeat_offsets": (np.median(latencies / np.median(latencies, axis=0), axis=1) - 1).round(4).tolist(),
        "rank_correlation_min": min(ranks, default=None),
        "export_s_per_model": export_s / architectures,
        "measure_s_per_model": measure_s / architectures / repeats,
        "passes_mean": float(np.mean(passes)),
        "passes_max": max(passes),
        "steady_passes_mean": float(np.mean(steady)),
        "canary_reference_ms": records[0].canary_reference_ms,
        "raw_minimum_deviation_p95": float(np.percentile(np.abs(raw / np.median(raw, axis=0) - 1), 95)),
        "records_with_warnings": warnings,
        "identity": meter.identity(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architectures", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--space", default="akd")
    parser.add_argument("--skeleton", default="small")
    parser.add_argument("--resolution", type=int, default=28)
    parser.add_argument("--in-channels", type=int, default=1)
    parser.add_argument("--round-size", type=int, default=8)
    parser.add_argument("--core", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0)
    print(json.dumps(latency_repeat(**vars(parser.parse_args())), indent=2))


if __name__ == "__main__":
    main()
