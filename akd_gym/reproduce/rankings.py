"""Tables 1 and 3: whether teachers prefer different students, from AKDBench's real trainings."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from akd_gym.analysis.ranking import rank_students
from akd_gym.bench.plan import SIGNALS
from akd_gym.bench.surrogate import SHIPPED
from akd_gym.bench.trainings import TRAININGS_FILE, read_trainings
from akd_gym.errors import InvalidSettingError
from akd_gym.reproduce.scale import Budget
from akd_gym.reproduce.study import Finding, Study, Workshop
from akd_gym.reproduce.tables import markdown_table

_SEEDS = 3
_NAMES = {"none": "hard labels", "shipped:resnet": "resnet", "shipped:mixer": "mixer"}


def repeated_trainings() -> tuple[list[str], NDArray[np.float64]]:
    """The students that AKDBench trained three times by every signal.

    Returns:
        Architectures, and accuracies as fractions of shape (students, signals, seeds); the seeds are paired.
    """
    found: dict[str, dict[tuple[str, int], float]] = defaultdict(dict)
    for row in read_trainings(SHIPPED / TRAININGS_FILE):
        if row.accuracy is not None:
            found[row.training.architecture][row.training.signal, row.training.seed] = row.accuracy
    whole = {name: own for name, own in found.items() if len(own) == len(SIGNALS) * _SEEDS}
    seeds = {name: sorted({seed for _, seed in own}) for name, own in whole.items()}
    values = [[[own[signal, seed] for seed in seeds[name]] for signal in SIGNALS] for name, own in whole.items()]
    return list(whole), np.array(values)


@dataclass(frozen=True)
class TwoStudents(Study):
    """Whether a student that is better with one teacher and worse with another stays so with other seeds.

    Among a hundred students some pair always looks like that. So pairs are chosen by two seeds and judged by the third.

    Args:
        chosen: Pairs, of those that two seeds show to be the most at odds.
    """

    name: ClassVar[str] = "table1"
    title: ClassVar[str] = "Table 1: a teacher's favourite student"
    paper: ClassVar[str] = (
        "Student 1 gains more from EfficientNet-B7, student 2 from Inception-ResNet-v2, by one training each."
    )

    chosen: int = 100

    def budget(self, workshop: Workshop) -> Budget:
        """See `Study.budget`: AKDBench's trainings are made."""
        return Budget()

    def run(self, workshop: Workshop) -> Finding:
        """See `Study.run`."""
        names, values = repeated_trainings()
        preference = 100 * (values[:, SIGNALS.index("shipped:resnet")] - values[:, SIGNALS.index("shipped:mixer")])
        pairs = np.array(list(combinations(range(len(names)), 2)))
        lines, likes, kept, shrunk = [], [], [], []
        for judge in range(_SEEDS):
            seen = np.delete(preference, judge, axis=1).mean(axis=1)
            apart = seen[pairs[:, 0]] - seen[pairs[:, 1]]
            order = np.argsort(-np.abs(apart), kind="stable")[: self.chosen]
            sign = np.sign(apart[order])
            held = sign * (preference[pairs[order, 0], judge] - preference[pairs[order, 1], judge])
            kept.append((held > 0).mean())
            shrunk.append(held.mean())
            first = pairs[order[0]] if sign[0] > 0 else pairs[order[0]][::-1]
            lines.append(
                (
                    str(judge),
                    f"{np.abs(apart[order]).mean():.2f}",
                    f"{held.mean():.2f}",
                    f"{100 * (held > 0).mean():.0f}",
                )
            )
            likes.append(f"- judged by seed {judge}: for resnet `{names[first[0]]}`, for mixer `{names[first[1]]}`")
        null = self._by_noise(preference, pairs)
        head = ("judged by seed", "apart in the other two, points", "apart in it, points", "same sign, %")
        share, p_value = float(np.mean(kept)), float((1 + (null >= np.mean(shrunk)).sum()) / (1 + len(null)))
        text = (
            f"{markdown_table(head, lines)}\n\nOf {len(names)} students with {_SEEDS} paired seeds, the {self.chosen} "
            "pairs of students which disagree most about the two teachers (gain from resnet less gain from mixer, one "
            "student's less the other's) by two seeds, and how they stand by the third: of the disagreement "
            f"{np.mean(shrunk):.2f} points are left, {100 * share:.0f} % of the pairs keep their sign, and as much is "
            f"left with probability p = {p_value:.2g} where every student gains alike from both (students' preferences "
            "shuffled within the seed that judges). The pairs most at odds:\n\n" + "\n".join(likes)
        )
        return Finding(text, {"kept": kept, "left": shrunk, "p_value": p_value, "students": len(names)})

    def _by_noise(self, preference: NDArray[np.float64], pairs: NDArray[np.int64]) -> NDArray[np.float64]:
        """What is left on average if the judging seed's preferences belong to anybody, shape (replicates,)."""
        rng = np.random.default_rng(1)
        left = np.empty(1_000)
        for replicate in range(len(left)):
            means = []
            for judge in range(_SEEDS):
                seen = np.delete(preference, judge, axis=1).mean(axis=1)
                apart = seen[pairs[:, 0]] - seen[pairs[:, 1]]
                order = np.argpartition(-np.abs(apart), self.chosen)[: self.chosen]
                judged = rng.permutation(preference[:, judge])
                means.append(np.mean(np.sign(apart[order]) * (judged[pairs[order, 0]] - judged[pairs[order, 1]])))
            left[replicate] = np.mean(means)
        return left


