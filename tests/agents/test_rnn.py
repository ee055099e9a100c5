from __future__ import annotations

import pytest
from sb3_contrib import RecurrentPPO

from akd_gym.agents.policies import MaskedRecurrentActorCriticPolicy
from akd_gym.agents.ppo import ANCHOR_BUDGETS
from akd_gym.agents.rnn import LEARNING_RATES, rnn_settings
from akd_gym.envs.sb3 import make_sb3_vec_env
from akd_gym.envs.synthetic import SyntheticEvaluator
from akd_gym.errors import InvalidSettingError


def test_it_is_the_papers_controller(evaluator: SyntheticEvaluator) -> None:
    model = RecurrentPPO(**rnn_settings(make_sb3_vec_env(2, evaluator=evaluator), 48, seed=0))
    assert isinstance(model.policy, MaskedRecurrentActorCriticPolicy)
    lstm = model.policy.lstm_actor
    assert (lstm.num_layers, lstm.hidden_size, lstm.input_size) == (1, 100, 148)
    assert model.gamma == model.gae_lambda == 1


def test_learning_rates_follow_the_budget(evaluator: SyntheticEvaluator) -> None:
    envs = make_sb3_vec_env(2, evaluator=evaluator)
    rates = [rnn_settings(envs, budget)["learning_rate"] for budget in ANCHOR_BUDGETS]
    assert rates == pytest.approx(LEARNING_RATES)


@pytest.mark.parametrize(
    ("num_envs", "least", "episodes"), [(1, 8, 8), (5, 8, 10), (8, 8, 8), (8, 20, 24), (16, 8, 16)]
)
def test_an_update_sees_whole_episodes(evaluator: SyntheticEvaluator, num_envs: int, least: int, episodes: int) -> None:
    settings = rnn_settings(make_sb3_vec_env(num_envs, evaluator=evaluator), 48, rollout_episodes=least)
    assert settings["n_steps"] % 35 == 0
    assert settings["n_steps"] * num_envs == settings["batch_size"] == 35 * episodes


def test_overrides_win_and_policy_arguments_are_merged(evaluator: SyntheticEvaluator) -> None:
    envs = make_sb3_vec_env(2, evaluator=evaluator)
    settings = rnn_settings(envs, 48, n_epochs=3, policy_kwargs={"lstm_hidden_size": 7})
    assert settings["n_epochs"] == 3
    assert settings["policy_kwargs"]["lstm_hidden_size"] == 7
    assert settings["policy_kwargs"]["option_counts"] == evaluator.space.option_counts.tolist()


def test_bad_input(evaluator: SyntheticEvaluator) -> None:
    envs = make_sb3_vec_env(2, evaluator=evaluator)
    with pytest.raises(InvalidSettingError, match="`budget` must be at least 1 evaluation, but got 0"):
        rnn_settings(envs, 0)
    with pytest.raises(InvalidSettingError, match="`rollout_episodes` must be at least 1, but got 0"):
        rnn_settings(envs, 48, rollout_episodes=0)
