"""What a search begins with: the evaluations of others, and what another run's agent has learned."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from akd_gym.agents.settings import LEARNERS, SearchSettings, read_search_name, read_settings, run_ledger
from akd_gym.analysis.outcomes import derive_outcomes, distinct
from akd_gym.errors import CorruptFileError, InvalidSettingError, RunMismatchError
from akd_gym.evaluation import Announce, ProxyEvaluator
from akd_gym.files import write_atomically
from akd_gym.ledger import Ledger
from akd_gym.ledger_merge import copy_evaluations
from akd_gym.reward import Reward
from akd_gym.space import Choices, SearchSpace, make_space

START_FILE = "start.json"
"""Beside the settings of a run whose agent was given students to begin with: which ones."""

START_SIZE = 100
"""Students of an earlier run, at most, that an agent is given to begin with."""


def ledger_of(path: Path) -> Path:
    """The ledger of a run directory, or the file itself.

    Raises:
        RunMismatchError: If it is a directory, but not of a run.
    """
    if not path.is_dir():
        return path
    return run_ledger(read_settings(path), path)


def take_over_evaluations(source: Path, evaluator: ProxyEvaluator, announce: Announce | None = None) -> None:
    """Copy what another run or ledger holds of this search's task, teacher, device and seed, so that it is free here.

    Args:
        source: A run directory or a ledger.
        evaluator: The search's.
        announce: Told how much there was.

    Raises:
        InvalidSettingError: If there is nothing of this search's.
        RunMismatchError: If it is a directory, but not of a run.
        CorruptFileError: If the ledger is damaged.
        StorageError: If there is no such ledger.
    """
    contexts = [context for context in (evaluator.training_context, evaluator.latency_context) if context is not None]
    path = ledger_of(source)
    with Ledger.open(path, read_only=True) as other:
        copied = copy_evaluations(other, evaluator.ledger, contexts, evaluator.seed)
        if not any(copied.values()):
            raise InvalidSettingError(
                f"`warm_start` must name evaluations of this search's task, teacher and device with seed "
                f"{evaluator.seed}, but {source} has none: {_difference(other, evaluator)}."
            )
    if announce is not None:
        trainings, latencies = copied["trainings"], copied["latencies"]
        announce(f"Taken over from {source}: {trainings} trainings and {latencies} latencies")


def check_policy(settings: SearchSettings, space: SearchSpace) -> None:
    """Refuse a run whose agent has learned something else than this search's agent could.

    Raises:
        RunMismatchError: If `policy` is no run, or of another space; where a policy is wanted, if it is of another
            agent or has no checkpoint.
    """
    assert settings.policy is not None
    other = read_settings(settings.policy)
    theirs = make_space(other.space, other.skeleton or space.skeleton)
    if theirs.decisions != space.decisions:
        raise RunMismatchError(
            f"`policy` must be a run over the same decisions as {space.name!r}, but {settings.policy} searches "
            f"{theirs.name!r}."
        )
    if settings.agent not in LEARNERS:
        return
    if other.agent != settings.agent:
        raise RunMismatchError(
            f"`policy` must be a run of the agent {settings.agent!r}, but {settings.policy} is of {other.agent!r}."
        )
    from akd_gym.agents.checkpoints import latest_checkpoint  # here: it needs torch

    if latest_checkpoint(settings.policy) is None:
        raise RunMismatchError(f"`policy` must be a run with a checkpoint, but {settings.policy} has none.")


def best_students(settings: SearchSettings, target: float, unit: str) -> list[Choices]:
    """The best students of the run that `policy` names, by this search's reward and target.

    Raises:
        RunMismatchError: If it has found nothing feasible, or weighs another cost.
    """
    assert settings.policy is not None
    source = settings.policy
    reward = Reward(settings.reward, settings.reward_weight)
    with Ledger.open(ledger_of(source), read_only=True) as ledger:
        evaluations = list(ledger.evaluations(read_search_name(source)))
    by_architecture = {e.candidate.architecture: e.candidate.choices for e in evaluations}
    found = distinct(derive_outcomes(evaluations, reward, target))
    if not found or found[0].unit != unit:
        has = f"weighs cost in {found[0].unit}" if found else "has found nothing feasible yet"
        raise RunMismatchError(f"`policy` must be a run with students by cost in {unit}, but {source} {has}.")
    found.sort(key=lambda outcome: -outcome.reward)
    return [by_architecture[outcome.architecture] for outcome in found[:START_SIZE]]


def keep_start(run: Path, start: Sequence[Choices]) -> None:
    """Note what an agent begins with: the run that it comes from may have gone on when this one is resumed.

    Raises:
        StorageError: If it cannot be written.
    """
    write_atomically(run / START_FILE, (json.dumps([list(choices) for choices in start]) + "\n").encode())


def read_start(run: Path) -> list[Choices] | None:
    """What `keep_start` has noted; None for nothing.

    Raises:
        CorruptFileError: If the file is damaged.
    """
    path = run / START_FILE
    if not path.exists():
        return None
    try:
        return [tuple(int(option) for option in choices) for choices in json.loads(path.read_text())]
    except (ValueError, TypeError) as error:
        raise CorruptFileError(f"{path} must hold lists of options, but: {error}. Begin the search anew.") from error


def _difference(other: Ledger, evaluator: ProxyEvaluator) -> str:
    """In which respects the trainings of another ledger are of something else."""
    mine = evaluator.ledger.identity(evaluator.training_context)
    assert mine is not None
    for context, _, seed, _ in other.trainings():
        identity: dict[str, Any] = other.identity(context) or {}
        names = sorted(name for name in mine.keys() | identity.keys() if mine.get(name) != identity.get(name))
        names += ["seed"] if seed != evaluator.seed else []
        return f"its first training differs in {', '.join(names)}"
    return "it has no trainings"
