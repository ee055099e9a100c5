"""Rankings of students by teacher, and the test of their difference: by hand, by least squares, and known ones."""

import numpy as np
import pytest

from akd_gym.analysis.ranking import rank_students, student_teacher_interaction
from akd_gym.errors import InvalidSettingError


def trainings(rng, students=8, teachers=2, seeds=3, *, spread=3.0, favour=0.0, noise=1.0):
    """Accuracies as the module takes them to come about; noise is one number or one a student."""
    scale = np.broadcast_to(noise, students)[:, None, None]
    values = (
        spread * rng.normal(size=(students, 1, 1))
        + rng.normal(size=(1, teachers, 1))
        + favour * rng.normal(size=(students, teachers, 1))
        + rng.normal(size=(1, teachers, seeds))
        + scale * (rng.normal(size=(students, 1, seeds)) + rng.normal(size=(students, teachers, seeds)))
    )
    return 0.7 + 0.01 * values


def test_the_interaction_by_hand():
    """What teacher 1 has beyond teacher 2 in points: 4 and 2 for the one student, 0 and 0 for the other."""
    values = np.zeros((2, 2, 2))
    values[0, 0] = [4, 2]
    found = student_teacher_interaction(values)
    # Beyond student and teacher in each seed, +-(1, 1/2): means +-3/4, and +-1/4 about them.
    assert found.f == pytest.approx((2 * 4 * 0.75**2) / (8 * 0.25**2))
    assert found.df == (1, 1)
    assert found.p_value == pytest.approx(1 - 2 / np.pi * np.arctan(3))
    assert found.permutation_p == pytest.approx(0.5, abs=0.05)  # of ways to swap in two seeds half are alike in both
    assert found.deviation == pytest.approx(np.sqrt((4.5 - 0.5) / 2))
    assert found.noise == pytest.approx(np.sqrt(0.5))


def test_the_f_test_is_that_of_two_nested_linear_models():
    values = trainings(np.random.default_rng(0), students=5, teachers=3, seeds=4, favour=0.7)
    i, j, s = (axis.ravel() for axis in np.indices(values.shape))

    def unexplained(*pairs):
        design = np.concatenate([np.eye(100)[10 * a + b] for a, b in pairs], axis=1)
        return ((values.ravel() - design @ np.linalg.lstsq(design, values.ravel(), rcond=None)[0]) ** 2).sum()

    without, within = unexplained((i, s), (j, s)), unexplained((i, s), (j, s), (i, j))
    found = student_teacher_interaction(values)
    assert found.df == (8, 24)
    assert found.f == pytest.approx(((without - within) / 8) / (within / 24))


def test_the_parts_of_the_variance_are_found():
    found = student_teacher_interaction(
        trainings(np.random.default_rng(1), students=400, teachers=3, seeds=4, spread=3.0, favour=0.8)
    )
    assert found.deviation == pytest.approx(0.008, rel=0.15)
    assert found.noise == pytest.approx(0.01, rel=0.05)
    # A student's own mean holds a third of the variance of its three favours.
    assert found.between_students == pytest.approx(0.01 * np.sqrt(9 + 0.64 / 3), rel=0.1)
    assert found.p_value < 1e-6
    assert found.permutation_p == pytest.approx(1 / 1001)


@pytest.mark.parametrize("noise", [1.0, np.geomspace(1, 4, 8)], ids=["alike", "unlike"])
def test_teachers_that_want_the_same_are_said_to_differ_as_seldom_as_the_p_value_says(noise):
    rng = np.random.default_rng(2)
    p = np.array([student_teacher_interaction(trainings(rng, noise=noise)).permutation_p for _ in range(40)])
    assert (p <= 0.05).mean() <= 0.15
    assert 0.35 < p.mean() < 0.65


def test_teachers_with_favourites_are_found():
    rng = np.random.default_rng(3)
    p = [student_teacher_interaction(trainings(rng, students=12, favour=1.5)).permutation_p for _ in range(10)]
    assert np.mean(np.array(p) <= 0.05) > 0.7


