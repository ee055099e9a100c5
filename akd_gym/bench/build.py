"""Making AKDBench's raw table: every training of the plan, resumable, each kept as soon as it is paid for."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from akd_gym.architecture import NetworkSpec, count_cost
from akd_gym.bench.plan import DATA, RECIPE, SIGNALS, Training, trainings_of
from akd_gym.bench.trainings import appending, read_trainings
from akd_gym.errors import CorruptFileError, RunMismatchError, StorageError
from akd_gym.evaluation import Announce, prepare_training
from akd_gym.executors import Job, TrainingTask, make_executor
from akd_gym.files import write_atomically
from akd_gym.ledger import TrainingRecord
from akd_gym.recipes import Recipe

TRAININGS_FILE = "trainings.csv"
IDENTITY_FILE = "identity.json"

_CHUNK = 24  # architectures trained by all signals before the next ones, so that the table is balanced at any time

OnTraining = Callable[[Training, TrainingRecord], None]


def train_architectures(
    architectures: Sequence[str],
    folder: Path,
    *,
    recipe: Recipe = RECIPE,
    workers: int | None = None,
    announce: Announce | None = None,
    on_training: OnTraining | None = None,
) -> None:
    """Train what the table in `folder` does not hold yet, of architectures by every signal and their seeds.

    Args:
        architectures: Canonical strings; every eighth is trained with three seeds.
        folder: Of the table; made if need be.
        recipe: How to train.
        workers: Students trained at once; None for one a core.
        announce: Told what takes time or space before it does.
        on_training: Told of each training that was new.

    Raises:
        RunMismatchError: The table was made with another recipe, other images or other teachers.
        CorruptFileError: The table is damaged.
        StorageError: The folder cannot be written.
    """
    path = folder / TRAININGS_FILE
    done = {row.training for row in read_trainings(path)}
    prepared = {
        signal: prepare_training(None if signal == "none" else signal, DATA, recipe, announce=announce)
        for signal in SIGNALS
    }
    _check_identity(folder, {signal: identity for signal, (_, identity, _) in prepared.items()})
    tasks: dict[str, TrainingTask] = {signal: task for signal, (task, _, _) in prepared.items()}
    executor = make_executor(workers)
    try:
        with appending(path) as table:
            for start in range(0, len(architectures), _CHUNK):
                planned = trainings_of(architectures[start : start + _CHUNK], start)
                missing = sorted((one for one in planned if one not in done), key=_size, reverse=True)  # short tail
                for signal, task in tasks.items():
                    mine = [one for one in missing if one.signal == signal]
                    for index, record in executor.run(task, [Job(one.architecture, one.seed) for one in mine]):
                        table.add([(mine[index], record)])
                        if on_training is not None:
                            on_training(mine[index], record)
    finally:
        executor.close()


def _size(training: Training) -> int:
    return count_cost(NetworkSpec.parse(training.architecture), 28, 1, 10).madds


def _check_identity(folder: Path, identities: dict[str, Any]) -> None:
    """Keep what the trainings depend on beside them, or refuse to add others to them."""
    path = folder / IDENTITY_FILE
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(path, (json.dumps(identities, indent=1) + "\n").encode())
        except OSError as error:
            raise StorageError(f"{path} cannot be written: {error.strerror or error}.") from error
        return
    except ValueError as error:
        raise CorruptFileError(f"{path} must hold what the trainings beside it depend on, but: {error}.") from error
    if kept != identities:
        differing = [signal for signal in identities if kept.get(signal) != identities[signal]]
        raise RunMismatchError(
            f"The trainings in {folder} must be of this recipe, these images and these teachers, but those of "
            f"{', '.join(differing)} were made otherwise. Choose another folder."
        )
