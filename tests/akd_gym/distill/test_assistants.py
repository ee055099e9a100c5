"""TA-KD: the chain, and what becomes of it when a training is stopped."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from akd_gym.architecture import NetworkSpec
from akd_gym.data import TaskData
from akd_gym.distill import KD, TA, Training
from akd_gym.distill.assistants import expand_channels, train_assistant
from akd_gym.errors import CorruptFileError, RunMismatchError
from akd_gym.space import make_space


@pytest.fixture(autouse=True)
def cold_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No soft labels that other tests have computed: it is said when they are."""
    monkeypatch.setenv("AKD_GYM_CACHE", str(tmp_path_factory.mktemp("cache")))


class Stopped(BaseException):
    """Ctrl-C, or the power."""


def stop_at(text: str) -> Callable[[str], None]:
    def announce(said: str) -> None:
        if said.startswith(text):
            raise Stopped

    return announce


def test_expansion_by_hand() -> None:
    spec = NetworkSpec.parse("stem_k3_s2_c8 ir_r2_k3_s2_e6_c12_se0.25_id ds_r1_k5_s1_c1_pool head_c25")
    expected = "stem_k3_s2_c12 ir_r2_k3_s2_e6_c18_se0.25_id ds_r1_k5_s1_c2_pool head_c38"
    assert str(expand_channels(spec, 1.5)) == expected
    assert expand_channels(spec, 1.0) == spec
    with_hidden = replace(spec, hidden_channels=10)
    assert expand_channels(with_hidden, 1.5).hidden_channels == 15


def test_an_expanded_student_of_the_space_is_larger_everywhere() -> None:
    spec = make_space("akd", "small").network((1, 1, 0, 0, 0) * 7)
    widths = [[block.channels for block in expand_channels(spec, ratio).blocks] for ratio in (1, *TA.expansions[::-1])]
    assert all(a < b for smaller, larger in itertools.pairwise(widths) for a, b in zip(smaller, larger, strict=True))


def test_the_chain_from_the_teacher_to_the_student(make_training: Callable[..., Training]) -> None:
    said: list[str] = []
    training = replace(make_training(), announce=said.append)
    method = TA.prepare(training)
    assert isinstance(method, KD)
    files = sorted(path.name for path in training.folder.iterdir())
    assert files == ["assistant1.safetensors", "assistant2.safetensors", "assistant3.safetensors"]
    assert [line for line in said if "channels" in line] == [
        "Assistant 1 of 3: the student with 1.75x channels",
        "Assistant 2 of 3: the student with 1.5x channels",
        "Assistant 3 of 3: the student with 1.25x channels",
    ]
    taught_by = [line for line in said if line.startswith("Soft labels of assistant") and "views x" in line]
    assert [line.partition(":")[0] for line in taught_by] == [
        "Soft labels of assistant1 of shipped",
        "Soft labels of assistant2 of assistant1 of shipped",
        "Soft labels of assistant3 of assistant2 of assistant1 of shipped",
    ]
    last = training.required_teacher
    for number, expansion in enumerate(TA.expansions, start=1):
        last = train_assistant(expand_channels(training.spec, expansion), number, last, training)
    assert training.soft_labels(last) == method.soft_labels


def test_an_assistant_learns_from_its_teacher(make_training: Callable[..., Training], more_data: TaskData) -> None:
    training = replace(make_training(epochs=6, learning_rate=0.1), data=more_data)
    assistant = train_assistant(expand_channels(training.spec, 1.5), 1, training.required_teacher, training)
    images = next(more_data.val.batches([torch.arange(300)], training.device))
    teacher = training.required_teacher.logits(images).argmax(1)
    assert (assistant.logits(images).argmax(1) == teacher).float().mean() > 0.4  # of ten classes
    assert assistant.feature_dim == 36


@pytest.mark.parametrize("where", ["Assistant 1: epoch 1", "Assistant 2: epoch 2", "Soft labels of assistant2"])
def test_a_stopped_chain_goes_on_to_the_same_assistants(
    where: str, make_training: Callable[..., Training], tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = make_training()
    broken = replace(whole, folder=tmp_path_factory.mktemp("broken"), announce=stop_at(where))
    with pytest.raises(Stopped):
        TA.prepare(broken)
    said: list[str] = []
    again = TA.prepare(replace(broken, announce=said.append))
    assert sum(": epoch " in line for line in said) < 6
    assert again.soft_labels == TA.prepare(whole).soft_labels  # by the hash of the last one's weights
    for path in whole.folder.glob("*.safetensors"):
        ours, theirs = load_file(path), load_file(broken.folder / path.name)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_assistants_of_another_training_are_refused(make_training: Callable[..., Training]) -> None:
    training = make_training()
    TA.prepare(training)
    others: list[tuple[str, dict[str, Any]]] = [
        ("seed", {"seed": 1}),
        ("recipe", {"recipe": replace(training.recipe, learning_rate=0.2)}),
        ("teacher_weights", {"teacher": make_training("shipped:mixer").teacher}),
    ]
    for expected, change in others:
        with pytest.raises(RunMismatchError, match=f"other {expected}"):
            TA.prepare(replace(training, **change))
    path = training.folder / "assistant2.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CorruptFileError, match=r"assistant2\.safetensors is damaged"):
        TA.prepare(training)


def test_a_chain_of_ones_own(make_training: Callable[..., Training]) -> None:
    class Short(TA):
        expansions = (2.0,)

    training = make_training(epochs=2)
    Short.prepare(training)
    assert [path.name for path in training.folder.iterdir()] == ["assistant1.safetensors"]
