"""Methods by name, and a user's own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from akd_gym.distill import EMBEDDING_METHODS, METHODS, Distillation, Training, load_embedding_method, load_method
from akd_gym.distill.registry import NOT_FOR_EMBEDDINGS
from akd_gym.errors import InvalidSettingError, UnknownNameError
from akd_gym.full_training import train_fully

METHOD_OF_MINE = '''
import torch
from torch.nn import functional as F

from akd_gym.distill import Distillation


class Margin(Distillation):
    """Hinge loss around a learned margin: no teacher, a parameter of its own."""

    needs_teacher = False

    def __init__(self):
        super().__init__()
        self.margin = torch.nn.Parameter(torch.tensor(1.0))

    @classmethod
    def prepare(cls, training):
        return cls()

    def loss(self, answer, batch):
        hinge = F.multi_margin_loss(answer.logits / self.margin.abs().clamp(min=0.1), batch.labels)
        return hinge + 0.1 * (self.margin - 2) ** 2
'''


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current directory, that imports do not look into, as in an installed command."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    yield tmp_path
    sys.modules.pop("method_of_mine", None)


@pytest.mark.parametrize("name", METHODS)
def test_every_name_has_a_method(name: str) -> None:
    assert issubclass(load_method(name), Distillation)


def test_every_method_is_for_embeddings_or_says_why_not() -> None:
    assert set(METHODS) == {*EMBEDDING_METHODS, *NOT_FOR_EMBEDDINGS}
    for name in EMBEDDING_METHODS:
        assert issubclass(load_embedding_method(name), Distillation)


@pytest.mark.parametrize("name", NOT_FOR_EMBEDDINGS)
def test_what_makes_no_sense_for_embeddings(name: str) -> None:
    with pytest.raises(InvalidSettingError, match=rf"\(features, cc, rco\), but got '{name}': it.* has n"):
        load_embedding_method(name)


def test_a_method_in_the_current_directory_trains(here: Path, make_training: Callable[..., Training]) -> None:
    (here / "method_of_mine.py").write_text(METHOD_OF_MINE, encoding="utf-8")
    before = list(sys.path)
    kind = load_method("method_of_mine:Margin")
    assert sys.path == before
    assert not kind.needs_teacher
    training = make_training(epochs=8)
    done = train_fully(
        training.spec, training.data, training.recipe, here / "out", method="method_of_mine:Margin", teacher="none"
    )
    assert done.loss < 0.88  # 0.9 + 0.1 is that of equal logits and the first margin
    margin = load_file(here / "out" / "checkpoint.safetensors")["method.margin"]
    assert 1.0 < float(margin) < 2.5  # it was trained too
    assert load_embedding_method("method_of_mine:Margin") is kind
    assert isinstance(kind.prepare(training), torch.nn.Module)


@pytest.mark.parametrize("load", [load_method, load_embedding_method])
@pytest.mark.parametrize("name", ["ka", "", ":", "module:", ":Class"])
def test_an_unknown_name(name: str, load: Callable[[str], type[Distillation]]) -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown distillation method .* Known: .*, module:Class\."):
        load(name)


def test_the_closest_name_is_offered() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'features'"):
        load_method("feature")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:Method", r"must be importable, but got: ModuleNotFoundError.*no_such_module"),
        ("akd_gym.distill.kd:Nobody", "must be importable, but got: AttributeError.*Nobody"),
        ("akd_gym.distill.kd:F", "must be a class derived from `Distillation`"),
        ("akd_gym.distill.base:Batch", "must be a class derived from `Distillation`"),
    ],
)
def test_what_is_no_method(name: str, message: str) -> None:
    with pytest.raises(InvalidSettingError, match=message):
        load_method(name)


def test_a_module_that_breaks_says_how(here: Path) -> None:
    (here / "method_of_mine.py").write_text("import no_such_library\n", encoding="utf-8")
    with pytest.raises(InvalidSettingError, match=r"'method_of_mine:Margin' must be importable.*no_such_library"):
        load_method("method_of_mine:Margin")
