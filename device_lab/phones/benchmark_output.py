"""What `benchmark_model` printed, as numbers: only if the output is complete and agrees with itself.

Two generations of the tool are in use. Both print one line of statistics for the warm-ups and one for the timed runs,
in microseconds with the average to six digits. Then the older (TFLite) sums up in one line, the newer (LiteRT) in a
block, in milliseconds with two decimals. Every figure that is printed twice is compared.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from akd_gym.errors import BadOutputError

COARSE_MS = 0.02
"""Median below which the tool's clock, which counts whole microseconds, is off by more than some percent."""

# What stands before a message: time and process of Android's log, its tag, abseil's stamp, severity, source line.
_PREFIX = re.compile(
    r"(?:(?:\d\d-\d\d )?\d\d:\d\d:\d\d\.\d+\s+(?:\d+\s+\d+\s+)?)?"
    r"(?:[VDIWEF][ /](?:tflite|litert)\s*(?:\(\s*\d+\))?\s*:\s)?"
    r"(?:[IWEF]\d{4} \S+\s+\d+ \S+:\d+\] )?"
    r"(?:(?:VERBOSE|INFO|WARN|WARNING|ERROR|FATAL): )?"
    r"(?:\[[^\]\s]+:\d+\] ?)?"
)
_COUNT = re.compile(r"count=(\S+)(.*)")
_STATISTICS = ("first", "curr", "min", "max", "avg", "std", "p5", "median", "p95")
_SUMMARY = re.compile(
    r"Inference timings in us: Init: (\S+), First inference: (\S+), Warmup \(avg\): (\S+), Inference \(avg\): (\S+)"
)
_BLOCK_BEGIN, _BLOCK_END = re.compile(r"=+ BENCHMARK RESULTS =+"), re.compile(r"={20,}")
_BLOCK_LINE = re.compile(
    r"(Model initialization|Warmup \(first\)|Warmup \(avg\)|Inference \((?:avg|min|max|std)\)):"
    r"\s+(\S+)(?: ms)?(?: \((\S+) runs\))?"
)
_LOADED = re.compile(r"(?:Loaded model|Loading model from:) (.*)")
_FAILED = re.compile(r"Benchmarking failed\.|Run failed: .*|No inference runs were performed\.")
_REPLACED = re.compile(r"Replacing (\d+) out of (\d+) node\(s\) with delegate \(")
_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?", re.ASCII)
_DIGITS = 1.001e-5  # relative: six significant digits, rounded or cut
_DECIMALS_MS = 0.00501  # two decimals of a millisecond, rounded


