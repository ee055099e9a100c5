"""Small made-up faces on disk: a smooth pattern a person, moved and noisy in every picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

MakeFaces = Callable[..., Path]


def write_faces(folder: Path, people: int = 8, pictures: int = 5, side: int = 24, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    for person in range(people):
        own = folder / f"p{person:02d}"
        own.mkdir(parents=True)
        pattern = Image.fromarray(rng.integers(0, 256, (5, 5), np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
        for number in range(pictures):
            moved = np.roll(np.array(pattern, np.int16), rng.integers(-2, 3, 2), (0, 1))
            noisy = np.clip(moved + rng.normal(0, 12, moved.shape), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(own / f"{number}.png")
    return folder


@pytest.fixture
def make_faces(tmp_path: Path) -> MakeFaces:
    """Writes faces below `tmp_path`; arguments as of `write_faces`."""
    return lambda **options: write_faces(tmp_path / "faces", **options)


@pytest.fixture(scope="session")
def faces_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """8 people, 5 pictures each, 24 px, grey; not to be changed."""
    return write_faces(tmp_path_factory.mktemp("people") / "faces")
