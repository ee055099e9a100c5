"""Trained students on disk: their weights, and all that one must know to use them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import safetensors
import torch
from torch import Tensor

from akd_gym.architecture import NetworkSpec
from akd_gym.data import TaskData
from akd_gym.errors import CorruptFileError, RunMismatchError
from akd_gym.files import write_atomically
from akd_gym.tensor_files import tensor_file

STUDENT, RECORD = "student.safetensors", "record.json"


def save_student(path: Path, spec: NetworkSpec, state: dict[str, Tensor], data: TaskData) -> str:
    """Write the weights of a student, with what its pictures and answers mean; returns the file's SHA-256.

    Raises:
        StorageError: If it cannot be written; an earlier file is as it was.
    """
    about = {"architecture": str(spec), "classes": json.dumps(data.class_names), "mean": json.dumps(data.mean)}
    about |= {"std": json.dumps(data.std), "resolution": str(data.resolution), "channels": str(data.in_channels)}
    content = tensor_file(state, about)
    write_atomically(path, content)
    return hashlib.sha256(content).hexdigest()


def load_student(path: Path, spec: NetworkSpec) -> tuple[torch.nn.Module, dict[str, str]]:
    """Load a trained student in evaluation mode, with the metadata it was saved with.

    Raises:
        CorruptFileError: If the file is damaged, no student of ours, or not the one that the record beside it is of.
        RunMismatchError: If its weights are of another architecture.
    """
    from akd_gym.networks import build_network

    try:
        with safetensors.safe_open(path, "pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            about = file.metadata() or {}
        classes, channels = json.loads(about["classes"]), int(about["channels"])
    except (safetensors.SafetensorError, KeyError, ValueError, OSError) as error:
        raise CorruptFileError(f"{path} must be a student that `akd train` wrote, but: {error}.") from error
    if about["architecture"] != str(spec):
        raise RunMismatchError(f"{path} holds weights of '{about['architecture']}', not of '{spec}'.")
    recorded = _recorded_hash(path)
    if recorded is not None and recorded != hashlib.sha256(path.read_bytes()).hexdigest():
        raise CorruptFileError(
            f"{path} must have the SHA-256 that {RECORD} beside it says ({recorded[:12]}...), but is another file: "
            "`akd train` writes both anew."
        )
    network = build_network(spec, len(classes), channels)
    network.load_state_dict(weights)
    return network.eval(), about


def _recorded_hash(path: Path) -> str | None:
    """What the record beside a student says of the file; None if there is no record that does."""
    try:
        record = json.loads(path.with_name(RECORD).read_text(encoding="utf-8"))
        return str(record["files"][path.name]["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
