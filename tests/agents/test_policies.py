from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from stable_baselines3 import A2C, PPO

from akd_gym.agents.policies import MaskedActorCriticPolicy
from akd_gym.envs.episodes import EpisodeLayout, LockstepEpisodes
from akd_gym.envs.sb3 import make_sb3_vec_env
from akd_gym.envs.synthetic import SyntheticEvaluator
from akd_gym.errors import InvalidSettingError

COUNTS = [4, 2, 3]
LAYOUT = EpisodeLayout(COUNTS)


@pytest.fixture
def policy() -> MaskedActorCriticPolicy:
    torch.manual_seed(0)
    policy = MaskedActorCriticPolicy(
        LAYOUT.observation_space(), LAYOUT.action_space(), lambda _: 1e-3, option_counts=COUNTS
    )
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.normal_()  # far from uniform: what is masked would else be chosen often
    return policy


def observations(steps: int, rows: int = 400) -> torch.Tensor:
    """What `rows` episodes see after `steps` steps."""
    episodes = LockstepEpisodes(LAYOUT, (rows,))
    episodes.reset(0.0)
    for _ in range(steps):
        episodes.advance(np.zeros(rows, np.int64))
    return torch.from_numpy(episodes.observation())


@pytest.mark.parametrize(("steps", "count"), list(enumerate(COUNTS)))
def test_every_path_keeps_to_the_due_decision(policy: MaskedActorCriticPolicy, steps: int, count: int) -> None:
    obs = observations(steps)
    actions, values, log_prob = policy(obs)
    assert int(actions.max()) < count
    assert int(policy._predict(obs).max()) < count
    assert int(policy.predict(obs.numpy())[0].max()) < count
    assert int(policy.predict(obs.numpy(), deterministic=True)[0].max()) < count
    probabilities = policy.get_distribution(obs[:1]).distribution.probs[0].detach()
    assert probabilities[:count].sum() == pytest.approx(1.0)
    assert not probabilities[count:].any()
    again_values, again_log_prob, entropy = policy.evaluate_actions(obs, actions)
    torch.testing.assert_close(again_log_prob, log_prob)
    torch.testing.assert_close(again_values, values)
    own = -(probabilities[:count] * probabilities[:count].log()).sum()
    assert entropy[0].item() == pytest.approx(own.item(), rel=1e-3)


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


@pytest.mark.parametrize("algorithm", [PPO, A2C])
def test_plain_algorithms_never_have_an_action_folded(
    evaluator: SyntheticEvaluator, algorithm: type[PPO] | type[A2C]
) -> None:
    envs = make_sb3_vec_env(4, evaluator=evaluator)
    folded = []
    step = envs.venv.envs.step

    def spy(actions: np.ndarray) -> tuple:
        result = step(actions)
        folded.append("folded" in result[4])
        return result

    envs.venv.envs.step = spy
    counts = evaluator.space.option_counts.tolist()
    algorithm(
        MaskedActorCriticPolicy, envs, n_steps=32, policy_kwargs={"option_counts": counts}, seed=0, device="cpu"
    ).learn(256)
    assert folded == [False] * 64


def test_counts_of_another_space(evaluator: SyntheticEvaluator) -> None:
    with pytest.raises(InvalidSettingError, match=r"belong to observations of shape \(13,\)"):
        PPO(
            MaskedActorCriticPolicy,
            make_sb3_vec_env(2, evaluator=evaluator),
            policy_kwargs={"option_counts": COUNTS},
        )
