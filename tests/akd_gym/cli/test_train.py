"""`akd train` at the paper's scale: its options, and what it says of those that cannot work."""

from __future__ import annotations

import json
import re

import pytest

from akd_gym.cli.train import Train
from akd_gym.recipes import full_recipe
from akd_gym.space import make_space

SPACE = make_space("akd", "small")
ARCHITECTURE = str(SPACE.network(tuple(0 for _ in SPACE.decisions)))
QUICK = ["--epochs=3", "--train-size=128", "--batch-size=32"]


def test_options_reach_the_training(akd, tmp_path):
    options = {
        "accumulate": 2, "ema-decay": 0.9, "label-smoothing": 0.1, "val-size": 300, "views": 2, "learning-rate": 0.02,
        "precision": "bfloat16",
    }  # fmt: skip
    words = [f"--{name}={value}" for name, value in options.items()]
    result = akd("train", ARCHITECTURE, "--method=hard", *QUICK, *words, "--eval-every=2", "--out", tmp_path)
    assert result.status == 0, result
    record = json.loads((tmp_path / "record.json").read_text())
    assert options.items() <= {name.replace("_", "-"): value for name, value in record["recipe"].items()}.items()
    assert record["val_images"] == 300
    assert re.search(r"^Epoch 2 of 3: loss \d\.\d+, mini-val top-1 [\d.]+ %, top-5 [\d.]+ %$", result.out, re.MULTILINE)
    assert result.out.count("Epoch") == 1
    assert (tmp_path / "README.md").exists()
    assert list((tmp_path / "tensorboard").iterdir())


def test_alpha_and_temperature_are_of_distillation(akd, tmp_path):
    words = ["train", ARCHITECTURE, *QUICK, "--teacher=shipped:resnet", "--alpha=0.5", "--temperature=2"]
    assert akd(*words, "--out", tmp_path).status == 0
    recipe = json.loads((tmp_path / "record.json").read_text())["recipe"]
    assert (recipe["alpha"], recipe["temperature"]) == (0.5, 2.0)


def test_the_papers_recipe_is_the_default_for_imagenet(tmp_path):
    recipe = Train(ARCHITECTURE, tmp_path, data="imagenet:/data")._recipe()
    assert recipe == full_recipe("imagenet:/data")
    assert (recipe.epochs, recipe.ema_decay, recipe.crop_area, recipe.resolution) == (400, 0.9999, 0.08, 224)
    shorter = Train(ARCHITECTURE, tmp_path, data="imagenet:/data", epochs=10, crop_area=0.25)._recipe()
    assert (shorter.epochs, shorter.warmup_epochs, shorter.crop_area) == (10, 2.0, 0.25)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--method=hard", "--accumulate=64"], "`accumulate` must divide `batch_size` (32) without a rest"),
        (["--method=hard", "--accumulate=3"], "`accumulate` must divide `batch_size` (32) without a rest, but got 3."),
        (["--method=hard", "--accumulate=32"], "A part of a batch must hold 2 images or more for batch norm"),
        (["--method=hard", "--ema-decay=1"], "`ema_decay` must be from 0 to below 1, but got 1.0."),
        (["--method=hard", "--label-smoothing=-0.1"], "`label_smoothing` must be from 0 to below 1, but got -0.1."),
        (["--label-smoothing=0.1"], "`label_smoothing` is for `method` hard, distillation goes without it"),
        (["--method=hard", "--crop-area=0"], "`crop_area` must be above 0 and at most 1, but got 0.0."),
        (["--alpha=2"], "`alpha` must be from 0 to 1, but got 2.0."),
        (["--temperature=0"], "`temperature` must be positive and finite, but got 0.0."),
        (["--method=hard", "--eval-every=0"], "`eval_every` must be at least 1, but got 0."),
        (["--method=hard", "--threads=0"], "`threads` must be at least 1, but got 0."),
        (["--method=hard", "--views=0"], "`views` must be at least 1, but got 0."),
        (["--method=hard", "--latency=hots"], "Unknown latency source 'hots'. Did you mean 'host'?"),
        (["--method=harder"], "Unknown distillation method 'harder'. Did you mean 'hard'?"),
        (["--method=hard", "--device=cuda:99"], "`device` must be one that torch can use here"),
    ],
)  # fmt: skip
def test_bad_settings(akd, tmp_path, options, message):
    assert message in akd("train", ARCHITECTURE, *QUICK, *options, "--out", tmp_path / "out").error
    assert not (tmp_path / "out" / "checkpoint.safetensors").exists()


def test_a_precision_that_there_is_not(akd, tmp_path):
    result = akd("train", ARCHITECTURE, "--precision=float8", "--out", tmp_path)
    assert result.status == 2
    assert "float8" in result.err
