"""Distillation methods by name: one class each behind one interface. Imported when first asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from akd_gym.distill.assistants import TA
    from akd_gym.distill.base import Answer, Batch, Distillation, Training
    from akd_gym.distill.correlation import CC
    from akd_gym.distill.embedding import EmbeddingCC, EmbeddingMSE, EmbeddingRCO
    from akd_gym.distill.features import FeatureMSE, FeatureTarget
    from akd_gym.distill.kd import KD, HardLabels
    from akd_gym.distill.registry import EMBEDDING_METHODS, load_embedding_method, load_method
    from akd_gym.distill.route import RCO

__all__ = [
    "CC",
    "EMBEDDING_METHODS",
    "KD",
    "METHODS",
    "RCO",
    "TA",
    "Answer",
    "Batch",
    "Distillation",
    "EmbeddingCC",
    "EmbeddingMSE",
    "EmbeddingRCO",
    "FeatureMSE",
    "FeatureTarget",
    "HardLabels",
    "Training",
    "load_embedding_method",
    "load_method",
]

METHODS: dict[str, str] = {
    "hard": "akd_gym.distill.kd:HardLabels",
    "kd": "akd_gym.distill.kd:KD",
    "rco": "akd_gym.distill.route:RCO",
    "ta": "akd_gym.distill.assistants:TA",
    "cc": "akd_gym.distill.correlation:CC",
    "features": "akd_gym.distill.features:FeatureMSE",
}
"""Where the class of each method lives, as `module:Class`."""

_HOMES = {
    "Answer": "base",
    "Batch": "base",
    "Distillation": "base",
    "Training": "base",
    "HardLabels": "kd",
    "KD": "kd",
    "RCO": "route",
    "TA": "assistants",
    "CC": "correlation",
    "FeatureMSE": "features",
    "FeatureTarget": "features",
    "EmbeddingCC": "embedding",
    "EmbeddingMSE": "embedding",
    "EmbeddingRCO": "embedding",
    "EMBEDDING_METHODS": "registry",
    "load_embedding_method": "registry",
    "load_method": "registry",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
