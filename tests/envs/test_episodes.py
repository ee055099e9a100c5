from __future__ import annotations

import math

import numpy as np
import pytest

from akd_gym.envs.episodes import (
    LOG_TARGET_BOUND,
    EpisodeLayout,
    EpisodeOverError,
    InvalidActionError,
    LockstepEpisodes,
)
from akd_gym.errors import InvalidSettingError
from akd_gym.space import make_space


def test_layout_of_the_akd_space() -> None:
    layout = EpisodeLayout(make_space("akd").option_counts)
    assert (layout.due_start, layout.target_index, layout.size) == (112, 147, 148)
    assert layout.num_actions == 4
    assert layout.masks.sum(axis=1).tolist() == [4, 4, 2, 3, 3] * 7
    assert not layout.masks[2, 2:].any()


def test_observation_by_hand() -> None:
    episode = LockstepEpisodes(EpisodeLayout([2, 3]))
    episode.reset(math.log(2))
    log2 = np.float32(math.log(2))
    np.testing.assert_array_equal(episode.observation(), np.array([0, 0, 0, 0, 0, 1, 0, log2], dtype=np.float32))
    episode.advance(1)
    np.testing.assert_array_equal(episode.observation(), np.array([0, 1, 0, 0, 0, 0, 1, log2], dtype=np.float32))
    episode.advance(2)
    np.testing.assert_array_equal(episode.observation(), np.array([0, 1, 0, 0, 1, 0, 0, log2], dtype=np.float32))
    assert episode.over
    assert episode.choices.tolist() == [1, 2]


def test_lockstep_rows_are_single_episodes() -> None:
    layout = EpisodeLayout(make_space("akd").option_counts)
    rng = np.random.default_rng(0)
    actions = rng.integers(layout.num_actions, size=(layout.num_decisions, 3))
    together = LockstepEpisodes(layout, (3,))
    alone = [LockstepEpisodes(layout) for _ in range(3)]
    together.reset(np.array([0.0, 1.0, -1.0]))
    for episode, log_target in zip(alone, (0.0, 1.0, -1.0), strict=True):
        episode.reset(log_target)
    for row in actions:
        folded = together.advance(row)
        assert folded.tolist() == [e.advance(a) for e, a in zip(alone, row.tolist(), strict=True)]
        np.testing.assert_array_equal(together.observation(), np.stack([e.observation() for e in alone]))
    np.testing.assert_array_equal(together.choices, np.stack([e.choices for e in alone]))


def test_an_invalid_option_is_folded_and_flagged() -> None:
    episode = LockstepEpisodes(EpisodeLayout([2, 4]))
    episode.reset(0.0)
    assert episode.advance(3)  # 3 % 2
    assert not episode.advance(3)
    assert episode.choices.tolist() == [1, 3]


def test_what_needs_a_running_episode_says_so() -> None:
    episode = LockstepEpisodes(EpisodeLayout([2]))
    with pytest.raises(EpisodeOverError, match="has not begun"):
        episode.advance(0)
    episode.reset(0.0)
    assert episode.mask().tolist() == [True, True]
    episode.advance(0)
    with pytest.raises(EpisodeOverError, match=r"is over\. Call `reset\(\)`"):
        episode.advance(0)
    with pytest.raises(EpisodeOverError, match="action mask"):
        episode.mask()


def test_a_far_target_stays_in_the_observation_space() -> None:
    layout = EpisodeLayout([2])
    episode = LockstepEpisodes(layout)
    episode.reset(1e6)
    assert episode.observation()[-1] == LOG_TARGET_BOUND
    assert episode.observation() in layout.observation_space()


@pytest.mark.parametrize("action", [4, -1, 1.0, "1", None, np.array([1, 2]), np.float32(1)])
def test_actions_outside_the_space_raise(action: object) -> None:
    with pytest.raises(InvalidActionError, match="from 0 to 3"):
        EpisodeLayout([4]).check_action(action)


@pytest.mark.parametrize("action", [2, np.int64(2), np.array(2), np.uint8(2)])
def test_integers_of_every_kind_are_actions(action: object) -> None:
    assert EpisodeLayout([4]).check_action(action) == 2


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        ([0, 1, 2], "2 integers"),
        ([[0, 1]], "2 integers"),
        ([0.0, 1.0], "2 integers"),
        ([0, 4], "from 0 to 3"),
        ([-1, 0], "from 0 to 3"),
    ],
)
def test_batches_outside_the_space_raise(actions: list, message: str) -> None:
    with pytest.raises(InvalidActionError, match=message):
        EpisodeLayout([4]).check_actions(actions, 2)


@pytest.mark.parametrize("counts", [[], [3, 0]])
def test_a_layout_needs_decisions_with_options(counts: list[int]) -> None:
    with pytest.raises(InvalidSettingError, match="at least one"):
        EpisodeLayout(counts)
