"""Distillation methods by name."""

from __future__ import annotations

from akd_gym.distill import METHODS
from akd_gym.distill.base import Distillation
from akd_gym.errors import AKDGymError, InvalidSettingError, UnknownNameError
from akd_gym.user_modules import import_user_module

EMBEDDING_METHODS: dict[str, str] = {
    "features": "akd_gym.distill.embedding:EmbeddingMSE",
    "cc": "akd_gym.distill.embedding:EmbeddingCC",
    "rco": "akd_gym.distill.embedding:EmbeddingRCO",
}
"""Where the class of each method for embeddings lives, as `module:Class`."""

NOT_FOR_EMBEDDINGS: dict[str, str] = {
    "hard": "it learns from class labels, and an embedding has no classes",
    "kd": "it distils class probabilities, and an embedding has none",
    "ta": "its assistants learn and teach by class probabilities, and an embedding has none",
}
"""Why the other methods make no sense there."""


def load_method(name: str) -> type[Distillation]:
    """The class of a method.

    Args:
        name: One of `METHODS`, or `"module:Class"` naming a `Distillation` of your own. Its module may also lie in the
            current directory.

    Raises:
        UnknownNameError: If no method has the name.
        InvalidSettingError: If `module:Class` cannot be imported or is no `Distillation`.
    """
    return _load(name, METHODS)


def load_embedding_method(name: str) -> type[Distillation]:
    """The class of a method where the student's output is an embedding (see `akd_gym.distill.embedding`).

    Args:
        name: One of `EMBEDDING_METHODS`, or `"module:Class"` as for `load_method`.

    Raises:
        UnknownNameError: If no method has the name.
        InvalidSettingError: If the method makes no sense for embeddings, with the reason, or as for `load_method`.
    """
    if name in NOT_FOR_EMBEDDINGS:
        raise InvalidSettingError(
            f"`method` must be one for embeddings ({', '.join(EMBEDDING_METHODS)}), but got {name!r}: "
            f"{NOT_FOR_EMBEDDINGS[name]}."
        )
    return _load(name, EMBEDDING_METHODS)


def _load(name: str, known: dict[str, str]) -> type[Distillation]:
    module, _, attribute = known.get(name, name).partition(":")
    if not (module and attribute):
        raise UnknownNameError("distillation method", name, [*known, "module:Class"])
    try:
        found = getattr(import_user_module(module), attribute)
    except AKDGymError:
        raise
    except Exception as error:  # importing a module runs it: it can raise anything
        raise InvalidSettingError(f"The method {name!r} must be importable, but got: {error!r}.") from error
    if not (isinstance(found, type) and issubclass(found, Distillation)):
        raise InvalidSettingError(f"The method {name!r} must be a class derived from `Distillation`, but is {found!r}.")
    return found
