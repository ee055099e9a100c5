"""Settings of a search, as one frozen dataclass: they make the command line, and lie beside the run as JSON.

This module imports no torch.
"""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from akd_gym.bench import plan
from akd_gym.errors import (
    CorruptFileError,
    InvalidSettingError,
    RunMismatchError,
    SchemaVersionError,
    StorageError,
)
from akd_gym.files import write_atomically
from akd_gym.recipes import RECIPES, Recipe, default_recipe
from akd_gym.reward import Reward

SCHEMA_VERSION = 2
"""2 added `agent`, `evaluator`, `warm_start` and `policy`; what has none of them was PPO's on the proxy task."""

LEARNERS = ("ppo", "rnn")
"""Agents that search in rounds of `round_size` and keep checkpoints of what they have learned."""

SETTINGS_FILE = "settings.json"
_LARGEST_SEED = 2**32 - 1  # of NumPy's, which SB3 seeds


def optional(metavar: str) -> Any:
    """How the command line shows an option that may be left out and says itself what then holds."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint=_hint)


def _hint(default: str) -> str:
    return "" if default == "None" else f"(default: {default})"


@dataclass(frozen=True)
class SearchSettings:
    """What to search, with what, and how long."""

    agent: str = "ppo"
    """Who searches: ppo, rnn (the paper's, with an LSTM), random, evolution, tpe, ..., or module:function."""
    evaluator: Literal["proxy", "bench"] = "proxy"
    """Who says what candidates are worth: proxy trains and measures them, bench asks AKDBench, at once."""
    space: str = "akd"
    """Search space: akd (the paper's 35 decisions), mnas (MnasNet's 42), or module:attribute."""
    skeleton: Annotated[str | None, optional("NAME")] = None
    """What the decisions vary: small or mnasnet; by default small up to 64 px, mnasnet beyond."""
    teacher: str = "shipped:inception"
    """Who is distilled: shipped:resnet|inception|mixer, file:PATH@ARCHITECTURE, or none for hard labels."""
    data: str = "fashion"
    """Images: fashion (in the package), imagefolder:PATH, cifar10:PATH, cifar100:PATH, imagenet:PATH, ..."""
    cost: Literal["latency", "madds"] = "latency"
    """What accuracy is weighed against."""
    latency: str = "host"
    """Where latency comes from: host (this machine, one pinned core), phone (all that adb sees, of one model),
    phone:ADDRESS,..., mixed-phones, loopback (a phone without hardware), predicted:FILE (see akd latency fit)."""
    audit: Annotated[float | None, optional("SHARE")] = None
    """Where latency is predicted: measure this share of the candidates, and all finalists, on the device at the end."""
    target_ms: Annotated[float | None, optional("MS")] = None
    """Latency to aim at, in milliseconds; by default that of the space's reference architecture."""
    target_madds: Annotated[float | None, optional("COUNT")] = None
    """Multiply-adds to aim at, where they are the cost; by default those of the reference architecture."""
    reward: Literal["absolute", "soft", "hard"] = "absolute"
    """absolute keeps to the target; soft is the paper's accuracy x (cost / target)^-0.07; hard cuts above it."""
    reward_weight: Annotated[float | None, optional("WEIGHT")] = None
    """Weight of the cost in the reward; by default the kind's own."""
    budget: int = 48
    """Candidates to evaluate."""
    round_size: int = 8
    """Candidates of a round of ppo and rnn: evaluated side by side, then the agent learns from them."""
    workers: Annotated[int | None, optional("N")] = None
    """Students trained at once; by default one a core."""
    device: str = "cpu"
    """Where students are trained: cpu or cuda."""
    seed: int = 0
    """Of the agent and of the students' initial weights."""
    ledger: Annotated[Path | None, optional("FILE")] = None
    """A ledger shared with other searches; by default one in the run directory."""
    warm_start: Annotated[Path | None, optional("RUN|LEDGER")] = None
    """Evaluations of this teacher, task and device are taken over from here, and not paid for again."""
    policy: Annotated[Path | None, optional("RUN")] = None
    """Begin with what another run has learned: ppo and rnn with its policy, others with its best students."""
    recipe: Recipe = field(default_factory=lambda: RECIPES["fashion"])
    """How each candidate is trained."""

    def __post_init__(self) -> None:
        for name in ("budget", "round_size", "workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InvalidSettingError(f"`{name}` must be at least 1, but got {value}.")
        if not 0 <= self.seed <= _LARGEST_SEED:
            raise InvalidSettingError(f"`seed` must be from 0 to {_LARGEST_SEED}, but got {self.seed}.")
        if self.agent in LEARNERS and self.budget % self.round_size:
            raise InvalidSettingError(
                f"`budget` must be a multiple of `round_size` ({self.round_size}), but got {self.budget}."
            )
        for name, cost in (("target_ms", "latency"), ("target_madds", "madds")):
            target = getattr(self, name)
            if target is not None and self.cost != cost:
                raise InvalidSettingError(f"`{name}` needs `cost={cost}`, but the cost is {self.cost}.")
            if target is not None and not 0 < target < math.inf:
                raise InvalidSettingError(f"`{name}` must be positive and finite, but got {target}.")
        if self.audit is not None:
            if self.cost != "latency" or not self.latency.startswith("predicted:"):
                raise InvalidSettingError(
                    "`audit` must go with predicted latency (latency=predicted:FILE), but latency is measured: "
                    f"{self.latency!r}."
                )
            if not 0 <= self.audit <= 1:
                raise InvalidSettingError(f"`audit` must be from 0 to 1, but got {self.audit}.")
        if self.evaluator == "bench":
            _check_bench(self)
        Reward(self.reward, self.reward_weight)  # says what is wrong with them

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; `from_json` is the inverse."""
        plain = asdict(self) | {"schema_version": SCHEMA_VERSION}
        paths = {name: getattr(self, name) for name in _PATHS}
        return plain | {name: None if path is None else str(path) for name, path in paths.items()}

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
        unknown = sorted(set(values) - known)
        if unknown:
            raise InvalidSettingError(f"Settings have the fields {sorted(known)}, but got {unknown}.")
        if "recipe" in values:
            values["recipe"] = Recipe(**values["recipe"])
        values |= {name: Path(values[name]) for name in _PATHS if values.get(name) is not None}
        return cls(**values)

    def evaluator_kwargs(self) -> dict[str, Any]:
        """The arguments of `make_evaluator` but for `ledger`, `workers` and `announce`."""
        names = ("space", "skeleton", "teacher", "data", "cost", "latency", "recipe", "seed", "device")
        return {name: getattr(self, name) for name in names}

    def env_kwargs(self) -> dict[str, Any]:
        """The arguments of `AKDSearchEnv` that go beside an evaluator made from these settings."""
        return {
            "target_ms": self.target_ms,
            "target": self.target_madds,
            "reward": self.reward,
            "reward_weight": self.reward_weight,
        }


_PATHS = ("ledger", "warm_start", "policy")


def _check_bench(settings: SearchSettings) -> None:
    """Refuse settings other than those that AKDBench was made with."""
    fixed = {
        "teacher": plan.SIGNALS,
        "space": ("akd",),
        "skeleton": (None, "small"),
        "data": (plan.DATA,),
        "latency": ("host",),
        "device": ("cpu",),
        "recipe": (plan.RECIPE,),
    }
    for name, allowed in fixed.items():
        value = getattr(settings, name)
        if value not in allowed:
            words = "the benchmark's own" if name == "recipe" else " or ".join(map(repr, allowed))
            raise InvalidSettingError(
                f"`{name}` must be {words} with `evaluator=bench`, whose answers stand for nothing else, but got "
                f"{'another' if name == 'recipe' else repr(value)}. `settings_for(evaluator='bench')` has all of them."
            )


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


def settings_for(data: str = "fashion", evaluator: Literal["proxy", "bench"] = "proxy") -> SearchSettings:
    """The defaults for a data set, or for the benchmark: one of its teachers, and the recipe it was made with.

    Raises:
        InvalidSettingError: The benchmark is not about these images.
    """
    if evaluator == "bench":
        return SearchSettings(evaluator=evaluator, data=data, teacher=plan.SIGNALS[1], recipe=plan.RECIPE)
    return SearchSettings(data=data, recipe=default_recipe(data))


def write_settings(run: Path, settings: SearchSettings) -> None:
    """Make a directory the run directory of a new search, with a name of its own in ledgers that several share.

    Raises:
        StorageError: If it cannot be written.
    """
    document = {"search": f"{run.resolve().name}-{secrets.token_hex(4)}"} | settings.to_json()
    write_atomically(run / SETTINGS_FILE, (json.dumps(document, indent=2) + "\n").encode())


def read_settings(run: Path) -> SearchSettings:
    """The settings of a run directory.

    Raises:
        RunMismatchError: If `run` is no run directory.
        CorruptFileError: If the settings cannot be read.
    """
    return _read(run)[1]


def run_ledger(settings: SearchSettings, run: Path) -> Path:
    """The ledger of a run: its own, or the one that its settings name."""
    return settings.ledger or run / "ledger.sqlite"


def read_search_name(run: Path) -> str:
    """What the search of a run directory is called in its ledger, wherever the directory lies now.

    Raises:
        RunMismatchError: If `run` is no run directory.
        CorruptFileError: If the settings cannot be read.
    """
    return _read(run)[0]


def differing_fields(one: SearchSettings, other: SearchSettings) -> list[str]:
    """The fields in which two settings differ, those of the recipe as `recipe.epochs`."""
    return sorted(name for name, value in _flat(one).items() if value != _flat(other)[name])


def _flat(settings: SearchSettings) -> dict[str, Any]:
    plain = settings.to_json()
    recipe = plain.pop("recipe")
    return plain | {f"recipe.{name}": value for name, value in recipe.items()}


def _read(run: Path) -> tuple[str, SearchSettings]:
    path = run / SETTINGS_FILE
    try:
        document = dict(json.loads(path.read_text()))
        return str(document.pop("search", run.resolve().name)), SearchSettings.from_json(document)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RunMismatchError(f"{run} must be the directory of a search, but it has no {SETTINGS_FILE}.") from error
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, SchemaVersionError):
            raise
        raise CorruptFileError(f"{path} must hold the settings of a search as JSON, but: {error}.") from error
