"""Settings of a search, as one frozen dataclass: they make the command line, and lie beside the run as JSON.

This module imports no torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from akd_gym.errors import CorruptFileError, InvalidSettingError, RunMismatchError, SchemaVersionError
from akd_gym.recipes import RECIPES, Recipe, default_recipe

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class SearchSettings:
    """What to search, with what, and how long."""

    space: str = "akd"
    """Search space: akd (the paper's 35 decisions), mnas (MnasNet's 42), or module:attribute."""
    skeleton: str | None = None
    """What the decisions vary: small or mnasnet; by default small up to 64 px, mnasnet beyond."""
    teacher: str = "shipped:inception"
    """Who is distilled: shipped:resnet|inception|mixer, file:PATH@ARCHITECTURE, or none for hard labels."""
    data: str = "fashion"
    """Images: fashion (in the package), imagefolder:PATH, cifar10:PATH, cifar100:PATH, imagenet:PATH, ..."""
    cost: Literal["latency", "madds"] = "latency"
    """What accuracy is weighed against."""
    latency: str = "host"
    """Where latency is measured: host is this machine, one pinned core."""
    target_ms: float | None = None
    """Latency to aim at, in milliseconds; by default that of the space's reference architecture."""
    target_madds: float | None = None
    """Multiply-adds to aim at, where they are the cost; by default those of the reference architecture."""
    reward: Literal["absolute", "soft", "hard"] = "absolute"
    """absolute keeps to the target; soft is the paper's accuracy x (cost / target)^-0.07; hard cuts above it."""
    reward_weight: float | None = None
    """Weight of the cost in the reward; by default the kind's own."""
    budget: int = 48
    """Candidates to evaluate."""
    round_size: int = 8
    """Candidates of a round: evaluated side by side, then the agent learns from them."""
    workers: int | None = None
    """Students trained at once; by default one a core."""
    device: str = "cpu"
    """Where students are trained: cpu or cuda."""
    seed: int = 0
    """Of the agent and of the students' initial weights."""
    ledger: Path | None = None
    """A ledger shared with other searches; by default one in the run directory."""
    recipe: Recipe = field(default_factory=lambda: RECIPES["fashion"])
    """How each candidate is trained."""

    def __post_init__(self) -> None:
        for name in ("budget", "round_size"):
            if getattr(self, name) < 1:
                raise InvalidSettingError(f"`{name}` must be at least 1, but got {getattr(self, name)}.")
        if self.budget % self.round_size:
            raise InvalidSettingError(
                f"`budget` must be a multiple of `round_size` ({self.round_size}), but got {self.budget}."
            )
        for name, cost in (("target_ms", "latency"), ("target_madds", "madds")):
            target = getattr(self, name)
            if target is not None and self.cost != cost:
                raise InvalidSettingError(f"`{name}` needs `cost={cost}`, but the cost is {self.cost}.")
            if target is not None and not target > 0:
                raise InvalidSettingError(f"`{name}` must be positive, but got {target}.")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; `from_json` is the inverse."""
        plain = asdict(self) | {"schema_version": SCHEMA_VERSION}
        return plain | {"ledger": None if self.ledger is None else str(self.ledger)}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> SearchSettings:
        """Inverse of `to_json`.

        Raises:
            SchemaVersionError: A newer version of this package wrote it.
            InvalidSettingError: A field is unknown or its value cannot work.
        """
        values = dict(plain)
        version = values.pop("schema_version", 1)
        if version > SCHEMA_VERSION:
            raise SchemaVersionError(
                f"The settings have schema version {version}, but this akd_gym knows up to {SCHEMA_VERSION}: update it."
            )
        known = {f.name for f in fields(cls)}
        if not set(values) <= known:
            raise InvalidSettingError(f"Settings have the fields {sorted(known)}, but got {sorted(values)}.")
        values["recipe"] = Recipe(**values["recipe"])
        values["ledger"] = None if values["ledger"] is None else Path(values["ledger"])
        return cls(**values)

    def env_kwargs(self) -> dict[str, Any]:
        """The arguments of `AKDSearchEnv` that go beside an evaluator made from these settings."""
        return {
            "target_ms": self.target_ms,
            "target": self.target_madds,
            "reward": self.reward,
            "reward_weight": self.reward_weight,
        }


PRESETS: dict[str, SearchSettings] = {
    "default": SearchSettings(),
    "paper": SearchSettings(
        teacher="timm:inception_resnet_v2",
        data="imagenet:/data/imagenet",
        latency="phone",
        target_ms=15.0,
        reward="soft",
        budget=10_000,
        round_size=20,
        device="cuda",
        recipe=RECIPES["paper"],
    ),
}
"""`paper` is section 3.2: ~10,000 candidates of 5 ImageNet epochs each, at 15 ms on a phone."""


def settings_for(data: str) -> SearchSettings:
    """The defaults for a data set."""
    return SearchSettings(data=data, recipe=default_recipe(data))


def read_settings(run: Path) -> SearchSettings:
    """The settings of a run directory.

    Raises:
        RunMismatchError: If `run` is no run directory.
        CorruptFileError: If the settings cannot be read.
    """
    path = run / "settings.json"
    try:
        return SearchSettings.from_json(json.loads(path.read_text()))
    except FileNotFoundError as error:
        raise RunMismatchError(f"{run} must be the directory of a search, but it has no settings.json.") from error
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, (InvalidSettingError, SchemaVersionError)):
            raise
        raise CorruptFileError(f"{path} must hold the settings of a search as JSON, but: {error}.") from error
