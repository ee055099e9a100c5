"""What the page says in words: no more than is in the records, and what keeps searches from being compared."""

from __future__ import annotations

import dataclasses

import pytest

from akd_gym.agents.settings import SearchSettings
from akd_gym.analysis.runs import SearchRun
from akd_gym.ledger_records import Candidate, EvaluatedCandidate, TrainingRecord
from akd_gym.report.comparison import notes, summary_rows
from akd_gym.report.description import (
    all_settings,
    environment_rows,
    input_resolution,
    settings_rows,
    side_by_side,
)
from akd_gym.report.reading import ReportedRun, read_reported_runs
from akd_gym.space import make_space


def evaluated(number, accuracy, latency_ms, *, reason=None, target=1.0, device="Box"):
    candidate = Candidate(
        number, 0, (), f"a{number}", "t", 0, "l", 10**6, 10**4, target, created=f"2026-01-0{number + 1}"
    )
    training = TrainingRecord("ok", accuracy=accuracy) if reason is None else TrainingRecord("infeasible", reason)
    latency = {"verdict": "ok", "latency_ms": latency_ms, "kind": "host", "device": device, "core": 3, "governor": None}
    return EvaluatedCandidate(candidate, training, latency)


def reported(tmp_path, evaluations, *, name="hand", budget=None, **settings):
    search = SearchRun(name, make_space("akd", "small"), tuple(evaluations), budget=budget or len(evaluations))
    return ReportedRun(tmp_path, SearchSettings(budget=8, **settings), search)


def test_the_summary_worked_out_by_hand(tmp_path):
    run = reported(
        tmp_path,
        [
            evaluated(0, 0.5, 0.5),  # absolute reward: 0.5 - 0.05 x 0.5
            evaluated(1, 0.8, 1.5),  # 0.8 - 0.05 x 0.5, the best
            evaluated(2, 0.7, 1.0),
            evaluated(3, 0.6, 1.2),
            evaluated(4, None, 1.0, reason="diverged"),
            evaluated(5, None, 1.0, reason="diverged"),
            evaluated(6, None, 1.0, reason="time_limit"),
        ],
    )
    rows = dict(summary_rows([run])[0])
    assert rows["candidates"] == "7 of 7"
    assert rows["distinct architectures"] == "7"
    assert rows["infeasible"] == "3 (2 diverged, 1 time_limit)"
    assert rows["best reward"] == "0.7750"
    assert (rows["its accuracy"], rows["its cost"]) == ("80.00 %", "1.500 ms")
    assert rows["most accurate within the target"] == "70.00 %"
    assert rows["its cost (within the target)"] == "1.000 ms"
    assert rows["Pareto-best students"] == "3"
    # the box is 2 ms wide: 0.5 from 0.5 ms, 0.7 from 1 ms, 0.8 from 1.5 ms
    assert rows["hypervolume up to 2.000 ms"] == f"{(0.5 * 0.5 + 0.5 * 0.7 + 0.5 * 0.8) / 2:.4f}"
    assert rows["mean reward, first and last tenth"] == "0.4750 → 0.5900"


def test_hypervolumes_of_several_searches_have_one_box(tmp_path):
    near = reported(tmp_path, [evaluated(0, 0.5, 0.5, target=0.4)])
    far = reported(tmp_path, [evaluated(0, 0.5, 0.5, target=1.0)])
    for rows in summary_rows([near, far]):
        assert dict(rows)["hypervolume up to 2.000 ms"] == f"{0.5 * 1.5 / 2:.4f}"


def test_a_search_without_a_feasible_candidate_has_a_summary(tmp_path):
    run = reported(tmp_path, [evaluated(0, None, 1.0, reason="out_of_memory")])
    assert summary_rows([run]) == [
        [("candidates", "1 of 1"), ("distinct architectures", "1"), ("infeasible", "1 (1 out_of_memory)")]
    ]
    assert notes([run]) == []


