"""An audit in numbers and in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from akd_gym.proxy_audit.findings import AuditFindings, ProxyChoice, Regret, Smoothness
from akd_gym.proxy_audit.statistics import Estimate, Repeatability
from akd_gym.proxy_audit.table import tabulate
from akd_gym.proxy_audit.words import numbers, sentences, with_interval

from .conftest import Audited


@pytest.fixture
def findings() -> AuditFindings:
    return AuditFindings(
        students=16,
        tau=Estimate(0.4, 0.1, 0.6),
        p=0.012,
        agreement=0.7,
        ceiling=0.75,
        regrets=(Regret(1, 0.004, 0.0125),),
        noise=Repeatability(16, 3, 0.009, 0.018, 0.8),
        full_noise=None,
        luck=0.01,
        smoothness=Smoothness(16, Estimate(0.5, 0.1, 0.8), 0.02, Estimate(0.45, 0.1, 0.7), 0.015, 0.02, 0.0127),
        choices=(
            ProxyChoice("one training", 6.0, Estimate(0.4, 0.1, 0.6)),
            ProxyChoice("2 x the epochs", 11.0, Estimate(0.5, 0.2, 0.7), Estimate(0.1, -0.1, 0.3), 0.02),
            ProxyChoice("mean of 2 seeds", 12.0, Estimate(0.55, 0.3, 0.7), Estimate(0.15, 0.02, 0.3), 0.025),
        ),
        answers_to_proxy=None,
    )


def test_what_the_numbers_mean(findings: AuditFindings) -> None:
    order, ceiling, regret, noise, luck, smooth, choice = sentences(findings)
    assert "in 70 % of cases" in order
    assert "Kendall tau 0.40 [0.10, 0.60], p = 0.012" in order
    assert "audit more" not in order
    assert "With the noise of the proxy seed alone, a proxy that orders" in ceiling
    assert "would reach a tau of 0.75: what is missing is the noise of full training (--full-seeds 2 tells)" in ceiling
    assert "loses 0.40 points" in regret
    assert "would lose 1.25 points" in regret
    assert "by 0.90 points, students differ by 1.80 points" in noise
    assert "80 %" in noise
    assert "stands 1.00 points lower among the sample: it had luck" in luck
    assert "the space is smooth (p = 0.020)" in smooth
    assert "mean of 2 seeds, tau +0.15 for +6.0 s a candidate" in choice


def test_what_is_not_shown_is_said_so(findings: AuditFindings) -> None:
    unsure = replace(
        findings,
        tau=Estimate(0.2, -0.1, 0.5),
        ceiling=0.25,
        luck=-0.01,
        smoothness=replace(findings.smoothness, p=0.3, apart_by_seed=None),
        choices=findings.choices[:2],
    )
    order, ceiling, _, _, smooth, choice = sentences(unsure)
    assert "With 16 students that cannot be told from chance: audit more." in order
    assert ceiling.endswith("a tau of 0.25: noise may explain all that is missing.")
    assert smooth.endswith("that neighbours are alike is not shown (p = 0.300).")
    assert choice == "That any dearer proxy orders students better than one training of 6.0 s a candidate is not shown."


def test_what_is_not_known_is_left_out(findings: AuditFindings) -> None:
    bare = replace(findings, ceiling=None, regrets=(), noise=None, luck=None, smoothness=None, choices=())
    assert len(sentences(bare)) == 1
    undefined = replace(bare, tau=Estimate(None, None, None), p=None, agreement=None)
    assert sentences(undefined) == ["The order says nothing: all students of the sample are equally good."]
    assert "cannot be told apart at all" in sentences(replace(findings, ceiling=None))[1]


def test_of_akdbench_no_seed_is_to_blame(findings: AuditFindings) -> None:
    answers = replace(findings, answers_to_proxy=Estimate(0.6, 0.2, 0.8))
    assert "By real proxy trainings, the best of AKDBench's answers stands 1.00 points lower" in sentences(answers)[4]


def test_with_the_noise_of_both_what_is_missing_is_the_proxys(findings: AuditFindings) -> None:
    both = replace(findings, full_noise=Repeatability(16, 2, 0.003, 0.006, 0.8))
    assert "With the noise of all seeds" in sentences(both)[1]
    assert sentences(both)[1].endswith("beyond noise, the proxy prefers other students than full training does.")


def test_an_order_by_chance_is_called_so(findings: AuditFindings) -> None:
    assert "audit more" in sentences(replace(findings, p=0.2))[0]  # few students and ties: an interval may not tell


def test_an_interval_in_figures() -> None:
    assert with_interval(Estimate(0.125, -0.5, 1.0)) == "0.12 [-0.50, 1.00]"
    assert with_interval(Estimate(0.125, -0.5, 1.0), "+.1f") == "+0.1 [-0.5, +1.0]"
    assert with_interval(Estimate(None, None, None)) == "-"


def test_numbers_for_the_terminal(audited: Audited, findings: AuditFindings) -> None:
    table = tabulate(audited.plan, audited.records)
    found = dict(numbers(replace(findings, answers_to_proxy=Estimate(0.3, 0.1, 0.5)), table))
    assert found["Kendall tau of AKDBench and real proxy"] == "0.30 [0.10, 0.50]"
    assert found["lost by training the best only"] == "0.40 points (random: 1.25 points)"
    assert found["repeatability"] == "0.80"
