import csv
from dataclasses import replace

import pytest

from akd_gym.bench.build import missing_trainings, train_architectures
from akd_gym.bench.plan import RECIPE, SIGNALS, Training, bench_space, covering_architectures, trainings_of
from akd_gym.bench.surrogate import SHIPPED
from akd_gym.bench.trainings import TRAININGS_FILE, appending_trainings, read_trainings
from akd_gym.errors import CorruptFileError, RunMismatchError, StorageError
from akd_gym.ledger_records import TrainingRecord

ONE, TWO = Training("a", "none", 0), Training("b", "shipped:resnet", 2)


def write(path, *pairs):
    with appending_trainings(path) as table:
        for training, record in pairs:
            table.add(training, record)


def test_what_is_added_is_read(tmp_path):
    path = tmp_path / "new" / "trainings.csv"
    write(path, (ONE, TrainingRecord("ok", accuracy=0.75, loss=0.5, seconds=3.25)))
    write(path, (TWO, TrainingRecord("infeasible", reason="diverged", seconds=1.0)))
    first, second = read_trainings(path)
    assert first == (ONE, 0.75, 0.5, 3.25, None)
    assert second == (TWO, None, None, 1.0, "diverged")


def test_a_table_that_is_not_there_is_empty(tmp_path):
    assert read_trainings(tmp_path / "none.csv") == []


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_last_line_that_was_cut_off_is_left_out_and_written_again(tmp_path, cut):
    path = tmp_path / "trainings.csv"
    record = TrainingRecord("ok", accuracy=0.75, loss=0.5, seconds=3.25)
    write(path, (ONE, record), (TWO, record))
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    assert [row.training for row in read_trainings(path)] == [ONE]
    write(path, (TWO, record))
    assert path.read_bytes() == whole


def test_a_header_that_was_cut_off_is_written_again(tmp_path):
    path = tmp_path / "trainings.csv"
    path.write_text("architecture,sig")
    assert read_trainings(path) == []
    write(path, (ONE, TrainingRecord("ok", accuracy=0.5)))
    assert [row.training for row in read_trainings(path)] == [ONE]


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("a,none,0,ok,0.5", "not enough values"),
        ("a,none,x,ok,0.5,0.1,1.0,", "invalid literal"),
        ("a,none,0,ok,1.5,0.1,1.0,", "do not fit together"),
        ("a,none,0,ok,,0.1,1.0,", "do not fit together"),
        ("a,none,0,infeasible,0.5,0.1,1.0,diverged", "do not fit together"),
        ("a,none,0,ok,0.5,0.1,inf,", "do not fit together"),
        ("z,none,0,ok,0.5,0.1,1.0,", "repeats"),
    ],
)
def test_a_damaged_line_is_named(tmp_path, line, match):
    path = tmp_path / "trainings.csv"
    write(path, (Training("z", "none", 0), TrainingRecord("ok", accuracy=0.5)))
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(CorruptFileError, match=rf"Line 3 of .*{match}"):
        read_trainings(path)


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "trainings.csv"
    path.write_text("x,y\n1,2\n")
    with pytest.raises(CorruptFileError, match="must begin with the line 'architecture,signal"):
        read_trainings(path)
    path.write_bytes(b"\xff\xfe\n")
    with pytest.raises(CorruptFileError, match="UTF-8"):
        read_trainings(path)
    with pytest.raises(StorageError):
        read_trainings(tmp_path)


def test_the_sample_covers_every_option_equally_often():
    space = bench_space()
    names = covering_architectures(space, 144)
    assert len(set(names)) == 144
    assert covering_architectures(space, 50) == names[:50]
    rows = [space.choices(name) for name in names]
    kernels = [row[2] for row in rows]  # never changed by canonical spelling
    assert kernels.count(0) == kernels.count(1) == 72


def test_every_eighth_has_three_seeds_wherever_a_part_begins():
    names = [f"n{i}" for i in range(20)]
    whole = set(trainings_of(names))
    parts = {*trainings_of(names[:7]), *trainings_of(names[7:], start=7)}
    assert parts == whole
    assert {one.architecture for one in whole if one.seed == 2} == {"n0", "n8", "n16"}
    assert len(whole) == (20 + 2 * 3) * len(SIGNALS)


def test_the_shipped_table_is_of_the_plan_and_whole():
    planned = set(trainings_of(covering_architectures(bench_space())))
    rows = [row.training for row in read_trainings(SHIPPED / TRAININGS_FILE)]
    second = SHIPPED / "second_stage.csv"
    later = {line["architecture"] for line in csv.DictReader(second.open())} if second.exists() else set()
    assert rows
    assert all(one in planned or one.architecture in later for one in rows)


@pytest.mark.slow
def test_trainings_resume_and_other_recipes_are_refused(tmp_path):
    recipe = replace(RECIPE, epochs=1, warmup_epochs=0.0, train_size=64, val_size=64, batch_size=32)
    names = covering_architectures(bench_space(), 2)
    train_architectures(names[:1], tmp_path, recipe=recipe, workers=1)
    first = (tmp_path / TRAININGS_FILE).read_text()
    assert len(read_trainings(tmp_path / TRAININGS_FILE)) == 9  # three signals with three seeds
    new = []
    train_architectures(names, tmp_path, recipe=recipe, workers=1, on_training=lambda one, record: new.append(one))
    assert (tmp_path / TRAININGS_FILE).read_text().startswith(first)
    assert sorted(new) == sorted(trainings_of(names[1:], 1))
    assert missing_trainings(names, tmp_path) == []
    with pytest.raises(RunMismatchError, match=r"must be of this recipe.* none, shipped:mixer, shipped:resnet differ"):
        train_architectures(names, tmp_path, recipe=replace(recipe, epochs=2), workers=1)
