"""The page's data stand for the search, to the last bit."""

from __future__ import annotations

import json
import shlex

from akd_gym.report.columns import Index, run_columns
from akd_gym.report.commands import training_words
from akd_gym.report.page import report_data
from akd_gym.report.reading import read_reported_runs


def test_columns_give_back_every_outcome(searched):
    [run] = read_reported_runs([searched()])
    tokens = Index()
    columns = json.loads(json.dumps(run_columns(run, tokens)))
    known = tokens.values()
    texts = [" ".join(known[token] for token in own) for own in columns["architectures"]]
    for i, outcome in enumerate(run.search.outcomes):
        place = columns["architecture"][i]
        assert texts[place] == outcome.architecture
        assert columns["number"][i] == outcome.number
        assert columns["accuracy"][i] == outcome.accuracy
        assert columns["latency_ms"][i] == outcome.cost == outcome.latency_ms
        assert columns["reward"][i] == outcome.reward
        assert columns["reason"][i] is None
        assert (columns["madds"][place], columns["params"][place]) == (outcome.madds, outcome.params)
        assert columns["devices"][columns["device"][i]] == "AKDBench (predicted)"
    assert columns["resolution"] == 28
    assert len(texts) == len(set(texts)) <= 60


def test_tokens_are_shared_by_searches(searched):
    runs = read_reported_runs([searched(), searched("other", seed=1)])
    data = report_data(runs)
    used = {token for run in runs for outcome in run.search.outcomes for token in outcome.architecture.split(" ")}
    assert len(data["tokens"]) == len(used)
    assert set(data["tokens"]) == used
    assert [run["name"] for run in data["runs"]] == ["run", "other"]


def test_the_training_command_has_places_for_the_architecture_and_the_folder(searched):
    [run] = read_reported_runs([searched(teacher="none")])
    words = run_columns(run, Index())["train"]
    architecture, folder = run.search.outcomes[7].architecture, f"{run.folder}/student-7"
    filled = [[architecture, folder][word] if isinstance(word, int) else word for word in words]
    assert filled == training_words(architecture, run.settings, folder)
    assert filled == shlex.split(shlex.join(filled))
    assert filled[-2:] == ["--method", "hard"]


def test_a_search_by_multiply_adds_has_no_latencies(searched):
    [run] = read_reported_runs([searched("madds", cost="madds")])
    columns = run_columns(run, Index())
    assert columns["unit"] == "madds"
    assert columns["devices"] == []
    assert set(columns["latency_ms"]) == {None}
    assert columns["target"] == run.search.target
