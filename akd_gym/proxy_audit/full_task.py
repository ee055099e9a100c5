"""A full training as an executor's task, so that several run side by side and each goes on where it was stopped."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path

from akd_gym.errors import CorruptFileError, InfeasibleCandidateError
from akd_gym.executors import Job, TrainingTask, load_task_data
from akd_gym.files import write_atomically
from akd_gym.ledger_records import TrainingRecord

_SECONDS_FILE = "seconds.json"


@dataclass(frozen=True)
class FullTask(TrainingTask):
    """Trains students as `akd train` does, each in a folder of its own, and judges them on the test set.

    Attributes:
        teacher: As for `load_teacher`; `"none"` for hard labels.
        folder: Of the students' folders.
    """

    teacher: str = "none"
    folder: Path = Path()

    def run(self, job: Job, decode_threads: int | None = None) -> TrainingRecord:
        """See `TrainingTask.run`; seconds count from the first epoch on, however often it was stopped."""
        from akd_gym.architecture import NetworkSpec
        from akd_gym.full_training import train_fully
        from akd_gym.torch_settings import infeasible_on_failure

        data = load_task_data(self.data, self.recipe, decode_threads)
        out = self.folder / student_folder(job, self.recipe.epochs)
        paid = _Seconds(out / _SECONDS_FILE)
        try:
            with infeasible_on_failure():
                result = train_fully(
                    NetworkSpec.parse(job.architecture),
                    data,
                    self.recipe,
                    out,
                    teacher=self.teacher,
                    seed=job.seed,
                    device=self.device,
                    eval_every=self.recipe.epochs,
                    on_epoch=lambda epoch, loss: paid.keep(),
                )
        except InfeasibleCandidateError as error:
            return TrainingRecord("infeasible", error.reason, error.detail, seconds=paid.so_far())
        accuracy = result.val_accuracy if result.test_accuracy is None else result.test_accuracy
        return TrainingRecord(
            "ok", accuracy=accuracy, loss=result.loss, seconds=paid.so_far(), epochs=self.recipe.epochs
        )


def student_folder(job: Job, epochs: int) -> str:
    """Name of the folder that a fully trained student is kept in."""
    digest = hashlib.sha256(job.architecture.encode()).hexdigest()[:12]
    return f"{digest}-seed{job.seed}-epochs{epochs}"


class _Seconds:
    """What a training has taken, over all processes that worked at it; kept with every epoch."""

    def __init__(self, path: Path) -> None:
        self._path, self._start = path, time.perf_counter()
        try:
            self._before = float(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            self._before = 0.0
        except (OSError, ValueError) as error:
            raise CorruptFileError(
                f"{path} must hold seconds, but: {error}. Remove its folder to begin anew."
            ) from error

    def so_far(self) -> float:
        return self._before + time.perf_counter() - self._start

    def keep(self) -> None:
        write_atomically(self._path, json.dumps(round(self.so_far(), 2)).encode())
