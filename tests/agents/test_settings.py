from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from akd_gym.agents.settings import (
    PRESETS,
    SCHEMA_VERSION,
    SearchSettings,
    differing_fields,
    read_search_name,
    read_settings,
    settings_for,
    write_settings,
)
from akd_gym.bench import plan
from akd_gym.errors import (
    CorruptFileError,
    InvalidSettingError,
    RunMismatchError,
    SchemaVersionError,
    StorageError,
    UnknownNameError,
)
from akd_gym.recipes import RECIPES

EXAMPLES = [
    *PRESETS.values(),
    SearchSettings(cost="madds", target_madds=3e8, reward="hard", reward_weight=-2.0, workers=3, seed=7),
    SearchSettings(agent="own:agent", budget=11, warm_start=Path("/runs/a"), policy=Path("/runs/b")),
    settings_for(evaluator="bench"),
    SearchSettings(ledger=Path("/somewhere/shared.sqlite"), recipe=replace(RECIPES["fashion"], views=3, flip=False)),
]


@pytest.mark.parametrize("settings", EXAMPLES)
def test_json_and_back(settings: SearchSettings, tmp_path: Path) -> None:
    assert SearchSettings.from_json(json.loads(json.dumps(settings.to_json()))) == settings
    write_settings(tmp_path, settings)
    assert read_settings(tmp_path) == settings


def test_the_papers_setting() -> None:
    """Section 3.2: 10K candidates of 5 ImageNet epochs, soft reward, 15 ms on a phone, Inception-ResNet-v2."""
    paper = PRESETS["paper"]
    assert (paper.budget, paper.target_ms, paper.latency, paper.reward) == (10_000, 15.0, "phone", "soft")
    assert (paper.teacher, paper.data.partition(":")[0]) == ("timm:inception_resnet_v2", "imagenet")
    assert (paper.space, paper.recipe) == ("akd", RECIPES["paper"])


def test_defaults_follow_the_data() -> None:
    assert settings_for("fashion") == SearchSettings()
    assert settings_for("imagenet:/x").recipe == RECIPES["paper"]
    assert settings_for("imagefolder:/x").recipe.train_size is None


def test_defaults_follow_the_evaluator() -> None:
    """AKDBench holds no trainings by the default teacher, and was made with a recipe of its own."""
    bench = settings_for(evaluator="bench")
    assert (bench.teacher, bench.recipe) == ("shipped:resnet", plan.RECIPE)
    assert replace(bench, evaluator="proxy", teacher="shipped:inception", recipe=RECIPES["fashion"]) == SearchSettings()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher": "shipped:inception"}, "`teacher` must be 'none' or 'shipped:resnet' or 'shipped:mixer' with"),
        ({"space": "mnas"}, "`space` must be 'akd' with `evaluator=bench`.*but got 'mnas'"),
        ({"skeleton": "mnasnet"}, "`skeleton` must be None or 'small'"),
        ({"data": "cifar10:/x"}, "`data` must be 'fashion'"),
        ({"latency": "phone"}, "`latency` must be 'host'"),
        ({"device": "cuda"}, "`device` must be 'cpu'"),
        ({"recipe": RECIPES["fashion"]}, r"`recipe` must be the benchmark's own.*settings_for\(evaluator='bench'\)"),
    ],
)
def test_what_the_benchmark_was_not_made_with(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSettingError, match=message):
        replace(settings_for(evaluator="bench"), **changes)


def test_only_agents_with_rounds_need_whole_ones() -> None:
    assert SearchSettings(agent="random", budget=11).budget == 11
    with pytest.raises(InvalidSettingError, match="multiple of `round_size`"):
        SearchSettings(agent="rnn", budget=11)


def test_importing_them_brings_no_torch() -> None:
    code = "import sys, akd_gym.agents.settings; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("budget", 0, "`budget` must be at least 1, but got 0"),
        ("budget", 12, r"multiple of `round_size` \(8\), but got 12"),
        ("round_size", -1, "`round_size` must be at least 1"),
        ("workers", 0, "`workers` must be at least 1, but got 0"),
        ("seed", -1, "`seed` must be from 0 to 4294967295, but got -1"),
        ("seed", 2**32, "`seed` must be"),
        ("target_ms", 0.0, "`target_ms` must be positive and finite, but got 0"),
        ("target_ms", -3.0, "`target_ms` must be positive"),
        ("target_ms", math.nan, "`target_ms` must be positive"),
        ("target_ms", math.inf, "`target_ms` must be positive and finite"),
        ("target_madds", 1e6, "`target_madds` needs `cost=madds`, but the cost is latency"),
        ("reward", "sofft", "Unknown reward 'sofft'. Did you mean 'soft'"),
        ("reward_weight", -0.1, "`weight` of the absolute reward must be finite and at least 0"),
    ],
)
def test_values_that_cannot_work(field: str, value: object, message: str) -> None:
    with pytest.raises((InvalidSettingError, UnknownNameError), match=message):
        SearchSettings(**{field: value})


def test_a_target_of_the_other_cost() -> None:
    with pytest.raises(InvalidSettingError, match="`target_ms` needs `cost=latency`, but the cost is madds"):
        SearchSettings(cost="madds", target_ms=1.0)


def test_every_difference_is_named() -> None:
    one = SearchSettings()
    other = replace(one, seed=1, workers=2, recipe=replace(one.recipe, epochs=9, alpha=0.5))
    assert differing_fields(one, other) == ["recipe.alpha", "recipe.epochs", "seed", "workers"]
    assert differing_fields(one, SearchSettings()) == []


def test_a_search_keeps_its_name_when_its_directory_moves(tmp_path: Path) -> None:
    for parent in ("a", "b"):
        (tmp_path / parent / "run").mkdir(parents=True)
        write_settings(tmp_path / parent / "run", SearchSettings())
    name = read_search_name(tmp_path / "a" / "run")
    assert name.startswith("run-")
    assert name != read_search_name(tmp_path / "b" / "run")
    (tmp_path / "a" / "run").rename(tmp_path / "elsewhere")
    assert read_search_name(tmp_path / "elsewhere") == name


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must hold the settings of a search as JSON"),
        (b"{", "must hold the settings"),
        (b"[1]", "must hold the settings"),
        (b"\xff\xfe", "must hold the settings"),
        (b'{"budget": "many"}', "must hold the settings"),
        (b'{"recipe": {"epoch": 3}}', "'epoch'"),
        (b'{"teachers": "none"}', r"but got \['teachers'\]"),
        (b'{"budget": -8}', "`budget` must be at least 1"),
    ],
)
def test_damaged_settings_are_named(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_bytes(content)
    with pytest.raises(CorruptFileError, match=message) as caught:
        read_settings(tmp_path)
    assert str(tmp_path / "settings.json") in str(caught.value)


def test_settings_of_a_newer_version(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text(json.dumps({"schema_version": SCHEMA_VERSION + 1}))
    with pytest.raises(SchemaVersionError, match="update it"):
        read_settings(tmp_path)


def test_what_is_no_run_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "nothing", tmp_path / "file"):
        with pytest.raises(RunMismatchError, match=r"must be the directory of a search"):
            read_settings(path)
    (tmp_path / "settings.json").mkdir()
    with pytest.raises(StorageError, match="cannot be read: Is a directory"):
        read_settings(tmp_path)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"settings.json` cannot be written"):
        write_settings(tmp_path / "file", SearchSettings())


def test_fields_have_plain_json() -> None:
    plain = SearchSettings().to_json()
    assert set(plain) == {field.name for field in fields(SearchSettings)} | {"schema_version"}
