"""Where candidates are trained: in this process, or in worker processes of this machine.

An executor takes jobs and gives back one record each, as they finish. It is the seam for more machines.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, NamedTuple, Protocol

from akd_gym.cores import available_cores
from akd_gym.errors import AKDGymError, InfeasibleCandidateError, InvalidSettingError
from akd_gym.ledger import TrainingRecord
from akd_gym.recipes import Recipe

if TYPE_CHECKING:
    from akd_gym.data import TaskData
    from akd_gym.soft_labels import SoftLabels

_GRACE_S = 60.0
"""How far beyond its own time limit a worker may be silent before it is taken for hung."""
_LOOK_FOR_PARENT_S = 1.0


class Job(NamedTuple):
    """One student to train."""

    architecture: str
    seed: int


@dataclass(frozen=True)
class TrainingTask:
    """All that a worker needs to train any student of a search: names and handles, cheap to send.

    Attributes:
        data: As for `load_data`.
        recipe: How to train.
        soft_labels: The teacher's; None for hard labels.
        device: Torch device.
    """

    data: str
    recipe: Recipe
    soft_labels: SoftLabels | None = None
    device: str = "cpu"

    def run(self, job: Job, decode_threads: int | None = None) -> TrainingRecord:
        """Train one student here. An infeasible one is a record too.

        Args:
            job: The student.
            decode_threads: See `load_task_data`.
        """
        from akd_gym.architecture import NetworkSpec
        from akd_gym.training import train_student

        start = time.perf_counter()
        data = load_task_data(self.data, self.recipe, decode_threads)
        try:
            outcome = train_student(
                NetworkSpec.parse(job.architecture),
                data,
                self.recipe,
                self.soft_labels,
                seed=job.seed,
                device=self.device,
            )
        except InfeasibleCandidateError as error:
            return TrainingRecord("infeasible", error.reason, error.detail, seconds=time.perf_counter() - start)
        return TrainingRecord(
            "ok",
            accuracy=outcome.accuracy,
            loss=outcome.loss,
            seconds=outcome.seconds,
            epochs=outcome.epochs,
        )


def load_task_data(
    name: str, recipe: Recipe, decode_threads: int | None = None, announce: Callable[[str], None] | None = None
) -> TaskData:
    """The data of a recipe, loaded once a process.

    Args:
        name: See `load_data`.
        recipe: Says how many images, which, and how large.
        decode_threads: That decode pictures in files, if these are loaded now; see `load_data`.
        announce: Told what takes time or space before it does, if they are loaded now.
    """
    from akd_gym.data import load_data

    drawn = (name, recipe.train_size, recipe.val_size, recipe.split_seed, recipe.resolution)
    if drawn not in _LOADED:
        while len(_LOADED) >= _KEPT_LOADED:
            _LOADED.pop(next(iter(_LOADED)))
        _LOADED[drawn] = load_data(
            name,
            train_size=recipe.train_size,
            val_size=recipe.val_size,
            split_seed=recipe.split_seed,
            resolution=recipe.resolution,
            threads=decode_threads,
            announce=announce,
        )
    return _LOADED[drawn]


_LOADED: dict[tuple[object, ...], TaskData] = {}
_KEPT_LOADED = 2


class Executor(Protocol):
    """Trains jobs, several at once where it can."""

    def run(self, task: TrainingTask, jobs: Sequence[Job]) -> Iterator[tuple[int, TrainingRecord]]:
        """Yield `(index of the job, its record)` in the order in which they finish."""
        ...

    def close(self) -> None:
        """Release whatever is held; twice is fine."""
        ...


class SerialExecutor:
    """Trains in this process, one student after the other."""

    def run(self, task: TrainingTask, jobs: Sequence[Job]) -> Iterator[tuple[int, TrainingRecord]]:
        """See `Executor.run`."""
        for index, job in enumerate(jobs):
            yield index, task.run(job)

    def close(self) -> None:
        """Nothing is held."""


class ProcessExecutor:
    """Trains in worker processes, one torch thread each.

    A worker that dies is replaced and its student tried once more; one that kills its worker twice, or is silent
    beyond its time limit, is infeasible.

    Args:
        workers: How many students are trained at once; None for one a core.

    Raises:
        InvalidSettingError: If `workers` is less than 1.
    """

    def __init__(self, workers: int | None = None) -> None:
        workers = available_cores() if workers is None else workers
        if workers < 1:
            raise InvalidSettingError(f"`workers` must be at least 1, but got {workers}.")
        self._workers = [_Worker() for _ in range(workers)]

    def run(self, task: TrainingTask, jobs: Sequence[Job]) -> Iterator[tuple[int, TrainingRecord]]:
        """See `Executor.run`."""
        waiting = deque(range(len(jobs)))
        deaths = [0] * len(jobs)
        limit_s = task.recipe.time_limit_s + _GRACE_S
        try:
            while waiting or any(worker.job is not None for worker in self._workers):
                for worker in self._workers:
                    if worker.job is None and waiting:
                        next_index = waiting.popleft()
                        worker.give(next_index, task, jobs[next_index])
                busy = {worker.connection: worker for worker in self._workers if worker.job is not None}
                ready = wait(list(busy), timeout=1.0)
                for worker in busy.values():
                    assert worker.job is not None
                    index = worker.job
                    silent = worker.connection not in ready
                    if silent and time.monotonic() - worker.since < limit_s:
                        continue
                    answer = None if silent else worker.take()
                    if answer is _READY:
                        continue
                    if isinstance(answer, TrainingRecord):
                        yield index, answer
                        continue
                    if isinstance(answer, AKDGymError):
                        raise answer
                    worker.kill()
                    deaths[index] += 1
                    if silent:
                        detail = f"silent for {limit_s:.0f} s"
                        yield index, TrainingRecord("infeasible", "time_limit", detail, seconds=limit_s)
                    elif deaths[index] == 2:
                        yield index, TrainingRecord("infeasible", "worker_died", "twice while it was trained")
                    else:
                        waiting.append(index)
        finally:
            for worker in self._workers:
                if worker.job is not None:  # the caller stopped early, or a job failed
                    worker.kill()

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers:
            worker.kill()


def make_executor(workers: int | None) -> Executor:
    """`workers` processes, None for one a core; one alone trains in this process."""
    workers = available_cores() if workers is None else workers
    return SerialExecutor() if workers == 1 else ProcessExecutor(workers)


class _Ready(Enum):
    """What a worker says when it has started, so that a broken installation is not blamed on a student."""

    READY = auto()


_READY = _Ready.READY


class _Worker:
    """One process and the pipe to it; the process starts with its first job.

    It is started by its command line and not by `multiprocessing`, which would import the user's script again and so
    ask every script for an `if __name__ == "__main__"`.
    """

    def __init__(self) -> None:
        self.job: int | None = None
        self.since = 0.0
        self._is_ready = False
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None

    @property
    def connection(self) -> Connection:
        assert self._connection is not None
        return self._connection

    def give(self, index: int, task: TrainingTask, job: Job) -> None:
        if self._process is None:
            self._connection, theirs = Pipe()
            code = f"import sys; sys.path[:] = {sys.path!r}; from akd_gym.executors import serve"
            self._process = subprocess.Popen(
                [sys.executable, "-c", f"{code}; serve({theirs.fileno()}, {os.getpid()})"],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is the searching process's to handle
            )
            theirs.close()
            self._is_ready = False
        self.job, self.since = index, time.monotonic()
        with contextlib.suppress(OSError):  # it died while idle: `take` will find the pipe closed
            self.connection.send((task, job))

    def take(self) -> TrainingRecord | AKDGymError | _Ready | None:
        """The answer; `_READY` once, before the first; an error not the student's fault; None if the process died."""
        try:
            answer = self.connection.recv()
        except (EOFError, OSError):
            if self._is_ready:
                return None
            assert self._process is not None
            self.job = None
            return AKDGymError(
                f"A worker process must start, but it ended with status {self._process.wait()}; "
                "what it said is on the standard error."
            )
        if answer is _READY:
            self._is_ready = True
        else:
            self.job = None
        return answer

    def kill(self) -> None:
        self.job = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self.connection.close()
        self._process = self._connection = None


def serve(descriptor: int, parent: int) -> None:
    """Life of a worker: train what comes until the pipe closes.

    Args:
        descriptor: The worker's end of the pipe.
        parent: Process that searches; the worker ends with it, also in the middle of a training.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    connection = Connection(descriptor)
    connection.send(_READY)
    while True:
        try:
            task, job = connection.recv()
            answer: TrainingRecord | AKDGymError = task.run(job, decode_threads=1)  # other workers use other cores
        except EOFError:
            return
        except AKDGymError as error:
            answer = error
        except Exception as error:
            answer = AKDGymError(f"A worker could not train: {error!r}.")
        connection.send(answer)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_FOR_PARENT_S)
    os._exit(1)
