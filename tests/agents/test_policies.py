from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sb3_contrib import QRDQN, TRPO, RecurrentPPO
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm

from akd_gym.agents.masked_dqn import MaskedDQN, MaskedDQNPolicy, MaskedQRDQN, MaskedQRDQNPolicy
from akd_gym.agents.policies import MaskedActorCriticPolicy, MaskedRecurrentActorCriticPolicy
from akd_gym.envs.episodes import EpisodeLayout, LockstepEpisodes
from akd_gym.envs.sb3 import make_sb3_vec_env
from akd_gym.envs.synthetic import SyntheticEvaluator
from akd_gym.errors import InvalidSettingError

COUNTS = [4, 2, 3]
LAYOUT = EpisodeLayout(COUNTS)
UNITS = 6


def make(policy_class: Callable[..., Any], **kwargs: Any) -> Any:
    torch.manual_seed(0)
    policy = policy_class(
        LAYOUT.observation_space(), LAYOUT.action_space(), lambda _: 1e-3, option_counts=COUNTS, **kwargs
    )
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.normal_()  # far from uniform: what is masked would else be chosen often
    return policy


@pytest.fixture
def policy() -> MaskedActorCriticPolicy:
    return make(MaskedActorCriticPolicy)


def recurrent_policy(**kwargs: Any) -> MaskedRecurrentActorCriticPolicy:
    return make(MaskedRecurrentActorCriticPolicy, lstm_hidden_size=UNITS, **kwargs)


def states(rows: int) -> RNNStates:
    generator = torch.Generator().manual_seed(0)
    pairs = [tuple(torch.randn(1, rows, UNITS, generator=generator) for _ in range(2)) for _ in range(2)]
    return RNNStates(*pairs)


CRITICS = [
    {"enable_critic_lstm": True},
    {"enable_critic_lstm": False},
    {"enable_critic_lstm": False, "shared_lstm": True},
]


def observations(steps: int, rows: int = 400) -> torch.Tensor:
    """What `rows` episodes see after `steps` steps."""
    episodes = LockstepEpisodes(LAYOUT, (rows,))
    episodes.reset(0.0)
    for _ in range(steps):
        episodes.take(np.zeros(rows, np.int64))
    return torch.from_numpy(episodes.observation())


def check_probabilities(probabilities: torch.Tensor, entropy: torch.Tensor, count: int) -> None:
    """Nothing on what the due decision lacks, and the entropy is that of what it has."""
    assert probabilities[:count].sum() == pytest.approx(1.0)
    assert not probabilities[count:].any()
    own = -(probabilities[:count] * probabilities[:count].log()).sum()
    assert entropy.item() == pytest.approx(own.item(), rel=1e-3, abs=1e-5)


@pytest.mark.parametrize(("steps", "count"), list(enumerate(COUNTS)))
def test_every_path_keeps_to_the_due_decision(policy: MaskedActorCriticPolicy, steps: int, count: int) -> None:
    obs = observations(steps)
    actions, values, log_prob = policy(obs)
    assert int(actions.max()) < count
    assert int(policy._predict(obs).max()) < count
    assert int(policy.predict(obs.numpy())[0].max()) < count
    assert int(policy.predict(obs.numpy(), deterministic=True)[0].max()) < count
    again_values, again_log_prob, entropy = policy.evaluate_actions(obs, actions)
    torch.testing.assert_close(again_log_prob, log_prob)
    torch.testing.assert_close(again_values, values)
    check_probabilities(policy.get_distribution(obs[:1]).distribution.probs[0].detach(), entropy[0], count)


