"""What each distillation method brings a student that is trained fully: the shape of the paper's Table 6.

    python -m benchmarks.methods                                      # trains what is missing, writes and prints
    python -m benchmarks.methods --student mine="stem_... head_..."   # another student's rows
    python -m benchmarks.methods --epochs 20 --seeds 3 --methods hard kd rco
    python -m benchmarks.methods --report-only                        # from what was trained so far

By default the students are the middle of the space `akd` and MobileNetV2 with its channels reduced to about as many
multiply-adds. Every student is trained by every method with the same seeds (paired: equal initial weights, views and,
but for CC-KD, which puts images of a class side by side, order) from one teacher with anchors, which is trained first
where there is none. A training adds a row to a CSV file and goes on from its last epoch, so a study that was stopped
goes on where it was. Rows of other settings stay in the file and are left alone.
"""

from __future__ import annotations

import argparse
import csv
import functools
import hashlib
import json
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from scipy import stats

from akd_gym.architecture import NetworkSpec
from akd_gym.baselines import baseline
from akd_gym.cores import available_cores
from akd_gym.cost import count_cost
from akd_gym.data import TaskData
from akd_gym.distill import METHODS
from akd_gym.executors import load_task_data
from akd_gym.full_training import train_fully
from akd_gym.recipes import Recipe, full_recipe, with_overrides
from akd_gym.space import make_space
from akd_gym.teachers import load_teacher
from akd_gym.teachers.records import judge
from akd_gym.teachers.settings import TeacherTrainingSettings
from akd_gym.teachers.training import train_teacher
from benchmarks.results import machine

