"""Figures 4 to 8 from searches on AKDBench, as short as they go."""

import pytest

from akd_gym.errors import InvalidSettingError
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
