"""Audits: who is measured, what is kept, and when the table is said not to hold."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from akd_gym.analysis.figure_files import write_figure
from akd_gym.analysis.outcomes import Outcome
from akd_gym.analysis.predictions import accuracy_table, audit_figure, audit_summary, audit_table, table_figure
from akd_gym.device_lab import HostLatency, HostProtocol
from akd_gym.device_lab.predictor import LatencyTable, judge
from akd_gym.errors import InvalidSettingError
from akd_gym.latencies import LatencyBook
from akd_gym.latency_audit import AUDIT_FILE, Audit, AuditRow, audit_predictions, check_same_device, choose_candidates
from akd_gym.latency_fit import fit_table, measure_networks, sample_architectures
from akd_gym.ledger import Ledger
from akd_gym.space import make_space

SHAPE, CLASSES = (1, 28, 28), 10
QUICK = HostProtocol(passes=3, pass_ms=0.5, round_s=0, patience_s=0.05, samples_kept=20)


def outcome(number: int, latency_ms: float | None, accuracy: float | None = 0.5, **changes) -> Outcome:
    known = {
        "number": number,
        "architecture": f"network {number}",
        "accuracy": accuracy,
        "cost": latency_ms,
        "unit": "ms",
        "reward": accuracy or -1.0,
        "target": 1.0,
        "reason": None if accuracy is not None and latency_ms is not None else "diverged",
        "latency_ms": latency_ms,
        "madds": 1,
        "params": 1,
    }
    return Outcome(**known | changes)


OUTCOMES = [
    *(outcome(n, 1.0 + n / 100, 0.5 - n / 1000) for n in range(60)),  # the first is the cheapest and most accurate
    outcome(60, 2.0, 0.9),
    outcome(61, 3.0, 0.1, reward=2.0),  # best reward, though not Pareto-best
    outcome(62, 1.5, None),
    outcome(63, None, None),
    outcome(64, 2.0, 0.9, architecture="network 60"),
]


def test_finalists_and_a_share_of_all_distinct_candidates_are_chosen() -> None:
    chosen = choose_candidates(OUTCOMES, 0.1, seed=0)
    finalists = [one.number for one, finalist, _ in chosen if finalist]
    assert finalists == [0, 60, 61]
    drawn = [one.number for one, _, sampled in chosen if sampled]
    assert len(drawn) == 7  # of 63 with a prediction, rounded up
    assert [one.latency_ms for one, _, _ in chosen] == sorted(one.latency_ms for one, _, _ in chosen)
    assert choose_candidates(OUTCOMES, 0.1, seed=0) == chosen
    assert choose_candidates(OUTCOMES, 0.1, seed=1) != chosen


def test_an_infeasible_candidate_may_be_drawn_and_repeats_are_not() -> None:
    chosen = choose_candidates(OUTCOMES, 1.0, seed=0)
    assert sorted(one.number for one, _, _ in chosen) == list(range(63))
    assert all(sampled for _, _, sampled in chosen)


def test_a_share_of_nothing_leaves_the_finalists() -> None:
    assert [one.number for one, _, _ in choose_candidates(OUTCOMES, 0.0, seed=0)] == [0, 60, 61]
    assert len(choose_candidates(OUTCOMES, 1e-6, seed=0)) in (3, 4)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_out_of_range_says_so(share) -> None:
    with pytest.raises(InvalidSettingError, match="`audit` must be from 0 to 1"):
        choose_candidates(OUTCOMES, share, seed=0)


def test_nothing_feasible_says_so() -> None:
    with pytest.raises(InvalidSettingError, match="needs a feasible candidate"):
        choose_candidates([outcome(0, 1.0, None)], 0.5, seed=0)


def make_audit(errors, promised_errors) -> Audit:
    measured = np.geomspace(1, 10, len(promised_errors))
    rows = [
        AuditRow(n, f"network {n}", (1 + error) * (n + 1) if error is not None else 1.0,
                 n + 1.0 if error is not None else None, None if error is not None else "timeout",
                 finalist=n == 0, sampled=n > 0)
        for n, error in enumerate(errors)
    ]  # fmt: skip
    promised = judge((measured * (1 + np.array(promised_errors)))[None], measured)
    return Audit("t.json", "0", "a device", "0", 0.02, 0, tuple(rows), promised, "2026-01-31T12:00:00+00:00")


PROMISED = np.linspace(-0.1, 0.1, 101)


def test_errors_as_promised_bring_no_warning() -> None:
    audit = make_audit([0.03, -0.05, 0.08, -0.02], PROMISED)
    assert audit.warnings == ()
    assert audit.median_error == pytest.approx(0.005)
    assert audit.found.within_10 == 1.0
    assert "4 audited: median error +0.5 %, 100% within 10 %, largest 8.0 %" in audit_summary(audit)


def test_one_miss_of_many_is_no_surprise_but_several_of_few_are() -> None:
    assert make_audit([0.099, *[0.01] * 9], PROMISED).warnings == ()
    (warning,) = make_audit([0.099, -0.099, 0.01, 0.01], PROMISED).warnings
    assert "2 of 4 predictions are off by more than 9.6%" in warning


def test_an_error_beyond_all_held_out_ones_is_named() -> None:
    (warning,) = make_audit([-0.2, *[0.01] * 19], PROMISED).warnings
    assert "off by -20.0%, where the largest held-out error was 10.0%" in warning


def test_what_could_not_be_measured_is_said() -> None:
    audit = make_audit([0.01, None, 0.02], PROMISED)
    assert audit.found.networks == 2
    assert "1 of 3 candidates could not be measured" in audit.warnings[0]
    nothing = make_audit([None], PROMISED)
    assert nothing.found is nothing.median_error is None
    assert "None of 1 candidates" in audit_summary(nothing)
    assert json.loads(json.dumps(nothing.to_dict()))["found"] is None


@pytest.fixture
def fitted(own_machine):
    """A book on this machine with a table fitted to 12 networks, and the ledger's folder."""
    space = make_space("akd", "small")
    names = sample_architectures(space, 16, input_shape=SHAPE, num_classes=CLASSES)
    with Ledger.open(own_machine / "ledger.sqlite") as ledger:
        book = LatencyBook(HostLatency(QUICK), ledger, SHAPE, CLASSES)
        table = fit_table(measure_networks(names[:12], book), book, space, spec="host")
        yield book, table, names


