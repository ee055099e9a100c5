"""A task of seconds for distillation methods, and teachers of every kind."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from akd_gym.architecture import NetworkSpec
from akd_gym.data import TaskData, load_data
from akd_gym.distill import Training
from akd_gym.recipes import RECIPES, Recipe
from akd_gym.teachers import Teacher, load_teacher
from akd_gym.teachers.settings import TeacherTrainingSettings
from akd_gym.teachers.training import train_teacher

SPEC = NetworkSpec.parse("stem_k3_s2_c8 cn_r1_k3_s2_c8_noskip ir_r1_k3_s2_e2_c12_id head_c24")
RECIPE = replace(RECIPES["fashion"], epochs=2, train_size=128, val_size=200, batch_size=32)

NETWORK = """
from torch import nn


def build(num_classes, in_channels):
    return nn.Sequential(
        nn.Conv2d(in_channels, 16, 5, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, num_classes)
    )
"""


@pytest.fixture(scope="session")
def data() -> TaskData:
    return load_data(train_size=128, val_size=200, test_size=100)


@pytest.fixture(scope="session")
def more_data() -> TaskData:
    """Enough to learn something from."""
    return load_data(train_size=512, val_size=300, test_size=0)


@pytest.fixture(scope="session")
def route_file(small_fashion: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a teacher with two anchors before it."""
    settings = TeacherTrainingSettings(
        data=f"fashion-mnist:{small_fashion}",
        student_train_size=200,
        student_val_size=100,
        out=tmp_path_factory.mktemp("teachers"),
        epochs=2,
        batch_size=25,
        average_steps=5,
        anchors=3,
    )
    return train_teacher(settings, lambda text: None)


@pytest.fixture(scope="session")
def own_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Name of a teacher whose network is a function of the user's own."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "network_of_mine.py").write_text(NETWORK, encoding="utf-8")
    sys.path.append(str(folder))
    try:
        from network_of_mine import build  # type: ignore[import-not-found]

        torch.manual_seed(0)
        save_file(build(10, 1).state_dict(), folder / "mine.safetensors")
        yield f"file:{folder}/mine.safetensors@network_of_mine:build"
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("network_of_mine", None)


@pytest.fixture
def make_training(data: TaskData, tmp_path: Path) -> Callable[..., Training]:
    """A training with changed fields of its recipe, by a teacher's name."""

    def make(teacher: str | Teacher | None = "shipped:resnet", **changes: object) -> Training:
        loaded = load_teacher(teacher, data) if isinstance(teacher, str) else teacher
        recipe: Recipe = replace(RECIPE, **changes)  # type: ignore[arg-type]
        return Training(SPEC, data, recipe, loaded, 0, torch.device("cpu"), 1, tmp_path, lambda text: None)

    return make
