"""Full training at the paper's scale: averages, parts, methods of one's own, the log, what is told and measured."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from akd_gym.checkpoints import load_state
from akd_gym.data import TaskData, load_data
from akd_gym.errors import InvalidSettingError, UnknownNameError
from akd_gym.full_training import CARD, CHECKPOINT, TENSORBOARD, train_fully
from akd_gym.recipes import Recipe
from akd_gym.space import make_space
from akd_gym.students import RECORD, STUDENT
from akd_gym.training_log import Progress

SPEC = make_space("akd", "small").network((1, 1, 0, 0, 0) * 7)

OWN_METHOD = '''
import torch
from akd_gym.distill import HardLabels

class Projected(HardLabels):
    """Reads the classes from the student's features by weights of its own."""

    needs_features = True

    @classmethod
    def prepare(cls, training):
        method = cls()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(training.seed)
            method.project = torch.nn.Linear(training.spec.head_channels, training.data.num_classes)
        return method

    def loss(self, answer, batch):
        own = torch.nn.functional.cross_entropy(self.project(answer.features), batch.labels)
        return super().loss(answer, batch) + own
'''


class Stopped(BaseException):
    """Ctrl-C, or the power."""


def stop_after(last: int) -> Callable[[int, float], None]:
    def on_epoch(epoch: int, loss: float) -> None:
        if epoch == last:
            raise Stopped

    return on_epoch


@pytest.fixture(scope="module")
def data() -> TaskData:
    return load_data(train_size=128, val_size=100, test_size=150)


@pytest.fixture
def recipe(tiny_recipe: Recipe) -> Recipe:
    """4 epochs over 2 views."""
    return replace(tiny_recipe, epochs=4, views=2)


@pytest.fixture
def own_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "own_distillation.py").write_text(OWN_METHOD)
    monkeypatch.syspath_prepend(tmp_path / "modules")
    return "own_distillation:Projected"


def scalars(folder: Path) -> dict[str, list[int]]:
    """The epochs of every curve in a TensorBoard folder."""
    events = EventAccumulator(str(folder)).Reload()
    return {tag: [event.step for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_a_stopped_training_with_all_options_goes_on_to_the_same_result(
    own_method: str, data: TaskData, recipe: Recipe, tmp_path: Path
) -> None:
    recipe = replace(recipe, ema_decay=0.9, accumulate=2, label_smoothing=0.1, precision="bfloat16")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train_fully(SPEC, data, recipe, whole, method=own_method, eval_every=1)
    for last in (1, 3):
        with pytest.raises(Stopped):
            train_fully(SPEC, data, recipe, broken, method=own_method, on_epoch=stop_after(last))
    train_fully(SPEC, data, recipe, broken, method=own_method)
    for name in (STUDENT, RECORD, CARD):
        assert (broken / name).read_bytes() == (whole / name).read_bytes()
    states = [load_file(folder / CHECKPOINT) for folder in (whole, broken)]
    assert any(name.startswith("method.project") for name in states[0])
    torch.testing.assert_close(*states, rtol=0, atol=0)
    assert json.loads((whole / RECORD).read_text())["recipe"]["ema_decay"] == 0.9


def test_what_is_kept_is_the_average(data: TaskData, recipe: Recipe, tmp_path: Path) -> None:
    plain = train_fully(SPEC, data, recipe, tmp_path / "plain")
    averaged = train_fully(SPEC, data, replace(recipe, ema_decay=0.9), tmp_path / "averaged")
    assert averaged.loss == plain.loss  # the same training
    identity = json.loads((tmp_path / "averaged" / RECORD).read_text())
    state, _ = load_state(tmp_path / "averaged" / CHECKPOINT, {"seed": identity["seed"]})
    weights = load_file(averaged.student)
    torch.testing.assert_close(weights, state.average, rtol=0, atol=0)
    torch.testing.assert_close(load_file(plain.student), state.network, rtol=0, atol=0)
    assert not torch.equal(weights["classifier.weight"], state.network["classifier.weight"])


def test_looking_changes_nothing(data: TaskData, recipe: Recipe, tmp_path: Path) -> None:
    said: list[str] = []
    for every in (1, 3, 100):
        train_fully(SPEC, data, recipe, tmp_path / str(every), eval_every=every, announce=said.append)
    contents = {(tmp_path / str(every) / STUDENT).read_bytes() for every in (1, 3, 100)}
    assert len(contents) == 1
    assert [text.partition(":")[0] for text in said if text.startswith("Epoch")] == [
        "Epoch 1 of 4", "Epoch 2 of 4", "Epoch 3 of 4", "Epoch 3 of 4",
    ]  # fmt: skip
    assert "mini-val top-1" in said[0]
    assert "top-5" in said[0]


def test_ten_looks_by_default(data: TaskData, tiny_recipe: Recipe, tmp_path: Path) -> None:
    recipe = replace(tiny_recipe, epochs=23, train_size=None, batch_size=16)
    small = replace(data, train=replace(data.train, **first(data, 16)))
    train_fully(SPEC, small, recipe, tmp_path)
    assert scalars(tmp_path / TENSORBOARD)["val/top1"] == [*range(2, 23, 2), 23]


def first(data: TaskData, count: int) -> dict[str, torch.Tensor]:
    return {name: getattr(data.train, name)[:count] for name in ("images", "labels", "indices")}


def test_the_course_is_in_tensorboard_once(data: TaskData, recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        train_fully(SPEC, data, recipe, tmp_path, eval_every=2, on_epoch=stop_after(3))
    result = train_fully(SPEC, data, recipe, tmp_path, eval_every=2)
    train_fully(SPEC, data, recipe, tmp_path, eval_every=2)  # finished: it adds nothing
    by_epoch = [1, 2, 3, 4]
    assert scalars(tmp_path / TENSORBOARD) == {
        "train/loss": by_epoch, "train/learning_rate": by_epoch, "train/seconds": by_epoch,
        "train/images_per_s": by_epoch, "val/top1": [2, 4], "val/top5": [2, 4], "test/top1": [4], "test/top5": [4],
    }  # fmt: skip
    events = EventAccumulator(str(tmp_path / TENSORBOARD)).Reload()
    values = {tag: [event.value for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    assert values["train/learning_rate"] == pytest.approx([recipe.learning_rate_at(epoch) for epoch in by_epoch])
    assert values["train/loss"][-1] == pytest.approx(result.loss)
    assert values["val/top1"][-1] == pytest.approx(result.val_accuracy)
    assert values["test/top5"] == pytest.approx([result.test_top5])
    for pace, seconds in zip(values["train/images_per_s"], values["train/seconds"], strict=True):
        assert pace * seconds == pytest.approx(128, rel=1e-4)


def test_progress_is_told(data: TaskData, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("akd_gym.training_log._SHOW_EVERY_S", 0.0)  # after every step
    told: list[Progress] = []
    train_fully(SPEC, data, replace(recipe, accumulate=2), tmp_path, on_progress=told.append)
    assert [progress.epoch for progress in told] == [step / 4 for step in range(1, 17)]
    for progress in told:
        assert progress.epochs == 4
        assert progress.learning_rate == recipe.learning_rate_at(progress.epoch)
        assert progress.images_per_s > 0
        assert math.isfinite(progress.loss)


def test_settings_that_cannot_work(data: TaskData, recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(InvalidSettingError, match="`eval_every` must be at least 1, but got 0"):
        train_fully(SPEC, data, recipe, tmp_path, eval_every=0)
    with pytest.raises(UnknownNameError, match="Unknown latency source 'hots'"):
        train_fully(SPEC, data, recipe, tmp_path, latency="hots")
    assert not (tmp_path / CHECKPOINT).exists()


@pytest.mark.slow
def test_a_latency_is_measured_when_the_student_is_trained(
    data: TaskData, recipe: Recipe, tmp_path: Path, own_machine: Path
) -> None:
    train_fully(SPEC, data, replace(recipe, epochs=2), tmp_path / "out", latency="host")
    record = json.loads((tmp_path / "out" / RECORD).read_text())
    assert record["latency"]["kind"] == "host"
    assert record["latency"]["architecture"] == str(SPEC)
    assert record["latency"]["median_ms"] > 0
    assert "| latency | 0." in (tmp_path / "out" / CARD).read_text()
