"""The checkpoint of a full training: all that it needs to go on to the same result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors
import torch

from akd_gym.errors import CorruptFileError, RunMismatchError
from akd_gym.files import write_atomically
from akd_gym.tensor_files import tensor_file
from akd_gym.training import TrainingState


def save_state(path: Path, state: TrainingState, identity: dict[str, Any], loss: float) -> None:
    """Write a training state as safetensors: weights, momentum, average, and what training it belongs to.

    Raises:
        StorageError: If it cannot be written; an earlier checkpoint is as it was.
    """
    momentum = {str(index): buffer for index, buffer in enumerate(state.momentum)}
    parts = {"network": state.network, "method": state.method, "momentum": momentum, "average": state.average}
    tensors = {f"{part}.{name}": tensor for part, group in parts.items() for name, tensor in group.items()}
    about = {"epoch": str(state.epoch), "identity": json.dumps(identity), "loss": repr(loss)}
    write_atomically(path, tensor_file(tensors, about))


def load_state(path: Path, identity: dict[str, Any]) -> tuple[TrainingState, float]:
    """Read a training state and the mean loss of its last epoch.

    Raises:
        RunMismatchError: If it belongs to another training.
        CorruptFileError: If the file is damaged.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            about = file.metadata()
        found, epoch, loss = json.loads(about["identity"]), int(about["epoch"]), float(about["loss"])
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise CorruptFileError(f"The checkpoint {path} is damaged ({error}): remove it to begin anew.") from error
    differing = sorted(key for key in identity if json.loads(json.dumps(identity[key])) != found.get(key))
    if differing:
        raise RunMismatchError(
            f"{path.parent} holds the checkpoint of a training with other {', '.join(differing)}: take another."
        )
    parts: dict[str, dict[str, torch.Tensor]] = {"network": {}, "method": {}, "momentum": {}, "average": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    momentum = [parts["momentum"][str(index)] for index in range(len(parts["momentum"]))]
    return TrainingState(epoch, parts["network"], parts["method"], momentum, parts["average"]), loss