@dataclass(frozen=True)
class BenchmarkTimes:
    """What one start of the benchmark measured, in milliseconds.

    Attributes:
        warmups: Untimed inferences.
        runs: Timed inferences; the statistics from `min_ms` to `std_ms` are over these.
        first_ms: The very first inference, a warm-up.
        min_ms: The fastest run.
        p5_ms: 5th percentile.
        median_ms: Median.
        p95_ms: 95th percentile.
        max_ms: The slowest run.
        mean_ms: Average.
        std_ms: Standard deviation.
        init_ms: Loading and preparing the model.
        generation: Which of the two tools it was.
        delegated: Whether a delegate took the whole graph; None if the tool does not say.
    """

    warmups: int
    runs: int
    first_ms: float
    min_ms: float
    p5_ms: float
    median_ms: float
    p95_ms: float
    max_ms: float
    mean_ms: float
    std_ms: float
    init_ms: float
    generation: Literal["tflite", "litert"]
    delegated: bool | None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader should know about these numbers."""
        if self.median_ms >= COARSE_MS:
            return ()
        return (f"the median is {self.median_ms * 1000:g} us, and the benchmark counts whole microseconds",)


def parse_benchmark(text: str, *, least_runs: int, model: str | None) -> BenchmarkTimes:
    """The numbers in the output of `benchmark_model`, its standard output and error together.

    Args:
        text: All that was printed.
        least_runs: How many timed runs were asked for.
        model: Path that it was told to load; None if any will do.

    Raises:
        BadOutputError: The output is incomplete, does not agree with itself, or is of another model or too few runs.
    """
    lines = [_PREFIX.sub("", line.rstrip("\r"), count=1) for line in text.split("\n")]
    try:
        _check_no_failure(lines)
        if model is not None:
            _check_model(lines, model)
        blocks = [found for line in lines if (found := _COUNT.match(line))]
        if len(blocks) != 2:
            raise _Bad(f"a line of statistics each for warm-ups and timed runs, but got {len(blocks)}")
        warmup, timed = (_statistics(block) for block in blocks)
        if warmup["first"] <= 0:
            raise _Bad(f"a positive time for the first inference, but got {warmup['first']:g} us")
        _check_timed(timed, least_runs)
        init_ms, generation = _check_summary(lines, warmup, timed)
    except _Bad as bad:
        raise BadOutputError(f"The output of benchmark_model must have {bad}.{_last_words(text)}") from None
    return BenchmarkTimes(
        warmups=int(warmup["count"]),
        runs=int(timed["count"]),
        first_ms=_ms(warmup["first"]),
        mean_ms=_ms(timed["avg"]),
        init_ms=init_ms,
        generation=generation,
        delegated=_delegated(lines),
        **{f"{name}_ms": _ms(timed[name]) for name in ("min", "p5", "median", "p95", "max", "std")},
    )


class _Bad(Exception):
    """What the output must have, and what it has instead."""


def _check_no_failure(lines: list[str]) -> None:
    for line in lines:
        if _FAILED.fullmatch(line):
            raise _Bad(f"no failure, but got {line!r}")


def _check_model(lines: list[str], model: str) -> None:
    loaded = {found[1] for line in lines if (found := _LOADED.fullmatch(line))}
    if loaded != {model}:
        raise _Bad(f"loaded the model {model!r}, but got {', '.join(map(repr, sorted(loaded))) or 'none'}")


def _ms(time_us: float) -> float:
    return round(time_us / 1000, 6)


def _number(text: str, what: str) -> float:
    """A number that is finite and not negative."""
    if not _NUMBER.fullmatch(text) or not math.isfinite(value := float(text)):
        raise _Bad(f"a finite number as {what}, but got {text!r}")
    return value


def _statistics(block: re.Match[str]) -> dict[str, float]:
    """One line of statistics, in microseconds; where all runs took the same time the tool prints that time once."""
    if not re.fullmatch("[1-9][0-9]*", block[1]):
        raise _Bad(f"at least one run in each line of statistics, but got {block[0]!r}")
    rest = block[2].replace("(all same)", "", 1)
    pairs = [part.partition("=") for part in rest.split()]
    values = {name: _number(value, f"`{name}`") for name, _, value in pairs}
    if len(values) != len(pairs):
        raise _Bad(f"each statistic once, but got {block[0]!r}")
    if "median" not in values and set(values) <= set(_STATISTICS):
        if "curr" in values and int(block[1]) == 1:  # of builds before percentiles: fine for warm-ups
            values |= dict.fromkeys(("p5", "median", "p95"), values["curr"])
        elif "avg" in values:
            values |= dict.fromkeys(("p5", "median", "p95"), math.nan)  # refused if these are the timed runs
    if set(values) == {"curr", "p5", "median", "p95"}:
        values |= dict.fromkeys(("first", "min", "max", "avg"), values["curr"]) | {"std": 0.0}
    if set(values) != set(_STATISTICS):
        raise _Bad(f"all statistics ({', '.join(_STATISTICS)}), but got {block[0]!r}")
    return {"count": float(block[1]), **values}


def _check_timed(timed: dict[str, float], least_runs: int) -> None:
    if math.isnan(timed["median"]):
        raise _Bad("a median, but got none: this build is too old, get a newer one (`akd phones setup`)")
    least_runs = max(least_runs, 2)  # one run has no spread
    if timed["count"] < least_runs:
        raise _Bad(f"at least {least_runs} timed runs, but got {timed['count']:g}")
    low, high = timed["min"], timed["max"]
    if low <= 0:
        raise _Bad(f"a positive time for every run, but got {low:g} us: the tool counts whole microseconds")
    if not low <= timed["p5"] <= timed["median"] <= timed["p95"] <= high:
        raise _Bad(f"min <= p5 <= median <= p95 <= max, but got {timed}")
    slack = timed["avg"] * _DIGITS
    if not (low - slack <= timed["avg"] <= high + slack and all(low <= timed[k] <= high for k in ("first", "curr"))):
        raise _Bad(f"the average, first and last run between min and max, but got {timed}")
    if timed["std"] > (high - low) / 2 + 1:  # of numbers between two bounds it cannot be more
        raise _Bad(f"a standard deviation of at most half the range, but got {timed}")


def _check_summary(
    lines: list[str], warmup: dict[str, float], timed: dict[str, float]
) -> tuple[float, Literal["tflite", "litert"]]:
    """Holds the closing summary against the statistics; the time to initialize, and the tool's generation."""
    summaries = [found for line in lines if (found := _SUMMARY.fullmatch(line))]
    begins = [number for number, line in enumerate(lines) if _BLOCK_BEGIN.fullmatch(line)]
    if len(summaries) + len(begins) != 1:
        raise _Bad(f"one closing summary, but got {len(summaries) + len(begins)}")
    if summaries:
        init, *times = (_number(text, "a time in the summary") for text in summaries[0].groups())
        for value, expected in zip(times, (warmup["first"], warmup["avg"], timed["avg"]), strict=True):
            if abs(value - expected) > expected * _DIGITS:
                raise _Bad(f"a summary that agrees with the statistics, but got {value:g} us for {expected:g} us")
        return _ms(init), "tflite"
    return _check_block(lines[begins[0] + 1 :], warmup, timed), "litert"


