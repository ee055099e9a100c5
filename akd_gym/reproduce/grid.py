"""Students trained in several ways over paired seeds: the shape of Tables 6, 7 and 10."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from akd_gym.analysis.intervals import mean_interval
from akd_gym.architecture import NetworkSpec
from akd_gym.cost import count_cost
from akd_gym.reproduce.scale import Budget
from akd_gym.reproduce.study import Finding, Workshop
from akd_gym.reproduce.tables import markdown_table, method_title, unfinished
from akd_gym.reproduce.trainings import StudentTraining


class Way(NamedTuple):
    """How a student is trained.

    Attributes:
        method: See `load_method`.
        teacher: Who is distilled; `"none"` for hard labels.
    """

    method: str
    teacher: str

    @property
    def title(self) -> str:
        """As in a table."""
        return method_title(self.method)


HARD = Way("hard", "none")


def ways(methods: Iterable[str], teacher: str) -> list[Way]:
    """Hard labels, and methods by one teacher."""
    return list(dict.fromkeys([HARD, *(Way(method, teacher) for method in methods if method != "hard")]))


def grid_budget(workshop: Workshop, students: Iterable[NetworkSpec], trained: Sequence[Way]) -> Budget:
    """What a grid costs."""
    once = [(spec, way.method) for spec in students for way in trained]
    seeds = workshop.scale.seeds
    return Budget(trainings=len(once) * seeds, core_seconds=workshop.trainings.seconds(once) * seeds)


def train_grid(workshop: Workshop, students: Mapping[str, NetworkSpec], trained: Sequence[Way]) -> Finding:
    """Every student in every way with every seed, and what each way brings over hard labels.

    A seed is that of the initial weights and of the order of images; but for CC-KD, which puts images of a class side
    by side, all methods see the same images in the same order.

    Args:
        workshop: Where.
        students: By name.
        trained: The ways, hard labels among them.
    """
    # One seed after the other, so that what is there when it is stopped is paired.
    planned = {
        (name, way, seed): StudentTraining(str(spec.canonical()), way.method, way.teacher, seed)
        for seed in range(workshop.scale.seeds)
        for (name, spec), way in itertools.product(students.items(), trained)
    }
    done = workshop.train(list(planned.values()))
    rows = {key: done[training] for key, training in planned.items()}
    by_seed: dict[tuple[str, Way], dict[int, float]] = {}
    for (name, way, seed), row in rows.items():
        if row.test_accuracy is not None:
            by_seed.setdefault((name, way), {})[seed] = 100 * row.test_accuracy
    lines: list[tuple[str, ...]] = []
    cells: list[dict[str, Any]] = []
    for name, way in itertools.product(students, trained):
        own, hard = by_seed.get((name, way), {}), by_seed.get((name, HARD), {})
        paired = [own[seed] - hard[seed] for seed in sorted(own.keys() & hard.keys())]
        gain = mean_interval(paired) if paired and way != HARD else None
        lines.append(
            (
                name,
                f"{_madds(workshop, students[name]) / 1e6:.2f}",
                way.title,
                str(len(own)),
                f"{mean_interval(list(own.values())):.2f}" if own else "-",
                "" if gain is None else f"{gain:+.2f}",
                f"{np.mean([rows[name, way, seed].seconds for seed in own]) / 60:.1f}" if own else "-",
            )
        )
        cells.append(
            {"student": name, "method": way.method, "teacher": way.teacher, "by_seed": own}
            | ({} if gain is None else {"gain": gain._asdict()})
        )
    head = ("student", "MAdds, M", "trained by", "seeds", "test accuracy, %", "over hard labels, points", "minutes")
    text = (
        f"{markdown_table(head, lines)}\n\nMeans over seeds with 95 % intervals of Student's t; differences over "
        "paired seeds. Minutes of one core, on a machine that did other things too.\n"
        f"{_named(students)}{unfinished(rows.values())}"
    )
    return Finding(text, {"cells": cells, "students": {name: str(spec) for name, spec in students.items()}})


def _named(students: Mapping[str, NetworkSpec]) -> str:
    return "\n" + "\n".join(f"- {name}: `{spec}`" for name, spec in students.items()) + "\n"


def _madds(workshop: Workshop, spec: NetworkSpec) -> int:
    data = workshop.trainings.data
    return count_cost(spec, data.resolution, data.in_channels, data.num_classes).madds
