"""What a model zoo is: it describes its networks, builds them, and says where their published weights are.

Nothing is ever downloaded from here. Published weights are read from the zoo's own cache, where its own means put
them; what is not there is named, with its address and its place.
"""

from __future__ import annotations

import hashlib
import importlib
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from akd_gym.errors import TeacherError
from akd_gym.teachers.tasks import Scaling


@dataclass(frozen=True)
class Weights:
    """A file of published weights.

    Args:
        places: Where it is looked for, in this order; the first is where a user can put it.
        address: Where it is published.
        fetch: A line of Python that has the zoo itself fetch it.
        sha1: Of the file; None: its SHA-256 is in its name, as torch.hub and Hugging Face's cache keep it, or unknown.
    """

    places: tuple[Path, ...]
    address: str
    fetch: str
    sha1: str | None = None

    def locate(self, teacher: str) -> Path:
        """Return the file, its hash checked where one is known.

        Raises:
            TeacherError: It is in none of its places (with what to put where), or it is damaged.
        """
        path = next((place for place in self.places if place.is_file()), None)
        if path is None:
            raise TeacherError(
                f"Teacher {teacher!r} needs its weights, which are not on this machine and are never downloaded "
                f'unasked. Where there is a network:\n  python -c "{self.fetch}"\nOr put {self.address}\n'
                f"  at {self.places[0]}"
            )
        algorithm, expected = ("sha1", self.sha1) if self.sha1 else ("sha256", _sha256_in_name(path))
        if expected and not _digest(path, algorithm).startswith(expected):
            raise TeacherError(
                f"{path} is damaged or not what it is called: its {algorithm.upper()} must begin with {expected}. "
                f"Remove it and get {self.address} anew."
            )
        return path


@dataclass(frozen=True)
class Entry:
    """A network of a zoo, with its default or the named published weights.

    Args:
        name: Of the zoo, without its prefix.
        num_classes: Those its weights know; 0 if they only embed.
        in_channels: Channels that its weights take.
        scaling: How its weights want their pixels; None: the zoo does not say.
        weights: The file; None: there is none that loads without running code of its own.
    """

    name: str
    num_classes: int
    in_channels: int
    scaling: Scaling | None
    weights: Weights | None


class Zoo(ABC):
    """A library of networks.

    Attributes:
        prefix: Of its teachers' names, e.g. `"timm"`.
    """

    prefix: str

    @abstractmethod
    def describe(self, name: str) -> Entry:
        """Say what a network and its weights are, without building it.

        Raises:
            UnknownNameError: The zoo has no such network or no such weights.
            TeacherError: The zoo is not installed.
        """

    @abstractmethod
    def build(self, name: str, num_classes: int, in_channels: int) -> nn.Module:
        """Build a network with random weights: (B, in_channels, R, R) -> (B, num_classes).

        Raises:
            UnknownNameError: The zoo has no such network.
            TeacherError: The zoo is not installed, or cannot build the network so.
        """

    @abstractmethod
    def load(self, name: str, path: Path) -> nn.Module:
        """Build a network with its published weights, from a file that is there.

        Raises:
            TeacherError: The file holds anything but the network's weights.
        """


def import_zoo(package: str, module: str | None = None) -> Any:
    """Import a zoo that is an extra.

    Raises:
        TeacherError: It is not installed.
    """
    try:
        return importlib.import_module(module or package)
    except ImportError as error:
        raise TeacherError(
            f"Teachers of {package} need the package {package}: `pip install 'akd-gym[{package}]'` ({error})."
        ) from error


def fitting(teacher: str, path: Path, problem: object) -> TeacherError:
    """The error for a file that holds the weights of something else."""
    lines = [line.strip() for line in str(problem).strip().splitlines()] or [type(problem).__name__]
    return TeacherError(f"{path} does not hold the weights of {teacher!r}: {' '.join(lines[:3])}")


def _digest(path: Path, algorithm: str) -> str:
    digest = hashlib.new(algorithm)
    with path.open("rb") as file:
        while part := file.read(2**20):
            digest.update(part)
    return digest.hexdigest()


def _sha256_in_name(path: Path) -> str | None:
    """How a file's SHA-256 begins, by its name: `resnet18-f37072fd.pth`, or Hugging Face's blob behind a link."""
    blob = path.resolve().name
    if re.fullmatch("[0-9a-f]{64}", blob):
        return blob
    found = re.search(r"-([0-9a-f]{8,64})\.", path.name)
    return found.group(1) if found else None
