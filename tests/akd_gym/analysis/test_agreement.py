"""Divergences and matching answers worked out by hand, and Figure 2 as it is drawn."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from akd_gym.analysis.agreement import GROUND_TRUTH, agreement, agreement_figure
from akd_gym.analysis.figure_files import write_figure
from akd_gym.errors import InvalidSettingError

ONE = [[0.5, 0.5], [0.8, 0.2]]
OTHER = [[0.25, 0.75], [0.8, 0.2]]


def test_divergences_are_the_mean_over_images_and_not_symmetric():
    found = agreement({"one": ONE, "other": OTHER}, [0, 0])
    assert found.names == ("one", "other", GROUND_TRUTH)
    there = (0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75)) / 2  # the second image adds nothing
    back = (0.25 * np.log(0.25 / 0.5) + 0.75 * np.log(0.75 / 0.5)) / 2
    assert found.divergences[0, 1] == pytest.approx(there)
    assert found.divergences[1, 0] == pytest.approx(back)
    assert np.diag(found.divergences) == pytest.approx(0)
    # Two values a and 0 have the standard error a / 2.
    assert found.divergence_reach[0, 1] == pytest.approx(1.959964 * there)


def test_a_label_diverges_from_a_teacher_by_the_teachers_loss():
    found = agreement({"one": ONE, "other": OTHER}, [0, 1])
    assert found.divergences[2, 0] == pytest.approx(-(np.log(0.5) + np.log(0.2)) / 2)
    assert found.divergences[2, 1] == pytest.approx(-(np.log(0.25) + np.log(0.2)) / 2)


def test_a_teacher_diverges_from_a_label_by_what_the_floor_makes_of_it():
    found = agreement({"one": ONE}, [0, 0], label_floor=0.01)
    first = 0.5 * np.log(0.5 / 0.99) + 0.5 * np.log(0.5 / 0.01)
    second = 0.8 * np.log(0.8 / 0.99) + 0.2 * np.log(0.2 / 0.01)
    assert found.divergences[0, 1] == pytest.approx((first + second) / 2)
    assert agreement({"one": ONE}, [0, 0], label_floor=0).divergences[0, 1] == np.inf


def test_what_a_teacher_excludes_and_another_does_not_is_infinite():
    found = agreement({"sure": [[1.0, 0.0], [0.5, 0.5]], "one": ONE}, [0, 0])
    assert found.divergences[1, 0] == np.inf
    assert np.isnan(found.divergence_reach[1, 0])
    assert found.divergences[0, 1] == pytest.approx((np.log(2) + 0.5 * np.log(0.5 / 0.8) + 0.5 * np.log(0.5 / 0.2)) / 2)


def test_matches_are_shares_of_images_and_accuracies_against_the_labels():
    a = np.eye(4)[[0, 1, 2, 3, 0]]
    b = np.eye(4)[[0, 1, 2, 0, 0]]
    found = agreement({"a": a, "b": b}, [0, 1, 3, 3, 3], label_floor=0)
    assert found.matches == pytest.approx(np.array([[1, 0.8, 0.6], [0.8, 1, 0.4], [0.6, 0.4, 1]]))
    assert found.match_reach[0, 1] == pytest.approx(1.959964 * np.sqrt(0.8 * 0.2 / 4))
    assert found.match_reach[0, 0] == 0


def test_the_interval_holds_the_truth_as_often_as_it_says():
    """Teachers that agree on 70 % of images by construction, seen on 400."""
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(200):
        same = rng.random(400) < 0.7
        found = agreement({"a": np.eye(2)[np.zeros(400, int)], "b": np.eye(2)[(~same).astype(int)]}, np.zeros(400, int))
        inside += abs(found.matches[0, 1] - 0.7) <= found.match_reach[0, 1]
    assert 180 <= inside <= 199


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        ({}, [0, 0], "At least one teacher"),
        ({"GT": ONE}, [0, 0], "must not be called 'GT'"),
        ({"one": ONE, "two": [[0.5, 0.5]]}, [0, 0], "those of 'two' have"),
        ({"one": [[2.0, -1.0], [0.5, 0.5]]}, [0, 0], "need a softmax"),
        ({"one": [[2.0, 3.0], [0.5, 0.5]]}, [0, 0], "need a softmax"),
        ({"one": [[np.nan, 1.0], [0.5, 0.5]]}, [0, 0], "need a softmax"),
        ({"one": ONE}, [0, 2], "from 0 to 1, but got 0 to 2"),
        ({"one": ONE}, [0, 0, 0], "2 whole numbers"),
        ({"one": ONE}, [0.0, 1.0], "2 whole numbers"),
    ],
)
def test_what_is_no_answer_to_the_same_images_is_refused(probabilities, labels, message):
    with pytest.raises(InvalidSettingError, match=message):
        agreement(probabilities, labels)


def test_a_floor_that_leaves_the_label_nothing_is_refused():
    with pytest.raises(InvalidSettingError, match="below 1 / 2 classes"):
        agreement({"one": ONE}, [0, 0], label_floor=0.5)


def test_the_figure_shows_every_number_legibly():
    found = agreement({"one": ONE, "sure": [[1.0, 0.0], [0.5, 0.5]]}, [0, 0])
    left, right = agreement_figure(found, title="Two teachers").axes
    for axes, values in ((left, found.divergences), (right, found.matches)):
        assert [label.get_text() for label in axes.get_xticklabels()] == ["one", "sure", "GT"]
        cells = np.asarray(axes.images[0].get_array())
        shown = {(text.get_position()[0], round(text.get_position()[1])): text for text in axes.texts
                 if "±" not in text.get_text()}  # fmt: skip
        for (row, column), value in np.ndenumerate(values):
            text = shown[column, row]
            assert text.get_text() == ("∞" if np.isinf(value) else f"{value:.2f}")
            below = to_rgb(axes.images[0].cmap(cells[row, column]))
            assert _contrast(to_rgb(text.get_color()), below) > 3.5
    assert [t.get_text() for t in left.texts if "±" in t.get_text()]


def test_names_are_shown_whatever_is_in_them(tmp_path):
    figure = agreement_figure(agreement({r"$\frac$": ONE}, [0, 0]))
    write_figure(tmp_path / "names.png", figure, dpi=50)  # as mathematics it could not be drawn
    assert figure.axes[0].get_xticklabels()[0].get_text() == r"$\frac$"


def _contrast(one, other):
    """WCAG's ratio of luminances."""
    weights = np.array([0.2126, 0.7152, 0.0722])
    channels = np.array([one, other])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    lights = linear @ weights
    return (max(lights) + 0.05) / (min(lights) + 0.05)
