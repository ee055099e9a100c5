"""What an audit concludes, from tables whose numbers are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau

from akd_gym.agents.search import run_search
from akd_gym.agents.settings import settings_for
from akd_gym.errors import InvalidSettingError
from akd_gym.ledger_records import TrainingRecord
from akd_gym.proxy_audit.findings import judge
from akd_gym.proxy_audit.plan import AuditSettings, plan_audit
from akd_gym.proxy_audit.table import AuditTable, tabulate

from .conftest import Audited

nan = float("nan")
PROXY = np.array([0.80, 0.78, 0.77, 0.75, 0.74, 0.70])
FULL = np.array([0.88, 0.90, 0.87, 0.86, 0.85, 0.84])


@pytest.fixture
def table() -> AuditTable:
    """Six students; only the best two change places when they are trained fully."""
    return AuditTable(
        names=tuple("abcdef"),
        answers=PROXY,
        proxies=np.stack([PROXY, PROXY - [0.02, 0, 0, 0, 0, 0]]),
        longer=FULL - 0.05,
        fulls=FULL[None],
        pairs=np.stack([PROXY, PROXY + [0.01, -0.01] * 3], axis=1),
        seconds={"proxy": 5.0, "longer": 9.0, "full": 100.0},
        infeasible=(),
        is_bench=False,
    )


def test_tau_and_regret_by_hand(table: AuditTable) -> None:
    found = judge(table)
    assert found.students == 6
    assert found.tau.value == pytest.approx(13 / 15)  # of 15 pairs one is the other way round
    assert found.agreement == pytest.approx(14 / 15)
    assert found.p < 0.05
    one, three, five = found.regrets
    assert (one.picked, three.picked, five.picked) == (1, 3, 5)
    assert one.lost == pytest.approx(0.02)
    assert one.at_random == pytest.approx(0.90 - FULL.mean())
    assert three.lost == five.lost == 0
    assert five.at_random == pytest.approx((0.90 - 0.88) / 6)  # in one of six picks the best is left out


def test_luck_is_what_other_seeds_do_not_repeat(table: AuditTable) -> None:
    assert judge(table).luck == pytest.approx(0.02)
    shifted = replace(table, proxies=table.proxies - [[0], [0.1]])  # of all alike: no luck
    assert judge(shifted).luck == pytest.approx(0.02)
    assert judge(replace(table, proxies=table.proxies[:1])).luck is None


def test_a_dearer_proxy_by_hand(table: AuditTable) -> None:
    once, longer, two = judge(table).choices
    assert (once.name, once.seconds, once.gain, once.gain_a_second) == ("one training", 5.0, None, None)
    assert once.tau.value == pytest.approx(13 / 15)
    assert (longer.name, longer.seconds, longer.tau.value) == ("2 x the epochs", 9.0, pytest.approx(1))
    assert longer.gain.value == pytest.approx(2 / 15)
    assert longer.gain_a_second == pytest.approx(2 / 15 / 4)
    assert 0 == longer.gain.low < longer.gain.high
    # Mean of two seeds: 0.79 against 0.78, in the old order.
    assert (two.name, two.seconds, two.gain.value) == ("mean of 2 seeds", 10.0, 0.0)


def test_neighbours_by_hand(table: AuditTable) -> None:
    smooth = judge(table).smoothness
    assert smooth.pairs == 6
    assert smooth.apart == pytest.approx(0.01)
    assert smooth.shared.value == pytest.approx(1 - (smooth.apart / smooth.apart_at_random) ** 2)
    assert smooth.correlation.value == pytest.approx(np.corrcoef(table.pairs.T)[0, 1])
    assert smooth.p < 0.05
    assert judge(replace(table, pairs=np.empty((0, 2)))).smoothness is None


def test_an_infeasible_full_training_is_left_out_and_not_zero(table: AuditTable) -> None:
    whole = judge(replace(table, fulls=np.array([[0.88, 0.90, nan, 0.86, 0.85, 0.84]])))
    keep = [0, 1, 3, 4, 5]
    assert whole.students == 5
    assert whole.tau.value == pytest.approx(kendalltau(PROXY[keep], FULL[keep]).statistic)


def test_an_infeasible_seed_leaves_a_student_out_of_noise_only(table: AuditTable) -> None:
    proxies = table.proxies.copy()
    proxies[1, 5] = nan
    found = judge(replace(table, proxies=proxies))
    assert found.students == 6
    assert found.noise.students == 5


def test_too_few_full_trainings(table: AuditTable) -> None:
    fulls = np.array([[0.88, nan, nan, 0.86, 0.85, 0.84]])
    with pytest.raises(InvalidSettingError, match="of 6 only 4 could be"):
        judge(replace(table, fulls=fulls))


def test_students_that_are_all_equal_have_no_tau(table: AuditTable) -> None:
    found = judge(replace(table, fulls=np.full((1, 6), 0.8)))
    assert (found.tau.value, found.p, found.agreement) == (None, None, None)


def test_a_real_audit_is_laid_out_by_student_and_seed(audited: Audited) -> None:
    plan, records, _ = audited
    table = tabulate(plan, records)
    assert table.names == tuple(student.architecture for student in plan.students)
    assert table.proxies.shape == (2, 5)
    assert table.answers.tolist() == table.proxies[0].tolist()
    assert table.answers.tolist() == sorted(table.answers, reverse=True)
    assert table.proxies[1, 2] == records[plan.proxy(table.names[2], 4)].accuracy
    assert table.longer[2] == records[plan.proxy(table.names[2], 3, 2)].accuracy
    assert table.fulls.tolist() == [[records[plan.fully(name, 3)].accuracy for name in table.names]]
    for neighbour, pair in zip(plan.neighbours, table.pairs, strict=True):
        assert pair[0] == table.proxies[0, neighbour.student]
        assert pair[1] == records[plan.proxy(neighbour.architecture, 3)].accuracy
    assert table.seconds["proxy"] == np.mean([records[plan.proxy(name, 4)].seconds for name in table.names])
    assert table.infeasible == ()


def test_of_a_bench_run_the_benchmarks_answers_are_audited(tmp_path: Path) -> None:
    settings = replace(settings_for(evaluator="bench"), agent="random", budget=20)
    run_search(settings, tmp_path / "run")
    plan = plan_audit(tmp_path / "run", AuditSettings(count=6, seeds=2, neighbours=5))
    answers = {student.architecture: student.accuracy for student in plan.students}
    records = {}
    for place, training in enumerate(plan.trainings()):
        base = answers.get(training.architecture, 0.7)
        # Real trainings are 3 points below the answers, and order the students alike.
        records[training] = TrainingRecord("ok", accuracy=base - 0.03, seconds=1.0 + place % 2)
    worst = plan.fully(plan.students[-1].architecture, 0)
    records[worst] = TrainingRecord("infeasible", "diverged", "the loss was nan", seconds=1.0)
    table = tabulate(plan, records)
    assert table.answers.tolist() == list(answers.values())
    assert [(one.training, one.reason) for one in table.infeasible] == [(worst, "diverged")]
    found = judge(table)
    assert (found.students, found.tau.value, found.answers_to_proxy.value) == (5, 1, 1)
    assert found.luck == pytest.approx(0, abs=1e-12)  # 3 points of all alike
