"""Full trainings that studies share."""

from dataclasses import replace

import pytest

from akd_gym.errors import CorruptFileError, InvalidSettingError, TeacherError
from akd_gym.recipes import full_recipe
from akd_gym.reproduce.trainings import FullTrainings, StudentTraining
from akd_gym.space import make_space

SPACE = make_space("akd", "small")
STUDENT = str(SPACE.network(tuple(0 for _ in SPACE.decisions)).canonical())
RECIPE = replace(full_recipe("fashion"), epochs=1, warmup_epochs=0.2, train_size=128, val_size=200)


@pytest.fixture
def trainings(tmp_path):
    return FullTrainings("fashion", RECIPE, tmp_path / "trainings.csv", tmp_path / "work", workers=1)


@pytest.mark.slow
def test_what_was_trained_is_not_trained_again_and_another_recipe_is_another_training(trainings, tmp_path):
    wanted = [StudentTraining(STUDENT, "hard", "none", 0), StudentTraining(STUDENT, "kd", "shipped:mixer", 0)]
    told = []
    first = trainings.carry_out(wanted, told.append)
    assert [row.training for row in told] == wanted
    assert all(0 < row.test_accuracy < 1 and row.seconds > 0 for row in first.values())
    assert first[wanted[0]].loss != first[wanted[1]].loss
    again = FullTrainings("fashion", RECIPE, tmp_path / "trainings.csv", tmp_path / "elsewhere", workers=1)
    assert again.missing(wanted) == []
    assert {one: row.test_accuracy for one, row in again.carry_out(wanted).items()} == {
        one: pytest.approx(row.test_accuracy, abs=1e-6) for one, row in first.items()
    }
    assert not (tmp_path / "elsewhere").exists()
    longer = FullTrainings("fashion", replace(RECIPE, epochs=2), tmp_path / "trainings.csv", tmp_path, workers=1)
    assert longer.missing(wanted) == wanted


def test_a_line_that_was_cut_off_is_trained_again_and_a_damaged_one_is_named(trainings, tmp_path):
    wanted = StudentTraining(STUDENT, "hard", "none", 0)
    table = tmp_path / "trainings.csv"
    head = "architecture,method,teacher,seed,setting,val_accuracy,test_accuracy,loss,seconds,reason\n"
    line = f"{STUDENT},hard,none,0,{trainings._setting(wanted)},0.700000,0.710000,0.9,12.0,"
    table.write_text(head + line, encoding="utf-8")
    assert trainings.missing([wanted]) == [wanted]
    table.write_text(head + line + "\n", encoding="utf-8")
    assert trainings.missing([wanted]) == []
    table.write_text(head + line.replace("0.700000", "") + "\n", encoding="utf-8")
    with pytest.raises(CorruptFileError, match=r"Line 2 of .* is damaged"):
        trainings.missing([wanted])


def test_a_teacher_without_anchors_is_refused_before_anything_is_trained(trainings):
    with pytest.raises(TeacherError, match="anchors"):
        trainings.carry_out([StudentTraining(STUDENT, "rco", "shipped:mixer", 0)])


def test_seconds_grow_with_images_epochs_and_what_a_method_does(trainings):
    network = SPACE.network(SPACE.reference)
    once = trainings.seconds([(network, "hard")])
    assert trainings.seconds([(network, "hard"), (network, "kd")]) == pytest.approx(2 * once)
    assert trainings.seconds([(network, "ta")]) > 7 * once
    assert once == pytest.approx(1_462_008 * 128 / 1.6e9)


def test_no_workers_are_refused(tmp_path):
    with pytest.raises(InvalidSettingError, match="`workers` must be at least 1, but got 0"):
        FullTrainings("fashion", RECIPE, tmp_path / "t.csv", tmp_path, workers=0)
