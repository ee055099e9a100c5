from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from akd_gym.agents.checkpoints import latest_checkpoint, load_checkpoint, save_checkpoint
from akd_gym.agents.ppo import ppo_settings
from akd_gym.agents.rnn import rnn_settings
from akd_gym.envs.sb3 import make_sb3_vec_env
from akd_gym.envs.synthetic import SyntheticEvaluator
from akd_gym.errors import CorruptFileError, StorageError


@pytest.fixture
def model(evaluator: SyntheticEvaluator) -> PPO:
    envs = make_sb3_vec_env(8, evaluator=evaluator)
    return PPO(**ppo_settings(envs, 48, seed=0)).learn(35 * 8)


def weights(model: OnPolicyAlgorithm) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.policy.state_dict().items()}


def test_agent_optimiser_and_random_states_come_back(model: PPO, tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, model)
    drawn = torch.rand(3).tolist(), np.random.normal(size=3).tolist()  # noqa: NPY002
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002
    loaded = load_checkpoint(path, model.get_env())
    assert (torch.rand(3).tolist(), np.random.normal(size=3).tolist()) == drawn  # noqa: NPY002
    assert loaded.num_timesteps == 35 * 8
    torch.testing.assert_close(weights(loaded), weights(model), rtol=0, atol=0)
    before, after = model.policy.optimizer.state_dict(), loaded.policy.optimizer.state_dict()
    torch.testing.assert_close(after["state"], before["state"], rtol=0, atol=0)
    assert after["param_groups"] == before["param_groups"]


def test_the_second_normal_deviate_is_not_lost(model: PPO, tmp_path: Path) -> None:
    """NumPy draws normal deviates in pairs and keeps one: it belongs to the state."""
    np.random.seed(0)  # noqa: NPY002
    np.random.normal()  # noqa: NPY002
    path = save_checkpoint(tmp_path, model)
    expected = np.random.normal()  # noqa: NPY002
    load_checkpoint(path, model.get_env())
    assert np.random.normal() == expected  # noqa: NPY002


def test_what_a_recurrent_agent_remembers_comes_back(evaluator: SyntheticEvaluator, tmp_path: Path) -> None:
    """It is saved in the middle of an episode here, where it matters what the LSTM has seen."""
    envs = make_sb3_vec_env(4, evaluator=evaluator)
    model = RecurrentPPO(**rnn_settings(envs, 48, seed=0, n_steps=40, batch_size=160)).learn(160)
    states = model._last_lstm_states
    assert states is not None
    assert states.pi[0].abs().sum() > 0
    loaded = load_checkpoint(save_checkpoint(tmp_path, model), envs, RecurrentPPO)
    torch.testing.assert_close(loaded._last_lstm_states, states, rtol=0, atol=0)
    torch.testing.assert_close(weights(loaded), weights(model), rtol=0, atol=0)


@pytest.mark.parametrize("damage", ["gone", "cut", "other shape"])
def test_a_damaged_memory_is_noticed(damage: str, evaluator: SyntheticEvaluator, tmp_path: Path) -> None:
    envs = make_sb3_vec_env(4, evaluator=evaluator)
    model = RecurrentPPO(**rnn_settings(envs, 48, seed=0))
    path = save_checkpoint(tmp_path, model)
    memory = path / "memory.npz"
    if damage == "gone":
        memory.unlink()
    elif damage == "cut":
        memory.write_bytes(memory.read_bytes()[:200])
    else:
        np.savez(memory, **{name: np.zeros((1, 1, 3), np.float32) for name in ("pi0", "pi1", "vf0", "vf1")})
    with pytest.raises(CorruptFileError, match="is damaged"):
        load_checkpoint(path, envs, RecurrentPPO)


def test_only_the_latest_is_kept(model: PPO, tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path) is None
    first = save_checkpoint(tmp_path, model)
    assert latest_checkpoint(tmp_path) == first
    model.num_timesteps += 280
    second = save_checkpoint(tmp_path, model)
    assert latest_checkpoint(tmp_path) == second
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["0000000560"]


def test_a_draft_of_a_killed_process_is_never_read(model: PPO, tmp_path: Path) -> None:
    draft = tmp_path / "checkpoints" / ".draft"
    draft.mkdir(parents=True)
    (draft / "agent.zip").write_bytes(b"half")
    assert latest_checkpoint(tmp_path) is None
    path = save_checkpoint(tmp_path, model)
    assert not draft.exists()
    load_checkpoint(path, model.get_env())


@pytest.mark.parametrize("name", ["agent.zip", "random.npz"])
def test_damage_is_noticed(model: PPO, tmp_path: Path, name: str) -> None:
    """Wherever a byte flips: either the same agent is read, or the damage is named."""
    path = save_checkpoint(tmp_path, model)
    expected, whole, rng = weights(model), (path / name).read_bytes(), random.Random(0)
    errors = []
    for _ in range(20):
        position = rng.randrange(len(whole))
        (path / name).write_bytes(whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1 :])
        try:
            torch.testing.assert_close(weights(load_checkpoint(path, model.get_env())), expected, rtol=0, atol=0)
        except CorruptFileError as error:
            errors.append(str(error))
    assert len(errors) > 10
    assert all(str(path) in error and "remove it" in error for error in errors)


@pytest.mark.parametrize("name", ["agent.zip", "random.npz"])
@pytest.mark.parametrize("kept", [0, 1000, None])
def test_files_cut_short_or_gone(model: PPO, tmp_path: Path, name: str, kept: int | None) -> None:
    path = save_checkpoint(tmp_path, model)
    if kept is None:
        (path / name).unlink()
    else:
        (path / name).write_bytes((path / name).read_bytes()[:kept])
    with pytest.raises(CorruptFileError, match="is damaged"):
        load_checkpoint(path, model.get_env())


def test_a_place_that_cannot_be_written(model: PPO, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be written: Not a directory"):
        save_checkpoint(tmp_path / "file", model)


def test_an_earlier_one_survives_a_failed_save(model: PPO, tmp_path: Path) -> None:
    first = save_checkpoint(tmp_path, model)
    model.num_timesteps += 280
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "save", lambda path: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(StorageError, match="No space left on device"):
            save_checkpoint(tmp_path, model)
    assert latest_checkpoint(tmp_path) == first
    load_checkpoint(first, model.get_env())
    shutil.rmtree(tmp_path / "checkpoints" / ".draft", ignore_errors=True)
