import importlib
import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from akd_gym.errors import AKDGymError, InvalidSettingError
from akd_gym.executors import Job, ProcessExecutor, SerialExecutor, TrainingTask, make_executor
from akd_gym.space import make_space

SPACE = make_space("akd", "small")
REFERENCE = str(SPACE.network(SPACE.reference))


SCRIPT = """
import os, signal
from dataclasses import dataclass, field
from pathlib import Path
from akd_gym.errors import DataError
from akd_gym.ledger import TrainingRecord
from akd_gym.recipes import Recipe

@dataclass(frozen=True)
class Script:
    "A task whose jobs say what happens to their worker."
    folder: Path
    recipe: Recipe = field(default_factory=lambda: Recipe(time_limit_s=0.5))

    def run(self, job, decode_threads=None):
        flag = self.folder / "flag"
        if job.architecture == "kill" or (job.architecture == "kill once" and not flag.exists()):
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if job.architecture == "hang":
            signal.pause()
        if job.architecture == "data":
            raise DataError("the images are gone")
        if job.architecture == "bug":
            raise ZeroDivisionError
        return TrainingRecord("ok", accuracy=job.seed / 100, seconds=1.0, epochs=os.getpid())
"""


@pytest.fixture
def script(tmp_path, monkeypatch):
    """A scripted task, in a module that workers can import."""
    (tmp_path / "scripted_task.py").write_text(SCRIPT)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("scripted_task", None)
    return importlib.import_module("scripted_task").Script(tmp_path)


@pytest.fixture
def executor():
    executor = ProcessExecutor(2)
    yield executor
    executor.close()


def outcomes(executor, task, names):
    return dict(executor.run(task, [Job(name, seed) for seed, name in enumerate(names)]))


def test_serial_and_processes_give_the_same_records(executor, tiny_recipe):
    task = TrainingTask("fashion", tiny_recipe)
    jobs = [Job(REFERENCE, seed) for seed in range(3)]
    serial, parallel = dict(SerialExecutor().run(task, jobs)), dict(executor.run(task, jobs))
    assert [serial[i].accuracy for i in range(3)] == [parallel[i].accuracy for i in range(3)]
    assert [serial[i].loss for i in range(3)] == [parallel[i].loss for i in range(3)]


def test_jobs_run_in_other_processes_that_are_kept(executor, script):
    records = outcomes(executor, script, ["a"] * 6)
    workers = {record.epochs for record in records.values()}
    assert os.getpid() not in workers
    assert len(workers) <= 2
    assert [records[i].accuracy for i in range(6)] == [0.0, 0.01, 0.02, 0.03, 0.04, 0.05]


def test_a_dead_worker_is_replaced_and_its_student_tried_once_more(executor, script):
    records = outcomes(executor, script, ["kill", "kill once", "a", "b"])
    assert (records[0].status, records[0].reason) == ("infeasible", "worker_died")
    assert [records[i].accuracy for i in (1, 2, 3)] == [0.01, 0.02, 0.03]


def test_a_hung_worker_is_ended(executor, script, monkeypatch):
    monkeypatch.setattr("akd_gym.executors._GRACE_S", 4.0)
    records = outcomes(executor, script, ["hang", "a"])
    assert (records[0].reason, records[1].status) == ("time_limit", "ok")


@pytest.mark.parametrize(("name", "match"), [("data", "the images are gone"), ("bug", "ZeroDivisionError")])
def test_what_is_not_the_students_fault_is_raised(executor, script, name, match):
    with pytest.raises(AKDGymError, match=match):
        outcomes(executor, script, [name])
    assert outcomes(executor, script, ["a"])[0].status == "ok"


def test_workers_that_cannot_start_are_no_fault_of_a_student(script, executor, tmp_path, monkeypatch):
    (tmp_path / "akd_gym").mkdir()
    (tmp_path / "akd_gym" / "__init__.py").write_text("raise SystemExit(3)")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(AKDGymError, match="must start, but it ended with status 3"):
        outcomes(executor, script, ["a"])


def test_an_infeasible_student_is_a_record(tiny_recipe):
    task = TrainingTask("fashion", replace(tiny_recipe, time_limit_s=1e-6))
    record = task.run(Job(REFERENCE, 0))
    assert (record.status, record.reason, record.accuracy) == ("infeasible", "time_limit", None)


def test_number_of_workers():
    assert isinstance(make_executor(1), SerialExecutor)
    assert isinstance(make_executor(3), ProcessExecutor)
    with pytest.raises(InvalidSettingError, match="`workers` must be at least 1, but got 0"):
        make_executor(0)


def test_workers_end_with_their_process_and_need_no_main_guard(script, tmp_path):
    path = tmp_path / "search.py"
    path.write_text(
        "import os, sys, threading; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from scripted_task import Script\n"
        "from akd_gym.executors import Job, ProcessExecutor\n"
        "executor = ProcessExecutor(1)\n"
        "(_, record), *_ = executor.run(Script(Path(sys.argv[1])), [Job('a', 0)])\n"
        "print(record.epochs, flush=True)\n"
        "threading.Timer(0.5, os._exit, (7,)).start()\n"
        "next(executor.run(Script(Path(sys.argv[1])), [Job('hang', 0)]))\n"
    )
    done = subprocess.run([sys.executable, path, tmp_path], capture_output=True, text=True, timeout=120)
    assert done.returncode == 7, done.stderr
    worker = int(done.stdout)
    deadline = time.monotonic() + 60
    while is_alive(worker) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_alive(worker)


def is_alive(process):
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True).stdout.strip()
    return bool(state) and not state.startswith("Z")
