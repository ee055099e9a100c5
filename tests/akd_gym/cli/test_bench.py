"""`akd bench`: the tables, the model and the card from one command; the model of other tests is the shipped one."""

import json
import shutil

import numpy as np
import pytest

from akd_gym.bench.card import CARD_FILE
from akd_gym.bench.latencies import DEVICE_FILE, LATENCIES_FILE, read_latencies
from akd_gym.bench.surrogate import SHIPPED, SURROGATE_FILE, load_surrogate, read_surrogate
from akd_gym.bench.trainings import TRAININGS_FILE, read_trainings

ARCHITECTURES, SECOND_STAGE = 24, 4


@pytest.fixture(scope="module")
def built(tmp_path_factory, akd, tiny):
    """A whole benchmark of a few networks, measured on a quick host."""
    from akd_gym.bench import judge
    from akd_gym.device_lab import HostLatency, HostProtocol

    folder = tmp_path_factory.mktemp("my bench")
    quick = HostProtocol(passes=2, pass_ms=0.5, min_runs=2, round_s=0, patience_s=0.1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("akd_gym.device_lab.make_latency_meter", lambda name, announce=None: HostLatency(quick))
        patch.setattr(judge, "PERMUTATIONS", 19)
        words = ["bench", "build", "--out", folder, "--count", ARCHITECTURES, "--second-stage", SECOND_STAGE]
        recipe = [*tiny, "--recipe.warmup-epochs=0"]
        first = akd(*words, "--workers", 1, *recipe)
        assert first.status == 0, first
        tables = [(folder / name).read_bytes() for name in (TRAININGS_FILE, LATENCIES_FILE, SURROGATE_FILE)]
        again = akd(*words, "--workers", 1, *recipe)
        assert again.status == 0, again
    assert [(folder / name).read_bytes() for name in (TRAININGS_FILE, LATENCIES_FILE, SURROGATE_FILE)] == tables
    return folder, first.out


@pytest.mark.slow
def test_build_measures_trains_and_fits_and_a_second_run_has_nothing_left(built, akd):
    folder, out = built
    rows = read_trainings(folder / TRAININGS_FILE)
    measured = read_latencies(folder / LATENCIES_FILE)
    assert len({row.training.architecture for row in rows}) == len(measured) == ARCHITECTURES + SECOND_STAGE
    places = [row.training for row in rows if row.training.seed == 2]
    assert len(places) == 4 * 3  # places 0, 8, 16 and 24, the first of the second stage, by three signals
    card = json.loads((folder / CARD_FILE).read_text())
    surrogate = read_surrogate(folder / SURROGATE_FILE)
    assert surrogate.hash == card["hash"]
    assert card["hash"] in out
    assert card["counts"]["second_stage"] == SECOND_STAGE
    assert card["latencies_of"] == json.loads((folder / DEVICE_FILE).read_text())
    shown = akd("bench", "show", "--folder", folder)
    assert shown.status == 0
    assert "Kendall tau" in shown.out
    assert f"{len(rows)}, 0 infeasible" in shown.out


@pytest.mark.slow
def test_fit_makes_the_same_model_and_a_page(built, akd, tmp_path, monkeypatch):
    from akd_gym.bench import judge

    monkeypatch.setattr(judge, "PERMUTATIONS", 19)
    folder, _ = built
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / SURROGATE_FILE).unlink()
    network = read_trainings(copy / TRAININGS_FILE)[0].training.architecture
    study = tmp_path / "study.json"
    row = {"architecture": network, "shipped:inception/0": 0.5}
    study.write_text(json.dumps({"rows": [row, row | {"shipped:inception/0": None}]}))
    page = tmp_path / "bench.md"
    result = akd("bench", "fit", "--folder", copy, "--page", page)
    assert result.status == 0, result
    assert (copy / SURROGATE_FILE).read_bytes() == (folder / SURROGATE_FILE).read_bytes()
    text = page.read_text()
    assert read_surrogate(copy / SURROGATE_FILE).hash in text
    assert "](bench.png)" in text
    assert page.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert max(len(line) for line in text.splitlines() if not line.startswith("|")) <= 120


def test_the_shipped_card_is_of_the_shipped_model(akd):
    shown = akd("bench", "show")
    assert shown.status == 0, shown
    assert load_surrogate().hash in shown.out


def test_a_card_of_another_model_is_refused(akd, tmp_path):
    for name in (CARD_FILE, SURROGATE_FILE):
        shutil.copy(SHIPPED / name, tmp_path)
    card = json.loads((tmp_path / CARD_FILE).read_text())
    (tmp_path / CARD_FILE).write_text(json.dumps(card | {"hash": "0" * 64}))
    error = akd("bench", "show", "--folder", tmp_path).error
    assert "must be of the model beside it" in error
    (tmp_path / CARD_FILE).write_text("{}")
    assert "lacks entries" in akd("bench", "show", "--folder", tmp_path).error
    (tmp_path / SURROGATE_FILE).unlink()
    assert "is missing" in akd("bench", "show", "--folder", tmp_path / "nowhere").error


def test_a_fit_of_too_little_says_what_to_do(akd, tmp_path):
    error = akd("bench", "fit", "--folder", tmp_path).error
    assert "at least 20 networks trained by all of none, shipped:resnet, shipped:mixer" in error
    assert "akd bench build" in error


@pytest.mark.parametrize("option", ["--count=0", "--second-stage=-1"])
def test_sizes_that_are_none_are_refused(akd, tmp_path, option):
    assert "must be at least" in akd("bench", "build", "--out", tmp_path, option).error
    assert not any(tmp_path.iterdir())


def test_a_study_that_is_none_is_refused(akd, tmp_path):
    study = tmp_path / "study.json"
    study.write_text(json.dumps({"rows": [{"architecture": "a"}]}))
    folder = tmp_path / "bench"
    folder.mkdir()
    assert "must be results of" in akd("bench", "fit", "--folder", folder, "--proxy-study", study).error
    study.unlink()
    assert "cannot be read" in akd("bench", "fit", "--folder", folder, "--proxy-study", study).error


def test_the_shipped_surfaces_are_finite_everywhere():
    from akd_gym.bench.evaluator import BenchEvaluator

    evaluator = BenchEvaluator()
    rng = np.random.default_rng(0)
    found = evaluator.evaluate([evaluator.space.sample(rng) for _ in range(500)])
    assert all(0.3 < one.accuracy < 1 and 0.001 < one.latency_ms < 1 for one in found)