RESULTS = Path(__file__).with_name("methods.json")
HARD = "hard"
DATA = "fashion"
TITLES = {
    "hard": "hard labels",
    "kd": "KD",
    "rco": "RCO-KD",
    "ta": "TA-KD",
    "cc": "CC-KD",
    "features": "feature MSE",
}


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        student: Its name in the table.
        architecture: The student.
        method: What it learns from.
        seed: Of initial weights and order.
        teacher: Who is distilled.
        recipe: How.
        settings: Identity of all that its accuracy depends on beside method and seed.
    """

    student: str
    architecture: str
    method: str
    seed: int
    teacher: str
    recipe: Recipe
    settings: str

    @property
    def key(self) -> tuple[str, str, int]:
        """What tells it from others in the CSV file."""
        return self.settings, self.method, self.seed


@dataclass(frozen=True)
class Row:
    """A training that is done: a row of the CSV file.

    Attributes:
        student: See `Job`.
        method: See `Job`.
        seed: See `Job`.
        settings: See `Job`.
        val_accuracy: A fraction.
        test_accuracy: A fraction.
        loss: Mean of the last epoch.
        seconds: Of the training, with soft labels and assistants that were not there yet; since it last went on.
        architecture: See `Job`.
        teacher: See `Job`.
    """

    student: str
    method: str
    seed: int
    settings: str
    val_accuracy: float
    test_accuracy: float
    loss: float
    seconds: float
    architecture: str
    teacher: str

    @property
    def key(self) -> tuple[str, str, int]:
        """See `Job.key`."""
        return self.settings, self.method, self.seed


@functools.cache
def load_task(recipe: Recipe) -> TaskData:
    """The images, once a process."""
    return load_task_data(DATA, recipe)


def carry_out(job: Job, folder: Path) -> Row:
    """Train one student."""
    start = time.perf_counter()
    out = folder / "trainings" / job.settings / f"{job.method.replace(':', '.')}-{job.seed}"
    done = train_fully(
        NetworkSpec.parse(job.architecture),
        load_task(job.recipe),
        job.recipe,
        out,
        method=job.method,
        teacher=job.teacher,
        seed=job.seed,
    )
    assert done.test_accuracy is not None, f"{DATA} has a test set"
    return Row(
        student=job.student,
        method=job.method,
        seed=job.seed,
        settings=job.settings,
        val_accuracy=done.val_accuracy,
        test_accuracy=done.test_accuracy,
        loss=done.loss,
        seconds=round(time.perf_counter() - start, 1),
        architecture=job.architecture,
        teacher=job.teacher,
    )


def collect(jobs: Sequence[Job], folder: Path, workers: int, console: Console) -> None:
    """Carry out what the CSV file does not have yet, several side by side."""
    known = {row.key for row in read(folder)}
    due = [job for job in jobs if job.key not in known]
    columns = (TextColumn("{task.description:>28}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("trainings", total=len(jobs), completed=len(jobs) - len(due))
        pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
        try:
            for future in as_completed([pool.submit(carry_out, job, folder) for job in due]):
                row = future.result()
                append(row, folder)
                progress.update(task, advance=1, description=f"{row.student} {row.method}, seed {row.seed}")
        finally:
            pool.shutdown(cancel_futures=True)


def append(row: Row, folder: Path) -> None:
    """Add a row to the CSV file."""
    path = folder / "trainings.csv"
    is_new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)])
        if is_new:
            writer.writeheader()
        writer.writerow(asdict(row))


def read(folder: Path) -> list[Row]:
    """The rows of the CSV file."""
    path = folder / "trainings.csv"
    if not path.exists():
        return []
    kinds = {"seed": int, "val_accuracy": float, "test_accuracy": float, "loss": float, "seconds": float}
    with path.open(newline="", encoding="utf-8") as file:
        return [Row(**{name: kinds.get(name, str)(text) for name, text in row.items()}) for row in csv.DictReader(file)]


def summarise(jobs: Sequence[Job], rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """By student and method: accuracy on the test set, and the difference to hard labels over paired seeds, points."""
    found = {row.key: row for row in rows}
    results: dict[str, dict[str, Any]] = {}
    for student in dict.fromkeys(job.student for job in jobs):
        own = [job for job in jobs if job.student == student]
        by_method: dict[str, dict[int, Row]] = {}
        for job in own:
            if job.key in found:
                by_method.setdefault(job.method, {})[job.seed] = found[job.key]
        hard = by_method.get(HARD, {})
        methods = {}
        for method, done in by_method.items():
            accuracies = np.array([100 * row.test_accuracy for row in done.values()])
            paired = [seed for seed in done if seed in hard and method != HARD]
            gains = np.array([100 * (done[seed].test_accuracy - hard[seed].test_accuracy) for seed in paired])
            methods[method] = {
                "seeds": len(done),
                "accuracy": float(accuracies.mean()),
                "std": float(accuracies.std(ddof=1)) if len(accuracies) > 1 else None,
                "minutes": float(np.mean([row.seconds for row in done.values()]) / 60),
                "gain": interval(gains),
            }
        cost = count_cost(NetworkSpec.parse(own[0].architecture), 28, 1, 10)
        results[student] = {"architecture": own[0].architecture, "madds": cost.madds, "params": cost.params}
        results[student]["methods"] = methods
    return results


def interval(gains: NDArray[np.float64]) -> dict[str, float] | None:
    """Mean and 95 % interval of Student's t; None of nothing, without bounds of one."""
    if not len(gains):
        return None
    mean = float(gains.mean())
    if len(gains) < 2:
        return {"seeds": 1, "mean": mean}
    reach = float(gains.std(ddof=1) / np.sqrt(len(gains)) * stats.t.ppf(0.975, len(gains) - 1))
    return {"seeds": len(gains), "mean": mean, "low": mean - reach, "high": mean + reach}


def cells(results: dict[str, dict[str, Any]]) -> list[tuple[str, ...]]:
    """Rows of the table as text: student, method, seeds, accuracy, difference, interval, minutes."""
    lines = []
    for student, about in results.items():
        for method, row in about["methods"].items():
            gain = row["gain"]
            spread = "" if row["std"] is None else f" ± {row['std']:.2f}"
            lines.append(
                (
                    student,
                    TITLES.get(method, method),
                    str(row["seeds"]),
                    f"{row['accuracy']:.2f}{spread}",
                    "" if gain is None else f"{gain['mean']:+.2f}",
                    "" if gain is None or "low" not in gain else f"{gain['low']:+.2f} to {gain['high']:+.2f}",
                    f"{row['minutes']:.1f}",
                )
            )
    return lines


HEADINGS = ("student", "method", "seeds", "test accuracy, %", "over hard labels", "95 % interval", "minutes")


