"""Full trainings that studies share: done side by side, each kept as a line of a table once it is paid for."""

from __future__ import annotations

import hashlib
import json
import math
import multiprocessing
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from akd_gym.architecture import NetworkSpec
from akd_gym.cores import available_cores
from akd_gym.cost import count_cost
from akd_gym.data import TaskData
from akd_gym.errors import InfeasibleCandidateError, InvalidSettingError
from akd_gym.executors import load_task_data
from akd_gym.full_training import train_fully
from akd_gym.recipes import Recipe
from akd_gym.table_file import appending, read_table
from akd_gym.teachers import load_teacher
from akd_gym.teachers.route import load_route

MADDS_A_SECOND = 1.6e9
"""Of students in training, one core of the machine that this was written on: for estimates before a study starts."""
_WORK = {"ta": 7.9, "cc": 1.2, "features": 1.3}
"""What methods cost in terms of hard labels, where that is not about the same."""
_HEADER = (
    *("architecture", "method", "teacher", "seed", "setting"),
    *("val_accuracy", "test_accuracy", "loss", "seconds", "reason"),
)


class StudentTraining(NamedTuple):
    """One student to train fully.

    Attributes:
        architecture: The canonical string.
        method: What it learns from, see `load_method`.
        teacher: Who is distilled; `"none"` with the method `"hard"`.
        seed: Of initial weights and the order of images.
    """

    architecture: str
    method: str
    teacher: str
    seed: int


class TrainedStudent(NamedTuple):
    """What a training gave: a line of the table.

    Attributes:
        training: What was trained.
        setting: Identity of all else that the result depends on: images, recipe, weights of the teacher.
        val_accuracy: On mini-val, a fraction; None if it was infeasible, as for the next two.
        test_accuracy: On the test set.
        loss: Of the last epoch.
        seconds: Paid, with soft labels and assistants that were not there yet.
        reason: Why it is infeasible; None if it is not.
    """

    training: StudentTraining
    setting: str
    val_accuracy: float | None
    test_accuracy: float | None
    loss: float | None
    seconds: float
    reason: str | None


class FullTrainings:
    """Trains students by one recipe, and remembers.

    Args:
        data: See `load_data`; it must have a test set.
        recipe: How to train.
        table: Of all trainings ever made, also by other recipes; a CSV file.
        work: Folder of weights and checkpoints.
        workers: Trainings side by side; None for one a core.

    Raises:
        InvalidSettingError: If `workers` is less than 1.
    """

    def __init__(self, data: str, recipe: Recipe, table: Path, work: Path, workers: int | None = None) -> None:
        self.data_name, self.recipe = data, recipe
        self._table, self._work = table, work
        self.workers = available_cores() if workers is None else workers
        if self.workers < 1:
            raise InvalidSettingError(f"`workers` must be at least 1, but got {workers}.")
        self._settings: dict[tuple[str, bool], str] = {}

    @cached_property
    def data(self) -> TaskData:
        """The images."""
        return load_task_data(self.data_name, self.recipe)

    def seconds(self, trainings: Iterable[tuple[NetworkSpec, str]]) -> float:
        """About how many seconds of one core trainings take, by architecture and method, from their multiply-adds."""
        images = len(self.data.train) * self.recipe.epochs
        work = (
            _WORK.get(method, 1.0) * count_cost(spec, self.data.resolution, self.data.in_channels, 10).madds
            for spec, method in trainings
        )
        return sum(work) * images / MADDS_A_SECOND

    def missing(self, trainings: Iterable[StudentTraining]) -> list[StudentTraining]:
        """Those that nobody has made yet, each once."""
        known = self._known()
        return [one for one in dict.fromkeys(trainings) if (one, self._setting(one)) not in known]

    def carry_out(
        self, trainings: Sequence[StudentTraining], on_done: Callable[[TrainedStudent], None] | None = None
    ) -> dict[StudentTraining, TrainedStudent]:
        """Make what nobody has made yet, and give the results of all.

        Args:
            trainings: In the order to make them.
            on_done: Told of each that was made now.

        Raises:
            CorruptFileError: The table is damaged.
            StorageError: The table or the folder cannot be written.
            TeacherError: A teacher cannot be loaded, or has no anchors where they are needed.
        """
        due = self.missing(trainings)
        if due:
            context = multiprocessing.get_context("spawn")
            pool = ProcessPoolExecutor(min(self.workers, len(due)), mp_context=context)
            try:
                jobs = [pool.submit(_train, self.data_name, self.recipe, self._folder(one), one) for one in due]
                setting = {job: self._setting(one) for job, one in zip(jobs, due, strict=True)}
                with appending(self._table, _HEADER) as table:
                    for job in as_completed(jobs):
                        done = job.result()._replace(setting=setting[job])
                        table.add([_line(done)])
                        if on_done is not None:
                            on_done(done)
            finally:
                pool.shutdown(cancel_futures=True)
        known = self._known()
        return {one: known[one, self._setting(one)] for one in trainings}

    def _known(self) -> dict[tuple[StudentTraining, str], TrainedStudent]:
        rows = read_table(self._table, _HEADER, _parse, lambda row: (row.training, row.setting), "it is trained")
        return {(row.training, row.setting): row for row in rows}

    def _setting(self, training: StudentTraining) -> str:
        key = (training.teacher, training.method == "rco")
        if key not in self._settings:
            teacher = load_teacher(training.teacher, self.data)
            teachers = [] if teacher is None else load_route(teacher, self.data) if key[1] else [teacher]
            identity = [
                self.data.fingerprint,
                self.recipe.identity(distilled=teacher is not None),
                [one.weights_hash for one in teachers],
            ]
            text = json.dumps(identity, sort_keys=True)
            self._settings[key] = hashlib.sha256(text.encode()).hexdigest()[:12]
        return self._settings[key]

    def _folder(self, training: StudentTraining) -> Path:
        name = hashlib.sha256(repr((*training, self._setting(training))).encode()).hexdigest()[:16]
        return self._work / name


def _train(data: str, recipe: Recipe, folder: Path, training: StudentTraining) -> TrainedStudent:
    """In a process of the pool."""
    start = time.perf_counter()
    try:
        done = train_fully(
            NetworkSpec.parse(training.architecture),
            load_task_data(data, recipe, decode_threads=1),
            recipe,
            folder,
            method=training.method,
            teacher=training.teacher,
            seed=training.seed,
        )
    except InfeasibleCandidateError as error:
        return TrainedStudent(training, "", None, None, None, time.perf_counter() - start, error.reason)
    seconds = time.perf_counter() - start
    return TrainedStudent(training, "", done.val_accuracy, done.test_accuracy, done.loss, seconds, None)


def _line(row: TrainedStudent) -> list[object]:
    numbers = ("" if value is None else f"{value:.6f}" for value in (row.val_accuracy, row.test_accuracy, row.loss))
    return [*row.training, row.setting, *numbers, f"{row.seconds:.1f}", row.reason or ""]


def _parse(line: list[str]) -> TrainedStudent:
    architecture, method, teacher, seed, setting, val, test, loss, seconds, reason = line
    val_accuracy, test_accuracy, last_loss = (float(text) if text else None for text in (val, test, loss))
    training = StudentTraining(architecture, method, teacher, int(seed))
    row = TrainedStudent(training, setting, val_accuracy, test_accuracy, last_loss, float(seconds), reason or None)
    if (row.val_accuracy is None) != (row.reason is not None) or not math.isfinite(row.seconds):
        raise ValueError(f"val_accuracy {val!r} and reason {reason!r} do not fit together")
    return row
