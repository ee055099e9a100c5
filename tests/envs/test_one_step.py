from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from akd_gym.envs.episodes import LOG_TARGET_BOUND, EpisodeLayout, EpisodeOverError, InvalidActionError
from akd_gym.envs.one_step import BoxEpisodes, OneShotEpisodes, OneStepEpisodes
from akd_gym.space import make_space

LAYOUT = EpisodeLayout([2, 3, 4])
FORMS = (OneShotEpisodes, BoxEpisodes)


def test_spaces_of_the_akd_space() -> None:
    layout = EpisodeLayout(make_space("akd").option_counts)
    one_shot, box = OneShotEpisodes(layout), BoxEpisodes(layout)
    assert one_shot.action_space.nvec.tolist() == [4, 4, 2, 3, 3] * 7
    assert (box.action_space.shape, box.action_space.dtype) == ((35,), np.float32)
    assert (box.action_space.low == -1).all()
    assert (box.action_space.high == 1).all()
    assert one_shot.observation_space == box.observation_space
    assert one_shot.observation_space.shape == (1,)


@pytest.mark.parametrize(
    ("action", "options"),
    [
        ([-1, -1, -1], [0, 0, 0]),
        ([1, 1, 1], [1, 2, 3]),
        ([0, 0, 0], [1, 1, 2]),
        ([-0.01, -0.34, -0.51], [0, 0, 0]),
        ([0.0, -0.33, -0.5], [1, 1, 1]),
        ([-1e-6, 0.33, 0.49], [0, 1, 2]),
        ([0.5, 0.34, 0.5], [1, 2, 3]),
    ],
)
def test_bins_by_hand(action: list[float], options: list[int]) -> None:
    for dtype in (np.float32, np.float64):
        assert BoxEpisodes(LAYOUT).decode(np.array(action, dtype)).tolist() == options


def test_bins_are_equally_wide() -> None:
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (30_000, 3)).astype(np.float32)
    options = BoxEpisodes(LAYOUT, (30_000,)).decode(actions)
    for column, count in zip(options.T, LAYOUT.option_counts, strict=True):
        np.testing.assert_allclose(np.bincount(column, minlength=count) / len(column), 1 / count, atol=0.015)


def test_integers_are_the_options() -> None:
    assert OneShotEpisodes(LAYOUT).decode([1, 2, 3]).tolist() == [1, 2, 3]
    assert OneShotEpisodes(LAYOUT, (2,)).decode(np.array([[0, 0, 0], [1, 2, 3]], np.uint8)).dtype == np.int64


@pytest.mark.parametrize(
    ("form", "action", "message"),
    [
        (OneShotEpisodes, [0, 3, 0], r"`action\[1\]` must be from 0 to 2, but got 3"),
        (OneShotEpisodes, [0, 0, -1], r"`action\[2\]` must be from 0 to 3, but got -1"),
        (OneShotEpisodes, [0, 0], r"integers of shape \(3,\), but got shape \(2,\)"),
        (OneShotEpisodes, [0.0, 0.0, 0.0], "integers of shape .* float64"),
        (OneShotEpisodes, [[0], [0, 1], []], "integers of shape"),
        (OneShotEpisodes, None, "integers of shape"),
        (OneShotEpisodes, 1, "integers of shape"),
        (BoxEpisodes, [0, 0, 1.001], r"`action\[2\]` must be from -1 to 1, but got 1.001"),
        (BoxEpisodes, [-1.001, 0, 0], r"`action\[0\]` must be from -1 to 1"),
        (BoxEpisodes, [0, math.nan, 0], r"`action\[1\]` must be from -1 to 1, but got nan"),
        (BoxEpisodes, [0, math.inf, 0], r"`action\[1\]` must be from -1 to 1, but got inf"),
        (BoxEpisodes, np.zeros((1, 3)), r"numbers of shape \(3,\), but got shape \(1, 3\)"),
        (BoxEpisodes, ["0", "0", "0"], "numbers of shape"),
        (BoxEpisodes, [True, False, True], "numbers of shape .* bool"),
        (BoxEpisodes, None, "numbers of shape"),
    ],
)
def test_actions_outside_the_space_raise_and_change_nothing(
    form: type[OneStepEpisodes], action: Any, message: str
) -> None:
    episode = form(LAYOUT)
    episode.reset(0.0)
    with pytest.raises(InvalidActionError, match=message):
        episode.take(action)
    assert not episode.over


@pytest.mark.parametrize("form", FORMS)
def test_a_batch_names_the_entry_that_is_outside(form: type[OneStepEpisodes]) -> None:
    with pytest.raises(InvalidActionError, match=r"`action\[1, 2\]` must be .*, but got 7"):
        form(LAYOUT, (2,)).decode([[0, 0, 0], [0, 0, 7]])


@pytest.mark.parametrize("form", FORMS)
def test_an_episode_is_one_step(form: type[OneStepEpisodes]) -> None:
    episode = form(LAYOUT)
    zeros = episode.action_space.sample() * 0
    with pytest.raises(EpisodeOverError, match="has not begun"):
        episode.take(zeros)
    episode.reset(math.log(2))
    assert (episode.taken, episode.over) == (0, False)
    assert episode.observation().tolist() == [np.float32(math.log(2))]
    assert not episode.take(zeros)
    assert (episode.taken, episode.over) == (3, True)
    assert episode.observation().tolist() == [np.float32(math.log(2))]
    with pytest.raises(EpisodeOverError, match=r"is over\. Call `reset\(\)`"):
        episode.take(zeros)


def test_all_options_are_valid_until_the_end() -> None:
    alone, together = OneShotEpisodes(LAYOUT), OneShotEpisodes(LAYOUT, (2,))
    for episodes in (alone, together):
        with pytest.raises(EpisodeOverError, match="ask for an action mask"):
            episodes.mask()
        episodes.reset(0.0)
    assert alone.mask().tolist() == [True] * 9
    assert together.mask().tolist() == [[True] * 9] * 2
    alone.take([0, 0, 0])
    with pytest.raises(EpisodeOverError, match="is over"):
        alone.mask()


@pytest.mark.parametrize("form", FORMS)
def test_a_far_target_stays_in_the_observation_space(form: type[OneStepEpisodes]) -> None:
    episode = form(LAYOUT)
    episode.reset(-1e6)
    assert episode.observation() == [-LOG_TARGET_BOUND]
    assert episode.observation() in episode.observation_space
