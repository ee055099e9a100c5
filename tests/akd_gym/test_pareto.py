"""Outcomes, Pareto fronts, bands and tables, from a ledger to what is written and shown."""

import csv
import io

import numpy as np
import pytest
from rich.console import Console

from akd_gym.analysis.formats import format_cost, format_count
from akd_gym.analysis.outcomes import Outcome, derive_outcomes
from akd_gym.analysis.pareto import (
    PARETO_COLUMNS,
    Band,
    pareto_front,
    pareto_outcomes,
    within_band,
    write_pareto_csv,
)
from akd_gym.analysis.tables import pareto_table
from akd_gym.errors import InvalidSettingError, StorageError
from akd_gym.ledger import Candidate, Ledger, TrainingRecord
from akd_gym.reward import INFEASIBLE_REWARD, Reward


def outcome(number, cost, accuracy, architecture=None, **changes):
    fields = {
        "number": number,
        "architecture": architecture or f"stem_k3_s2_c{number + 1} ir_r1_k3_s1_e6_c8_id head_c64",
        "accuracy": accuracy,
        "cost": cost,
        "unit": "ms",
        "reward": Reward()(accuracy, cost, 1.0),
        "target": 1.0,
        "reason": None if accuracy is not None and cost is not None else "diverged",
        "latency_ms": cost,
        "madds": 1_500_000,
        "params": 20_000,
    }
    return Outcome(**(fields | changes))


def test_front_by_hand():
    costs = [1.0, 2.0, 3.0, 2.5, 0.5, 3.0]
    accuracies = [0.60, 0.70, 0.75, 0.70, 0.60, 0.74]
    # 0 and 4 tie in accuracy: 4 is cheaper. 3 costs more than 1 for the same. 5 costs the same as 2 for less.
    assert pareto_front(costs, accuracies).tolist() == [4, 1, 2]
    assert pareto_front([1.0, 1.0], [0.5, 0.5]).tolist() == [0]
    assert pareto_front([], []).tolist() == []


def test_front_is_what_its_definition_says():
    rng = np.random.default_rng(0)
    for _ in range(20):
        costs, accuracies = rng.integers(0, 12, 60) / 10 + 0.1, rng.integers(0, 12, 60) / 12
        front = pareto_front(costs, accuracies)
        for i in range(60):
            beaten = (costs <= costs[i]) & (accuracies >= accuracies[i])
            beaten &= (costs < costs[i]) | (accuracies > accuracies[i])
            twin = (costs == costs[i]) & (accuracies == accuracies[i])
            assert (i in front) == (not beaten.any() and i == np.flatnonzero(twin)[0])
        assert (np.diff(costs[front]) > 0).all()
        assert (np.diff(accuracies[front]) > 0).all()


def test_front_refuses_what_has_no_order():
    with pytest.raises(InvalidSettingError, match="as long as each other"):
        pareto_front([1.0, 2.0], [0.5])
    with pytest.raises(InvalidSettingError, match="must be finite"):
        pareto_front([1.0, 2.0], [0.5, float("nan")])


def test_front_of_a_search_counts_each_architecture_once_and_no_failure():
    a, b = outcome(0, 1.0, 0.6), outcome(1, 2.0, 0.7)
    again = outcome(2, 1.0, 0.6, architecture=a.architecture)
    failed = [outcome(3, 0.1, None), outcome(4, None, 0.9)]
    assert pareto_outcomes([b, a, again, *failed]) == [a, b]
    assert pareto_outcomes(failed) == []


@pytest.mark.parametrize(
    ("text", "centre", "tolerance"),
    [
        ("15+-1", 15, 1),
        ("15±1", 15, 1),
        ("15 +/- 1 ms", 15, 1),
        ("0.9±10%", 0.9, 0.09),
        ("300M+-20M", 3e8, 2e7),
        ("3e8±2e7", 3e8, 2e7),
        ("15ms±0ms", 15, 0),
    ],
)
def test_band_is_read(text, centre, tolerance):
    band = Band.parse(text)
    assert (band.centre, band.tolerance) == (pytest.approx(centre), pytest.approx(tolerance))


@pytest.mark.parametrize("text", ["", "15", "15-1", "+-1", "15+-", "fifteen+-1", "15+-1+-1", "1.2.3+-1", "15±-1"])
def test_band_refuses_other_text(text):
    with pytest.raises(InvalidSettingError, match=r"must read like '15\+-1'"):
        Band.parse(text)


def test_band_refuses_a_centre_of_zero():
    with pytest.raises(InvalidSettingError, match="positive centre"):
        Band.parse("0+-1")


def test_within_band_ranks_by_accuracy_then_cost():
    inside = [outcome(0, 14.0, 0.7), outcome(1, 16.0, 0.8), outcome(2, 15.0, 0.8)]
    outside = [outcome(3, 13.99, 0.9), outcome(4, 16.01, 0.9), outcome(5, 15.0, None)]
    assert [o.number for o in within_band([*inside, *outside], Band.parse("15+-1"))] == [2, 1, 0]


