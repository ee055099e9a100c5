"""The file of a fitted latency table: JSON with everything that it is made from, and a checksum."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from akd_gym.device_lab.predictor.accuracy import Accuracy
from akd_gym.device_lab.predictor.features import FEATURES_VERSION, Form
from akd_gym.device_lab.predictor.fit import LatencyModel
from akd_gym.errors import AKDGymError, CorruptFileError, InvalidSettingError, SchemaVersionError, StorageError
from akd_gym.files import write_atomically

FORMAT = "akd_gym latency table"
SCHEMA_VERSION = 1
_CURE = "Fit it again with `akd latency fit`; what was measured is in its ledger and is not paid for again."


@dataclass(frozen=True)
class MeasuredNetwork:
    """One network behind a table.

    Attributes:
        architecture: Canonical string.
        latency_ms: As measured.
        predicted_ms: By fits that did not see it, on average.
        madds: Multiply-adds.
        operators_sha256: First digits of the hash of its operators (see `operators_hash`).
    """

    architecture: str
    latency_ms: float
    predicted_ms: float
    madds: int
    operators_sha256: str


@dataclass(frozen=True, kw_only=True)
class LatencyTable:
    """A fitted predictor, with what is needed to trust it or to measure on its device again.

    Attributes:
        model: The fit.
        spec: What names the device again, as `make_latency_meter` takes it.
        identity: `LatencyMeter.identity` of the device.
        device: Its name.
        device_id: Its hash, as in latency records.
        runtime: Inference engine and delegate.
        runtime_version: Of the engine.
        os: Operating system with version.
        soc: System on chip; None where it is not known.
        threads: Inference threads.
        input_shape: Of the networks measured: `(channels, height, width)`.
        classes: Outputs of the networks measured.
        space: Search space that they were drawn from, as `SearchSpace.to_json` gives it.
        data: Name of the images that the input shape is of; None where it was given in numbers.
        held_out: How far off predictions of networks were by fits that did not see them.
        madds_alone: The same of a fit to multiply-adds alone.
        networks: What was measured.
        failed: How many more could not be measured.
        warned: How many of the networks were measured with a warning, as on a busy machine.
        created: UTC time, ISO 8601.
        tool_version: Version of akd_gym.
    """

    model: LatencyModel
    spec: str
    identity: Mapping[str, Any]
    device: str
    device_id: str
    runtime: str
    runtime_version: str
    os: str
    soc: str | None
    threads: int
    input_shape: tuple[int, int, int]
    classes: int
    space: Mapping[str, Any]
    data: str | None
    held_out: Accuracy
    madds_alone: Accuracy
    networks: tuple[MeasuredNetwork, ...]
    failed: int
    warned: int
    created: str
    tool_version: str

    @property
    def sha256(self) -> str:
        """Hash of all content."""
        return hashlib.sha256(_canonical(self.to_dict())).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """In JSON types; `from_dict` is the inverse."""
        plain: dict[str, Any] = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return plain | {
            "format": FORMAT,
            "schema_version": SCHEMA_VERSION,
            "features_version": FEATURES_VERSION,
            "model": {
                "form": dataclasses.asdict(self.model.form),
                "coefficients": dict(self.model.coefficients),
                "largest": dict(self.model.largest),
                "range_ms": list(self.model.range_ms),
            },
            "identity": dict(self.identity),
            "space": dict(self.space),
            "input_shape": list(self.input_shape),
            "held_out": self.held_out.to_dict(),
            "madds_alone": self.madds_alone.to_dict(),
            "networks": [dataclasses.asdict(network) for network in self.networks],
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> LatencyTable:
        """The inverse of `to_dict`.

        Raises:
            KeyError: A field is missing.
            TypeError: One is unknown or of another type.
        """
        values = {name: value for name, value in plain.items() if name not in ("format", *_VERSIONS)}
        model = values["model"]
        return cls(
            **values
            | {
                "model": LatencyModel(
                    Form(**model["form"]),
                    dict(model["coefficients"]),
                    dict(model["largest"]),
                    (model["range_ms"][0], model["range_ms"][1]),
                ),
                "input_shape": tuple(values["input_shape"]),
                "held_out": Accuracy.from_dict(values["held_out"]),
                "madds_alone": Accuracy.from_dict(values["madds_alone"]),
                "networks": tuple(MeasuredNetwork(**network) for network in values["networks"]),
            }
        )


_VERSIONS = {"schema_version": SCHEMA_VERSION, "features_version": FEATURES_VERSION}


def write_table(path: str | Path, table: LatencyTable) -> Path:
    """Write a table, whole or not at all.

    Raises:
        StorageError: It cannot be written; an old file is as it was.
    """
    document = table.to_dict() | {"sha256": table.sha256}
    return write_atomically(path, (json.dumps(document, indent=1, sort_keys=True, allow_nan=False) + "\n").encode())


def read_table(path: str | Path) -> LatencyTable:
    """Read a table.

    Raises:
        StorageError: The file is missing or cannot be read.
        InvalidSettingError: It is a JSON file, but no latency table.
        SchemaVersionError: Another version of this package wrote it, in a way that this one does not know.
        CorruptFileError: It is damaged.
    """
    path = Path(path)
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise StorageError(
            f"The latency table {path} cannot be read: {error.strerror or error}. `akd latency fit` makes one."
        ) from error
    except (ValueError, RecursionError) as error:
        raise CorruptFileError(f"The latency table {path} must be JSON, but it is damaged: {error}. {_CURE}") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InvalidSettingError(f"{path} must be a latency table that `akd latency fit` wrote, but it is none.")
    for name, known in _VERSIONS.items():
        if document.get(name) != known:
            raise SchemaVersionError(
                f"`{name}` of the latency table {path} must be {known}, but got {document.get(name)!r}: another "
                f"version of akd_gym wrote it. Update this one, or fit again with `akd latency fit`."
            )
    stated = document.pop("sha256", None)
    if stated != hashlib.sha256(_canonical(document)).hexdigest():
        raise CorruptFileError(f"The latency table {path} does not fit its checksum: it was changed. {_CURE}")
    try:
        return LatencyTable.from_dict(document)
    except AKDGymError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise CorruptFileError(
            f"The latency table {path} lacks or holds what it must not: {error!r}. {_CURE}"
        ) from error


def _canonical(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