@dataclass(frozen=True)
class Rankings(Study):
    """Students ranked by teacher: five that hard labels find alike, as in the paper, and all that were repeated.

    Args:
        shown: Students in the table.
    """

    name: ClassVar[str] = "table3"
    title: ClassVar[str] = "Table 3: students ranked by teacher"
    paper: ClassVar[str] = (
        "Five students that hard labels find alike (65.4 to 65.6 %) are ranked differently by each of four teachers; "
        "one training each."
    )

    shown: int = 5

    def budget(self, workshop: Workshop) -> Budget:
        """See `Study.budget`: AKDBench's trainings are made."""
        return Budget()

    def run(self, workshop: Workshop) -> Finding:
        """See `Study.run`.

        Raises:
            InvalidSettingError: Fewer than two students to show.
        """
        if self.shown < 2:
            raise InvalidSettingError(f"`shown` must be at least 2, but got {self.shown}.")
        names, values = repeated_trainings()
        teachers = [_NAMES[signal] for signal in SIGNALS]
        # Picked by one seed and ranked by the others: what picks must not rank.
        hard = values[:, SIGNALS.index("none"), 0]
        middle = np.sort(np.argsort(np.abs(hard - np.median(hard)), kind="stable")[: self.shown])
        labels = [f"S{i + 1}" for i in range(self.shown)]
        few = rank_students(values[middle][:, :, 1:], labels, teachers)
        columns = [
            [
                f"{s.student} {100 * s.accuracy.value:.1f} ({100 * s.accuracy.low:.1f} to {100 * s.accuracy.high:.1f})"
                for s in teacher.students
            ]
            for teacher in few.teachers
        ]
        every = rank_students(values, names, teachers)
        agreements = [
            (
                f"{one.one}, {one.other}",
                f"{one.tau.value:.2f} ({one.tau.low:.2f} to {one.tau.high:.2f})",
                f"{one.by_noise.value:.2f} ({one.by_noise.low:.2f} to {one.by_noise.high:.2f})",
                f"{one.p_value:.2g}",
            )
            for one in every.agreements
        ]
        found = every.interaction
        text = (
            f"{markdown_table(teachers, zip(*columns, strict=True))}\n\nThe {self.shown} students nearest to the "
            "median by hard labels with one seed, the best first by the two others: mini-val accuracy in %, with the "
            "95 % interval of the noise.\n\n"
            f"{markdown_table(('rankings by', 'Kendall tau', 'tau by noise alone', 'p'), agreements)}\n\nOf all "
            f"{len(names)} students that were repeated. What a teacher does for a student in particular has a standard "
            f"deviation of {100 * found.deviation:.2f} points, students differ by {100 * found.between_students:.2f} "
            f"under all teachers, and a training's noise is {100 * found.noise:.2f}; F({found.df[0]}, {found.df[1]}) = "
            f"{found.f:.2f}, p = {found.p_value:.2g}, by permutation {found.permutation_p:.2g}.\n\n"
            + "\n".join(f"- {label}: `{names[i]}`" for label, i in zip(labels, middle, strict=True))
        )
        numbers = {
            "interaction": vars(found),
            "agreements": [(one.one, one.other, one.tau, one.by_noise, one.p_value) for one in every.agreements],
        }
        return Finding(text, numbers)