def test_band_ends_survive_rounding():
    assert 0.3 in Band.parse("0.2+-0.1")


@pytest.fixture
def ledger(tmp_path):
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        task, device = ledger.context({"task": 1}), ledger.context({"device": 1})
        for number, (accuracy, latency) in enumerate([(0.6, 0.5), (None, 0.7), (0.8, 1.5), (0.7, 1.0)]):
            name = f"stem_k3_s2_c{number} head_c64"
            record = TrainingRecord("ok", accuracy=accuracy) if accuracy else TrainingRecord("infeasible", "diverged")
            ledger.add_training(task, name, 0, record)
            ledger.add_latency(device, name, {"verdict": "ok", "kind": "host", "min_ms": latency})
            ledger.add_candidate(Candidate(number, 0, (0,), name, task, 0, device, 10**6, 10**4, 1.0))
        yield ledger


def test_rewards_are_derived_from_what_is_stored(ledger):
    outcomes = derive_outcomes(ledger.evaluations(), Reward())
    assert [o.reward for o in outcomes] == pytest.approx([0.575, INFEASIBLE_REWARD, 0.775, 0.7])
    assert [o.feasible for o in outcomes] == [True, False, True, True]
    other = derive_outcomes(ledger.evaluations(), Reward("hard"), target=0.75)
    assert [o.reward for o in other] == pytest.approx([0.6, INFEASIBLE_REWARD, 0.4, 0.525])


def test_a_candidate_without_target_needs_one(ledger):
    old = next(ledger.candidates())
    ledger.add_candidate(Candidate(**(vars(old) | {"number": 9, "target": None})))
    with pytest.raises(InvalidSettingError, match="`target` must be given, as candidate 9"):
        derive_outcomes(ledger.evaluations(), Reward())
    assert len(derive_outcomes(ledger.evaluations(), Reward(), target=1.0)) == 5


def test_pareto_csv(ledger, tmp_path):
    path = tmp_path / "pareto.csv"
    front = pareto_outcomes(derive_outcomes(ledger.evaluations(), Reward()))
    assert write_pareto_csv(path, front) == path
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == PARETO_COLUMNS
    assert [(row["number"], row["accuracy"], row["cost"], row["unit"]) for row in rows] == [
        ("0", "0.6", "0.5", "ms"),
        ("3", "0.7", "1.0", "ms"),
        ("2", "0.8", "1.5", "ms"),
    ]
    assert [p.name for p in tmp_path.glob("*.csv*")] == ["pareto.csv"]


def test_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "pareto.csv"
    path.mkdir()  # cannot be replaced by a file
    (path / "precious").touch()
    with pytest.raises(StorageError, match=f"`{path}` cannot be written"):
        write_pareto_csv(path, [outcome(0, 1.0, 0.5)])
    assert [p.name for p in tmp_path.iterdir()] == ["pareto.csv"]
    with pytest.raises(StorageError, match="No such file or directory"):
        write_pareto_csv(tmp_path / "missing" / "pareto.csv", [])


def test_table_shows_every_row_within_the_width():
    rows = [outcome(i, 0.5 + i, 0.6 + i / 20, architecture=LONG, madds=3.1e8) for i in range(3)]
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(pareto_table(rows))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 100
    assert len(text.splitlines()) <= 3 + 3 * 4
    assert ["60.00 %" in text, "65.00 %" in text, "70.00 %" in text] == [True] * 3
    assert text.count("★") == 1
    best = next(line for line in text.splitlines() if "★" in line)
    assert best.split()[1:] == ["65.00", "%", "1.500", "ms", "1.50", "0.6250", "310", "M", "20.0", "k", "1"]
    for token in LONG.split():
        assert text.count(token) == 3  # no block is torn apart


LONG = (
    "stem_k3_s2_c32 ds_r1_k3_s1_c16_noskip ir_r2_k3_s2_e6_c24_id ir_r3_k5_s2_e3_c40_se0.25_id "
    "ir_r4_k3_s2_e6_c80_id cn_r2_k3_s1_c112_pool ir_r3_k5_s2_e6_c160_se0.25_id ir_r1_k3_s1_e6_c320_noskip "
    "head_c1280"
)


@pytest.mark.parametrize(
    ("count", "text"),
    [(950, "950"), (1500, "1.50 k"), (20_123, "20.1 k"), (3.12e8, "312 M"), (1.2e9, "1.20 G")],
)
def test_counts_have_three_digits(count, text):
    assert format_count(count) == text


@pytest.mark.parametrize(
    ("cost", "text"),
    [(1.5, "1.500 ms"), (0.042711, "0.04271 ms"), (15.128, "15.13 ms"), (151.28, "151.3 ms"), (None, "-")],
)
def test_latencies_have_four_digits(cost, text):
    assert format_cost(cost, "ms") == text
