"""Which students are best under which teacher, and how much of the difference is noise (Tables 1 and 3).

The paper trains each student once by each teacher and finds that teachers have different favourites. Trainings vary
from seed to seed, so that noise alone gives them different favourites too. Here every student is trained by every
teacher with several seeds, and what teachers disagree on is held against what seeds disagree on:

    accuracy = student + teacher + student x teacher + (what the seed does to each of these) + noise

Tests exchange the teachers of a student's trainings with one seed: if they all want the same, then beyond what a
teacher does for every student, its training might as well have been another's. So a student whose trainings are
noisier than others', as bad ones' are, stays so, and the noise needs not be normal.

Students must not be chosen by the accuracies that are then compared: where five are picked because hard labels happen
to leave them alike, as in Table 3, the luck that made them alike is part of one column and not of the others. Pick them
by trainings with other seeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from akd_gym.analysis.aggregates import Interval, percentiles
from akd_gym.analysis.rank_correlation import kendall_tau
from akd_gym.errors import InvalidSettingError

_REPLICATES = 1_000  # of bootstraps and exchanges
_FEW = 5  # students; a bootstrap of fewer says nothing of others
_NEIGHBOURS = 10  # students alike in accuracy, whose noise is taken to be alike
_SEED = 1911_09074

Array = NDArray[np.float64]


@dataclass(frozen=True)
class RankedStudent:
    """A student under one teacher.

    Attributes:
        student: Its name.
        accuracy: Mean over seeds, with the 95 % interval of the noise; what a seed gives to all students is left out.
        rank: From 1, the best; equal means share the better rank.
        rank_low: The best rank within the 95 % that the noise leaves.
        rank_high: The worst one.
    """

    student: str
    accuracy: Interval
    rank: int
    rank_low: int
    rank_high: int


@dataclass(frozen=True)
class TeacherRanking:
    """A column of Table 3: the students by accuracy under one teacher, the best first."""

    teacher: str
    students: tuple[RankedStudent, ...]


@dataclass(frozen=True)
class RankAgreement:
    """How alike two teachers rank the students, by Kendall's tau-b of the mean accuracies.

    Attributes:
        one: A teacher.
        other: Another.
        tau: With the 95 % interval over students: what other students of the kind would have given; of fewer than five,
            which say nothing of others, all there can be.
        by_noise: What noise leaves of a tau of 1 if both teachers want the same: mean and 95 % interval under exchange
            of the teachers. Too low where they do not, so that `p_value` errs on the side of caution.
        p_value: How probable so low a tau is by noise alone.
    """

    one: str
    other: str
    tau: Interval
    by_noise: Interval
    p_value: float


@dataclass(frozen=True)
class Interaction:
    """Whether teachers differ in which students they suit, beyond the noise.

    Attributes:
        f: Mean square of student x teacher over that of student x teacher x seed.
        df: Their degrees of freedom.
        p_value: Of the F distribution, for noise that is normal and alike for all students.
        permutation_p: Of exchanging teachers, for noise of any kind; at best 1 in 1,001.
        deviation: Standard deviation of what a teacher does for a student in particular; 0 if there is less than noise.
        noise: Standard deviation of the noise of one training, what seeds do to a student under all teachers left out.
        between_students: Standard deviation of the students' accuracies under all teachers; 0 likewise.
    """

    f: float
    df: tuple[int, int]
    p_value: float
    permutation_p: float
    deviation: float
    noise: float
    between_students: float


@dataclass(frozen=True)
class StudentRanking:
    """Students by teacher.

    Attributes:
        seeds: Trainings of each student by each teacher.
        teachers: A ranking each.
        agreements: Every pair of teachers.
        interaction: All teachers together.
    """

    seeds: int
    teachers: tuple[TeacherRanking, ...]
    agreements: tuple[RankAgreement, ...]
    interaction: Interaction


def rank_students(accuracies: ArrayLike, students: Sequence[str], teachers: Sequence[str]) -> StudentRanking:
    """Ranks students under each teacher, and compares the rankings.

    Args:
        accuracies: Fractions, shape (students, teachers, seeds), at least two of each; the trainings of a student with
            one seed are alike in all but the teacher. Hard labels count as a teacher.
        students: Their names.
        teachers: Their names.

    Raises:
        InvalidSettingError: Too few students, teachers or seeds, names that do not fit, accuracies that are missing,
            trainings without any noise, or a teacher under whom all students are equal.
    """
    values = _checked(accuracies)
    if values.shape[:2] != (len(students), len(teachers)):
        raise InvalidSettingError(
            f"`accuracies` must have a row for each of {len(students)} students and a column for each of "
            f"{len(teachers)} teachers, but has the shape {values.shape}."
        )
    interaction = student_teacher_interaction(values)
    means = values.mean(axis=2)
    columns = tuple(TeacherRanking(name, _ranked(values[:, j], students)) for j, name in enumerate(teachers))
    agreements = tuple(
        RankAgreement(teachers[j], teachers[k], _tau_of_students(means[:, j], means[:, k]), *by_noise)
        for j in range(len(teachers))
        for k in range(j + 1, len(teachers))
        for by_noise in [_tau_by_noise(values[:, [j, k]])]
    )
    return StudentRanking(values.shape[2], columns, agreements, interaction)


def student_teacher_interaction(accuracies: ArrayLike) -> Interaction:
    """Tests whether teachers differ in which students they suit.

    Args:
        accuracies: As for `rank_students`.

    Raises:
        InvalidSettingError: Too few students, teachers or seeds, accuracies that are missing, or no noise at all.
    """
    from scipy.stats import f as f_distribution  # here: it takes its time

    values = _checked(accuracies)
    students, teachers, seeds = values.shape
    df = ((students - 1) * (teachers - 1), (students - 1) * (teachers - 1) * (seeds - 1))
    own = _beyond_teachers(values)
    of_interaction, of_noise = _mean_squares(own)
    if of_noise < 1e-18:
        raise InvalidSettingError("Trainings must differ from seed to seed for a test, but these have no noise at all.")
    ratio = of_interaction / of_noise
    squares = [_mean_squares(one) for one in _exchanges(own)]
    reached = sum(one >= ratio * noise * (1 - 1e-9) for one, noise in squares)
    of_student = values.mean(axis=1)
    of_student = of_student - of_student.mean(axis=0)
    within = of_student - of_student.mean(axis=1, keepdims=True)
    student_square = seeds * (of_student.mean(axis=1) ** 2).sum() / (students - 1)
    student_noise = (within**2).sum() / ((students - 1) * (seeds - 1))
    return Interaction(
        f=float(ratio),
        df=df,
        p_value=float(f_distribution.sf(ratio, *df)),
        permutation_p=(1 + reached) / (1 + _REPLICATES),
        deviation=float(np.sqrt(max(0.0, of_interaction - of_noise) / seeds)),
        noise=float(np.sqrt(of_noise)),
        between_students=float(np.sqrt(max(0.0, student_square - student_noise) / seeds)),
    )


def _checked(accuracies: ArrayLike) -> Array:
    values = np.asarray(accuracies, dtype=np.float64)
    if values.ndim != 3 or min(values.shape) < 2:
        raise InvalidSettingError(
            "`accuracies` must have the shape (students, teachers, seeds), at least two of each, "
            f"but has {values.shape}."
        )
    if not np.isfinite(values).all():
        raise InvalidSettingError(
            "`accuracies` must be finite; leave out students that some teacher or seed could not train."
        )
    return values


def _ranked(values: Array, students: Sequence[str]) -> tuple[RankedStudent, ...]:
    """One teacher's ranking of accuracies of shape (students, seeds)."""
    from scipy.stats import rankdata  # here: it takes its time

    means = values.mean(axis=1)
    replicates = means + _mean_noise(values)
    accuracies = percentiles(replicates)
    ranks = rankdata(-means, method="min").astype(int)
    ends = percentiles(rankdata(-replicates, method="min", axis=1), method="inverted_cdf").astype(int)
    rows = [
        RankedStudent(
            name,
            Interval(float(means[i]), float(accuracies[0, i]), float(accuracies[1, i])),
            *(int(ranks[i]), int(ends[0, i]), int(ends[1, i])),
        )
        for i, name in enumerate(students)
    ]
    return tuple(sorted(rows, key=lambda row: row.rank))


