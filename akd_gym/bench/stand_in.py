"""AKDBench in the place of trainings and measurements, so that a search on it is a search like any other.

What answers is the surrogate, at once; what is kept is an ordinary ledger of trainings and latencies, whose contexts
say that no student was trained and no device measured. So everything that reads runs reads these too.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import hashlib
import importlib.metadata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from akd_gym.bench.blocks import CLASSES, INPUT_SHAPE
from akd_gym.bench.evaluator import DEVICE, BenchEvaluator
from akd_gym.bench.plan import DATA, RECIPE, bench_space
from akd_gym.device_lab.records import LatencyRecord
from akd_gym.evaluation import Evaluation, ProxyEvaluator
from akd_gym.executors import Job, TrainingTask
from akd_gym.latencies import LatencyBook
from akd_gym.ledger import Ledger, TrainingRecord
from akd_gym.space import Choices


class BenchExecutor:
    """Answers for trainings: the surrogate's accuracy with the noise of the job's seed, and the seconds it predicts.

    Args:
        teacher: See `BenchEvaluator`.
    """

    def __init__(self, teacher: str | None) -> None:
        self._teacher = teacher
        self._evaluators: dict[int, BenchEvaluator] = {}

    def run(self, task: TrainingTask, jobs: Sequence[Job]) -> Iterator[tuple[int, TrainingRecord]]:
        """See `Executor.run`; the task is the benchmark's, whatever is given."""
        for index, job in enumerate(jobs):
            if job.seed not in self._evaluators:
                self._evaluators[job.seed] = BenchEvaluator(self._teacher, seed=job.seed)
            evaluator = self._evaluators[job.seed]
            [answer] = evaluator.evaluate([evaluator.space.choices(job.architecture)])
            yield index, TrainingRecord("ok", accuracy=answer.accuracy, seconds=answer.seconds, epochs=RECIPE.epochs)

    def close(self) -> None:
        """Nothing is held."""


class BenchMeter:
    """Answers for latency measurements, by a model's name: the canonical string of its architecture."""

    kind = "predicted"
    needs_quiet = True  # it takes no time, so that before the trainings is as good as beside them

    def __init__(self) -> None:
        self._evaluator = BenchEvaluator(None, noise=False)

    def identity(self) -> dict[str, Any]:
        """The benchmark, by its hash."""
        return {"kind": self.kind, "device": DEVICE, "bench": self._evaluator.hash}

    def measure(self, models: Sequence[tuple[str, bytes]]) -> Iterator[LatencyRecord]:
        """Yields a record a model; files are not looked at and may be empty."""
        for name, content in models:
            [answer] = self._evaluator.truth([self._evaluator.space.choices(name)])
            yield LatencyRecord(
                architecture=name,
                model_sha256=hashlib.sha256(content).hexdigest(),
                exporter="none",
                exporter_version="-",
                kind="predicted",
                runtime=DEVICE,
                runtime_version=self._evaluator.hash[:12],
                device=DEVICE,
                device_id=self._evaluator.hash[:16],
                os="-",
                core=None,
                affinity=None,
                governor=None,
                threads=1,
                clock=None,
                created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
                tool_version=_own_version(),
                verdict="ok",
                input_shape=(1, *INPUT_SHAPE[1:], INPUT_SHAPE[0]),
                dtype="float32",
                median_ms=answer.latency_ms,
            )

    def close(self) -> None:
        """Nothing is held."""


class _BookByName(LatencyBook):
    """Latencies by a meter that needs a model's name alone, so that none is exported."""

    def _new_models(self, architectures: Sequence[str]) -> list[tuple[str, bytes]]:
        return [(name, b"") for name in dict.fromkeys(architectures) if self.find(name) is None]


class BenchSearchEvaluator(ProxyEvaluator):
    """A `ProxyEvaluator` whose trainings and latencies are AKDBench's answers, kept in a ledger.

    Args:
        teacher: See `BenchEvaluator`.
        ledger: Where answers are kept.
        seed: Of the noise.
        cost: `"latency"` or `"madds"`.
        resources: Closed together with the evaluator.
    """

    def __init__(
        self,
        teacher: str | None,
        ledger: Ledger,
        *,
        seed: int,
        cost: str,
        resources: contextlib.ExitStack | None = None,
    ) -> None:
        teacher = None if teacher == "none" else teacher
        meter = BenchMeter() if cost == "latency" else None
        identity = {
            "kind": "training",
            "bench": BenchEvaluator(teacher, seed=seed).hash,
            "data": DATA,
            "teacher": None if teacher is None else {"name": teacher},
            "recipe": RECIPE.identity(distilled=teacher is not None),
        }
        super().__init__(
            bench_space(),
            TrainingTask(DATA, RECIPE),
            identity,
            seed=seed,
            input_shape=INPUT_SHAPE,
            num_classes=CLASSES,
            ledger=ledger,
            executor=BenchExecutor(teacher),
            meter=meter,
            resources=resources,
        )
        if meter is not None:
            self.latencies = _BookByName(meter, ledger, INPUT_SHAPE, CLASSES)

    def evaluate(self, choices: Sequence[Choices]) -> list[Evaluation]:
        """Evaluate one round. Answers cost nothing to get again, so they go to the disk together.

        Raises:
            StorageError: If the ledger cannot be written.
        """
        with self.ledger.transaction():
            return super().evaluate(choices)


def make_bench_search_evaluator(
    teacher: str | None, ledger: Path, *, seed: int, cost: str = "latency"
) -> BenchSearchEvaluator:
    """Open the ledger and make the evaluator of a search on AKDBench; closing the one closes the other.

    Args:
        teacher: See `BenchEvaluator`.
        ledger: A file.
        seed: Of the noise.
        cost: `"latency"` or `"madds"`.

    Raises:
        UnknownNameError: A teacher that the benchmark has no trainings of.
        AKDGymError: See `Ledger.open`.
    """
    resources = contextlib.ExitStack()
    try:
        opened = resources.enter_context(Ledger.open(ledger))
        return BenchSearchEvaluator(teacher, opened, seed=seed, cost=cost, resources=resources)
    except BaseException:
        resources.close()
        raise


@functools.cache
def _own_version() -> str:
    return importlib.metadata.version("akd-gym")