def test_notes_say_what_cannot_be_compared(tmp_path, searched):
    plain = reported(tmp_path, [evaluated(0, 0.5, 0.5)])
    assert notes([plain, dataclasses.replace(plain)]) == []

    running = reported(tmp_path, [evaluated(0, 0.5, 0.5)], name="early", budget=16)
    assert notes([running]) == ["early has 1 of 16 candidates: it is still running, or was stopped."]

    [elsewhere] = notes([plain, reported(tmp_path, [evaluated(0, 0.5, 0.5, device="Phone")])])
    assert "different devices" in elsewhere
    assert "Box (host), Phone (host)" in elsewhere

    [images] = notes([plain, reported(tmp_path, [evaluated(0, 0.5, 0.5)], data="cifar10:x")])
    assert "accuracies cannot be compared" in images
    [rewards] = notes([plain, reported(tmp_path, [evaluated(0, 0.5, 0.5, target=2.0)])])
    assert "rewards cannot be compared" in rewards

    space = dataclasses.replace(plain, search=dataclasses.replace(plain.search, space=make_space("mnas", "small")))
    [spaces] = notes([plain, space])
    assert "different spaces ('akd' and 'mnas')" in spaces
    assert "14 decisions" in spaces  # skip_op, whose options differ, and squeeze-and-excite, of seven blocks

    units = notes(read_reported_runs([searched(), searched("madds", cost="madds")]))
    assert any("shown as multiply-adds" in note for note in units)


def test_settings_and_environment_are_those_of_the_records(searched):
    [run] = read_reported_runs([searched()])
    said = dict(settings_rows(run))
    assert (said["agent"], said["teacher"], said["seed"]) == ("random", "shipped:resnet", "0")
    assert said["space"] == "akd, 35 decisions"
    assert said["budget"] == "60 candidates"  # random search has no rounds
    assert said["recipe"].startswith("5 epochs on 2,048 images, batches of 64, learning rate 0.1, temperature 1")
    environment = dict(environment_rows(run))
    assert environment["latency of"] == "AKDBench (predicted)"
    assert environment["akd_gym"]
    assert "nothing was trained" in environment["seconds of training"]
    for absent in ("system", "core", "frequency governor", "students trained on", "teacher's weights"):
        assert absent not in environment  # nothing says so, or only a dash
    assert dict(all_settings(run))["recipe.epochs"] == "5"
    assert input_resolution(run) == 28


def test_the_environment_of_measured_latencies_lists_what_differs(tmp_path):
    run = reported(tmp_path, [evaluated(n, 0.5, 0.5, device=f"Box {n}") for n in range(6)])
    rows = dict(environment_rows(run))
    assert rows["latency of"] == "Box 0 (host), Box 1 (host), Box 2 (host), Box 3 (host) and 2 more"
    assert rows["core"] == "3"
    assert (rows["first candidate"], rows["last candidate"]) == ("2026-01-01", "2026-01-06")
    assert "frequency governor" not in rows


@pytest.mark.parametrize(("teacher", "said"), [("none", "none: hard labels"), ("file:x@module:f", "file:x@module:f")])
def test_the_teacher_and_what_it_began_with_are_named(tmp_path, teacher, said):
    run = reported(tmp_path, [evaluated(0, 0.5, 0.5)], teacher=teacher, warm_start=tmp_path / "old", policy=tmp_path)
    rows = dict(settings_rows(run))
    assert rows["teacher"] == said
    assert ("distillation" in rows["recipe"]) == (teacher != "none")
    assert rows["evaluations taken over from"] == str(tmp_path / "old")
    assert rows["begun with what was learned in"] == str(tmp_path)


def test_rows_side_by_side_have_a_dash_where_one_has_none():
    parts = [[("a", "1"), ("b", "2")], [("b", "3"), ("c", "4")]]
    assert side_by_side(parts) == [("a", ["1", "-"]), ("b", ["2", "3"]), ("c", ["-", "4"])]
