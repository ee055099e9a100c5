"""Making AKDBench's tables: every latency and training of the plan, resumable, each kept as soon as it is paid for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from akd_gym.architecture import NetworkSpec
from akd_gym.bench.blocks import CLASSES, INPUT_SHAPE
from akd_gym.bench.dataset import check_enough, read_data
from akd_gym.bench.identity import check_identity
from akd_gym.bench.make import first_look
from akd_gym.bench.neighbourhood import NEIGHBOURHOOD, neighbourhood
from akd_gym.bench.plan import (
    COVERING,
    DATA,
    RECIPE,
    SIGNALS,
    Training,
    bench_space,
    covering_architectures,
    trainings_of,
)
from akd_gym.bench.trainings import TRAININGS_FILE, appending_trainings, read_trainings
from akd_gym.cost import count_cost
from akd_gym.evaluation import Announce, prepare_training
from akd_gym.executors import Job, TrainingTask, make_executor
from akd_gym.ledger_records import TrainingRecord
from akd_gym.recipes import Recipe
from akd_gym.table_file import appending, read_table

IDENTITY_FILE = "identity.json"
SECOND_STAGE_FILE = "second_stage.csv"

_CHUNK = 24  # architectures trained by all signals before the next ones, so that the table is balanced at any time
_SECOND_STAGE = ("place", "architecture", "surrogate")

OnTraining = Callable[[Training, TrainingRecord], None]


def train_architectures(
    architectures: Sequence[str],
    folder: Path,
    *,
    start: int = 0,
    recipe: Recipe = RECIPE,
    workers: int | None = None,
    announce: Announce | None = None,
    on_training: OnTraining | None = None,
) -> None:
    """Train what the table in `folder` does not hold yet, of architectures by every signal and their seeds.

    Args:
        architectures: Canonical strings; every eighth is trained with three seeds.
        folder: Of the table; made if need be.
        start: Place of the first of them in the whole sample.
        recipe: How to train.
        workers: Students trained at once; None for one a core.
        announce: Told what takes time or space before it does.
        on_training: Told of each training that was new.

    Raises:
        RunMismatchError: The table was made with another recipe, other images or other teachers.
        CorruptFileError: The table is damaged.
        StorageError: The folder cannot be written.
    """
    missing = missing_trainings(architectures, folder, start)
    prepared = {
        signal: prepare_training(None if signal == "none" else signal, DATA, recipe, announce=announce)
        for signal in SIGNALS
    }
    identity = {signal: one for signal, (_, one, _) in prepared.items()}
    check_identity(folder / IDENTITY_FILE, identity, "trainings", "recipe, these images and these teachers")
    tasks: dict[str, TrainingTask] = {signal: task for signal, (task, _, _) in prepared.items()}
    executor = make_executor(workers)
    try:
        with appending_trainings(folder / TRAININGS_FILE) as table:
            for chunk in missing:
                for signal, task in tasks.items():
                    mine = [one for one in chunk if one.signal == signal]
                    for index, record in executor.run(task, [Job(one.architecture, one.seed) for one in mine]):
                        table.add(mine[index], record)
                        if on_training is not None:
                            on_training(mine[index], record)
    finally:
        executor.close()


def missing_trainings(architectures: Sequence[str], folder: Path, start: int = 0) -> list[list[Training]]:
    """What `train_architectures` has to train, in the order it does; each inner list is balanced over the signals.

    Raises:
        CorruptFileError: The table is damaged.
        StorageError: It cannot be read.
    """
    done = {row.training for row in read_trainings(folder / TRAININGS_FILE)}
    chunks = []
    for first in range(0, len(architectures), _CHUNK):
        planned = trainings_of(architectures[first : first + _CHUNK], start + first)
        chunks.append(sorted((one for one in planned if one not in done), key=_size, reverse=True))  # short tail
    return [chunk for chunk in chunks if chunk]


def first_stage(count: int = COVERING) -> list[str]:
    """The networks that cover the space."""
    return covering_architectures(bench_space(), count)


def read_second_stage(folder: Path) -> tuple[int, list[str]]:
    """Place of the first network of the second stage, and the networks; none before they were chosen.

    Raises:
        CorruptFileError: The file is damaged.
        StorageError: It cannot be read.
    """
    rows = read_table(
        folder / SECOND_STAGE_FILE, _SECOND_STAGE, _parse_second_stage, lambda row: row[1], "it is chosen"
    )
    return (rows[0][0] if rows else 0), [name for _, name in rows]


def choose_second_stage(first: Sequence[str], folder: Path, count: int = NEIGHBOURHOOD) -> tuple[int, list[str]]:
    """The second stage as it was chosen, or, if it was not, chosen by a surrogate fitted to the first stage.

    Args:
        first: The networks of the first stage, trained and measured.
        folder: Of the tables; the choice is kept there.
        count: How many.

    Returns:
        See `read_second_stage`.

    Raises:
        InvalidSettingError: The first stage has too few networks for a fit.
        CorruptFileError: A table is damaged.
        StorageError: The folder cannot be written.
    """
    place, names = read_second_stage(folder)
    if names or count == 0:
        return place, names
    data = read_data(folder).only(first)
    check_enough(data)
    surrogate = first_look(data)
    names = neighbourhood(surrogate, set(first), count)
    with appending(folder / SECOND_STAGE_FILE, _SECOND_STAGE) as table:
        table.add([[len(first) + i, name, surrogate.hash[:16]] for i, name in enumerate(names)])
    return len(first), names


def _size(training: Training) -> int:
    channels, resolution, _ = INPUT_SHAPE
    return count_cost(NetworkSpec.parse(training.architecture), resolution, channels, CLASSES).madds


def _parse_second_stage(line: list[str]) -> tuple[int, str]:
    place, name, _ = line
    return int(place), str(NetworkSpec.parse(name))
