from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from akd_gym.agents import local_search as module
from akd_gym.agents.local_search import Climb, local_search
from akd_gym.space import Decision, SearchSpace, make_space

COUNTS = (4, 4, 2, 3, 3) * 7
NEIGHBOURS = sum(COUNTS) - len(COUNTS)
TINY = SearchSpace(
    "tiny", [Decision(1, "kernel", (3, 5)), Decision(2, "filters", (0.75, 1.0, 1.25))], make_space().skeleton
)


def differences(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    return sum(x != y for x, y in zip(a, b, strict=True))


def test_where_nothing_is_better_all_neighbours_are_played_and_it_begins_anew(play_matches: Any) -> None:
    assert NEIGHBOURS == 77
    record = play_matches(local_search, 2 * (1 + NEIGHBOURS), wanted=(9,) * 35)  # an option that no decision has
    first, second = record.choices[0], record.choices[1 + NEIGHBOURS]
    assert {differences(first, one) for one in record.choices[1 : 1 + NEIGHBOURS]} == {1}
    assert differences(first, second) > 5
    assert {differences(second, one) for one in record.choices[2 + NEIGHBOURS :]} == {1}
    assert len(set(record.choices)) == len(record.choices)


@pytest.mark.parametrize("seed", range(3))
def test_one_turn_of_changes_finds_the_optimum_of_a_separable_surface(
    play_matches: Any, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    # one at a time, every change is played at most once until all decisions are right: 1 + 112 evaluations
    monkeypatch.setattr(module, "round_size", lambda budget: 1)
    wanted = tuple(np.random.default_rng(seed + 10).integers(COUNTS).tolist())
    record = play_matches(local_search, 1 + sum(COUNTS), seed, wanted=wanted)
    assert max(record.rewards) == 1.0
    assert wanted in record.choices


def test_side_by_side_it_takes_a_few_turns(play_matches: Any) -> None:
    wanted = (1,) * 35
    record = play_matches(local_search, 1 + 4 * sum(COUNTS), wanted=wanted)
    assert wanted in record.choices
    begins = np.cumsum([0, *record.rounds])
    following = begins[begins > record.choices.index(wanted)][0]
    assert {differences(wanted, one) for one in record.choices[following : following + 8]} == {1}


def test_it_ends_when_the_whole_space_has_been_played(play_matches: Any) -> None:
    record = play_matches(local_search, 100, wanted=(0, 0), space=TINY)
    assert sorted(record.choices) == [(a, b) for a in range(2) for b in range(3)]


def test_given_beginnings_come_first(play_matches: Any) -> None:
    starts = [(0,) * 35, (0,) * 35, (1,) * 35]
    record = play_matches(local_search, 2 * (1 + NEIGHBOURS), wanted=(9,) * 35, start=starts)
    assert record.choices[0] == starts[0]
    assert record.choices[1 + NEIGHBOURS] == starts[2]


def test_a_climb_by_hand() -> None:
    climb = Climb((0, 0), 0.5, (2, 3), np.random.default_rng(0))
    tried = {(0, 0)}
    first = climb.neighbours(tried, 2)
    rest = climb.neighbours(tried | set(first), 2)
    assert sorted(first + rest) == [(0, 1), (0, 2), (1, 0)]
    climb.move([(first[0], 0.5), (first[1], 0.4)])
    assert climb.choices == (0, 0)  # as good is not better
    climb.move([(first[0], 0.6), (first[1], 0.7)])
    assert (climb.choices, climb.reward) == (first[1], 0.7)
    everything = {(a, b) for a in range(2) for b in range(3)}
    assert climb.neighbours(everything, 2) == []
