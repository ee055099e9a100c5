from __future__ import annotations

import dataclasses
import pickle
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from akd_gym.device_lab.phones.benchmark_output import BenchmarkTimes, parse_benchmark
from akd_gym.errors import BadOutputError

MODEL = "/data/local/tmp/akd_gym/models/0a1b.tflite"

TFLITE = f"""\
Cpus_allowed_list:\t7
INFO: STARTING!
INFO: Log parameter values verbosely: [0]
INFO: Min num runs: [50]
INFO: Num threads: [1]
INFO: Graph: [{MODEL}]
INFO: #threads used for CPU inference: [1]
INFO: Loaded model {MODEL}
INFO: Initialized TensorFlow Lite runtime.
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
VERBOSE: Replacing 31 out of 31 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 1 partitions.
INFO: The input model file size (MB): 5.44486
INFO: Initialized session in 12.345ms.
INFO: Running benchmark for at least 10 iterations and at least 0.5 seconds but terminate if exceeding 20 seconds.
INFO: count=49 first=14210 curr=10177 min=10102 max=14210 avg=10284.7 std=577 p5=10114 median=10170 p95=10460

INFO: Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 20 seconds.
INFO: count=98 first=10166 curr=10231 min=10098 max=11020 avg=10190.3 std=112 p5=10110 median=10169 p95=10388

INFO: Inference timings in us: Init: 12345, First inference: 14210, Warmup (avg): 10284.7, Inference (avg): 10190.3
INFO: Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE to the actual.
INFO: Memory footprint delta from the start of the tool (MB): init=5.7 overall=9.3
"""

LITERT = f"""\
INFO: STARTING!
INFO: Num threads: [1]
INFO: [litert/tools/benchmark_litert_model.cc:305] Loading model from: {MODEL}
WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1758455104.504065   62590 accelerator_registry.cc:51] RegisterAccelerator: name=CpuAccelerator
INFO: [litert/runtime/accelerators/auto_registration.cc:148] CPU accelerator registered.
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
VERBOSE: Replacing 1 out of 1 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 1 partitions for subgraph 0.
INFO: The input model file size (MB): 3.27774
INFO: Initialized session in 4.478ms.
INFO: Running benchmark for at least 10 iterations and at least 0.5 seconds but terminate if exceeding 20 seconds.
INFO: count=1061 first=1042 curr=466 min=445 max=1042 avg=467.214 std=19 p5=460 median=465 p95=480

INFO: Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 20 seconds.
INFO: count=2108 first=466 curr=461 min=444 max=972 avg=465.951 std=14 p5=461 median=463 p95=479

INFO: [./litert/tools/benchmark_litert_model.h:81]\x20
========== BENCHMARK RESULTS ==========
INFO: [./litert/tools/benchmark_litert_model.h:82] Model initialization: 4.48 ms
INFO: [./litert/tools/benchmark_litert_model.h:84] Warmup (first):       1.04 ms
INFO: [./litert/tools/benchmark_litert_model.h:86] Warmup (avg):         0.47 ms (1061 runs)
INFO: [./litert/tools/benchmark_litert_model.h:88] Inference (avg):      0.47 ms (2108 runs)
INFO: [./litert/tools/benchmark_litert_model.h:92] Inference (min):      0.44 ms
INFO: [./litert/tools/benchmark_litert_model.h:94] Inference (max):      0.97 ms
INFO: [./litert/tools/benchmark_litert_model.h:96] Inference (std):      0.01
INFO: [./litert/tools/benchmark_litert_model.h:103] Throughput:           523.96 MB/s
INFO: [./litert/tools/benchmark_litert_model.h:112]\x20
Memory Usage:
INFO: [./litert/tools/benchmark_litert_model.h:114] Init footprint:       8.94 MB
INFO: [./litert/tools/benchmark_litert_model.h:126] ======================================

I0000 00:00:1758455106.022223   62590 accelerator_registry.cc:40] DestroyAccelerator: name=CpuAccelerator
"""

OUTPUTS = pytest.mark.parametrize("output", [TFLITE, LITERT], ids=["tflite", "litert"])


def parse(text: str, least_runs: int = 50, model: str | None = MODEL) -> BenchmarkTimes:
    return parse_benchmark(text, least_runs=least_runs, model=model)


def numbers(times: BenchmarkTimes) -> dict[str, object]:
    return {name: value for name, value in dataclasses.asdict(times).items() if name != "delegated"}


def test_older_generation():
    assert parse(TFLITE) == BenchmarkTimes(
        warmups=49,
        runs=98,
        first_ms=14.21,
        min_ms=10.098,
        p5_ms=10.11,
        median_ms=10.169,
        p95_ms=10.388,
        max_ms=11.02,
        mean_ms=10.1903,
        std_ms=0.112,
        init_ms=12.345,
        generation="tflite",
        delegated=True,
    )
    assert parse(TFLITE).warnings == ()


