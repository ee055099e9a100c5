"""Opening images drawn from a pool: resident in memory where they fit, streamed from their files where they do not."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from akd_gym import picture_checks
from akd_gym.cores import available_cores
from akd_gym.errors import DataError
from akd_gym.image_sources import Pool
from akd_gym.image_streams import StreamedImageSet
from akd_gym.images import Images, ImageSet

RESIDENT_SHARE = 1 / 16
"""Of the machine's memory: what pictures in files may take to be held, by every worker of a search, as pixels."""
MOST_THREADS = 16


def open_images(
    name: str,
    parts: Sequence[tuple[Pool, Tensor]],
    resolution: int,
    *,
    threads: int | None = None,
    announce: Callable[[str], None] | None = None,
) -> tuple[list[Images], list[str]]:
    """Open several parts of a data set, all of them in the same way.

    Pictures in files are streamed where they would take more than `RESIDENT_SHARE` of the machine's memory, or where
    the name of the data asks for it. The share is of all memory and not of what is free at the moment, because resident
    and streamed pictures have different fingerprints: a training must find what an earlier one computed.

    Args:
        name: Of the data set, for messages.
        parts: Of each, the pool and positions in it, int64 (n,).
        resolution: Height and width to scale to, pixels.
        threads: That decode; None for one a core, at most 16.
        announce: Told what takes time or space before it does, and which pictures are left out.

    Returns:
        The parts; and the unreadable pictures that were left out of them as the name of the data asks, each with the
        reason.

    Raises:
        DataError: Unreadable pictures, or more than fits in memory.
        StorageError: What is known of readable pictures cannot be kept.
    """
    threads = threads or min(available_cores(), MOST_THREADS)
    say = announce or (lambda _: None)
    count, channels = sum(len(positions) for _, positions in parts), parts[0][0].channels
    streamed = _is_streamed(parts[0][0], count, resolution)
    if streamed:
        mib = count * channels * resolution**2 / 2**20
        say(f"Streaming {count:,} images of {name} at {resolution} px, {mib:,.0f} MiB in all, by {threads} threads")
    else:
        check_memory(name, count, channels, resolution, announce)
    opened: list[Images] = []
    left_out: list[str] = []
    for pool, positions in parts:
        if pool.files is not None and (streamed or pool.options.skip):
            positions, unreadable = _readable(pool, positions, threads, announce)
            left_out += unreadable
            if not len(positions):
                found = picture_checks.tell_first(unreadable)
                raise DataError(f"{name!r} must have readable pictures in every part, but one has {found}.")
        labels = pool.labels[positions]
        if streamed:
            assert pool.files is not None
            opened.append(StreamedImageSet(pool.files, labels, positions, resolution, threads))
        else:
            opened.append(ImageSet(pool.read(positions, resolution), labels, positions))
    if left_out:
        say(f"{name}: left out {picture_checks.tell_first(left_out)}")
    return opened, left_out


def check_memory(name: str, count: int, channels: int, resolution: int, announce: Callable[[str], None] | None) -> None:
    """Say the size before decoding, and refuse what would not leave the machine half of its free memory."""
    mib = count * channels * resolution**2 / 2**20
    free_mib = _available_memory_mib()
    if mib > free_mib / 2:
        raise DataError(
            f"{count:,} images of {name!r} at {resolution} px need {mib:,.0f} MiB, more than half of the "
            f"{free_mib:,.0f} MiB that are free: lower `train_size`, `val_size`, `test_size` or `resolution`, or have "
            "pictures in files streamed, by `?stream` after the name of the data."
        )
    if announce is not None:
        announce(f"Loading {count:,} images of {name} at {resolution} px: {mib:,.0f} MiB")


def _is_streamed(pool: Pool, count: int, resolution: int) -> bool:
    if pool.files is None:
        return False
    if pool.options.stream is not None:
        return pool.options.stream
    return count * pool.channels * resolution**2 > RESIDENT_SHARE * _memory_mib() * 2**20


def _readable(
    pool: Pool, positions: Tensor, threads: int, announce: Callable[[str], None] | None
) -> tuple[Tensor, list[str]]:
    """The positions less those of unreadable pictures, and what is to be said of these."""
    assert pool.files is not None
    unreadable = picture_checks.find_unreadable(pool.files, positions.numpy(), threads, announce)
    named = picture_checks.name_all(pool.files, unreadable)
    if named and not pool.options.skip:
        raise picture_checks.refuse(named)
    kept = ~np.isin(positions.numpy(), list(unreadable))
    return positions[torch.from_numpy(kept)], named


def _memory_mib() -> float:
    """Memory of this machine, or of the container that we run in, MiB."""
    mib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20
    with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
        mib = min(mib, int(Path("/sys/fs/cgroup/memory.max").read_text()) / 2**20)
    return mib


def _available_memory_mib() -> float:
    """Memory that can be had without swapping, MiB."""
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) / 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20
