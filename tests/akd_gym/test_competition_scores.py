"""What runs come to: incumbents, curves, hypervolume and places, derived by hand."""

from __future__ import annotations

import numpy as np
import pytest

from akd_gym.analysis.competition import (
    AgentRun,
    hypervolume,
    overall_standings,
    standings,
    value_curve,
    value_over_time,
)
from akd_gym.errors import InvalidSettingError


def make_run(agent="random", seed=0, observed=(0.5,), values=None, *, reason=None, **arrays):
    count = len(observed)
    values = observed if values is None else values
    return AgentRun(
        agent,
        seed,
        reason,
        np.asarray(arrays.get("choices", np.arange(count)[:, None])),
        np.array(observed, float),
        np.array(values, float),
        np.array(arrays.get("accuracies", np.full(count, 0.7)), float),
        np.array(arrays.get("costs", np.ones(count)), float),
        np.array(arrays.get("seconds", np.arange(count)), float),
        float(count),
    )


def test_the_incumbent_is_the_best_that_was_shown_and_counts_without_noise():
    run = make_run(observed=[0.4, 0.6, 0.5, 0.6, 0.9], values=[0.5, 0.3, 0.9, 0.8, 0.7])
    assert run.incumbents.tolist() == [0, 1, 1, 1, 4]  # not the equal one that came later
    assert run.incumbent_values.tolist() == [0.5, 0.3, 0.3, 0.3, 0.7]
    assert run.value == 0.7  # 0.9 was met, but did not look best


def test_an_infeasible_first_candidate_is_the_incumbent_until_there_is_a_better_one():
    run = make_run(observed=[-1.0, -1.0, 0.2])
    assert run.incumbents.tolist() == [0, 0, 2]


def test_curves_stand_still_between_evaluations_and_after_the_last():
    run = make_run(observed=[0.1, 0.3, 0.2], seconds=[1.0, 2.0, 4.0])
    assert value_curve(run, np.array([1, 2, 3, 10])).tolist() == [0.1, 0.3, 0.3, 0.3]
    by_time = value_over_time(run, np.array([0.5, 1.0, 1.9, 2.0, 99.0]))
    assert np.isnan(by_time[0])
    assert by_time[1:].tolist() == [0.1, 0.1, 0.3, 0.3]


def test_the_hypervolume_is_the_dominated_share_of_the_box():
    # From cost 1 to 2 at 0.5, from 2 to 4 at 0.8; (3, 0.6) is dominated, and cost 5 lies outside.
    costs, accuracies = np.array([2.0, 1.0, 3.0, 5.0]), np.array([0.8, 0.5, 0.6, 0.9])
    assert hypervolume(accuracies, costs, 4.0) == pytest.approx((1 * 0.5 + 2 * 0.8) / 4)
    assert hypervolume(accuracies[3:], costs[3:], 4.0) == 0
    assert hypervolume(np.empty(0), np.empty(0), 4.0) == 0


def test_a_run_has_its_hypervolume_up_to_twice_the_target_without_the_infeasible():
    run = make_run(observed=[0.5, -1.0], accuracies=[0.5, np.nan], costs=[1.0, np.nan])
    assert run.hypervolume(target=1.0) == pytest.approx(0.5 * (2 - 1) / 2)


def runs_of(agent, finals, **kwargs):
    return [make_run(agent, seed, [0.1, final], **kwargs) for seed, final in enumerate(finals)]


def test_agents_stand_by_their_regret():
    runs = runs_of("good", [0.8, 0.82, 0.84, 0.86]) + runs_of("random", [0.5, 0.52, 0.54, 0.56])
    runs += runs_of("poor", [0.2, 0.22, 0.24, 0.26])
    good, random, poor = standings(runs, best_value=0.93, target=1.0)
    assert [s.agent for s in (good, random, poor)] == ["good", "random", "poor"]
    assert [s.place for s in (good, random, poor)] == [(1, 1, 1), (2, 2, 2), (3, 3, 3)]
    assert good.regret.value == pytest.approx(0.93 - 0.83)
    assert good.value == pytest.approx(0.83)
    assert random.score.value == pytest.approx(0)  # by definition
    assert good.score.value == pytest.approx((0.83 - 0.53) / (0.93 - 0.53))
    assert (good.over_random.value, poor.over_random.value, random.over_random) == (1.0, 0.0, None)
    assert (good.over_best.value, random.over_best.value) == (1.0, 0.0)  # over random, and over good
    assert (good.seeds, good.evaluations, good.distinct, good.agent_seconds) == ((0, 1, 2, 3), 2, 1, 2)


def test_an_agent_with_a_disqualified_run_has_no_place_and_the_others_keep_theirs():
    failed = [make_run("hasty", 0, [0.9]), make_run("hasty", 1, [], reason="ValueError: no")]
    found = standings(runs_of("random", [0.5, 0.6]) + failed, best_value=0.9, target=1.0)
    assert [(s.agent, s.place) for s in found] == [("random", (1, 1, 1)), ("hasty", None)]
    assert found[1].disqualified == ((1, "ValueError: no"),)
    assert found[1].seeds == (0, 1)
    assert found[1].regret is None
    assert found[0].over_best is None  # there is no other one


def test_repeated_architectures_count_but_are_not_distinct():
    run = make_run(observed=[0.1, 0.2, 0.2, 0.2], choices=[[0, 1], [1, 1], [1, 1], [1, 1]])
    [standing] = standings([run], best_value=0.2, target=1.0)
    assert (standing.evaluations, standing.distinct) == (4, 0.5)
    assert standing.score is None  # random search has found the best: there is nothing to measure by


def test_the_best_known_value_must_be_the_best():
    with pytest.raises(InvalidSettingError, match=r"at least the best of the runs, 0\.6, but got 0\.5"):
        standings(runs_of("random", [0.6]), best_value=0.5, target=1.0)
    with pytest.raises(InvalidSettingError, match="at least one run"):
        standings([], best_value=0.5, target=1.0)


def test_several_competitions_are_strata():
    one = runs_of("random", [0.5, 0.5]) + runs_of("ppo", [0.7, 0.7]) + runs_of("gp", [0.9, 0.9])
    two = runs_of("random", [0.6]) + runs_of("ppo", [0.9])
    ppo, random = overall_standings([(one, 0.9), (two, 1.0)])
    assert (ppo.agent, random.agent) == ("ppo", "random")  # gp was not in both
    assert ppo.score.value == pytest.approx((0.5 + 0.5 + 0.75) / 3)
    assert ppo.over_random.value == 1.0
    assert random.over_random is None
    assert overall_standings([(one, 0.9), (runs_of("ppo", [0.9]), 1.0)]) == []  # without random there is no scale