def test_newer_generation():
    assert parse(LITERT) == BenchmarkTimes(
        warmups=1061,
        runs=2108,
        first_ms=1.042,
        min_ms=0.444,
        p5_ms=0.461,
        median_ms=0.463,
        p95_ms=0.479,
        max_ms=0.972,
        mean_ms=0.465951,
        std_ms=0.014,
        init_ms=4.48,
        generation="litert",
        delegated=True,
    )


@OUTPUTS
def test_any_truncation_is_refused_or_changes_no_number(output):
    whole, refused = numbers(parse(output)), 0
    for end in range(len(output)):
        try:
            assert numbers(parse(output[:end])) == whole, end
        except BadOutputError:
            refused += 1
    assert refused > 0.85 * len(output)


@OUTPUTS
def test_any_missing_or_repeated_line_is_refused_or_changes_no_number(output):
    whole, lines, refused = numbers(parse(output)), output.splitlines(keepends=True), 0
    for number, line in enumerate(lines):
        for instead in ("", line * 2):
            try:
                assert numbers(parse("".join([*lines[:number], instead, *lines[number + 1 :]]))) == whole, line
            except BadOutputError:
                refused += 1
    # two lines of statistics and a summary, or its nine lines; the line that loads the model is missed when it is gone
    assert refused == (3 if output is TFLITE else 2 + 9) * 2 + 1 - (output is LITERT)


@settings(max_examples=300, deadline=None)
@given(data=st.data(), output=st.sampled_from([TFLITE, LITERT]))
def test_damage_never_gives_anything_but_a_number_or_the_named_error(data, output):
    for _ in range(data.draw(st.integers(1, 3))):
        begin = data.draw(st.integers(0, len(output)))
        length = data.draw(st.integers(0, 40))
        output = output[:begin] + data.draw(st.text(max_size=10)) + output[begin + length :]
    try:
        times = parse(output)
    except BadOutputError:
        return
    assert 0 < times.min_ms <= times.median_ms <= times.max_ms < float("inf")
    assert times.runs >= 50


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "INFO: ",
        "I tflite  : ",
        "07-14 13:23:08.133 25289 25289 I tflite  : ",
        "07-08 15:40:34.274 I/tflite  ( 67): ",
    ],
)
def test_prefixes_of_logs_and_windows_line_ends_do_not_matter(prefix):
    text = re.sub("^(INFO|VERBOSE): ", prefix, TFLITE, flags=re.MULTILINE)
    assert parse(text) == parse(TFLITE)
    assert parse(text.replace("\n", "\r\n")) == parse(TFLITE)


def test_large_times_are_printed_with_an_exponent():
    text = """\
count=1 curr=3512391 p5=3512391 median=3512391 p95=3512391

count=50 first=2990275 curr=2913402 min=2727568 max=3189954 avg=2.95034e+06 std=99798 p5=2.8e+06 median=2.95e6 p95=3.1e6

Inference timings in us: Init: 17187, First inference: 3512391, Warmup (avg): 3.51239e+06, Inference (avg): 2.95034e+06
"""
    times = parse(text, model=None)
    assert (times.warmups, times.first_ms, times.mean_ms, times.delegated) == (1, 3512.391, 2950.34, None)
    assert parse(text.replace(" p5=3512391 median=3512391 p95=3512391", ""), model=None) == times


def test_builds_without_percentiles_are_refused_with_the_cure():
    text = re.sub(" p5=.*", "", TFLITE)
    with pytest.raises(BadOutputError, match=r"median.*too old.*akd phones setup"):
        parse(text)


def test_a_single_run_counts_as_a_warm_up_only():
    text = TFLITE.replace("count=98", "count=1")
    with pytest.raises(BadOutputError, match="at least 2 timed runs, but got 1"):
        parse(text, least_runs=1)
    single = re.sub("count=98 .*", "count=1 curr=10190 p5=10190 median=10190 p95=10190", TFLITE)
    with pytest.raises(BadOutputError, match="at least 2 timed runs"):
        parse(single.replace("10190.3", "10190"), least_runs=1)


