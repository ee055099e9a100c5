"""The accuracies of an audit, student by student: what statistics, figure and file are made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from akd_gym.ledger_records import TrainingRecord
from akd_gym.proxy_audit.plan import LONGER, AuditPlan
from akd_gym.proxy_audit.trainings import Training

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Infeasible:
    """A training that gave no accuracy.

    Attributes:
        training: Which.
        reason: See `InfeasibleCandidateError`.
    """

    training: Training
    reason: str


@dataclass(frozen=True)
class AuditTable:
    """What was found; accuracies are fractions, NaN where a training was infeasible.

    Attributes:
        names: Canonical strings of the n students, the search's best first.
        answers: What the search saw, shape (n,).
        proxies: Proxy trainings, shape (seeds, n); the first seed is the search's.
        longer: Of the longer proxy, by the first seed, shape (n,).
        fulls: Full trainings, shape (seeds, n).
        pairs: Proxy accuracies of students and their neighbours, by the first seed, shape (m, 2).
        seconds: Mean of a training: `"proxy"`, `"longer"` and `"full"`.
        infeasible: What has no accuracy.
        is_bench: Whether the search saw AKDBench's answers and not the first of the proxy trainings.
    """

    names: tuple[str, ...]
    answers: Array
    proxies: Array
    longer: Array
    fulls: Array
    pairs: Array
    seconds: Mapping[str, float]
    infeasible: tuple[Infeasible, ...]
    is_bench: bool

    @property
    def full(self) -> Array:
        """Mean of the full trainings, shape (n,); NaN where one of them was infeasible."""
        return np.asarray(self.fulls.mean(0))


def tabulate(plan: AuditPlan, records: Mapping[Training, TrainingRecord]) -> AuditTable:
    """Lay out all trainings of a plan.

    Args:
        plan: What was trained.
        records: Of every training of the plan.
    """
    names = tuple(student.architecture for student in plan.students)
    first = plan.settings.seed

    def accuracies(trainings: list[Training]) -> Array:
        found = (records[training].accuracy for training in trainings)
        return np.array([np.nan if accuracy is None else accuracy for accuracy in found], dtype=np.float64)

    proxies = [[plan.proxy(name, seed) for name in names] for seed in plan.seeds]
    longer = [plan.proxy(name, first, LONGER) for name in names]
    fulls = [[plan.fully(name, seed) for name in names] for seed in plan.full_seeds]
    own = accuracies(proxies[0])
    beside = accuracies([plan.proxy(neighbour.architecture, first) for neighbour in plan.neighbours])
    pairs = np.stack([own[[neighbour.student for neighbour in plan.neighbours]], beside], axis=1)
    timed = {
        # The audit's own, where there are any: the machine was as busy as for the others.
        "proxy": [one for runs in proxies for one in runs if one not in plan.known] or proxies[0],
        "longer": longer,
        "full": [one for runs in fulls for one in runs],
    }
    return AuditTable(
        names=names,
        answers=np.array([student.accuracy for student in plan.students], dtype=np.float64),
        proxies=np.stack([accuracies(runs) for runs in proxies]),
        longer=accuracies(longer),
        fulls=np.stack([accuracies(runs) for runs in fulls]),
        pairs=pairs,
        seconds={kind: float(np.mean([records[one].seconds for one in those])) for kind, those in timed.items()},
        infeasible=tuple(
            Infeasible(one, record.reason) for one, record in records.items() if record.reason is not None
        ),
        is_bench=plan.is_bench,
    )
