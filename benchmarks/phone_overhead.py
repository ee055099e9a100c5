"""`phone_overhead_s`: what a candidate costs on a phone beyond the benchmark itself, measured on the loopback phone.

Beyond the benchmark's own processes, that is: exporting the network, pushing it, starting the benchmark and pulling and
parsing what it wrote (on the model, and on the canary before it), reading the phone's state, and writing the record.
The phone runs in a process of its own.
"""

from __future__ import annotations

import functools
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from akd_gym.device_lab.adb.addresses import open_session
from akd_gym.device_lab.canary import canary_model
from akd_gym.device_lab.loopback import benchmark_program
from akd_gym.device_lab.phones.phone import Phone
from akd_gym.device_lab.phones.pool import PhonePool
from akd_gym.device_lab.phones.protocol import LOOPBACK_PROTOCOL
from akd_gym.latencies import export_architecture
from akd_gym.space import make_space
from benchmarks.results import Measurement

INPUT_SHAPE, CLASSES = (1, 28, 28), 10
_SERVE = "from akd_gym.device_lab.loopback import serve; serve(say=lambda text: print(text, flush=True))"


def measure() -> dict[str, Measurement]:
    """Give `phone_overhead_s`."""
    return {"phone_overhead_s": phone_overhead_s()}


def phone_overhead_s(candidates: int = 20) -> Measurement:
    """Measure candidates of the default search, and then the benchmark's processes alone, in turns.

    Returns:
        `value`, seconds a candidate beyond the benchmark, and the means that it is the difference of.
    """
    torch.set_num_threads(1)
    space, rng = make_space("akd", skeleton="small"), np.random.default_rng(0)
    names = list(dict.fromkeys(str(space.network(space.sample(rng))) for _ in range(candidates)))
    totals, exports, alone = [], [], []
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen([sys.executable, "-c", _SERVE], stdout=subprocess.PIPE, text=True) as process,
    ):
        assert process.stdout is not None
        found = re.search(r"127\.0\.0\.1:\d+", process.stdout.readline())
        assert found is not None
        program = Path(folder, "benchmark_model")
        program.write_bytes(benchmark_program())
        program.chmod(0o755)
        phone = Phone(
            found[0], functools.partial(open_session, found[0]), benchmark_program(), LOOPBACK_PROTOCOL, announce=print
        )
        pool = PhonePool([phone], tries=3, announce=print)
        try:
            list(pool.measure([("canary", canary_model())]))  # connects, and takes the canary's reference
            for name in names:
                start = time.perf_counter()
                model = export_architecture(name, INPUT_SHAPE, CLASSES)
                exports.append(time.perf_counter() - start)
                [record] = pool.measure([(name, model)])
                totals.append(time.perf_counter() - start)
                assert record.verdict == "ok", record.reason
                assert record.tries == 1, "an attempt was thrown away: the machine was busy"
                alone.append(
                    _seconds_alone(program, [canary_model(), *[model] * LOOPBACK_PROTOCOL.repeats], record.mask)
                )
        finally:
            phone.close()
            process.terminate()
    return {
        "value": statistics.mean(totals) - statistics.mean(alone),
        "candidate_s": statistics.mean(totals),
        "benchmark_s": statistics.mean(alone),
        "export_s": statistics.mean(exports),
        "candidates": len(names),
    }


def _seconds_alone(program: Path, models: list[bytes], mask: str | None) -> float:
    """Seconds of the benchmark's processes with nothing around them."""
    p, path = LOOPBACK_PROTOCOL, program.with_name("model.tflite")
    flags = [f"--graph={path}", f"--num_threads={p.threads}", f"--warmup_runs={p.warmups}", f"--num_runs={p.runs}"]
    flags += [f"--warmup_min_secs={p.warmup_s}", f"--min_secs={p.min_s}", f"--max_secs={p.max_s}"]
    seconds = 0.0
    for model in models:
        path.write_bytes(model)
        start = time.perf_counter()
        subprocess.run(["taskset", str(mask), str(program), *flags], check=True, capture_output=True)
        seconds += time.perf_counter() - start
    return seconds