def _check_block(lines: list[str], warmup: dict[str, float], timed: dict[str, float]) -> float:
    """Holds the newer tool's block against the statistics; the time to initialize, in milliseconds."""
    end = next((number for number, line in enumerate(lines) if _BLOCK_END.fullmatch(line)), None)
    if end is None:
        raise _Bad("a line of `=` that closes the results, but got none")
    expected = {
        "Warmup (first)": (warmup["first"], None),
        "Warmup (avg)": (warmup["avg"], warmup["count"]),
        "Inference (avg)": (timed["avg"], timed["count"]),
        "Inference (min)": (timed["min"], None),
        "Inference (max)": (timed["max"], None),
        "Inference (std)": (timed["std"], None),
    }
    found = [match for line in lines[:end] if (match := _BLOCK_LINE.fullmatch(line))]
    if sorted(match[1] for match in found) != sorted([*expected, "Model initialization"]):
        raise _Bad(f"each result once, but got {', '.join(match[1] for match in found) or 'none'}")
    results = {match[1]: _number(match[2], f"`{match[1]}`") for match in found}
    counts = {match[1]: match[3] for match in found}
    for name, (time_us, count) in expected.items():
        if abs(results[name] - time_us / 1000) > _DECIMALS_MS + time_us / 1000 * _DIGITS:
            raise _Bad(f"results that agree with the statistics, but got {results[name]:g} ms for {time_us:g} us")
        if count is not None and counts[name] != f"{count:.0f}":
            raise _Bad(f"{count:.0f} runs behind `{name}`, but got {counts[name]}")
    return results["Model initialization"]


def _delegated(lines: list[str]) -> bool | None:
    """Whether a delegate took every operator, by any of the ways the tools say so."""
    said = [found[1] == found[2] for line in lines if (found := _REPLACED.match(line))]
    for line in lines:
        if "the model graph will be completely executed by" in line:
            said.append(True)
        elif "the model graph will be partially executed by" in line or "graph will not be executed by" in line:
            said.append(False)
        elif found := re.search(r"\bfully accelerated: *(true|false|1|0)\b", line, re.IGNORECASE):
            said.append(found[1].lower() in ("true", "1"))
    return all(said) if said else None


def _last_words(text: str) -> str:
    spoken = text.strip().rpartition("\n")[2]
    return f" It ends with {spoken[-200:]!r}." if spoken else " There is none."