def _tau_of_students(one: Array, other: Array) -> Interval:
    tau = kendall_tau(one, other)
    return tau if len(one) >= _FEW else Interval(tau.value, -1.0, 1.0)


def _mean_noise(values: Array) -> Array:
    """Bootstrap replicates of the noise of one teacher's means over seeds, shape (replicates, students).

    Residuals are what a student's training with a seed has beyond its mean and beyond what that seed gives to all
    students. Each student draws from those of the students nearest in accuracy, as its own few say little; they are
    lengthened by what the two means took away from them.

    Args:
        values: Shape (students, seeds).
    """
    students, seeds = values.shape
    means = values.mean(axis=1)
    residuals = values - means[:, None] - values.mean(axis=0) + values.mean()
    residuals *= np.sqrt(students * seeds / ((students - 1) * (seeds - 1)))
    order, near = np.argsort(means), min(_NEIGHBOURS, students)
    firsts = np.clip(np.argsort(order) - near // 2, 0, students - near)
    pools = residuals[order[firsts[:, None] + np.arange(near)]].reshape(students, near * seeds)
    drawn = np.random.default_rng([_SEED, 1]).integers(near * seeds, size=(_REPLICATES, students, seeds))
    return pools[np.arange(students)[:, None], drawn].mean(axis=2)


def _tau_by_noise(values: Array) -> tuple[Interval, float]:
    """The tau that noise leaves two teachers, and how probable one as low as theirs then is.

    Args:
        values: Shape (students, 2, seeds).
    """
    means = values.mean(axis=2)
    own = _beyond_teachers(values)
    both = means.mean(axis=1)
    exchanged = both + np.stack([one.mean(axis=2).T for one in _exchanges(own)], axis=1)
    taus = _taus(*exchanged)
    low, high = percentiles(taus)
    found = _taus(means[None, :, 0], means[None, :, 1])[0]
    return (
        Interval(float(taus.mean()), float(low), float(high)),
        float((1 + (taus <= found + 1e-9).sum()) / (1 + len(taus))),
    )


def _beyond_teachers(values: Array) -> Array:
    """What each training has beyond its student with that seed, and beyond its teacher with that seed; same shape."""
    own = values - values.mean(axis=1, keepdims=True)
    return own - own.mean(axis=0)


def _exchanges(own: Array) -> Iterator[Array]:
    """Values of shape (students, teachers, seeds) with teachers exchanged within each student and seed."""
    students, teachers, seeds = own.shape
    rng = np.random.default_rng([_SEED, 2])
    for _ in range(_REPLICATES):
        # Of two students one has what the other lacks, so that what is one training's must go the way of the other's.
        orders = rng.random((1 if students == 2 else students, teachers, seeds)).argsort(axis=1)
        yield np.take_along_axis(own, np.broadcast_to(orders, own.shape), axis=1)


def _mean_squares(own: Array) -> tuple[float, float]:
    """Those of student x teacher, and of student x teacher x seed; of values centred over teachers."""
    students, teachers, seeds = own.shape
    centred = own - own.mean(axis=0)  # again, as exchanges undo it
    means = centred.mean(axis=2, keepdims=True)
    df = (students - 1) * (teachers - 1)
    return float(seeds * (means**2).sum() / df), float(((centred - means) ** 2).sum() / (df * (seeds - 1)))


def _taus(x: Array, y: Array) -> Array:
    """Kendall's tau-b of each row of one with that of the other; 0 where all of a row is equal, so that none is first.

    Args:
        x: Shape (replicates, students).
        y: Likewise.
    """
    sums = np.zeros((3, len(x)))
    for i in range(x.shape[1] - 1):
        above, beyond = (np.sign(values[:, i + 1 :] - values[:, i : i + 1]) for values in (x, y))
        sums += np.stack([above * beyond, np.abs(above), np.abs(beyond)]).sum(axis=2)
    untied = np.sqrt(sums[1] * sums[2])
    return np.divide(sums[0], untied, out=np.zeros(len(x)), where=untied > 0)
