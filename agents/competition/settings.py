"""What the agents of a competition compete at, and the file that says so in its directory."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from akd_gym.errors import (
    CorruptFileError,
    InvalidSettingError,
    RunMismatchError,
    SchemaVersionError,
    StorageError,
)
from akd_gym.files import write_atomically

SCHEMA_VERSION = 1
SETTINGS_FILE = "settings.json"


@dataclass(frozen=True)
class CompetitionSettings:
    """What all runs of one competition have in common. Agents and seeds are not among it: more may join.

    Attributes:
        budget: Evaluations that each agent has.
        teacher: AKDBench's.
        target_ms: Latency to aim at; None, until it is resolved, for the reference architecture's.
        noise: Whether agents see rewards with the noise of a training, or the noiseless ones.
        benchmark: Hash of AKDBench's surrogate; None until it is resolved.

    Raises:
        InvalidSettingError: A budget of less than 1, or a target that is not positive.
    """

    budget: int = 1000
    teacher: str = "shipped:resnet"
    target_ms: float | None = None
    noise: bool = True
    benchmark: str | None = None

    def __post_init__(self) -> None:
        if self.budget < 1:
            raise InvalidSettingError(f"`budget` must be at least 1 evaluation, but got {self.budget}.")
        if self.target_ms is not None and not 0 < self.target_ms < math.inf:
            raise InvalidSettingError(f"`target_ms` must be positive and finite, but got {self.target_ms}.")

    @property
    def target(self) -> float:
        """T in ms, of settings that are resolved."""
        assert self.target_ms is not None
        return self.target_ms

    def with_target_ratio(self, ratio: float, reference_ms: float) -> CompetitionSettings:
        """The same at so many times the cost of the reference architecture, rounded to be told in a command.

        Raises:
            InvalidSettingError: If `ratio` is not positive.
        """
        if not 0 < ratio < math.inf:
            raise InvalidSettingError(f"`target_ratio` must be positive and finite, but got {ratio}.")
        return replace(self, target_ms=float(f"{ratio * reference_ms:.6g}"))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; `from_json` is the inverse."""
        return {"schema_version": SCHEMA_VERSION} | asdict(self)

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> CompetitionSettings:
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
        unknown = sorted(set(values) - {f.name for f in fields(cls)})
        if unknown:
            raise InvalidSettingError(f"Settings have the fields {[f.name for f in fields(cls)]}, but got {unknown}.")
        return cls(**values)


def settle(folder: Path, settings: CompetitionSettings) -> None:
    """Make a directory that of a competition, or check that it is already.

    Raises:
        RunMismatchError: If it holds a competition with other settings.
        StorageError: If it cannot be written.
        CorruptFileError: If its settings cannot be read.
    """
    if not (folder / SETTINGS_FILE).exists():
        write_atomically(folder / SETTINGS_FILE, (json.dumps(settings.to_json(), indent=2) + "\n").encode())
        return
    there, wanted = read_settings(folder).to_json(), settings.to_json()
    differing = [f"{name} ({there[name]}, not {value})" for name, value in wanted.items() if there[name] != value]
    if differing:
        raise RunMismatchError(
            f"{folder} must hold a competition of these settings, but differs in {', '.join(differing)}. "
            "Choose another directory with --out."
        )


def read_settings(folder: Path) -> CompetitionSettings:
    """The settings of a competition's directory.

    Raises:
        RunMismatchError: If it is no such directory.
        StorageError: If they cannot be read.
        CorruptFileError: If they are damaged.
    """
    path = folder / SETTINGS_FILE
    try:
        return CompetitionSettings.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RunMismatchError(
            f"{folder} must be the directory of a competition, but it has no {SETTINGS_FILE}."
        ) from error
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, SchemaVersionError):
            raise
        raise CorruptFileError(f"{path} must hold the settings of a competition as JSON, but: {error}.") from error
