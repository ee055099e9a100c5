from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from akd_gym.agents.evolution import Population, evolution, mutate, population_size, sample_size
from akd_gym.agents.play import Played


def individual(name: int, reward: float) -> Played:
    return Played((name,), reward, {})


def test_the_oldest_die_even_the_best() -> None:
    population = Population(3, 2)
    population.add([individual(0, 0.9), individual(1, 0.1), individual(2, 0.2)])
    population.add([individual(3, 0.3), individual(4, 0.4)])
    assert [played.choices for played in population.alive] == [(2,), (3,), (4,)]


def test_the_best_of_a_sample_is_the_parent() -> None:
    population = Population(4, 2)
    population.add([individual(name, reward) for name, reward in enumerate([0.1, 0.4, 0.2, 0.3])])
    rng = np.random.default_rng(0)
    parents = Counter(population.parent(rng).choices[0] for _ in range(4_000))
    # of two drawn with replacement, that of rank r among 4 wins with probability (2r - 1) / 16
    for name, rank in ((0, 1), (2, 2), (3, 3), (1, 4)):
        assert parents[name] / 4_000 == pytest.approx((2 * rank - 1) / 16, abs=4 * 0.5 / 4_000**0.5)


def test_a_mutation_changes_one_decision_to_any_other_option() -> None:
    rng = np.random.default_rng(0)
    mutants = Counter(mutate((0, 2), (2, 3), rng) for _ in range(4_000))
    assert set(mutants) == {(1, 2), (0, 0), (0, 1)}
    for mutant, share in (((1, 2), 1 / 2), ((0, 0), 1 / 4), ((0, 1), 1 / 4)):
        assert mutants[mutant] / 4_000 == pytest.approx(share, abs=4 * 0.5 / 4_000**0.5)


def test_children_differ_in_one_decision_from_somebody_alive(play: Any) -> None:
    budget = 203
    record = play(evolution, budget)
    size, played = population_size(budget), np.array(record.choices)
    first = played[:size]
    assert ((first[:, None] != first).sum(2) + 99 * np.eye(size, dtype=int)).min() > 5  # strangers
    for begin in range(-(-size // 8) * 8, budget, 8):
        alive = played[begin - size : begin]
        for child in played[begin : begin + 8]:
            assert 1 in (alive != child).sum(1)


def test_it_learns_which_options_are_good(play_matches: Any) -> None:
    rewards = play_matches(evolution, 400, wanted=(1,) * 35).rewards
    assert np.mean(rewards[-40:]) > np.mean(rewards[:40]) + 0.3


def test_what_it_is_given_to_begin_with_is_the_first_population(play: Any) -> None:
    starts = [(option,) * 35 for option in (0, 1)]
    record = play(evolution, 30, start=starts)
    assert record.choices[:2] == starts
    assert play(evolution, 30, start=starts * 50).choices[:16] == starts * 8


def test_a_budget_smaller_than_the_first_population(play: Any) -> None:
    assert len(play(evolution, 5, start=[(0,) * 35] * 9).choices) == 5


@pytest.mark.parametrize(
    ("budget", "population", "sample"), [(1, 16, 8), (1_000, 16, 8), (3_600, 36, 12), (10_000, 64, 16), (10**6, 64, 16)]
)
def test_sizes_follow_the_budget(budget: int, population: int, sample: int) -> None:
    assert population_size(budget) == population
    assert sample_size(population) == sample
