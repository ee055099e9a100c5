"""Weights in a file: read without running code from it, and fitted to a network.

A checkpoint is never unpickled beyond tensors: safetensors, or `torch.load(weights_only=True)`.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor, nn

from akd_gym.errors import TeacherError


def read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a state dict and, from safetensors, its metadata.

    Raises:
        TeacherError: There is no such file, or it is not whole, or it holds more than tensors by name.
    """
    if not path.is_file():
        raise TeacherError(f"No checkpoint file at {path}.")
    if path.suffix == ".safetensors":
        try:
            with safetensors.safe_open(path, "pt") as file:
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
                return tensors, file.metadata() or {}
        except safetensors.SafetensorError as error:
            raise TeacherError(f"{path} is not a whole safetensors file: {error}.") from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise TeacherError(
            f"{path} must be a state dict that loads with weights_only=True (tensors only; anything else in a pickle "
            "could run code, so it is refused). Save it as `torch.save(model.state_dict(), path)` or as safetensors. "
            f"What was found: {str(error).splitlines()[0]}"
        ) from error
    for wrapper in ("state_dict", "model"):  # how training scripts commonly nest it
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise TeacherError(f"{path} must hold a state dict (names to tensors), but holds {type(state).__name__}.")
    return {key.removeprefix("module."): value for key, value in state.items()}, {}


def read_record(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """Read what is known of a checkpoint beside its weights.

    Args:
        path: The checkpoint. A JSON file of the same name beside it may hold `mean`, `std` (per channel, of
            images / 255), `resolution` (pixels) and `classes` (names in order); `akd teacher train` writes it.
        metadata: Of the safetensors file, whose `"teacher"` prevails.

    Raises:
        TeacherError: It cannot be read.
    """
    beside = path.with_suffix(".json")
    texts = [(beside, beside.read_text())] if beside.is_file() and beside != path else []
    if "teacher" in metadata:
        texts.append((path, metadata["teacher"]))
    record: dict[str, Any] = {}
    for source, text in texts:
        try:
            found = json.loads(text)
        except ValueError as error:
            raise TeacherError(f"What {source} says of the teacher {path} is not JSON: {error}.") from error
        if not isinstance(found, dict):
            raise TeacherError(
                f"What {source} says of the teacher {path} must be an object with `mean`, `std`, `resolution` or "
                f"`classes`, but is {type(found).__name__}."
            )
        record |= found
    _check_record(record, path)
    return record


def _check_record(record: Mapping[str, Any], path: Path) -> None:
    """Refuse values of other types than `read_record` says."""

    def listed(value: object, kind: type | tuple[type, ...]) -> bool:
        return isinstance(value, list) and all(isinstance(one, kind) for one in value)

    right = {
        "mean": lambda value: listed(value, (int, float)),
        "std": lambda value: listed(value, (int, float)),
        "resolution": lambda value: value is None or (type(value) is int and value > 0),
        "classes": lambda value: listed(value, str),
    }
    for key, holds in right.items():
        if key in record and not holds(record[key]):
            raise TeacherError(
                f"The record of teacher {path} must give `mean` and `std` as lists of numbers, `resolution` as pixels "
                f"or null and `classes` as a list of names, but gives {key!r} as {record[key]!r}."
            )


def rename_in_order(state: Mapping[str, Tensor], module: nn.Module, name: str) -> dict[str, Tensor]:
    """Give weights the names of a network's, the first to the first, where both are the same network by another author.

    Raises:
        TeacherError: There are not as many, or one differs in shape or kind (`weight`, `bias`, `running_mean`, ...).
    """
    own = module.state_dict()
    if len(state) != len(own):
        raise TeacherError(
            f"Teacher {name!r} must have as many tensors in its file as its network to be loaded in order, but has "
            f"{len(state)} and {len(own)}: it is another network."
        )
    for theirs, ours in zip(state, own, strict=True):
        if _kind(theirs, state) != _kind(ours, own):
            raise TeacherError(
                f"Teacher {name!r} cannot be loaded in order: {theirs} {tuple(state[theirs].shape)} stands where the "
                f"network has {ours} {tuple(own[ours].shape)}."
            )
    return dict(zip(own, state.values(), strict=True))


def fit_state(module: nn.Module, state: Mapping[str, Tensor], name: str, wanted: str) -> None:
    """Load weights by name, or say how they differ from the network.

    Args:
        module: The network.
        state: Its weights.
        name: Of the teacher.
        wanted: What the network was built for, in words.

    Raises:
        TeacherError: A weight is missing, of another shape, or not in the network.
    """
    own = module.state_dict()
    missing = [key for key in own if key not in state]
    extra = [key for key in state if key not in own]
    other = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    if not (missing or extra or other):
        module.load_state_dict(dict(state))
        return
    labelled = (("missing", missing), ("not in the network", extra), ("of another shape", other))
    problems = "; ".join(f"{label} ({len(keys)}): {_first(keys)}" for label, keys in labelled if keys)
    hint = ""
    if len(state) == len(own) and all(_kind(a, state) == _kind(b, own) for a, b in zip(state, own, strict=True)):
        hint = (
            f" All {len(own)} agree in order, though: if both are the same network, load them as "
            f"{name.replace('file:', 'file-in-order:', 1)}"
        )
    raise TeacherError(f"Teacher {name!r} does not fit a network for {wanted}. Weights {problems}.{hint}")


def _kind(key: str, state: Mapping[str, Tensor]) -> tuple[str, torch.Size]:
    return key.rpartition(".")[2], state[key].shape


def _first(keys: Sequence[str]) -> str:
    return ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "")
