"""Finding unreadable pictures before hours are spent on the others.

A file whose header is right can still be cut short or damaged inside, so every picture is decoded once, in the
cheapest way its format has: less than what one epoch of training decodes. What could be read is remembered by name,
size and time of the last change, so that only new and changed files are decoded again.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from akd_gym import picture_files
from akd_gym.cache import cache_dir
from akd_gym.errors import DataError, StorageError
from akd_gym.files import write_atomically
from akd_gym.picture_files import PictureFiles, printable

SHOWN = 5
"""How many unreadable pictures a message names."""
_BLOCK = 1024  # pictures whose checks wait in memory at a time


def find_unreadable(
    files: PictureFiles,
    positions: np.ndarray,
    threads: int,
    announce: Callable[[str], None] | None = None,
) -> dict[int, str]:
    """Check those pictures that are not known to be readable.

    Args:
        files: All pictures.
        positions: Which to check, int64 (n,).
        threads: That decode.
        announce: Told how many are checked, if any.

    Returns:
        Why each unreadable picture is so, by its position.

    Raises:
        StorageError: What is known cannot be kept.
    """
    kept = _kept_at(files.root)
    known = _read_known(kept)
    keys = _keys(files, positions)
    new = np.flatnonzero(~np.isin(keys, known))
    if not len(new):
        return {}
    if announce is not None:
        announce(f"Checking that {len(new):,} pictures below {printable(files.root)} are readable, once")
    unreadable = {}
    with ThreadPoolExecutor(threads) as workers:
        for start in range(0, len(new), _BLOCK):
            block = positions[new[start : start + _BLOCK]].tolist()
            for position, why in zip(block, workers.map(picture_files.check, map(files.path, block)), strict=True):
                if why is not None:
                    unreadable[position] = why
    good = keys[new][~np.isin(positions[new], list(unreadable))]
    if len(good):
        _write_known(kept, np.union1d(known, good))
    return unreadable


def name_all(files: PictureFiles, unreadable: dict[int, str]) -> list[str]:
    """Each unreadable picture with the reason, in the order of the files."""
    return [f"{printable(files.path(position))} ({why})" for position, why in sorted(unreadable.items())]


def tell_first(found: Sequence[str]) -> str:
    """Count unreadable pictures and name the first: `"2 unreadable pictures: a/3.png (truncated); ..."`."""
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return f"{len(found)} unreadable picture{'s' * (len(found) > 1)}: {'; '.join(found[:SHOWN])}{more}"


def refuse(found: Sequence[str]) -> DataError:
    """The error for unreadable pictures where the user did not choose to leave them out."""
    return DataError(
        f"{tell_first(found)}. Remove or replace them, or leave them out: append `?skip` to the name of the data."
    )


def _keys(files: PictureFiles, positions: np.ndarray) -> np.ndarray:
    """Identities of the pictures as they are now, uint64 (n,)."""
    keys = np.empty(len(positions), np.uint64)
    for row, (position, about) in enumerate(zip(positions.tolist(), files.stat(positions.tolist()), strict=True)):
        digest = hashlib.blake2b(files.name(position) + about.tobytes(), digest_size=8).digest()
        keys[row] = int.from_bytes(digest, "little")
    return keys


def _kept_at(root: str) -> Path:
    name = hashlib.sha256(str(Path(root).resolve()).encode(errors="surrogateescape")).hexdigest()[:32]
    return cache_dir() / "readable_pictures" / f"{name}.npy"


def _read_known(path: Path) -> np.ndarray:
    """What is remembered; nothing where the file is missing or damaged, for then all is only checked again."""
    try:
        known = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return np.empty(0, np.uint64)
    return known if isinstance(known, np.ndarray) and known.dtype == np.uint64 else np.empty(0, np.uint64)


def _write_known(path: Path, keys: np.ndarray) -> None:
    content = io.BytesIO()
    np.save(content, keys, allow_pickle=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{path.parent} cannot be made: {error.strerror} (AKD_GYM_CACHE moves it).") from error
    write_atomically(path, content.getvalue())
