"""Tables 1 and 3: they find preferences where there are some, and none where there are none."""

import numpy as np
import pytest

from akd_gym.bench.plan import SIGNALS
from akd_gym.errors import InvalidSettingError
from akd_gym.reproduce import rankings
from akd_gym.reproduce.rankings import Rankings, TwoStudents, repeated_trainings


def made(preference, noise=0.01, students=60, seed=0):
    """Accuracies whose gain from the last teacher has a standard deviation of `preference`."""
    rng = np.random.default_rng(seed)
    values = 0.7 + 0.02 * rng.normal(size=(students, 1, 1)) + noise * rng.normal(size=(students, len(SIGNALS), 3))
    values[:, SIGNALS.index("shipped:mixer")] += preference * rng.normal(size=(students, 1))
    return [f"student{i}" for i in range(students)], values


def test_the_students_that_were_trained_three_times_by_every_signal():
    names, values = repeated_trainings()
    assert values.shape == (112, 3, 3)
    assert len(set(names)) == 112
    assert 0.3 < values.min() < values.max() < 0.9


@pytest.mark.parametrize(("preference", "found"), [(0.03, True), (0.0, False)])
def test_table_1_tells_preferences_from_noise(monkeypatch, preference, found):
    monkeypatch.setattr(rankings, "repeated_trainings", lambda: made(preference))
    numbers = TwoStudents().run(None).numbers
    assert (numbers["p_value"] < 0.01) == found
    if found:
        assert min(numbers["kept"]) > 0.9
    else:
        assert abs(np.mean(numbers["left"])) < 1.0  # points; what two seeds show is four times that


def test_table_3_tells_preferences_from_noise(monkeypatch):
    monkeypatch.setattr(rankings, "repeated_trainings", lambda: made(0.03))
    finding = Rankings().run(None)
    assert finding.numbers["interaction"]["permutation_p"] < 0.01
    assert finding.numbers["interaction"]["deviation"] == pytest.approx(0.03 / np.sqrt(3), rel=0.35)
    first, _, *rows = finding.text.splitlines()[:7]
    assert first == "| hard labels | resnet | mixer |"
    assert len(rows) == 5


def test_one_student_is_no_ranking():
    with pytest.raises(InvalidSettingError, match="`shown` must be at least 2, but got 1"):
        Rankings(shown=1).run(None)
