"""Every method with every kind of teacher, for classification and for embeddings: it trains, or says why it does not.

Also, for every method: a training that is stopped and goes on, and the same training twice.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from akd_gym.data import TaskData
from akd_gym.distill import EMBEDDING_METHODS, METHODS, Training, load_embedding_method, load_method
from akd_gym.errors import InvalidSettingError, TeacherError
from akd_gym.full_training import CHECKPOINT, train_fully
from akd_gym.networks import build_network
from akd_gym.students import STUDENT
from akd_gym.training import build_student, train

KINDS = ("shipped", "file with anchors", "file of one's own", "ensemble", "ensemble with anchors")
WITH_ANCHORS = ("file with anchors", "ensemble with anchors")


class Stopped(BaseException):
    """Ctrl-C, or the power."""


@pytest.fixture(scope="session")
def teachers(route_file: Path, own_file: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Name of a teacher by kind."""
    other = tmp_path_factory.mktemp("other")
    for path in route_file.parent.iterdir():
        if path.suffix != ".pt":
            shutil.copy(path, other / path.name)
    return {
        "shipped": "shipped:inception",
        "file with anchors": f"file:{route_file}@resnet",
        "file of one's own": own_file,
        "ensemble": "shipped:inception+shipped:mixer",
        "ensemble with anchors": f"file:{route_file}@resnet+file:{other}/{route_file.name}@resnet",
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS)
def test_classification(
    method: str, kind: str, teachers: dict[str, str], make_training: Callable[..., Training]
) -> None:
    training = make_training(teachers[kind], epochs=3, learning_rate=0.1)
    if method == "rco" and kind not in WITH_ANCHORS:
        with pytest.raises(TeacherError, match=r"RCO needs.*`akd teacher train --name resnet --anchors 4` makes"):
            load_method(method).prepare(training)
        return
    distillation = load_method(method).prepare(training)
    network = build_student(training.spec, training.data, 0, training.device)
    losses: list[float] = []
    train(network, training.data, training.recipe, distillation, seed=0, on_epoch=lambda _, loss: losses.append(loss))
    assert len(losses) == 3
    assert all(math.isfinite(loss) for loss in losses)
    assert method == "rco" or min(losses[1:]) < losses[0]  # RCO has another teacher in every epoch


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS)
def test_embedding(method: str, kind: str, teachers: dict[str, str], make_training: Callable[..., Training]) -> None:
    if method not in EMBEDDING_METHODS:
        with pytest.raises(InvalidSettingError, match=rf"must be one for embeddings .* but got '{method}': it"):
            load_embedding_method(method)
        return
    training = make_training(teachers[kind], epochs=3, learning_rate=0.1)
    if method == "rco" and kind not in WITH_ANCHORS:
        with pytest.raises(TeacherError, match=r"RCO needs.*`akd teacher train --name resnet --anchors 4` makes"):
            load_embedding_method(method).prepare(training)
        return
    distillation = load_embedding_method(method).prepare(training)
    width = training.required_teacher.feature_dim
    network = build_network(training.spec, width, 1, generator=torch.Generator().manual_seed(0))
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    losses: list[float] = []
    train(network, training.data, training.recipe, distillation, seed=0, on_epoch=lambda _, loss: losses.append(loss))
    assert len(losses) == 3
    assert all(math.isfinite(loss) for loss in losses)
    assert method == "rco" or min(losses[1:]) < losses[0]


@pytest.mark.parametrize("method", METHODS)
def test_a_stopped_training_ends_with_the_weights_of_an_unbroken_one(
    method: str, teachers: dict[str, str], data: TaskData, make_training: Callable[..., Training], tmp_path: Path
) -> None:
    """Also the weights of the method itself, and those of assistants."""
    teacher = teachers["file with anchors"]
    training = make_training(teacher, epochs=4, views=2)

    def run(out: Path, seed: int = 0, on_epoch: Callable[[int, float], None] | None = None) -> None:
        train_fully(
            training.spec, data, training.recipe, out, method=method, teacher=teacher, seed=seed, on_epoch=on_epoch
        )

    def stop(epoch: int, loss: float) -> None:
        if epoch == 2:
            raise Stopped

    run(tmp_path / "whole")
    with pytest.raises(Stopped):
        run(tmp_path / "broken", on_epoch=stop)
    run(tmp_path / "broken")
    names = sorted(path.name for path in (tmp_path / "whole").glob("*.safetensors"))
    assert ("assistant3.safetensors" in names) == (method == "ta")
    for name in names:
        whole, broken = load_file(tmp_path / "whole" / name), load_file(tmp_path / "broken" / name)
        assert whole.keys() == broken.keys()
        assert all(torch.equal(whole[key], broken[key]) for key in whole), name
    kept = load_file(tmp_path / "whole" / CHECKPOINT)
    assert any(key.startswith("method.projection") for key in kept) == (method == "features")
    run(tmp_path / "other", seed=1)
    whole, other = load_file(tmp_path / "whole" / STUDENT), load_file(tmp_path / "other" / STUDENT)
    assert not torch.equal(whole["stem.0.weight"], other["stem.0.weight"])


@pytest.mark.parametrize("method", [name for name in METHODS if load_method(name).needs_teacher])
def test_nobody_to_learn_from(method: str, make_training: Callable[..., Training]) -> None:
    with pytest.raises(TeacherError, match="needs a teacher, but got none"):
        load_method(method).prepare(replace(make_training(), teacher=None))
