"""Figures 4 to 8 from searches on AKDBench, as short as they go."""

import pytest

from akd_gym.agents.runs import read_run
from akd_gym.errors import InvalidSettingError
from akd_gym.reproduce.real_searches import RealSeeds
from akd_gym.reproduce.registry import make_study
from akd_gym.reproduce.scale import Scale
from akd_gym.reproduce.study import Workshop


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("reproduce")


def workshop(folder, seeds):
    return Workshop(Scale(seeds=seeds, search_budget=96), folder / "results", folder / "work")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "seeds", "figures"),
    [
        ("figure4", 2, {"search"}),
        ("figure5", 2, {"stages", "plane"}),
        ("figure6", 2, {"stages", "plane"}),
        ("figure7", 4, {"plane"}),
        ("figure8", 2, {"differences"}),
    ],
)
def test_a_figure_is_drawn_and_its_numbers_said(folder, name, seeds, figures):
    study, place = make_study(name), workshop(folder, seeds)
    budget = study.budget(place)
    before = {path.name for path in (folder / "work" / "searches").glob("*")}
    finding = study.run(place)
    made = {path.name for path in (folder / "work" / "searches").glob("*")}
    assert set(finding.figures) == figures
    assert len(made - before) <= budget.searches
    if name in ("figure5", "figure6", "figure7"):
        for found in finding.numbers["tests"].values():
            assert found["smallest_p"] <= found["p_value"] <= 1
            assert 0 <= found["accuracy"] <= 1
        assert len(finding.numbers["runs"]) == budget.searches


def test_too_few_seeds_for_two_halves_are_refused(folder):
    with pytest.raises(InvalidSettingError, match="`seeds` must be at least 4, two for either half, but got 3"):
        make_study("figure7").run(workshop(folder, 3))


@pytest.mark.slow
def test_real_searches_differ_in_seed_and_split(folder, tiny_recipe):
    study = RealSeeds(candidates=16, recipe=tiny_recipe, blocks=3)
    place = workshop(folder, 2)
    assert study.budget(place).trainings == 32
    finding = study.run(place)
    [found] = finding.numbers["tests"].values()
    assert found["smallest_p"] <= found["p_value"] <= 1
    runs = [read_run(folder / "work" / "searches" / f"real-16-seed{seed}") for seed in (0, 1)]
    assert [run.settings["recipe"]["split_seed"] for run in runs] == [0, 1]
    assert "on the last 50% of each search" in finding.text


def test_searches_too_short_for_the_test_are_refused(folder, tiny_recipe):
    with pytest.raises(InvalidSettingError, match="of 8 candidates are too short: `blocks` must be at least 2"):
        RealSeeds(candidates=8, recipe=tiny_recipe, blocks=20).run(workshop(folder, 2))
