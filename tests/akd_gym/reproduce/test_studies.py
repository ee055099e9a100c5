"""Studies from the command to the page, as small as they go."""

import json

import numpy as np
import pytest

from akd_gym.cli import main
from akd_gym.errors import InvalidSettingError, UnknownNameError
from akd_gym.reproduce.ablation import Ablation
from akd_gym.reproduce.registry import STUDIES, make_study
from akd_gym.reproduce.scale import Scale

SMALL = ["--seeds", "2", "--epochs", "1", "--train-size", "128", "--search-budget", "160", "--workers", "2"]


@pytest.mark.slow
def test_ablate_trains_what_both_searches_found_and_writes_its_section(tmp_path, capsys):
    page = tmp_path / "docs" / "results.md"
    options = [*SMALL, "--page", str(page), "--work", str(tmp_path / "work")]
    command = ["ablate", "--targets", "1.0", "--methods", "kd", "--tolerance", "0.3", *options]
    assert main([*command, "--dry-run"]) == 0
    assert "4 searches of 160 candidates on AKDBench and 8 trainings of 1 epochs on 128 images, 2 seeds" in " ".join(
        capsys.readouterr().out.split()
    )
    assert not page.exists()
    assert main(command) == 0
    text = page.read_text()
    assert "akd ablate --targets 1.0 --methods kd --tolerance 0.3 --seeds 2 --epochs 1" in text
    numbers = json.loads((page.parent / "results" / "table5.json").read_text())
    assert {(f["searched_by"], f["seed"]) for f in numbers["finalists"]} == {
        (signal, seed) for signal in ("none", "shipped:resnet") for seed in (0, 1)
    }
    cells = {(c["searched_by"], c["method"]): c["by_seed"] for c in numbers["accuracies"]}
    assert len(cells) == 4
    for gain in numbers["gains"]:  # the means are of the differences that the accuracies give
        if gain["what"].startswith("searched by"):
            theirs, plain = cells["shipped:resnet", gain["method"]], cells["none", gain["method"]]
            assert gain["mean"] == pytest.approx(np.mean([theirs[s] - plain[s] for s in theirs]))
            assert gain["low"] <= gain["mean"] <= gain["high"]
    trained = (page.parent / "results" / "trainings.csv").read_bytes()
    assert main(command) == 0
    assert (page.parent / "results" / "trainings.csv").read_bytes() == trained


def test_an_unknown_study_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean 'table6'"):
        make_study("tabel6")


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_says_what_the_paper_found(name):
    study = make_study(name)
    assert study.name == name
    assert study.title
    assert study.paper


def test_what_gives_no_interval_or_no_target_is_refused():
    with pytest.raises(InvalidSettingError, match="`seeds` must be at least 2"):
        Scale(seeds=1)
    with pytest.raises(InvalidSettingError, match="`targets` must be positive ratios"):
        Ablation(targets=(0.0,))
