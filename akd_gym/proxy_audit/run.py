"""Making an audit: what is missing is trained side by side, and each training kept as soon as it is paid for."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import filelock

from akd_gym.architecture import NetworkSpec
from akd_gym.bench.identity import read_identity
from akd_gym.cost import count_cost
from akd_gym.errors import AKDGymError, RunMismatchError, StorageError
from akd_gym.evaluation import Announce, prepare_training
from akd_gym.executors import Executor, Job, TrainingTask, make_executor
from akd_gym.files import write_atomically
from akd_gym.ledger_records import TrainingRecord
from akd_gym.proxy_audit.full_task import FullTask
from akd_gym.proxy_audit.plan import AuditPlan, images_seen
from akd_gym.proxy_audit.trainings import FULL, TRAININGS_FILE, Training, appending_trainings

IDENTITY_FILE = "identity.json"
STUDENTS = "students"
"""Folder of the fully trained students."""

_LOCK_FILE = ".lock"
_LENGTH = ("epochs", "warmup_epochs", "views")  # of a recipe: the table tells trainings of other lengths apart

OnTraining = Callable[[Training, TrainingRecord], None]


def run_audit(
    plan: AuditPlan,
    *,
    workers: int | None = None,
    announce: Announce | None = None,
    on_training: OnTraining | None = None,
) -> tuple[dict[Training, TrainingRecord], dict[str, Any]]:
    """Train what neither the search nor an earlier audit has; the same call goes on where it was stopped.

    Args:
        plan: What to train.
        workers: Students trained at once; None for the search's own number.
        announce: Told what takes time or space before it does.
        on_training: Told of each training as soon as it is kept.

    Returns:
        Every training of the plan, and what they depend on: see `identity.json`.

    Raises:
        RunMismatchError: Teacher, images or recipes are not those that the search, or the audit so far, was made with;
            or another process audits this run.
        TeacherError: The teacher is gone.
        DataError: The images are gone.
        CorruptFileError: A file of the audit is damaged.
        StorageError: The run directory cannot be written.
    """
    with _writing(plan.folder):
        done = plan.done()
        kept = read_identity(plan.folder / IDENTITY_FILE)
        missing = [training for training in plan.trainings() if training not in done]
        if kept is not None and not missing:
            return done, kept
        tasks, identity, image_shape = _prepare(plan, announce)
        _check(plan, identity, kept)
        width = plan.settings.workers if workers is None else workers
        with (
            contextlib.closing(make_executor(width)) as executor,
            appending_trainings(plan.folder / TRAININGS_FILE) as table,
        ):
            for training, record in _train(missing, tasks, image_shape, executor):
                table.add(training, record)
                done[training] = record
                if on_training is not None:
                    on_training(training, record)
        return done, identity


def _prepare(
    plan: AuditPlan, announce: Announce | None
) -> tuple[dict[tuple[str, int], TrainingTask], dict[str, Any], tuple[int, int, int]]:
    """The task of each kind and length of training; what all results depend on; channels, resolution and classes."""
    settings = plan.settings
    teacher = None if settings.teacher == "none" else settings.teacher
    once = images_seen(settings.recipe, settings.data)
    tasks: dict[tuple[str, int], TrainingTask] = {}
    identity: dict[str, Any] = {}
    for kind, epochs in dict.fromkeys(training[:2] for training in plan.trainings()):
        recipe = plan.recipe(kind, epochs)
        task, depends, images = prepare_training(
            teacher, settings.data, recipe, device=settings.device, announce=announce
        )
        if kind not in identity and plan.identity is not None and kind != FULL:
            _check_search(plan, depends)
        # A worker that is silent for longer is taken for hung; more work may take longer.
        limit_s = settings.recipe.time_limit_s * max(1.0, images_seen(recipe, settings.data) / once)
        task = replace(task, recipe=replace(recipe, time_limit_s=limit_s))
        if kind == FULL:
            task = FullTask(task.data, task.recipe, None, task.device, settings.teacher, plan.folder / STUDENTS)
            test = images.test
            identity["judged"] = {"on": "mini-val", "images": len(images.val)}
            if test is not None:
                identity["judged"] = {"on": "test set", "images": len(test)}
        tasks[kind, epochs] = task
        identity.setdefault(kind, _without_length(depends))
    return tasks, identity, (images.in_channels, images.resolution, images.num_classes)


def _check_search(plan: AuditPlan, depends: Mapping[str, Any]) -> None:
    """The proxy must be the one of the search, or its numbers would be compared with others."""
    assert plan.identity is not None
    differing = sorted(name for name in depends if depends[name] != plan.identity.get(name))
    if differing:
        raise RunMismatchError(
            f"The proxy must be what it was when {plan.run} was searched, but {' and '.join(differing)} "
            f"{'is' if len(differing) == 1 else 'are'} not: was a file replaced? "
            "Put it back, or search anew and audit that run."
        )


def _check(plan: AuditPlan, identity: Mapping[str, Any], kept: Mapping[str, Any] | None) -> None:
    """Keep what the trainings depend on, or refuse where earlier ones depended on something else."""
    path = plan.folder / IDENTITY_FILE
    if kept is None:
        write_atomically(path, (json.dumps(identity, indent=1) + "\n").encode())
    elif kept != json.loads(json.dumps(identity)):
        differing = sorted(name for name in identity if identity[name] != kept.get(name))
        raise RunMismatchError(
            f"The trainings in {plan.folder} must be of the teacher, images and recipes of today, but differ in "
            f"{' and '.join(differing)} (see {path.name} there). Move the folder away to audit anew."
        )


def _train(
    missing: list[Training],
    tasks: Mapping[tuple[str, int], TrainingTask],
    images: tuple[int, int, int],
    executor: Executor,
) -> Iterator[tuple[Training, TrainingRecord]]:
    """Kind by kind in the order of the plan, large students first, so that none is left for the end."""
    channels, resolution, classes = images

    def madds(training: Training) -> int:
        return count_cost(NetworkSpec.parse(training.architecture), resolution, channels, classes).madds

    for key, task in tasks.items():
        mine = sorted((one for one in missing if one[:2] == key), key=madds, reverse=True)
        for index, record in executor.run(task, [Job(one.architecture, one.seed) for one in mine]):
            yield mine[index], record


def _without_length(identity: Mapping[str, Any]) -> dict[str, Any]:
    recipe = {name: value for name, value in identity["recipe"].items() if name not in _LENGTH}
    return {**identity, "recipe": recipe}


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Keeps an audit to this process."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _LOCK_FILE).touch()  # where it cannot be made, a lock would only be waited for
        with filelock.FileLock(folder / _LOCK_FILE, timeout=0):
            yield
    except filelock.Timeout as error:
        raise RunMismatchError(f"{folder} must not be in use, but another process is auditing there.") from error
    except OSError as error:
        if isinstance(error, AKDGymError):
            raise
        raise StorageError(f"{folder} cannot be written: {error.strerror or error}.") from error
