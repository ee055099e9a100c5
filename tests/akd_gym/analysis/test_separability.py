"""Whether searches are told apart: size and power of each test where the truth is known."""

import numpy as np
import pytest

from akd_gym.analysis.separability import separability_of_pairs, separability_of_searches, separability_of_two
from akd_gym.errors import InvalidSettingError
from akd_gym.space import make_space

SPACE = make_space("akd", "small")
DECISIONS = len(SPACE.decisions)
OPTIONS = max(len(d.options) for d in SPACE.decisions)


@pytest.fixture(scope="module")
def sampled(made_run):
    """Makes a search whose candidates are drawn from a policy, or from one that goes from a policy to another."""

    def make(rng, logits, later=None, count=30):
        taken = []
        for share in np.linspace(0, 1, count):
            now = logits if later is None else (1 - share) * logits + share * later
            taken.append(
                tuple(
                    int((now[i, : len(d.options)] + rng.gumbel(size=len(d.options))).argmax())
                    for i, d in enumerate(SPACE.decisions)
                )
            )
        return made_run([1.0] * count, [0.5] * count, choices=taken)

    return make


def policy(rng, strength):
    return strength * rng.normal(size=(DECISIONS, OPTIONS))


def test_samples_of_one_policy_are_told_apart_as_often_as_the_p_value_says(sampled):
    rng = np.random.default_rng(0)
    found = []
    for _ in range(40):
        own = policy(rng, 1.0)
        found.append(separability_of_two(sampled(rng, own), sampled(rng, own), tail=1.0, blocks=7))
    p = np.array([one.p_value for one in found])
    assert all(one.exact and one.splits == 2**7 and one.smallest_p == 2 / 2**7 for one in found)
    assert (p <= 0.1).mean() < 0.2
    assert 0.35 < p.mean() < 0.65
    assert np.mean([one.accuracy for one in found]) == pytest.approx(0.5, abs=0.03)
    assert all(one.chance.value == pytest.approx(0.5) for one in found)


def test_a_drift_that_both_have_in_common_is_no_difference(sampled):
    rng = np.random.default_rng(1)
    p = []
    for _ in range(30):
        start, end = policy(rng, 1.0), policy(rng, 2.0)
        runs = [sampled(rng, start, end) for _ in range(2)]
        p.append(separability_of_two(*runs, tail=1.0, blocks=7).p_value)
    assert np.mean(np.array(p) <= 0.1) < 0.2
    assert 0.35 < np.mean(p) < 0.65


def test_two_policies_are_told_apart(sampled):
    rng = np.random.default_rng(2)
    found = separability_of_two(sampled(rng, policy(rng, 1.5)), sampled(rng, policy(rng, 1.5)), tail=1.0)
    assert found.accuracy > 0.9
    assert found.p_value == found.smallest_p == 2 / 2**10
    assert found.chance.high < found.accuracy
    assert found.units == (10, 10)
    assert found.exchanged == "blocks"
    assert "says nothing" in found.meaning


def test_seeds_of_one_setting_are_apart_as_searches_and_not_as_settings(sampled):
    """What a shuffle of candidates would get wrong: every search here goes its own way, whatever its side."""
    rng = np.random.default_rng(3)
    by_blocks, by_searches = [], []
    for _ in range(30):
        runs = [sampled(rng, policy(rng, 1.0), count=20) for _ in range(6)]
        by_searches.append(separability_of_searches(runs[:3], runs[3:], tail=1.0))
        by_blocks.append(separability_of_two(runs[0], runs[3], tail=1.0, blocks=8).p_value)
    assert np.mean(np.array(by_blocks) <= 0.05) > 0.9
    p = np.array([one.p_value for one in by_searches])
    assert all(one.splits == 20 and one.smallest_p == 0.1 for one in by_searches)
    assert np.mean(p <= 0.1) < 0.25
    assert 0.4 < p.mean() < 0.7  # a little above a half, as the p-values go up in steps


def test_a_setting_that_moves_all_its_seeds_is_found(sampled):
    rng = np.random.default_rng(4)
    centres = policy(rng, 1.2), policy(rng, 1.2)
    ones, others = ([sampled(rng, centre + policy(rng, 0.5)) for _ in range(4)] for centre in centres)
    found = separability_of_searches(ones, others, tail=1.0)
    assert found.accuracy > 0.85
    assert found.p_value == found.smallest_p == pytest.approx(2 / 70)
    assert found.units == (4, 4)
    uneven = separability_of_searches(ones[:3], others, tail=1.0)
    assert uneven.p_value == uneven.smallest_p == pytest.approx(1 / 35)  # no assignment is another with sides renamed


