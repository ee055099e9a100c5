"""Audits made for real: what is trained, how, and that nothing is paid for twice."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import filelock
import pytest

from akd_gym import executors
from akd_gym.architecture import NetworkSpec
from akd_gym.errors import CorruptFileError, DataError, RunMismatchError, TeacherError
from akd_gym.evaluation import prepare_training
from akd_gym.executors import Job
from akd_gym.ledger_records import TrainingRecord
from akd_gym.proxy_audit.full_task import FullTask, student_folder
from akd_gym.proxy_audit.plan import AuditPlan, AuditSettings, plan_audit
from akd_gym.proxy_audit.run import run_audit
from akd_gym.proxy_audit.trainings import Training, appending_trainings, read_trainings
from akd_gym.training import train_student

from .conftest import Audited

SMALLEST = AuditSettings(count=5, seeds=1, neighbours=0, epochs=1)


@pytest.fixture
def partly(audited: Audited, searched: Path, tmp_path: Path) -> tuple[AuditPlan, list[Training]]:
    """The audit with two trainings of the longer proxy and two full ones still to do, and these."""
    run = shutil.copytree(searched, tmp_path / "run")
    shutil.rmtree(run / "audit" / "students")
    plan = plan_audit(run, audited.plan.audit)
    names = [student.architecture for student in plan.students[:2]]
    missing = [*(plan.proxy(name, 3, 2) for name in names), *(plan.fully(name, 3) for name in names)]
    kept = read_trainings(plan.folder / "trainings.csv")
    (plan.folder / "trainings.csv").unlink()
    with appending_trainings(plan.folder / "trainings.csv") as table:
        for training, record in kept.items():
            if training not in missing:
                table.add(training, record)
    return plan, missing


def change_settings(run: Path, **changed: object) -> None:
    path = run / "settings.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


def test_everything_planned_is_trained_and_kept(audited: Audited) -> None:
    plan, records, _ = audited
    assert set(records) == set(plan.trainings())
    kept = read_trainings(plan.folder / "trainings.csv")
    assert set(kept) == set(plan.trainings()) - set(plan.known)
    assert all(kept[one].accuracy == records[one].accuracy for one in kept)


def test_a_proxy_training_is_the_searchs_with_another_seed(audited: Audited) -> None:
    plan = audited.plan
    task, _, data = prepare_training("shipped:resnet", plan.settings.data, plan.settings.recipe)
    name = plan.students[1].architecture
    for seed in plan.seeds:  # of the first, the search's own
        outcome = train_student(NetworkSpec.parse(name), data, plan.settings.recipe, task.soft_labels, seed=seed)
        assert audited.records[plan.proxy(name, seed)].accuracy == outcome.accuracy


def test_a_full_training_is_akd_trains_and_judged_on_the_test_set(audited: Audited) -> None:
    plan = audited.plan
    name = plan.students[0].architecture
    folder = plan.folder / "students" / student_folder(Job(name, 3), 1)
    record = json.loads((folder / "record.json").read_text())
    assert record["architecture"] == name
    assert (record["method"], record["teacher"], record["seed"]) == ("kd", "shipped:resnet", 3)
    assert record["train_images"] == 584
    assert audited.records[plan.fully(name, 3)].accuracy == record["test_accuracy"]
    assert audited.identity["judged"] == {"on": "test set", "images": 100}


def test_a_finished_audit_needs_neither_teacher_nor_images(audited: Audited, searched: Path, tmp_path: Path) -> None:
    run = shutil.copytree(searched, tmp_path / "run")
    change_settings(run, teacher="file:/gone.safetensors@torchvision:resnet18", data="fashion-mnist:/gone")
    plan = plan_audit(run, audited.plan.audit)
    records, identity = run_audit(plan, on_training=lambda *_: pytest.fail("nothing is missing"))
    assert {one: record.accuracy for one, record in records.items()} == {
        one: record.accuracy for one, record in audited.records.items()
    }
    assert identity == audited.identity


def test_a_stopped_audit_goes_on(partly: tuple[AuditPlan, list[Training]]) -> None:
    plan, missing = partly
    trained: list[Training] = []

    def stop_at_the_third(training: Training, record: TrainingRecord) -> None:
        trained.append(training)
        if len(trained) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_audit(plan, on_training=stop_at_the_third)
    assert list(read_trainings(plan.folder / "trainings.csv"))[-3:] == trained
    run_audit(plan, on_training=lambda training, record: trained.append(training))
    assert len(trained) == 4
    assert set(trained) == set(missing)
    assert set(plan.done()) == set(plan.trainings())


def test_side_by_side_is_as_one_after_the_other(audited: Audited, partly: tuple[AuditPlan, list[Training]]) -> None:
    plan, missing = partly
    records, _ = run_audit(plan, workers=2)
    assert [records[one].accuracy for one in missing] == [audited.records[one].accuracy for one in missing]


def test_seconds_of_earlier_legs_count(audited: Audited, tmp_path: Path) -> None:
    job = Job(audited.plan.students[0].architecture, 0)
    task = FullTask(audited.plan.settings.data, audited.plan.full, folder=tmp_path)
    folder = tmp_path / student_folder(job, 1)
    folder.mkdir()
    (folder / "seconds.json").write_text("1000.0")
    assert 1000 < task.run(job).seconds < 1300
    (folder / "seconds.json").write_text("many")
    with pytest.raises(CorruptFileError, match=r"seconds\.json must hold seconds"):
        task.run(job)


def test_a_full_training_that_diverges_is_infeasible(audited: Audited, tmp_path: Path) -> None:
    recipe = replace(audited.plan.full, learning_rate=1e12, warmup_epochs=0)
    task = FullTask(audited.plan.settings.data, recipe, folder=tmp_path)
    record = task.run(Job(audited.plan.students[0].architecture, 0))
    assert (record.status, record.reason, record.accuracy) == ("infeasible", "diverged", None)


def test_a_teacher_that_is_gone(copied: Path, tmp_path: Path) -> None:
    change_settings(copied, teacher=f"file:{tmp_path}/gone.safetensors@torchvision:resnet18")
    with pytest.raises(TeacherError, match=r"gone\.safetensors"):
        run_audit(plan_audit(copied, SMALLEST))


def test_images_that_are_gone(copied: Path) -> None:
    change_settings(copied, data="fashion-mnist:/gone")
    with pytest.raises(DataError, match="No folder at /gone"):
        run_audit(plan_audit(copied, SMALLEST))


def test_another_teacher_than_the_searchs(copied: Path) -> None:
    change_settings(copied, teacher="shipped:mixer")
    with pytest.raises(RunMismatchError, match=r"must be what it was when .* was searched, but teacher is not"):
        run_audit(plan_audit(copied, SMALLEST))


def test_other_images_than_the_searchs(
    copied: Path, small_fashion: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = shutil.copytree(small_fashion, tmp_path / "data")
    images = data / "train-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:-784] + bytes(784))  # the last picture is black now
    change_settings(copied, data=f"fashion-mnist:{data}")
    monkeypatch.setattr(executors, "_LOADED", {})  # as in a new process
    with pytest.raises(RunMismatchError, match="but data and fingerprint are not"):
        run_audit(plan_audit(copied, SMALLEST))


def test_full_trainings_of_another_kind_are_not_mixed(audited: Audited) -> None:
    longer = plan_audit(audited.plan.run, replace(audited.plan.audit, epochs=2))
    assert len(longer.trainings()) - len(longer.done()) == 5  # another length is of the same kind
    other = replace(longer, full=replace(longer.full, learning_rate=0.01))
    with pytest.raises(RunMismatchError, match=r"differ in full .*Move the folder away"):
        run_audit(other)


def test_two_audits_of_a_run_do_not_meet(copied: Path) -> None:
    plan = plan_audit(copied, SMALLEST)
    plan.folder.mkdir()
    with (
        filelock.FileLock(plan.folder / ".lock"),
        pytest.raises(RunMismatchError, match="another process is auditing there"),
    ):
        run_audit(plan)
