"""Which trainings an audit asks for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from akd_gym.agents.search import run_search
from akd_gym.agents.settings import SearchSettings, settings_for
from akd_gym.errors import InvalidSettingError, RunMismatchError
from akd_gym.proxy_audit.plan import AuditSettings, draw_neighbours, full_recipe_of, plan_audit, stratified
from akd_gym.proxy_audit.trainings import FULL, PROXY, Training
from akd_gym.recipes import Recipe, full_recipe
from akd_gym.space import make_space


@pytest.fixture(scope="module")
def bench_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 candidates that AKDBench has answered for."""
    run = tmp_path_factory.mktemp("bench") / "run"
    run_search(replace(settings_for(evaluator="bench"), agent="random", budget=120), run)
    return run


def test_one_student_of_each_quantile_and_the_best(bench_run: Path) -> None:
    plan = plan_audit(bench_run, AuditSettings(count=8))
    ordered = sorted((o for o in plan.search.outcomes), key=lambda o: -o.accuracy)
    assert plan.students[0].accuracy == ordered[0].accuracy
    places = [[o.architecture for o in ordered].index(student.architecture) for student in plan.students]
    assert [place * 8 // 120 for place in places] == list(range(8))


def test_strata_of_as_many_as_there_are_take_all() -> None:
    ordered = list("abcdefg")
    assert stratified(ordered, 7, np.random.default_rng(0)) == ordered  # type: ignore[arg-type, comparison-overlap]


def test_a_plan_is_always_the_same(bench_run: Path) -> None:
    one, other = (plan_audit(bench_run, AuditSettings()) for _ in range(2))
    assert len(one.students) == 16
    assert one.trainings() == other.trainings()


def test_neighbours_differ_in_one_decision_and_are_new(bench_run: Path) -> None:
    plan = plan_audit(bench_run, AuditSettings(count=6, neighbours=9))
    space, names = plan.search.space, [student.architecture for student in plan.students]
    assert len({neighbour.architecture for neighbour in plan.neighbours} - set(names)) == 9
    assert {neighbour.student for neighbour in plan.neighbours} == set(range(6))  # all take turns
    for neighbour in plan.neighbours:
        around = {str(space.network(choices)) for choices in space.neighbours(space.choices(names[neighbour.student]))}
        assert neighbour.architecture in around


def test_there_are_no_more_neighbours_than_there_are() -> None:
    space = make_space("akd", "small")
    name = str(space.network(space.reference))
    every = {str(space.network(choices)) for choices in space.neighbours(space.reference)}
    drawn = draw_neighbours(space, [name], 10_000, np.random.default_rng(0))
    assert {neighbour.architecture for neighbour in drawn} == every
    assert len(drawn) == len(every)


def test_trainings_of_a_bench_run_are_all_to_be_paid_for(bench_run: Path) -> None:
    plan = plan_audit(bench_run, AuditSettings(count=6, seeds=2, full_seeds=2, neighbours=4, epochs=7))
    trainings = plan.trainings()
    counts = {kind: sum(one[:2] == kind for one in trainings) for kind in {one[:2] for one in trainings}}
    assert counts == {(PROXY, 5): 6 * 2 + 4, (PROXY, 10): 6, (FULL, 7): 6 * 2}
    assert plan.done() == {}
    assert plan.is_bench


def test_what_a_search_trained_is_not_trained_again(copied: Path) -> None:
    plan = plan_audit(copied, AuditSettings(count=5, seeds=2, neighbours=0, epochs=1))
    done = plan.done()
    assert set(done) == {Training(PROXY, 2, student.architecture, 3) for student in plan.students}
    assert [done[plan.proxy(student.architecture, 3)].accuracy for student in plan.students] == [
        student.accuracy for student in plan.students
    ]
    assert list(plan.seeds) == [3, 4]


def test_by_default_all_are_taken_where_there_are_few(searched: Path) -> None:
    plan = plan_audit(searched, AuditSettings())
    assert len(plan.students) == len({o.architecture for o in plan.search.outcomes if o.feasible}) <= 10


def test_seconds_are_those_of_the_search_for_as_much_work(searched: Path) -> None:
    plan = plan_audit(searched, AuditSettings(count=5, seeds=2, neighbours=1, epochs=3))
    paid = {e.candidate.architecture: e.training.seconds for e in plan.search.evaluations}
    name, [neighbour] = plan.students[0].architecture, plan.neighbours
    once = 2 * 64 + 100 / 3  # epochs x images, and mini-val at a third
    assert plan.seconds([plan.proxy(name, 4)]) == pytest.approx(paid[name])
    assert plan.seconds([plan.proxy(name, 3, 2)]) == pytest.approx(paid[name] * (4 * 64 + 100 / 3) / once)
    # A sixth of the 700 images is mini-val.
    assert plan.seconds([plan.fully(name, 3)]) == pytest.approx(paid[name] * (3 * 584 + 116 / 3) / once)
    beside = plan.students[neighbour.student].architecture
    assert plan.seconds([plan.proxy(neighbour.architecture, 3)]) == pytest.approx(paid[beside])


def test_full_training_has_the_searchs_pictures_and_distillation() -> None:
    own = Recipe(resolution=32, split_seed=5, temperature=4.0, alpha=0.5, train_size=100, val_size=100)
    recipe = full_recipe_of(SearchSettings(data="cifar10:x", recipe=own), None)
    usual = full_recipe("cifar10:x")
    assert recipe == replace(usual, resolution=32, split_seed=5, temperature=4.0, alpha=0.5)
    short = full_recipe_of(SearchSettings(data="cifar10:x", recipe=own), 5)
    assert (short.epochs, short.warmup_epochs) == (5, 1.0)


def test_more_students_than_there_are(searched: Path) -> None:
    with pytest.raises(InvalidSettingError, match=r"11 students are asked for, but .* has \d+ distinct feasible ones"):
        plan_audit(searched, AuditSettings(count=11))


def test_a_search_with_too_few_students(tmp_path: Path) -> None:
    run_search(replace(settings_for(evaluator="bench"), agent="random", budget=4), tmp_path / "run")
    with pytest.raises(InvalidSettingError, match=r"An audit needs 5 students or more, but .* has 4 distinct feasible"):
        plan_audit(tmp_path / "run", AuditSettings())


def test_no_run_directory(tmp_path: Path) -> None:
    with pytest.raises(RunMismatchError, match=r"must be the directory of a search, but it has no settings\.json"):
        plan_audit(tmp_path, AuditSettings())


@pytest.mark.parametrize(
    ("name", "value", "least"),
    [("count", 4, 5), ("seeds", 0, 1), ("full_seeds", 0, 1), ("neighbours", -1, 0), ("epochs", 0, 1)],
)
def test_settings_say_what_must_hold(name: str, value: int, least: int) -> None:
    with pytest.raises(InvalidSettingError, match=f"`{name}` must be at least {least}, but got {value}"):
        AuditSettings(**{name: value})