def test_pairs_are_swapped_within_only(sampled):
    """Seeds move searches further than settings do; in pairs that share the seed the setting still shows."""
    rng = np.random.default_rng(5)
    change = policy(rng, 1.0)
    pairs = []
    for _ in range(6):
        own = policy(rng, 1.0)
        pairs.append((sampled(rng, own), sampled(rng, own + change)))
    found = separability_of_pairs(pairs, tail=1.0)
    assert (found.splits, found.smallest_p, found.exact) == (2**6, 2 / 2**6, True)
    assert found.p_value == found.smallest_p
    assert found.accuracy > found.chance.high - 1e-9


def test_pairs_without_a_difference_give_any_p_value(sampled):
    rng = np.random.default_rng(6)
    p = []
    for _ in range(30):
        owns = [policy(rng, 1.0) for _ in range(4)]
        p.append(
            separability_of_pairs(
                [(sampled(rng, o, count=20), sampled(rng, o, count=20)) for o in owns], tail=1.0
            ).p_value
        )
    assert np.mean(np.array(p) <= 0.125) < 0.25
    assert 0.35 < np.mean(p) < 0.68


def test_the_end_of_a_search_counts_and_each_architecture_once(sampled, made_run):
    rng = np.random.default_rng(7)
    start, ends = policy(rng, 1.0), (policy(rng, 1.5), policy(rng, 1.5))
    early = [sampled(rng, start, count=80).evaluations for _ in ends]
    late = [sampled(rng, end, count=20).evaluations for end in ends]
    runs = []
    for before, after in zip(early, late, strict=True):
        taken = [one.candidate.choices for one in (*before, *after)]
        taken[-1] = taken[-2]  # a repeat
        runs.append(made_run([1.0] * 100, [0.5] * 100, choices=taken))
    found = separability_of_two(*runs, blocks=6)
    assert found.candidates == (19, 19)
    assert found.p_value == found.smallest_p
    whole = separability_of_two(*runs, tail=1.0, blocks=6)
    assert whole.candidates == (99, 99)
    assert whole.accuracy < found.accuracy


def test_more_ways_than_can_be_gone_through_are_drawn(sampled):
    rng = np.random.default_rng(8)
    runs = [sampled(rng, policy(rng, 0.5), count=4) for _ in range(16)]
    found = separability_of_searches(runs[:8], runs[8:], tail=1.0)
    assert not found.exact
    assert found.splits == 5_000 < 12_870
    assert 1 / 5_000 == found.smallest_p <= found.p_value <= 1


def test_searches_that_are_all_alike_are_told_apart_by_guessing(made_run):
    runs = [made_run([1.0] * 4, [0.5] * 4, choices=[SPACE.reference] * 4) for _ in range(4)]
    found = separability_of_searches(runs[:2], runs[2:], tail=1.0)
    assert (found.accuracy, found.p_value, found.candidates) == (0.5, 1.0, (2, 2))


def test_real_searches(bench_run):
    """Two halves of a random search come from the same policy."""
    half = len(bench_run.evaluations) // 2
    runs = [type(bench_run)(name, bench_run.space, own) for name, own in
            (("a", bench_run.evaluations[:half]), ("b", bench_run.evaluations[half:]))]  # fmt: skip
    found = separability_of_two(*runs, tail=1.0)
    assert found.p_value > 0.05
    assert found.accuracy == pytest.approx(0.5, abs=0.15)


def test_too_little_to_tell_apart_is_refused(sampled):
    rng = np.random.default_rng(9)
    run = sampled(rng, policy(rng, 1.0), count=10)
    with pytest.raises(InvalidSettingError, match=r"at least two on either side.*got 1 and 2"):
        separability_of_searches([run], [run, run])
    with pytest.raises(InvalidSettingError, match="at least two pairs"):
        separability_of_pairs([(run, run)])
    with pytest.raises(InvalidSettingError, match="at most the 2 distinct architectures"):
        separability_of_two(run, run)
    with pytest.raises(InvalidSettingError, match="`blocks` must be at least 2"):
        separability_of_two(run, run, tail=1.0, blocks=1)
    with pytest.raises(InvalidSettingError, match="`tail` must be above 0"):
        separability_of_two(run, run, tail=0)
