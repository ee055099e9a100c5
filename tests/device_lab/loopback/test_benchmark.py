from __future__ import annotations

import re
import statistics

import pytest

from akd_gym.device_lab.loopback import Fault, benchmark_model, benchmark_program
from akd_gym.device_lab.phones.benchmark_output import parse_benchmark
from akd_gym.errors import InvalidSettingError

PROGRAM, MODEL = "/data/local/tmp/bench/benchmark_model", "/data/local/tmp/bench/model.tflite"
QUICK = "--num_threads=1 --warmup_runs=3 --warmup_min_secs=0 --num_runs=50 --min_secs=0 --max_secs=20"


@pytest.fixture
def bench(phone, client, tiny_model):
    assert client.push(PROGRAM, benchmark_program(), mode=0o100755) == b"OKAY"
    assert client.push(MODEL, tiny_model) == b"OKAY"
    return client


def figures(line: str) -> dict[str, float]:
    return {name: float(value) for name, value in re.findall(r"(\w+)=([\d.e+-]+)", line)}


def test_it_runs_the_pushed_model_and_prints_what_litert_prints(bench):
    output, code = bench.shell(f"taskset 1 {PROGRAM} --graph={MODEL} {QUICK} --use_cpu=true --strange=1 2>&1")
    assert code == 0
    text = output.decode()
    times = parse_benchmark(text, least_runs=50, model=MODEL)
    assert (times.warmups, times.runs, times.generation) == (3, 50, "litert")
    assert times.median_ms >= 0.001
    assert "WARN: Unconsumed cmdline flags: --strange=1" in text


def test_a_phase_lasts_its_runs_and_its_least_time_but_not_longer_than_its_most(bench):
    def count(flags: str) -> list[float]:
        output, _ = bench.shell(f"{PROGRAM} --graph={MODEL} --num_threads=1 {flags}")
        return [figures(line)["count"] for line in output.decode().splitlines() if "count=" in line]

    assert count("--warmup_runs=2 --warmup_min_secs=0 --num_runs=7 --min_secs=0") == [2, 7]
    assert count("--warmup_runs=2 --warmup_min_secs=0 --num_runs=7 --min_secs=0.1")[1] > 7
    assert (
        count("--warmup_runs=2 --warmup_min_secs=0 --num_runs=1000000000 --min_secs=0 --max_secs=0.1")[1] < 1000000000
    )


@pytest.mark.parametrize("content", [b"", b"no model", None])
def test_a_bad_model_is_an_error(bench, tiny_model, content):
    bench.push(MODEL, tiny_model[: len(tiny_model) // 2] if content is None else content)
    output, code = bench.shell(f"{PROGRAM} --graph={MODEL}")
    assert code == 1
    assert b"ERROR: Failed to load model." in output
    assert b"ERROR: Benchmarking failed.\n" in output
    assert b"count=" not in output


def test_help_lists_the_flags(bench):
    output, code = bench.shell(f"{PROGRAM} --help")
    assert code == 0
    for name in benchmark_model.FLAGS:
        assert f"--{name}=".encode() in output


def test_statistics_are_those_of_the_runs():
    times = [7, 3, 9, 4, 5]
    found = figures(benchmark_model.statistics_line(times))
    assert found == {
        "count": 5, "first": 7, "curr": 5, "min": 3, "max": 9, "avg": 5.6, "std": int(statistics.pstdev(times)),
        "p5": 3, "median": 5, "p95": 7,
    }  # fmt: skip


def test_statistics_of_few_or_equal_runs_are_short():
    assert benchmark_model.statistics_line([]) == "count=0"
    assert benchmark_model.statistics_line([4]) == "count=1 curr=4 p5=4 median=4 p95=4"
    assert benchmark_model.statistics_line([4, 4]) == "count=2 curr=4(all same) p5=4 median=4 p95=4"
    assert "avg=2.95034e+06" in benchmark_model.statistics_line([2950340, 2950342])


@pytest.mark.parametrize(
    ("name", "code", "complete"),
    [
        ("nonzero", 1, True),
        ("disk_full", 1, False),
        ("no_permission", 126, False),
        ("truncate", 0, False),
        ("garble", 0, False),
    ],
)
def test_a_report_is_tampered_with_in_the_file_that_it_is_written_to(phone, bench, name, code, complete):
    phone.inject(Fault(name, "report"))
    _, found = bench.shell(f"{PROGRAM} --graph={MODEL} {QUICK} > /data/local/tmp/out 2>&1")
    text = bench.pull("/data/local/tmp/out").decode()
    assert found == code
    assert ("(50 runs)" in text and "\n========== BENCHMARK RESULTS ==========\n" in text) == complete
    _, again = bench.shell(f"{PROGRAM} --graph={MODEL} {QUICK} > /data/local/tmp/out 2>&1")
    assert again == 0


def test_a_report_can_hang_after_its_last_line(phone, bench):
    phone.inject(Fault("hang", "report"))
    guard = f"timeout -s KILL 60 sh -c 'exec {PROGRAM} --graph={MODEL} {QUICK} 2>&1'"
    text = b""
    for part in bench.parts(bench.open(b"exec:" + guard.encode())):
        text += part
        if b"h:136] =====" in text:
            break
    assert len(phone.children()) >= 1


def test_a_python_that_the_header_cannot_name_is_refused(monkeypatch):
    monkeypatch.setattr("sys.executable", "/home/o'neill/python")
    with pytest.raises(InvalidSettingError, match="must hold no quote"):
        benchmark_program()
