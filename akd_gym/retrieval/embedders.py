"""Whatever turns pictures into embeddings: a teacher, a student, or the pixels themselves."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from akd_gym.data import TaskData
from akd_gym.errors import StorageError
from akd_gym.images import Images
from akd_gym.networks import StudentNetwork
from akd_gym.retrieval.pictures import Reader
from akd_gym.student_answers import Normalise
from akd_gym.teachers import Teacher

_BATCH = 256
_PIXEL_SIDE = 32  # of the raw-pixel baseline: as much as it gains from, and an embedding of a bearable length


class Embedder(Protocol):
    """Embeds uint8 pictures (B, C, H, W): float32 (B, D), on their device."""

    def __call__(self, images: Tensor) -> Tensor:
        """Embed a batch."""


@dataclass(frozen=True)
class PixelEmbedder:
    """The baseline without learning: pixels at 32 px or less, each picture less its own mean."""

    def __call__(self, images: Tensor) -> Tensor:
        """Embed a batch; cosines of what comes out are correlations of pictures."""
        pixels = images.float()
        if max(images.shape[-2:]) > _PIXEL_SIDE:
            pixels = F.interpolate(pixels, (_PIXEL_SIDE, _PIXEL_SIDE), mode="bilinear", antialias=True)
        flat = pixels.flatten(1)
        return flat - flat.mean(1, keepdim=True)


@dataclass(frozen=True)
class StudentEmbedder:
    """A trained student.

    Attributes:
        network: In evaluation mode.
        data: How its pixels are scaled.
        layer: Where its embedding is: its outputs if it was taught an embedding, else the penultimate layer.
    """

    network: StudentNetwork
    data: TaskData
    layer: Literal["outputs", "penultimate"]

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Embed a batch."""
        prepared = Normalise(self.data, images.device)(images)
        return self.network(prepared) if self.layer == "outputs" else self.network.forward_features(prepared)


class CachedTeacher(Teacher):
    """A teacher who remembers the features of pictures seen before.

    Views of a picture recur (`Recipe.views`), for every student anew, and a face network may take a hundred times a
    student's time. Pictures are told by their bytes, so whoever asks gets what the teacher itself would say.

    Args:
        teacher: Who answers at first.
        limit_mib: How much to remember, MiB; what comes later is asked for every time.
    """

    def __init__(self, teacher: Teacher, limit_mib: float = 512.0) -> None:
        self.teacher, self._known = teacher, dict[bytes, NDArray[np.float32]]()
        self.name, self.weights_hash = teacher.name, teacher.weights_hash
        self.num_classes, self.in_channels = teacher.num_classes, teacher.in_channels
        self._most = int(limit_mib * 2**20 / (4 * teacher.feature_dim + 200))  # 200: of Python's objects

    @property
    def feature_dim(self) -> int:
        """See `Teacher.feature_dim`."""
        return self.teacher.feature_dim

    def logits(self, images: Tensor) -> Tensor:
        """See `Teacher.logits`."""
        return self.teacher.logits(images)

    def features(self, images: Tensor) -> Tensor:
        """See `Teacher.features`."""
        pictures = images.cpu().numpy()
        keys = [hashlib.blake2b(picture.tobytes(), digest_size=16).digest() for picture in pictures]
        new = list({key: row for row, key in enumerate(keys) if key not in self._known}.items())
        fresh: dict[bytes, NDArray[np.float32]] = {}
        if new:
            answers = self.teacher.features(images[torch.tensor([row for _, row in new], device=images.device)])
            fresh = {key: answer for (key, _), answer in zip(new, answers.cpu().numpy(), strict=True)}
            for key, answer in fresh.items():
                if len(self._known) < self._most:
                    self._known[key] = answer.copy()
        rows = [fresh[key] if key in fresh else self._known[key] for key in keys]
        return torch.from_numpy(np.stack(rows)).to(images.device)

    def to(self, device: str | torch.device) -> CachedTeacher:
        """See `Teacher.to`."""
        self.teacher.to(device)
        return self


def embed(embedder: Embedder, images: Images, device: torch.device) -> Tensor:
    """Embed a set of pictures, a batch at a time: float32 (N, D) on the CPU."""
    rows = torch.arange(len(images)).split(_BATCH)
    return torch.cat([embedder(part).float().cpu() for part in images.batches(rows, device)])


def embed_files(
    embedder: Embedder,
    paths: Sequence[Path],
    reader: Reader,
    index: Path,
    device: torch.device,
    on_block: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """Embed picture files into a memory-mapped index, a block at a time: a million pictures need no memory of theirs.

    Args:
        embedder: Who embeds.
        paths: The pictures, one or more.
        reader: Decodes them; those it leaves out have no row.
        index: The file, raw float32.
        device: Where to embed.
        on_block: Told how many files are done, and how many there are.

    Returns:
        float32 (N, D), mapped from the file.

    Raises:
        StorageError: The index cannot be written.
        DataError: Pictures are unreadable, see `Reader.blocks`.
    """
    rows, width = 0, 0
    try:
        with index.open("wb") as file:
            for pictures, places in reader.blocks(paths):
                answers = torch.cat([embedder(part.to(device)).float().cpu() for part in pictures.split(_BATCH)])
                answers.numpy().tofile(file)
                rows, width = rows + len(answers), answers.shape[1]
                if on_block is not None:
                    on_block(places[-1] + 1, len(paths))
        return np.memmap(index, np.float32, "r", shape=(rows, width)) if rows else np.empty((0, width), np.float32)
    except OSError as error:
        raise StorageError(f"The index {index} cannot be written: {error.strerror or error}.") from error
