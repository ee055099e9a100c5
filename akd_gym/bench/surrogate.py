"""AKDBench's model: what any network of the space would reach under each signal, and what it would cost.

Accuracy is one surface that all signals share plus a small difference of each: with the *mean* of the signals, the
*gain* of the soft labels over hard ones and the *preference* for the first teacher over the second,

    hard labels     mean - 2/3 gain
    first teacher   mean + 1/3 gain + 1/2 preference
    second teacher  mean + 1/3 gain - 1/2 preference

Each of the three is linear in features of the network. The mean may have a bend (a Gaussian kernel) besides, gain and
preference may depend on the mean. Latency is a sum over blocks. `akd_gym.bench.fit` fits it. This module needs NumPy
alone.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akd_gym.bench.blocks import BlockTables
from akd_gym.bench.plan import bench_space
from akd_gym.errors import CorruptFileError, SchemaVersionError, StorageError
from akd_gym.files import write_atomically
from akd_gym.space import Choices

Array = NDArray[np.float64]

_DAMAGE = (  # what NumPy and zipfile raise on files that are not whole
    *(ValueError, KeyError, TypeError, EOFError, OSError, RuntimeError, struct.error),
    *(zipfile.BadZipFile, zlib.error),
)

SURROGATE_FILE = "surrogate.npz"
SHIPPED = Path(__file__).resolve().parents[1] / "assets" / "bench"
"""Folder of the tables and the surrogate that come with the package."""

VERSION = 1
LOGS = ("log_madds", "log_params", "log_latency_ms")
"""Features of a network besides those of its block rows."""

COMPONENTS = ("mean", "gain", "preference")
MIXING = np.array([[1.0, -2 / 3, 0.0], [1.0, 1 / 3, 1 / 2], [1.0, 1 / 3, -1 / 2]])
"""How each signal, in the order of `SIGNALS`, is made of `COMPONENTS`."""


@dataclass(frozen=True, eq=False)
class Surrogate:
    """The fitted model. Features are those of `BlockTables`, then `LOGS`; accuracies are fractions.

    Attributes:
        linear: Of mean, gain and preference: the weight of each feature, then the constant; shape (3, features + 1).
        of_mean: By how much gain and preference grow with the mean, shape (2,).
        projection: From features to the space in which the bend knows near from far; shape (dimensions, features).
        support: Choices of the networks that the bend remembers; shape (networks, decisions), without networks where
            there is no bend.
        support_weights: Of each of those, shape (networks,).
        latency_ms: What each block row adds to the latency, shape (rows,); the first block's hold what all share.
        seconds: Of the logarithm of the seconds of a training, as a row of `linear`.
        residuals: By how much one training is off, for networks of unit noise: joint draws for all signals; shape
            (draws, signals).
        noise_scale: `intercept`, `slope`, `low` and `high`: the logarithm of a network's noise is
            `intercept + slope * mean`, with the mean kept within `low` to `high`.
        about: What it was made of: plain JSON.
    """

    linear: Array
    of_mean: Array
    projection: Array
    support: NDArray[np.int8]
    support_weights: Array
    latency_ms: Array
    seconds: Array
    residuals: Array
    noise_scale: Array
    about: Mapping[str, Any]

    @property
    def hash(self) -> str:
        """SHA-256 of everything in it, the hash of the data that it was fitted to included."""
        digest = hashlib.sha256(json.dumps(self.about, sort_keys=True).encode())
        for name, array in self.arrays().items():
            digest.update(f"{name} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
        return digest.hexdigest()

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All but `about`, by name."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "about"}

    @cached_property
    def projected_support(self) -> Array:
        """The networks that the bend remembers, shape (networks, dimensions)."""
        return self.features([tuple(row) for row in self.support.tolist()]) @ self.projection.T

    def features(self, architectures: Sequence[Choices]) -> Array:
        """Features of networks given by their choices; shape (networks, features)."""
        return network_features(self.latency_ms, architectures)

    def components(self, features: Array) -> Array:
        """Mean, gain and preference of networks.

        Args:
            features: Shape (networks, features).

        Returns:
            Shape (networks, 3).
        """
        found = features @ self.linear[:, :-1].T + self.linear[:, -1]
        if len(self.support):
            distances = squared_distances(features @ self.projection.T, self.projected_support)
            found[:, 0] += np.exp(-distances) @ self.support_weights
        found[:, 1:] += found[:, :1] * self.of_mean
        return found

    def accuracies(self, features: Array) -> Array:
        """Noiseless accuracies of networks, shape (networks, signals)."""
        return np.clip(self.components(features) @ MIXING.T, 0, 1)

    def noise(self, mean: Array) -> Array:
        """The scale of the noise of networks of these means; likewise shape (networks,)."""
        intercept, slope, low, high = self.noise_scale
        return np.exp(intercept + slope * np.clip(mean, low, high))


def squared_distances(a: Array, b: Array) -> Array:
    """Between all rows of one and all rows of the other, shape (len(a), len(b))."""
    return np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T, 0)


def write_surrogate(path: Path, surrogate: Surrogate) -> Path:
    """Write the model; the same model gives the same bytes.

    Raises:
        StorageError: It cannot be written.
    """
    content = io.BytesIO()
    texts = {"about": json.dumps(surrogate.about, sort_keys=True), "hash": surrogate.hash}
    np.savez_compressed(
        content,
        allow_pickle=False,
        **{name: np.frombuffer(text.encode(), dtype=np.uint8) for name, text in texts.items()},
        **surrogate.arrays(),
    )
    return write_atomically(path, content.getvalue())


def read_surrogate(path: Path) -> Surrogate:
    """Read a model and check it against its hash.

    Raises:
        StorageError: It cannot be read.
        CorruptFileError: It is damaged, or not what it says.
        SchemaVersionError: A newer version of this package wrote it.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror or error}.") from error
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        about = json.loads(arrays.pop("about").tobytes())
        said = arrays.pop("hash").tobytes().decode()
        version = about["version"]
        if version == VERSION:
            surrogate = Surrogate(**arrays, about=about)
            if surrogate.hash != said:
                raise ValueError(f"its hash is {surrogate.hash[:16]} and not {said[:16]}")
            return surrogate
    except _DAMAGE as error:
        raise CorruptFileError(
            f"{path} must be a whole surrogate, but: {error}. Make it again with `akd bench fit`, or reinstall akd-gym."
        ) from error
    raise SchemaVersionError(
        f"{path} must be a surrogate of version {VERSION}, but is of version {version}. Use a newer akd-gym."
    )


@lru_cache(maxsize=1)
def load_surrogate() -> Surrogate:
    """The surrogate that comes with the package.

    Raises:
        StorageError: It is missing.
        CorruptFileError: It is damaged.
    """
    return read_surrogate(SHIPPED / SURROGATE_FILE)


@lru_cache(maxsize=1)
def bench_tables() -> BlockTables:
    """The block rows of AKDBench's space."""
    return BlockTables(bench_space())


def network_features(latency_ms: Array, architectures: Sequence[Choices]) -> Array:
    """Features of networks of AKDBench's space, given by their choices.

    Args:
        latency_ms: Of each block row.
        architectures: Choices of each network.

    Returns:
        Shape (networks, features).
    """
    tables = bench_tables()
    if not architectures:
        return np.zeros((0, len(tables.feature_names) + len(LOGS)))
    places = np.array([[row.place for row in tables.look_up(choices)] for choices in architectures])
    logs = np.log(np.column_stack([tables.costs[places].sum(1), latency_ms[places].sum(1)]))
    return np.concatenate([tables.features[places].sum(1), logs], axis=1)