def test_runs_that_all_took_the_same_time_are_coarse_but_count():
    text = re.sub("count=98 .*", "count=98 curr=3(all same) p5=3 median=3 p95=3", TFLITE)
    times = parse(text.replace("Inference (avg): 10190.3", "Inference (avg): 3"))
    assert (times.min_ms, times.median_ms, times.mean_ms, times.std_ms) == (0.003, 0.003, 0.003, 0)
    assert "whole microseconds" in times.warnings[0]


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("count=98", "count=49", "at least 50 timed runs"),
        ("count=98", "count=0", "at least one run"),
        ("count=98", "count=-98", "at least one run"),
        ("min=10098", "min=0", "a positive time"),
        ("min=10098", "min=-10098", "a finite number as `min`"),
        ("min=10098", "min=10111", "min <= p5"),
        ("median=10169", "median=nan", "a finite number as `median`"),
        ("median=10169", "median=inf", "a finite number as `median`"),
        ("median=10169", "median=1e999", "a finite number as `median`"),
        ("median=10169", "median=10400", "min <= p5"),
        ("median=10169", "median=", "a finite number as `median`"),
        ("median=10169", "median=10169 median=10169", "each statistic once"),
        ("median=10169", "", "too old"),
        ("p95=10388", "p95=11021", "min <= p5"),
        ("std=112", "std=-9223372036854775808", "a finite number as `std`"),
        ("std=112", "std=463", "standard deviation"),
        ("first=10166", "first=9999", "between min and max"),
        ("first=14210", "first=0", "a positive time for the first"),
        ("avg=10190.3", "avg=10290.3", "agrees with the statistics"),
        ("avg=10190.3", "avg=12000", "between min and max"),
        ("Inference (avg): 10190.3", "Inference (avg): 10191.3", "agrees with the statistics"),
        ("Warmup (avg): 10284.7", "Warmup (avg): 10294.7", "agrees with the statistics"),
        ("First inference: 14210", "First inference: 1421", "agrees with the statistics"),
        ("Init: 12345", "Init: nan", "a finite number"),
        ("INFO: Inference timings", "INFO: Average inference timings", "one closing summary, but got 0"),
        ("INFO: Note:", "ERROR: Benchmarking failed.\nINFO: Note:", "no failure"),
    ],
)
def test_inconsistent_output_of_the_older_generation_is_refused(old, new, why):
    assert TFLITE.count(old) >= 1
    with pytest.raises(BadOutputError, match=re.escape(why)):
        parse(TFLITE.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("(2108 runs)", "(2107 runs)", "2108 runs behind `Inference (avg)`"),
        ("(1061 runs)", "(106 runs)", "1061 runs behind"),
        ("Inference (avg):      0.47", "Inference (avg):      0.48", "agree with the statistics"),
        ("Inference (min):      0.44", "Inference (min):      0.04", "agree with the statistics"),
        ("Inference (max):      0.97", "Inference (max):      nan", "a finite number"),
        ("Inference (std):      0.01", "Inference (std):      0.1", "agree with the statistics"),
        ("Warmup (first):       1.04", "Warmup (first):       10.4", "agree with the statistics"),
        ("======================================", "========", "closes the results"),
        ("Model initialization: 4.48 ms", "Model initialization: 4.48 m", "each result once"),
    ],
)
def test_inconsistent_output_of_the_newer_generation_is_refused(old, new, why):
    assert LITERT.count(old) >= 1
    with pytest.raises(BadOutputError, match=re.escape(why)):
        parse(LITERT.replace(old, new, 1))


@OUTPUTS
def test_another_model_is_refused(output):
    with pytest.raises(BadOutputError, match=r"must have loaded the model '/data/other\.tflite', but got '/data/local"):
        parse(output, model="/data/other.tflite")
    with pytest.raises(BadOutputError, match="but got none"):
        parse(re.sub("Load(ed|ing) model.*", "", output))
    assert numbers(parse(re.sub("Load(ed|ing) model.*", "", output), model=None)) == numbers(parse(output))


def test_two_outputs_in_one_are_refused():
    for text in (TFLITE + TFLITE, LITERT + LITERT, TFLITE + LITERT):
        with pytest.raises(BadOutputError, match="but got 4"):
            parse(text)


def test_a_model_path_that_looks_like_statistics_is_no_statistics():
    path = "/data/count=5 first=1 curr=1.tflite"
    assert parse(TFLITE.replace(MODEL, path), model=path) == parse(TFLITE)


@pytest.mark.parametrize(
    ("said", "delegated"),
    [
        ("VERBOSE: Replacing 30 out of 31 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 2", False),
        ("INFO: Replacing 31 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 1 partitions.", None),
        ("INFO: Explicitly applied XNNPACK delegate, and the model graph will be completely executed by it.", True),
        ("INFO: Explicitly applied XNNPACK delegate, and the model graph will be partially executed by it.", False),
        ("INFO: Though XNNPACK delegate is explicitly applied, the model graph will not be executed by it.", False),
        ("INFO: [litert/tools/x.cc:1] The model is fully accelerated: true", True),
        ("INFO: nothing of the kind", None),
    ],
)
def test_whether_the_whole_graph_was_delegated(said, delegated):
    assert parse(re.sub("VERBOSE: Replacing.*", said, TFLITE)).delegated is delegated


@pytest.mark.parametrize("text", ["", "\n", "sh: benchmark_model: not found", "ERROR: Failed to load model x\n"])
def test_no_output_names_what_there_is_and_survives_pickling(text):
    with pytest.raises(BadOutputError, match="must have loaded the model") as caught:
        parse(text)
    assert text.strip() in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
