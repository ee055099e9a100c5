"""Rewards, each checked against values worked out by hand from the formulas of the papers."""

import subprocess
import sys

import numpy as np
import pytest

from akd_gym.errors import InvalidSettingError, UnknownNameError
from akd_gym.reward import INFEASIBLE_REWARD, MAX_PENALTY, Reward, mnasnet_exponent


@pytest.mark.parametrize(
    ("kind", "accuracy", "cost", "expected"),
    [
        ("absolute", 0.80, 15.0, 0.80),
        ("absolute", 0.80, 18.0, 0.79),  # 20 % above: 0.05 * 0.2 off
        ("absolute", 0.80, 12.0, 0.79),  # and the same below
        ("absolute", 0.80, 45.0, 0.70),
        ("soft", 0.80, 15.0, 0.80),
        ("soft", 0.80, 30.0, 0.80 * 0.9526380),  # 2 ** -0.07
        ("soft", 0.80, 7.5, 0.80 * 1.0497167),  # 2 ** 0.07
        ("hard", 0.80, 15.0, 0.80),
        ("hard", 0.80, 7.5, 0.80),
        ("hard", 0.80, 30.0, 0.40),
    ],
)
def test_matches_the_formula(kind, accuracy, cost, expected):
    assert Reward(kind)(accuracy, cost, 15.0) == pytest.approx(expected, abs=1e-7)


def test_weight_replaces_the_default():
    assert Reward().weight == 0.05
    assert Reward("absolute", 0.5)(0.8, 30.0, 15.0) == pytest.approx(0.3)
    assert Reward("hard", -2.0)(0.8, 30.0, 15.0) == pytest.approx(0.2)
    assert Reward("soft", 0.0)(0.8, 30.0, 15.0) == 0.8


@pytest.mark.parametrize("kind", ["absolute", "soft", "hard"])
def test_infeasible_ranks_below_every_feasible_candidate(kind):
    reward = Reward(kind)
    worst = min(reward(a, c, 15.0) for a in (0.0, 1e-9, 0.5) for c in (1e-9, 15.0, 1e3, 1e12))
    assert worst > INFEASIBLE_REWARD
    assert reward(None, 15.0, 15.0) == INFEASIBLE_REWARD
    assert reward(0.9, None, 15.0) == INFEASIBLE_REWARD


def test_absolute_penalty_is_capped():
    assert Reward()(0.5, 15.0 * 10_000, 15.0) == pytest.approx(0.5 - MAX_PENALTY)
    assert Reward()(0.5, 15.0 * 20.7, 15.0) > Reward()(0.5, 15.0 * 20.79, 15.0)


def test_returns_a_python_float():
    assert type(Reward()(np.float32(0.5), np.float64(10), 15)) is float
    assert type(Reward("soft")(np.float32(0.5), np.float64(10), 15)) is float
    assert type(Reward("hard")(np.float32(0.5), np.float64(10), 15)) is float


def test_soft_order_does_not_depend_on_the_target_and_absolute_does():
    rng = np.random.default_rng(0)
    accuracies, costs = rng.uniform(0.6, 0.8, 50), rng.uniform(5, 60, 50)

    def order(kind, target):
        return np.argsort([Reward(kind)(a, c, target) for a, c in zip(accuracies, costs, strict=True)]).tolist()

    assert order("soft", 10.0) == order("soft", 50.0)
    assert order("absolute", 10.0) != order("absolute", 50.0)
    best = order("absolute", 50.0)[-1]
    assert abs(costs[best] - 50.0) < 15


@pytest.mark.parametrize("target", [0, -1.0, float("nan"), float("inf")])
def test_refuses_a_target_that_is_not_positive(target):
    with pytest.raises(InvalidSettingError, match="`target` must be a positive, finite cost"):
        Reward()(0.5, 10.0, target)
    with pytest.raises(InvalidSettingError, match="`target`"):
        Reward()(None, None, target)


@pytest.mark.parametrize("cost", [0, -3.0, float("nan"), float("inf")])
def test_refuses_a_cost_that_is_not_positive(cost):
    with pytest.raises(InvalidSettingError, match="`cost` must be positive"):
        Reward()(0.5, cost, 15.0)


