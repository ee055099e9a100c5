"""Checkpoints of a search's agent: SB3's own file, random states and memory, complete or not there at all."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from sb3_contrib import RecurrentPPO
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.save_util import load_from_zip_file
from stable_baselines3.common.vec_env import VecEnv

from akd_gym.errors import CorruptFileError, RunMismatchError, StorageError

_Algorithm = TypeVar("_Algorithm", bound=OnPolicyAlgorithm)

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
        if isinstance(model, RecurrentPPO):  # SB3's file leaves what the LSTM remembers out
            np.savez(draft / "memory.npz", **_memory(model))
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


def load_checkpoint(checkpoint: Path, envs: VecEnv, algorithm: type[_Algorithm] = PPO) -> _Algorithm:  # type: ignore[assignment]
    """Load the agent and set the global random states to what they were.

    SB3's file is a pickle inside: load checkpoints of your own runs only.

    Args:
        checkpoint: Folder made by `save_checkpoint`.
        envs: What the agent goes on with.
        algorithm: What was saved.

    Raises:
        CorruptFileError: If a file of it is damaged.
    """
    try:
        model = algorithm.load(checkpoint / "agent.zip", env=envs)
        state = _read_arrays(checkpoint / "random.npz")
        if isinstance(model, RecurrentPPO):
            _set_memory(model, _read_arrays(checkpoint / "memory.npz"))
        torch_state = torch.from_numpy(state["torch"])
        position, has_gauss, gauss = state["numpy_rest"].tolist()
        numpy_state = ("MT19937", state["numpy_keys"], int(position), int(has_gauss), gauss)
    except Exception as error:  # a damaged pickle raises anything
        raise CorruptFileError(
            f"The checkpoint {checkpoint} is damaged ({error}): remove it, and the search begins its agent anew "
            "while the ledger keeps every evaluation."
        ) from error
    np.random.set_state(numpy_state)  # noqa: NPY002
    torch.set_rng_state(torch_state)
    return model


def load_policy(run: Path, model: OnPolicyAlgorithm) -> None:
    """Give an agent the policy that another run's has learned: its weights, and nothing of its optimiser.

    The optimiser's moments and the learning rate belong to that run's budget and to rewards that this search may weigh
    otherwise.

    Args:
        run: The other run's directory, which must be of the same agent and a space of the same decisions.
        model: Whose policy is set.

    Raises:
        RunMismatchError: If the run has no checkpoint, or its policy is one of another shape.
        CorruptFileError: If the checkpoint is damaged.
    """
    checkpoint = latest_checkpoint(run)
    if checkpoint is None:
        raise RunMismatchError(f"{run} must have a checkpoint to take a policy from, but has none.")
    try:
        _, parameters, _ = load_from_zip_file(checkpoint / "agent.zip", load_data=False)
        weights: Any = parameters["policy"]  # SB3 takes it for a tensor
    except Exception as error:  # a damaged file raises anything
        raise CorruptFileError(f"The checkpoint {checkpoint} is damaged ({error}): no policy can be taken.") from error
    try:
        model.policy.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise RunMismatchError(f"The policy in {checkpoint} must have this agent's shape, but: {reason}") from error


def _memory(model: RecurrentPPO) -> dict[str, Any]:
    """Hidden and cell states of actor and critic."""
    states = model._last_lstm_states
    assert states is not None
    named = {"pi": states.pi, "vf": states.vf}
    return {f"{name}{index}": tensor.numpy() for name, pair in named.items() for index, tensor in enumerate(pair)}


def _set_memory(model: RecurrentPPO, arrays: dict[str, Any]) -> None:
    pi, vf = ((torch.from_numpy(arrays[f"{name}0"]), torch.from_numpy(arrays[f"{name}1"])) for name in ("pi", "vf"))
    current = model._last_lstm_states
    assert current is not None
    if [t.shape for t in (*pi, *vf)] != [t.shape for t in (*current.pi, *current.vf)]:
        raise ValueError("the LSTM's states have another shape")
    model._last_lstm_states = RNNStates(pi, vf)


def _read_arrays(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)
