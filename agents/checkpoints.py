"""Checkpoints of a search's agent: SB3's own file and the random states, complete or not there at all."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from akd_gym.errors import CorruptFileError, StorageError

_FOLDER = "checkpoints"


def save_checkpoint(run: Path, model: BaseAlgorithm) -> Path:
    """Save agent and random states as `run/checkpoints/STEPS`; earlier ones are removed afterwards.

    Raises:
        StorageError: If it cannot be written; earlier checkpoints are as they were.
    """
    folder = run / _FOLDER
    final = folder / f"{model.num_timesteps:010d}"
    draft = folder / ".draft"
    try:
        if final.exists():  # a resumed search begins where it was saved
            return final
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        model.save(draft / "agent.zip")
        _, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002 - the state SB3 draws from
        np.savez(
            draft / "random.npz",
            torch=torch.get_rng_state().numpy(),
            numpy_keys=keys,
            numpy_rest=np.array([position, has_gauss, gauss]),
        )
        draft.rename(final)
        for old in folder.iterdir():
            if old != final:
                shutil.rmtree(old)
    except OSError as error:
        raise StorageError(f"The checkpoint {final} cannot be written: {error.strerror or error}.") from error
    return final


def latest_checkpoint(run: Path) -> Path | None:
    """The newest checkpoint of a run, or None."""
    folder = run / _FOLDER
    found = sorted(path for path in folder.glob("*") if path.name != ".draft") if folder.is_dir() else []
    return found[-1] if found else None


def load_checkpoint(checkpoint: Path, envs: VecEnv) -> PPO:
    """Load the agent and set the global random states to what they were.

    SB3's file is a pickle inside: load checkpoints of your own runs only.

    Raises:
        CorruptFileError: If a file of it is damaged.
    """
    try:
        model = PPO.load(checkpoint / "agent.zip", env=envs)
        with np.load(checkpoint / "random.npz", allow_pickle=False) as random:
            state: dict[str, Any] = dict(random)
    except Exception as error:  # a damaged pickle raises anything
        raise CorruptFileError(
            f"The checkpoint {checkpoint} is damaged ({error}): remove it, and the search begins its agent anew "
            "while the ledger keeps every evaluation."
        ) from error
    position, has_gauss, gauss = state["numpy_rest"].tolist()
    np.random.set_state(("MT19937", state["numpy_keys"], int(position), int(has_gauss), gauss))  # noqa: NPY002
    torch.set_rng_state(torch.from_numpy(state["torch"]))
    return model
