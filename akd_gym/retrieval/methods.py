"""Methods by the names of `akd retrieve`."""

from __future__ import annotations

from akd_gym.distill import Distillation, HardLabels, load_embedding_method


def load_face_method(name: str) -> type[Distillation]:
    """The class of a method.

    Args:
        name: `"hard"`, for a classifier whose penultimate layer embeds; or see `load_embedding_method`.

    Raises:
        UnknownNameError: If no method has the name.
        InvalidSettingError: See `load_embedding_method`.
    """
    return HardLabels if name == "hard" else load_embedding_method(name)