def as_markdown(results: dict[str, dict[str, Any]], settings: dict[str, Any]) -> str:
    """The table, and what it is of."""
    lines = [HEADINGS, ("---",) * len(HEADINGS), *cells(results)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    students = "\n".join(
        f"- {name}: {about['madds'] / 1e6:.2f} M multiply-adds, {about['params']:,} parameters, "
        f"`{about['architecture']}`"
        for name, about in results.items()
    )
    recipe = settings["recipe"]
    return (
        f"{table}\n\nFull training by `python -m benchmarks.methods`: {recipe['epochs']} epochs on "
        f"{settings['train_images']:,} images of {DATA}, judged on its 5,000 test images. "
        f"Teacher: `{settings['teacher']}`, {settings['teacher_accuracy']:.2f} % there. "
        "Mean ± standard deviation over seeds; differences in points over paired seeds, with a 95 % interval of "
        f"Student's t.\n\n{students}\n"
    )


def default_students() -> dict[str, str]:
    """The rows of Table 6: a student of the space, and MobileNetV2 reduced to its cost."""
    space = make_space("akd", "small")
    own = space.network(space.reference)
    ratios = np.arange(0.05, 0.5, 0.01)
    reduced = [baseline("mobilenet_v2", float(ratio), divisor=1, undo_strides=1) for ratio in ratios]
    wanted = madds(own)
    return {"akd": str(own), "mobilenet_v2": str(min(reduced, key=lambda spec: abs(madds(spec) - wanted)))}


def madds(spec: NetworkSpec) -> int:
    """Multiply-adds at the data's size."""
    return count_cost(spec, 28, 1, 10).madds


def ensure_teacher(name: str | None, folder: Path, anchors: int, console: Console) -> str:
    """The teacher to distil: the one named, else one with anchors, trained on what students never see."""
    if name is not None:
        return name
    settings = TeacherTrainingSettings(anchors=anchors, out=folder / "teacher")
    path = settings.out / f"{settings.name}.safetensors"
    if not path.exists():
        train_teacher(settings, lambda text: console.print(text, style="dim", highlight=False))
    return f"file:{path}@{settings.name}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", action="append", metavar="NAME=ARCHITECTURE", help="by default two, see above")
    parser.add_argument(
        "--methods", nargs="+", default=list(METHODS), help="beside hard labels, which are always there"
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, help="by default the full recipe's")
    parser.add_argument("--train-size", type=int, help="by default all images that mini-val leaves")
    parser.add_argument("--teacher", help="with anchors beside it; by default one is trained")
    parser.add_argument("--anchors", type=int, default=4, help="of the teacher that is trained by default")
    parser.add_argument("--workers", type=int, default=available_cores())
    parser.add_argument("--out", type=Path, default=Path("runs/methods"))
    parser.add_argument("--results", type=Path, default=RESULTS, help="JSON; the table lies beside it as Markdown")
    parser.add_argument("--report-only", action="store_true")
    arguments = parser.parse_args()
    console = Console()
    arguments.out.mkdir(parents=True, exist_ok=True)
    students = default_students()
    if arguments.student:
        students = dict(text.split("=", 1) for text in arguments.student)
    recipe = full_recipe(DATA)
    overrides = {"epochs": arguments.epochs, "train_size": arguments.train_size}
    if arguments.epochs is not None:
        overrides["warmup_epochs"] = min(recipe.warmup_epochs, arguments.epochs / 5)
    recipe = with_overrides(recipe, overrides)
    data = load_task(recipe)
    name = ensure_teacher(arguments.teacher, arguments.out, arguments.anchors, console)
    teacher = load_teacher(name, data)
    assert teacher is not None, "`--teacher` must name one"
    assert data.test is not None
    jobs = []
    for student, architecture in students.items():
        spec = str(NetworkSpec.parse(architecture).canonical())
        identity = [spec, data.fingerprint, teacher.weights_hash, recipe.identity(distilled=True)]
        settings = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
        for seed in range(arguments.seeds):  # a seed after the other: what is there is paired
            for method in dict.fromkeys([HARD, *arguments.methods]):
                jobs.append(Job(student, spec, method, seed, name, recipe, settings))
    if not arguments.report_only:
        collect(jobs, arguments.out, arguments.workers, console)
    rows = read(arguments.out)
    results = summarise(jobs, rows)
    about = {
        "recipe": recipe.identity(distilled=True),
        "train_images": len(data.train),
        "teacher": name,
        "teacher_accuracy": 100 * judge(teacher, data.test)["accuracy"],
        "machine": machine(),
    }
    kept = {job.key for job in jobs}
    raw = [asdict(row) for row in rows if row.key in kept]
    content = json.dumps({"about": about, "results": results, "rows": raw}, indent=1) + "\n"
    arguments.results.write_text(content, encoding="utf-8")
    arguments.results.with_suffix(".md").write_text(as_markdown(results, about), encoding="utf-8")
    table = Table(*HEADINGS)
    for line in cells(results):
        table.add_row(*line)
    console.print(table)


if __name__ == "__main__":
    main()