@pytest.mark.parametrize("accuracy", [-0.1, 1.01, 73.0, float("nan")])
def test_refuses_an_accuracy_that_is_not_a_fraction(accuracy):
    with pytest.raises(InvalidSettingError, match=r"fraction in \[0, 1\]"):
        Reward()(accuracy, 10.0, 15.0)


def test_refuses_unknown_kinds_and_weights_that_pay_for_cost():
    with pytest.raises(UnknownNameError, match="Did you mean 'absolute'"):
        Reward("absolut")
    for kind, weight in [("absolute", -0.1), ("soft", 0.07), ("hard", 1.0), ("soft", float("nan"))]:
        with pytest.raises(InvalidSettingError, match="`weight` of the"):
            Reward(kind, weight)


def test_mnasnet_exponent_recovers_the_papers_rule():
    costs = [10.0, 20.0, 40.0, 80.0]
    assert mnasnet_exponent(costs, [0.6 * 1.05**i for i in range(4)]) == pytest.approx(-0.0704, abs=1e-4)


def test_with_the_fitted_exponent_usual_candidates_tie():
    rng = np.random.default_rng(1)
    costs = np.exp(rng.uniform(1, 4, 400))
    accuracies = 0.3 * costs**0.12 * np.exp(rng.normal(0, 0.01, 400))
    weight = mnasnet_exponent(costs, accuracies)
    assert weight == pytest.approx(-0.12, abs=0.005)
    rewards = [Reward("soft", weight)(a, c, 15.0) for a, c in zip(accuracies, costs, strict=True)]
    assert abs(np.corrcoef(np.log(costs), rewards)[0, 1]) < 0.05


def test_mnasnet_exponent_refuses_data_that_cannot_say():
    with pytest.raises(InvalidSettingError, match="more accurate ones"):
        mnasnet_exponent([1.0, 2.0, 4.0], [0.8, 0.7, 0.6])
    with pytest.raises(InvalidSettingError, match="all are equal"):
        mnasnet_exponent([2.0, 2.0], [0.8, 0.7])
    with pytest.raises(InvalidSettingError, match="positive and finite"):
        mnasnet_exponent([1.0, 2.0], [0.0, 0.7])
    with pytest.raises(InvalidSettingError, match="same length of at least 2"):
        mnasnet_exponent([1.0, 2.0, 3.0], [0.1, 0.7])


def test_variance_share_by_hand():
    # Rewards 0.5, 0.6, 0.5, 0.6 move with accuracy alone; then 0.6, 0.4 with cost alone.
    assert Reward().variance_share([0.5, 0.6, 0.5, 0.6], [15.0] * 4, 15.0) == pytest.approx(1)
    assert Reward().variance_share([0.6, 0.6], [15.0, 45.0], 15.0) == pytest.approx(0)
    # Accuracy and penalty independent, with equal spread: half and half.
    share = Reward().variance_share([0.5, 0.5, 0.55, 0.55], [15.0, 30.0, 15.0, 30.0], 15.0)
    assert share == pytest.approx(0.5)
    with pytest.raises(InvalidSettingError, match="must vary"):
        Reward().variance_share([0.5, 0.5], [15.0, 15.0], 15.0)


@pytest.mark.parametrize("kind", ["absolute", "soft", "hard"])
def test_variance_shares_of_accuracy_and_cost_add_up_to_one(kind):
    rng = np.random.default_rng(2)
    accuracies, costs = rng.uniform(0.5, 0.8, 64), rng.uniform(5, 40, 64)
    rewards = np.array([Reward(kind)(a, c, 15.0) for a, c in zip(accuracies, costs, strict=True)])
    from_cost = np.cov(rewards - accuracies, rewards)[0, 1] / rewards.var(ddof=1)
    assert Reward(kind).variance_share(accuracies, costs, 15.0) + from_cost == pytest.approx(1)


def test_records_import_nothing_heavy():
    code = (
        "import sys, akd_gym.reward, akd_gym.ledger, akd_gym.ledger_repair\n"
        "heavy = {'torch', 'matplotlib', 'rich', 'scipy', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
