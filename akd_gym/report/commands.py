"""The command that trains what a search found."""

from __future__ import annotations

from akd_gym.agents.settings import SearchSettings
from akd_gym.recipes import full_recipe


def training_words(architecture: str, settings: SearchSettings, out: str) -> list[str]:
    """The words of the command that trains a student fully on what it was searched with.

    Args:
        architecture: The canonical string.
        settings: Of the search.
        out: The folder to train into.
    """
    words = ["akd", "train", architecture, "--data", settings.data, "--out", out]
    words += ["--method", "hard"] if settings.teacher == "none" else ["--method", "kd", "--teacher", settings.teacher]
    if settings.recipe.resolution not in (None, full_recipe(settings.data).resolution):
        words += ["--resolution", str(settings.recipe.resolution)]
    if settings.device != "cpu":
        words += ["--device", settings.device]
    return words
