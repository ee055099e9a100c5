from __future__ import annotations

from akd_gym.analysis.separability import separability_of_pairs, separability_of_two
from akd_gym.report.reading import by_setting, read_reported_runs
from akd_gym.report.separation import separations


def test_two_searches_are_compared_by_their_ends(searched):
    runs = read_reported_runs([searched(), searched("hard", teacher="none")])
    [one] = separations(runs)
    found = separability_of_two(runs[0].search, runs[1].search)
    assert one.label == "run against hard"
    assert one.found == found
    assert f"{found.accuracy:.1%} of held-out candidates told apart" in one.text
    assert f"p = {found.p_value:.2g}" in one.text
    assert "10 and 10 blocks" in one.text


def test_two_settings_are_compared_by_their_searches_seed_by_seed(searched):
    teachers = ("none", "shipped:resnet")
    folders = [searched(f"{t[:1]}{seed}", teacher=t, seed=seed) for seed in (0, 1) for t in teachers]
    runs = read_reported_runs(folders)
    assert [[run.search.name for run in group] for group in by_setting(runs)] == [["n0", "n1"], ["s0", "s1"]]
    [one] = separations(runs)
    assert one.label == "n0 and n1 against s0 and s1"
    assert one.found == separability_of_pairs([(runs[0].search, runs[1].search), (runs[2].search, runs[3].search)])
    assert "2 and 2 searches" in one.text


def test_searches_too_short_to_be_compared_are_named_with_the_reason(searched, begun):
    runs = read_reported_runs([searched(), begun(5)])
    [one] = separations(runs)
    assert one.text.startswith("not tested: `blocks` must be at least 2")
    assert separations(runs[:1]) == []