def test_rankings_are_by_mean_accuracy_with_the_ranks_that_noise_leaves():
    values = np.array([[[0.70, 0.72], [0.60, 0.62]], [[0.80, 0.80], [0.50, 0.52]], [[0.70, 0.72], [0.90, 0.91]]])
    found = rank_students(values, ["a", "b", "c"], ["one", "other"])
    assert found.seeds == 2
    one, other = found.teachers
    assert [(s.student, s.rank) for s in one.students] == [("b", 1), ("a", 2), ("c", 2)]
    assert [(s.student, s.rank) for s in other.students] == [("c", 1), ("a", 2), ("b", 3)]
    assert one.students[0].accuracy.value == pytest.approx(0.8)
    # Ten points apart at a noise of one: sure. The two that are equal: either.
    assert [(s.rank_low, s.rank_high) for s in one.students] == [(1, 1), (2, 3), (2, 3)]
    assert [(s.rank_low, s.rank_high) for s in other.students] == [(1, 1), (2, 2), (3, 3)]
    (pair,) = found.agreements
    assert (pair.one, pair.other) == ("one", "other")
    # Of three pairs the one ties one, and they rank the other two the other way round. Three students are few.
    assert pair.tau == (pytest.approx(-2 / np.sqrt(2 * 3)), -1, 1)


def test_intervals_of_accuracies_hold_the_truth():
    rng = np.random.default_rng(4)
    inside = []
    for _ in range(25):
        truth = 0.7 + 0.02 * rng.normal(size=8)
        values = truth[:, None, None] + 0.01 * rng.normal(size=(8, 2, 3))
        found = rank_students(values, list("abcdefgh"), ["one", "other"]).teachers[0]
        inside += [s.accuracy.low <= truth["abcdefgh".index(s.student)] <= s.accuracy.high for s in found.students]
    assert 0.88 < np.mean(inside) < 0.99


def test_the_tau_of_teachers_that_want_the_same_is_what_noise_leaves():
    rng = np.random.default_rng(5)
    found = [rank_students(trainings(rng, noise=np.geomspace(4, 1, 20), students=20), list("abcdefghijklmnopqrst"),
             ["one", "other"]).agreements[0] for _ in range(15)]  # fmt: skip
    assert np.mean([one.p_value <= 0.1 for one in found]) < 0.3
    assert 0.3 < np.mean([one.p_value for one in found]) < 0.7
    assert all(one.by_noise.low <= one.by_noise.value <= one.by_noise.high for one in found)


def test_the_tau_of_teachers_with_favourites_is_less():
    values = trainings(np.random.default_rng(6), students=20, teachers=3, spread=1.0, favour=5.0)
    found = rank_students(values, [f"S{i}" for i in range(20)], ["one", "two", "three"])
    assert [(pair.one, pair.other) for pair in found.agreements] == [("one", "two"), ("one", "three"), ("two", "three")]
    for pair in found.agreements:
        assert pair.p_value < 0.02
        assert pair.tau.value < pair.by_noise.low
        assert pair.tau.low <= pair.tau.value <= pair.tau.high
    assert rank_students(values, [f"S{i}" for i in range(20)], ["one", "two", "three"]) == found


def test_table_1_two_students_that_two_teachers_rank_the_other_way_round():
    """As in the paper, but with five seeds, which all say so."""
    rng = np.random.default_rng(7)
    values = np.array([[65.8, 67.4], [66.6, 66.1]])[:, :, None] / 100 + 0.001 * rng.normal(size=(2, 2, 5))
    found = rank_students(values, ["student1", "student2"], ["EfficientNet-B7", "Inception-ResNet-v2"])
    assert [teacher.students[0].student for teacher in found.teachers] == ["student2", "student1"]
    assert found.agreements[0].tau == (-1, -1, 1)
    assert found.interaction.p_value < 0.01


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3, 2, 1), "at least two of each, but has"),
        ((3, 1, 3), "at least two of each"),
        ((3, 2), "must have the shape"),
        ((4, 2, 3), "a row for each of 3 students"),
    ],
)
def test_other_shapes_are_refused(shape, message):
    with pytest.raises(InvalidSettingError, match=message):
        rank_students(np.random.default_rng(0).random(shape), ["a", "b", "c"], ["one", "other"])


def test_trainings_that_are_missing_or_have_no_noise_are_refused():
    values = np.random.default_rng(0).random((3, 2, 2))
    values[1, 1, 1] = np.nan
    with pytest.raises(InvalidSettingError, match="leave out students"):
        rank_students(values, ["a", "b", "c"], ["one", "other"])
    with pytest.raises(InvalidSettingError, match="no noise at all"):
        student_teacher_interaction(np.repeat(np.random.default_rng(0).random((3, 2, 1)), 3, axis=2))