@pytest.mark.parametrize("critic", CRITICS)
@pytest.mark.parametrize(("steps", "count"), list(enumerate(COUNTS)))
def test_every_recurrent_path_keeps_to_the_due_decision(critic: dict[str, Any], steps: int, count: int) -> None:
    policy, obs, memory, starts = recurrent_policy(**critic), observations(steps), states(400), torch.zeros(400)
    actions, values, log_prob, after = policy(obs, memory, starts)
    assert int(actions.max()) < count
    assert not torch.equal(after.pi[0], memory.pi[0])
    pair = (memory.pi[0].numpy(), memory.pi[1].numpy())
    for deterministic in (False, True):
        chosen, _ = policy.predict(obs.numpy(), pair, np.zeros(400, bool), deterministic=deterministic)
        assert int(chosen.max()) < count
        assert int(policy._predict(obs, memory.pi, starts, deterministic=deterministic)[0].max()) < count
    again_values, again_log_prob, entropy = policy.evaluate_actions(obs, actions, memory, starts)
    torch.testing.assert_close(again_log_prob, log_prob)
    torch.testing.assert_close(again_values, values)
    vf_memory = memory.vf if policy.enable_critic_lstm else memory.pi  # where they share an LSTM, its memory too
    torch.testing.assert_close(policy.predict_values(obs, vf_memory, starts), values)
    distribution, pi_after = policy.get_distribution(obs, memory.pi, starts)
    torch.testing.assert_close(pi_after, after.pi)
    check_probabilities(distribution.distribution.probs[0].detach(), entropy[0], count)


@pytest.mark.parametrize("recurrent", [False, True])
def test_invalid_actions_are_as_good_as_impossible(policy: MaskedActorCriticPolicy, recurrent: bool) -> None:
    obs, invalid = observations(1, rows=5), torch.full((5,), 2)
    if recurrent:
        _, log_prob, _ = recurrent_policy().evaluate_actions(obs, invalid, states(5), torch.zeros(5))
    else:
        _, log_prob, _ = policy.evaluate_actions(obs, invalid)
    assert log_prob.tolist() == pytest.approx([-1e8] * 5, rel=1e-6)


def test_masked_options_have_no_gradient(policy: MaskedActorCriticPolicy) -> None:
    obs = observations(1)
    actions = torch.zeros(len(obs), dtype=torch.long)
    _, log_prob, entropy = policy.evaluate_actions(obs, actions)
    (log_prob.sum() + entropy.sum()).backward()
    gradient = policy.action_net.bias.grad
    assert gradient[:2].abs().min() > 0
    assert not gradient[2:].any()
    assert torch.isfinite(gradient).all()


def test_at_the_end_nothing_is_masked_and_nothing_breaks(policy: MaskedActorCriticPolicy) -> None:
    obs = observations(3, rows=1)
    assert (policy.get_distribution(obs).distribution.probs > 0).all()
    assert torch.isfinite(policy.predict_values(obs)).all()


def test_it_starts_nearly_uniform_with_a_critic_of_zero() -> None:
    policy = MaskedActorCriticPolicy(
        LAYOUT.observation_space(), LAYOUT.action_space(), lambda _: 1e-3, option_counts=COUNTS
    )
    obs = observations(1, rows=1)
    probabilities = policy.get_distribution(obs).distribution.probs[0].tolist()
    assert probabilities == pytest.approx([0.5, 0.5, 0, 0], abs=0.02)
    assert policy.predict_values(obs).item() == 0


def test_saved_and_loaded(policy: MaskedActorCriticPolicy, tmp_path: Path) -> None:
    policy.save(str(tmp_path / "policy"))
    loaded = MaskedActorCriticPolicy.load(str(tmp_path / "policy"))
    obs = observations(2)
    torch.testing.assert_close(
        loaded.get_distribution(obs).distribution.probs, policy.get_distribution(obs).distribution.probs
    )


@pytest.mark.parametrize("critic", CRITICS)
def test_a_recurrent_policy_saved_and_loaded(critic: dict[str, Any], tmp_path: Path) -> None:
    policy = recurrent_policy(table_scale=2.0, **critic)
    policy.save(str(tmp_path / "policy"))
    loaded = MaskedRecurrentActorCriticPolicy.load(str(tmp_path / "policy"))
    arguments = observations(2), torch.zeros(400, dtype=torch.long), states(400), torch.zeros(400)
    torch.testing.assert_close(loaded.evaluate_actions(*arguments), policy.evaluate_actions(*arguments))


