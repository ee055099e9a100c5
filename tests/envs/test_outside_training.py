"""Programs that were not written for this package train on its environments unchanged."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from stable_baselines3 import PPO

import akd_gym
from akd_gym.agents import ppo_settings
from akd_gym.agents.policies import MaskedActorCriticPolicy
from akd_gym.envs.vector import VECTOR_ENVS

ZOO = Path(akd_gym.__file__).parent / "assets" / "rl_zoo" / "ppo.yml"
HYPER_PARAMETERS = yaml.safe_load(ZOO.read_text(encoding="utf-8"))


def run(*arguments: str | Path, folder: Path) -> str:
    command = [sys.executable, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.slow
def test_a_single_file_ppo_in_cleanrls_manner(tmp_path: Path) -> None:
    script = Path(__file__).with_name("cleanrl_style_ppo.py")
    text = run(script, "--env-id", "AKDBench-v0", "--total-timesteps", "2000", folder=tmp_path)
    episodes = [json.loads(line) for line in text.splitlines()]
    # Gymnasium's default autoreset takes a step of its own: 36 an episode, two in 72 steps of each of 4 environments,
    # in the 6 whole batches of 288 that fit in 2,000 steps
    assert len(episodes) == 6 * 2 * 4
    assert {episode["length"] for episode in episodes} == {35}
    assert all(0.3 < episode["return"] < 1 for episode in episodes)
    assert len({episode["return"] for episode in episodes}) > 40


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("rl_zoo3") is None, reason="rl_zoo3 is not installed")
def test_rl_zoo_trains_with_the_hyper_parameters_that_we_ship(tmp_path: Path) -> None:
    text = run(
        *("-m", "rl_zoo3.train", "--algo", "ppo", "--env", "AKDBench-v0", "--gym-packages", "akd_gym"),
        *("-n", "700", "-f", tmp_path, "--conf-file", ZOO, "--seed", "0", "--device", "cpu"),
        folder=tmp_path,
    )
    assert "ep_rew_mean" in text
    assert (tmp_path / "ppo" / "AKDBench-v0_1" / "AKDBench-v0.zip").is_file()
    monitors = list((tmp_path / "ppo").rglob("*.monitor.csv"))
    episodes = sum(len(monitor.read_text().splitlines()) - 2 for monitor in monitors)  # two lines of header
    assert (len(monitors), episodes) == (8, 32)  # an update learns from 32 episodes, and so many are the least


@pytest.mark.slow
@pytest.mark.parametrize("env_id", ["AKDBenchOneShot-v0", "AKDBenchBox-v0"])
def test_the_hyper_parameters_of_the_one_step_forms_learn(env_id: str) -> None:
    entry = dict(HYPER_PARAMETERS[env_id])
    policy, num_envs, steps = entry.pop("policy"), entry.pop("n_envs"), entry.pop("n_timesteps")
    policy_kwargs = eval(entry.pop("policy_kwargs", "{}"))  # as RL-Zoo does
    envs = akd_gym.make_sb3_vec_env(num_envs, env_id)
    model = PPO(policy, envs, policy_kwargs=policy_kwargs, seed=0, device="cpu", stats_window_size=steps, **entry)
    rewards = [episode["r"] for episode in model.learn(steps).ep_info_buffer]
    early, late = np.array(rewards[:200]), np.array(rewards[-200:])
    assert late.mean() - early.mean() > 0.8 * early.std()


def test_the_file_names_ids_of_ours() -> None:
    assert set(HYPER_PARAMETERS) <= set(VECTOR_ENVS)
    assert "AKDBench-v0" in HYPER_PARAMETERS


def test_rl_zoos_hyper_parameters_are_those_of_a_search_of_1000() -> None:
    """What `ppo_settings` says is what the file says: whoever tunes the one has to write the other."""
    entry = dict(HYPER_PARAMETERS["AKDBench-v0"])
    envs = akd_gym.make_sb3_vec_env(entry.pop("n_envs"), "AKDBench-v0")
    assert entry.pop("n_timesteps") == 35 * 1000
    assert entry.pop("policy") == f"{MaskedActorCriticPolicy.__module__}.{MaskedActorCriticPolicy.__qualname__}"
    entry["policy_kwargs"] = eval(entry["policy_kwargs"])  # as RL-Zoo does
    expected = ppo_settings(envs, 1000)
    for name, value in entry.items():
        assert value == pytest.approx(expected[name]) if isinstance(value, float) else value == expected[name], name
    left_out = {"policy", "env", "seed", "device", "normalize_advantage"}  # the last is PPO's default
    assert entry.keys() == expected.keys() - left_out