def test_an_audit_measures_keeps_and_writes(fitted, own_machine) -> None:
    book, table, names = fitted
    outcomes = [outcome(n, 0.02 + n / 1000, 0.5 + n / 100, architecture=name) for n, name in enumerate(names[10:])]
    told = []
    audit = audit_predictions(
        outcomes, table, book, own_machine, table_path="host.json", share=0.5, on_measured=lambda n, _: told.append(n)
    )
    assert [row.architecture for row in audit.rows] == names[10:] == told
    assert all(row.finalist for row in audit.rows)  # each costs more and is more accurate
    assert sum(row.sampled for row in audit.rows) == 3
    for row in audit.rows:
        assert book.find(row.architecture)["latency_ms"] == row.measured_ms
        assert row.error == row.predicted_ms / row.measured_ms - 1
    assert audit.latency_context == book.context
    written = json.loads((own_machine / AUDIT_FILE).read_text())
    assert written == json.loads(json.dumps(audit.to_dict()))
    assert written["schema_version"] == 1
    assert book.ledger.counts()["latencies"] == 16
    again = audit_predictions(outcomes, table, book, own_machine, table_path="host.json", share=0.5)
    assert [row.measured_ms for row in again.rows] == [row.measured_ms for row in audit.rows]


def test_a_table_is_drawn_and_audited_on_its_own_device_only(fitted, own_machine) -> None:
    _, table, _ = fitted
    for figure in (table_figure(table), audit_figure(make_audit([0.03, -0.2, 0.5], PROMISED))):
        assert write_figure(own_machine / "figure.png", figure).stat().st_size > 10_000
    assert accuracy_table({"table": table.held_out, "MAdds alone": table.madds_alone}).row_count == 6
    assert audit_table(make_audit([0.03, None], PROMISED)).row_count == 2
    check_same_device(table, HostLatency().identity())  # another protocol, same machine
    other: LatencyTable = dataclasses.replace(table, identity=table.identity | {"device": "another CPU"})
    with pytest.raises(InvalidSettingError, match="must measure on what the table was fitted on"):
        check_same_device(other, HostLatency().identity())
    with pytest.raises(InvalidSettingError, match="the kind here is 'phone'"):
        check_same_device(table, table.identity | {"kind": "phone"})