@pytest.mark.parametrize("starts", [[1, 0, 0, 0, 0, 0], [1, 0, 0, 1, 0, 0], [0, 0, 1, 0, 1, 0]])
def test_sequences_are_read_as_the_parent_reads_them(starts: list[int]) -> None:
    """Two sequences of three steps; where episodes begin inside one, memory is lost there."""
    policy, memory = recurrent_policy(), states(2).pi
    arguments = torch.randn(6, LAYOUT.size), memory, torch.tensor(starts, dtype=torch.float32), policy.lstm_actor
    torch.testing.assert_close(
        policy._process_sequence(*arguments), RecurrentActorCriticPolicy._process_sequence(*arguments)
    )


def test_a_table_learns_nothing_of_a_negative_scale() -> None:
    with pytest.raises(InvalidSettingError, match=r"`table_scale` must be at least 0, but got -1"):
        make(MaskedActorCriticPolicy, table_scale=-1)


def watched(evaluator: SyntheticEvaluator, num_envs: int = 4) -> tuple[Any, list[bool]]:
    """Environments, and whether an action was folded at each of their steps."""
    envs = make_sb3_vec_env(num_envs, evaluator=evaluator)
    inner, folded = envs.venv.envs, []
    step = inner.step

    def spy(actions: np.ndarray) -> tuple:
        result = step(actions)
        folded.append("folded" in result[4] or "folded" in result[4].get("final_info", {}))
        return result

    inner.step = spy
    return envs, folded


ON_POLICY = [
    (PPO, MaskedActorCriticPolicy, {}),
    (A2C, MaskedActorCriticPolicy, {}),
    (TRPO, MaskedActorCriticPolicy, {}),
    (RecurrentPPO, MaskedRecurrentActorCriticPolicy, {"lstm_hidden_size": 16}),
]


@pytest.mark.filterwarnings("ignore:You have specified a mini-batch size")
@pytest.mark.parametrize(("algorithm", "policy_class", "kwargs"), ON_POLICY)
def test_plain_algorithms_never_have_an_action_folded(
    evaluator: SyntheticEvaluator, algorithm: type[BaseAlgorithm], policy_class: Any, kwargs: dict[str, Any]
) -> None:
    envs, folded = watched(evaluator)
    counts = evaluator.space.option_counts.tolist()
    algorithm(
        policy_class, envs, n_steps=32, policy_kwargs={"option_counts": counts, **kwargs}, seed=0, device="cpu"
    ).learn(256)
    assert folded == [False] * 64


def q_model(cls: Any, policy_class: Any, evaluator: SyntheticEvaluator, **settings: Any) -> tuple[Any, list[bool]]:
    envs, folded = watched(evaluator)
    settings = {"learning_starts": 70, "exploration_fraction": 0.5, "target_update_interval": 35, **settings}
    kwargs = {"option_counts": evaluator.space.option_counts.tolist()}
    return cls(policy_class, envs, train_freq=4, policy_kwargs=kwargs, seed=0, device="cpu", **settings), folded


Q_LEARNERS = [(MaskedDQN, MaskedDQNPolicy), (MaskedQRDQN, MaskedQRDQNPolicy)]


@pytest.mark.parametrize(("cls", "policy_class"), Q_LEARNERS)
def test_warm_up_exploration_and_greed_never_have_an_action_folded(
    evaluator: SyntheticEvaluator, cls: Any, policy_class: Any
) -> None:
    model, folded = q_model(cls, policy_class, evaluator)
    model.learn(560)
    assert model.exploration_rate < 0.1 < model.exploration_initial_eps
    assert folded == [False] * 140


