"""Full training of one student, with a checkpoint an epoch: what follows a search (section 3.2 of the paper)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from akd_gym import __version__
from akd_gym.architecture import NetworkSpec
from akd_gym.checkpoints import load_state, save_state
from akd_gym.cost import count_cost
from akd_gym.data import TaskData
from akd_gym.distill import Training, load_method
from akd_gym.distributed import Peers, joined, local_device
from akd_gym.errors import InvalidSettingError, StorageError
from akd_gym.files import write_atomically
from akd_gym.model_card import model_card
from akd_gym.networks import StudentNetwork
from akd_gym.recipes import Recipe
from akd_gym.student_answers import Accuracy, judge
from akd_gym.students import RECORD, STUDENT, save_student
from akd_gym.teachers import load_teacher
from akd_gym.torch_settings import check_device, cpu_settings
from akd_gym.training import TrainingState, build_student, images_a_part, train
from akd_gym.training_log import Pace, Progress, TrainingLog

if TYPE_CHECKING:
    from akd_gym.device_lab import LatencyMeter, LatencyRecord

CHECKPOINT, CARD, TENSORBOARD = "checkpoint.safetensors", "README.md", "tensorboard"
SCHEMA_VERSION = 1
_EVALUATIONS = 10  # on mini-val, unless asked otherwise


@dataclass(frozen=True)
class FullTrainingResult:
    """What a full training gave.

    Attributes:
        val_accuracy: Top-1 on mini-val, a fraction.
        test_accuracy: Top-1 on the test set, a fraction; None if the data has none.
        loss: Mean training loss of the last epoch.
        student: File of the weights.
        val_top5: Top-5 on mini-val; None where there are five classes or fewer.
        test_top5: Top-5 on the test set; None likewise, or if the data has none.
    """

    val_accuracy: float
    test_accuracy: float | None
    loss: float
    student: Path
    val_top5: float | None = None
    test_top5: float | None = None


def train_fully(
    spec: NetworkSpec,
    data: TaskData,
    recipe: Recipe,
    out: Path,
    *,
    method: str | None = None,
    teacher: str | None = None,
    seed: int = 0,
    device: str = "cpu",
    threads: int = 1,
    eval_every: int | None = None,
    latency: str | None = None,
    announce: Callable[[str], None] | None = None,
    on_epoch: Callable[[int, float], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> FullTrainingResult:
    """Train a student and write `student.safetensors`, `record.json` and a model card, `README.md`, to `out`.

    A training that was stopped goes on from its last epoch, to the same result as without a break. Its course is in
    `out/tensorboard`. Called in every process that `torchrun` starts, it trains in all of them: see
    `akd_gym.distributed`.

    Args:
        spec: The student.
        data: Trained on `data.train`, judged on `data.val` and `data.test`.
        recipe: How to train; the views of soft labels are cycled through.
        out: Folder of the results and of the checkpoint.
        method: See `load_method`; None for `kd` with a teacher and `hard` without.
        teacher: See `load_teacher`; methods that need none leave it alone.
        seed: Of initial weights and order of images.
        device: Torch device; `"cuda"` is a GPU of its own for each process of `torchrun`.
        threads: Torch threads on a CPU.
        eval_every: Epochs between two evaluations on mini-val, which change nothing; None for ten in all.
        latency: Who measures the student when it is trained, see `make_latency_meter`; None for nobody.
        announce: Told what takes time or space before it does, and of evaluations.
        on_epoch: Told of every epoch done (from 1) and its mean loss.
        on_progress: Told a few times a second how far the training is.

    Raises:
        InvalidSettingError: If a setting cannot work.
        RunMismatchError: If `out` holds the checkpoint of another training.
        CorruptFileError: If the checkpoint is damaged.
        StorageError: If `out` cannot be written.
        InfeasibleCandidateError: If the training diverges.
        DeviceError: If the device that is to measure fails; what was trained is kept.
    """
    if eval_every is not None and eval_every < 1:
        raise InvalidSettingError(f"`eval_every` must be at least 1, but got {eval_every}.")
    method = method or ("hard" if teacher in (None, "none") else "kd")
    kind = load_method(method)
    loaded = load_teacher(teacher, data) if kind.needs_teacher else None
    identity = {
        "method": method,
        "architecture": str(spec),
        "data": data.name,
        "fingerprint": data.fingerprint,
        "teacher": None if loaded is None else loaded.name,
        "teacher_weights": None if loaded is None else loaded.weights_hash,
        "recipe": recipe.identity(distilled=loaded is not None),
        "seed": seed,
    }
    torch_device = check_device(local_device(device))
    with joined(torch_device) as peers, cpu_settings(threads):
        images_a_part(recipe, len(data.train), peers.count)
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"The folder {out} cannot be made: {error.strerror}.") from error
        say = announce if announce is not None and peers.is_first else _say_nothing
        if latency is not None and peers.is_first:
            _open_meter(latency, say).close()  # what cannot measure is better known before the training than after
        every, log = eval_every or max(1, recipe.epochs // _EVALUATIONS), TrainingLog(out / TENSORBOARD)
        keeper = _Keeper(spec, data, recipe, out, identity, torch_device, every, say, on_epoch, log)
        resume = peers.from_first(keeper.resume)
        network = build_student(spec, data, seed, torch_device)
        with peers.first_here():
            prepared = kind.prepare(Training(spec, data, recipe, loaded, seed, torch_device, threads, out, say))
        batch_size = images_a_part(recipe, len(data.train), peers.count) * recipe.accumulate * peers.count
        pace = None if on_progress is None else Pace(recipe, batch_size, on_progress)
        log.begin_epoch()
        try:
            train(
                network,
                data,
                recipe,
                prepared,
                seed=seed,
                resume=resume,
                on_epoch=keeper.keep if peers.is_first else None,
                on_step=pace.step if pace is not None and peers.is_first else None,
                peers=peers,
            )
            return peers.from_first(lambda: keeper.finish(network, peers, latency))
        finally:
            log.close()


@dataclass
class _Keeper:
    """What the first process does beside training: checkpoints, the log, and in the end the student's files."""

    spec: NetworkSpec
    data: TaskData
    recipe: Recipe
    out: Path
    identity: dict[str, Any]
    device: torch.device
    eval_every: int
    say: Callable[[str], None]
    on_epoch: Callable[[int, float], None] | None
    log: TrainingLog
    loss: float = math.nan

    def resume(self) -> TrainingState | None:
        """Where an earlier process stopped."""
        path = self.out / CHECKPOINT
        if not path.exists():
            return None
        state, self.loss = load_state(path, self.identity)  # `train` knows no loss where this was the last epoch
        return state

    def keep(self, state: TrainingState, loss: float) -> None:
        """Write and tell what an epoch gave."""
        self.loss = loss
        self.log.epoch(state.epoch, self.recipe, loss, len(self.data.train))
        if state.epoch % self.eval_every == 0 and state.epoch < self.recipe.epochs:
            self._evaluate(state, loss)
        save_state(self.out / CHECKPOINT, state, self.identity, loss)
        if self.on_epoch is not None:
            self.on_epoch(state.epoch, loss)
        self.log.begin_epoch()

    def _evaluate(self, state: TrainingState, loss: float) -> None:
        """Judge a copy of the student on mini-val, so that the training goes on as if nobody had looked."""
        copy = build_student(self.spec, self.data, 0, self.device)
        copy.load_state_dict(state.judged)
        accuracy = judge(copy, self.data.val, self.data, self.recipe.precision)
        self.log.accuracy("val", accuracy, state.epoch)
        self.say(
            f"Epoch {state.epoch} of {self.recipe.epochs}: loss {loss:.4f}, mini-val top-1 {100 * accuracy.top1:.2f} %"
            + ("" if accuracy.top5 is None else f", top-5 {100 * accuracy.top5:.2f} %")
        )

    def finish(self, network: StudentNetwork, peers: Peers, latency: str | None) -> FullTrainingResult:
        """Judge the trained student and write all that is kept of it."""
        spec, data = self.spec, self.data
        val = judge(network, data.val, data, self.recipe.precision)
        test = None if data.test is None else judge(network, data.test, data, self.recipe.precision)
        if self.log.is_begun:
            self.log.accuracy("val", val, self.recipe.epochs)
            if test is not None:
                self.log.accuracy("test", test, self.recipe.epochs)
            self.log.flush()
        path = self.out / STUDENT
        sha256 = save_student(path, spec, network.state_dict(), data)
        cost = count_cost(spec, data.resolution, data.in_channels, data.num_classes)
        record = {
            "schema_version": SCHEMA_VERSION,
            "akd_gym": __version__,
            **self.identity,
            "train_images": len(data.train),
            "processes": peers.count,
            "resolution": data.resolution,
            "channels": data.in_channels,
            "classes": list(data.class_names),
            **_fields("val", val),
            **_fields("test", test),
            "loss": self.loss,
            "madds": cost.madds,
            "params": cost.params,
            "latency": None,
            "files": {STUDENT: {"bytes": path.stat().st_size, "sha256": sha256}},
        }
        self._write(record)
        if latency is not None:
            record["latency"] = _measure(latency, spec, data, self.say).to_dict()
            self._write(record)
        test_top1, test_top5 = (None, None) if test is None else (test.top1, test.top5)
        return FullTrainingResult(val.top1, test_top1, self.loss, path, val.top5, test_top5)

    def _write(self, record: dict[str, Any]) -> None:
        write_atomically(self.out / RECORD, (json.dumps(record, indent=2) + "\n").encode())
        write_atomically(self.out / CARD, model_card(record).encode())


def _fields(part: str, accuracy: Accuracy | None) -> dict[str, float | int | None]:
    """What a record says of the accuracy on a part of the data."""
    top1, top5, images = (None, None, None) if accuracy is None else (accuracy.top1, accuracy.top5, accuracy.images)
    return {f"{part}_accuracy": top1, f"{part}_top5": top5, f"{part}_images": images}


def _measure(latency: str, spec: NetworkSpec, data: TaskData, say: Callable[[str], None]) -> LatencyRecord:
    """The latency of a student; weights change nothing about it."""
    from akd_gym.latencies import export_architecture

    model = export_architecture(str(spec), (data.in_channels, data.resolution, data.resolution), data.num_classes)
    say(f"Measuring the latency: {latency}")
    meter = _open_meter(latency, say)
    try:
        [record] = meter.measure([(str(spec), model)])
    finally:
        meter.close()
    return record


def _open_meter(latency: str, say: Callable[[str], None]) -> LatencyMeter:
    from akd_gym.device_lab import make_latency_meter

    return make_latency_meter(latency, say)


def _say_nothing(text: str) -> None:
    pass