@pytest.mark.parametrize(("plain", "cls", "policy_class"), [(DQN, *Q_LEARNERS[0]), (QRDQN, *Q_LEARNERS[1])])
def test_without_masks_they_do(evaluator: SyntheticEvaluator, plain: Any, cls: Any, policy_class: Any) -> None:
    """What the test above would see if nothing were masked."""
    envs, folded = watched(evaluator)
    plain("MlpPolicy", envs, learning_starts=70, seed=0, device="cpu").learn(140)
    assert any(folded)


@pytest.mark.parametrize(("cls", "policy_class"), Q_LEARNERS)
def test_exploration_is_uniform_over_valid_actions_and_each_environments_own(
    evaluator: SyntheticEvaluator, cls: Any, policy_class: Any
) -> None:
    model, _ = q_model(cls, policy_class, evaluator)
    counts = evaluator.space.option_counts.tolist()
    layout = EpisodeLayout(counts)
    due = 3  # `layers`, of three options
    episodes = LockstepEpisodes(layout, (3000,))
    episodes.reset(0.0)
    for _ in range(due):
        episodes.take(np.zeros(3000, np.int64))
    obs = episodes.observation()
    greedy, _ = model.predict(obs, deterministic=True)
    assert len(set(greedy.tolist())) == 1
    model.exploration_rate = 1.0
    shares = np.bincount(model.predict(obs)[0], minlength=4) / 3000
    assert shares[:3] == pytest.approx([1 / 3] * 3, abs=0.03)
    assert shares[3] == 0
    model.exploration_rate = 0.3
    explored = (model.predict(obs)[0] != greedy).mean()
    assert explored == pytest.approx(0.3 * 2 / 3, abs=0.03)
    assert int(model.predict(obs[0])[0]) in range(3)


@pytest.mark.parametrize(("policy_class", "name"), [(MaskedDQNPolicy, "q_net"), (MaskedQRDQNPolicy, "quantile_net")])
@pytest.mark.parametrize(("steps", "count"), list(enumerate(COUNTS)))
def test_targets_take_the_best_of_valid_values_only(policy_class: Any, name: str, steps: int, count: int) -> None:
    policy, obs = make(policy_class), observations(steps, rows=1)
    for network in (getattr(policy, name), getattr(policy, name + "_target")):
        values = network(obs).detach().reshape(-1, LAYOUT.num_actions)
        assert (values[:, :count] > -1e4).all()
        assert torch.isfinite(values).all()
        assert (values[:, count:] < -0.9e8).all()
    assert int(policy.predict(obs.numpy())[0].max()) < count


@pytest.mark.parametrize(("cls", "policy_class"), Q_LEARNERS)
def test_q_learners_saved_and_loaded(
    evaluator: SyntheticEvaluator, cls: Any, policy_class: Any, tmp_path: Path
) -> None:
    model, _ = q_model(cls, policy_class, evaluator)
    model.learn(280).save(tmp_path / "model")
    model.policy.save(str(tmp_path / "policy"))
    loaded = cls.load(tmp_path / "model", device="cpu")
    obs = np.stack([model.get_env().observation_space.sample() for _ in range(50)])
    expected = model.predict(obs, deterministic=True)[0].tolist()
    assert loaded.predict(obs, deterministic=True)[0].tolist() == expected
    alone = policy_class.load(str(tmp_path / "policy"), device="cpu")
    assert alone.predict(obs, deterministic=True)[0].tolist() == expected


@pytest.mark.parametrize(
    ("algorithm", "policy_class"),
    [(PPO, MaskedActorCriticPolicy), (RecurrentPPO, MaskedRecurrentActorCriticPolicy), *Q_LEARNERS],
)
def test_counts_of_another_space(evaluator: SyntheticEvaluator, algorithm: Any, policy_class: Any) -> None:
    with pytest.raises(InvalidSettingError, match=r"belong to observations of shape \(13,\)"):
        algorithm(
            policy_class,
            make_sb3_vec_env(2, evaluator=evaluator),
            policy_kwargs={"option_counts": COUNTS},
        )
