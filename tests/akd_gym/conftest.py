"""What tests of teachers, of distillation and of pictures in files share."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib import cbook
from PIL import Image

from akd_gym.data import load_data


@pytest.fixture(scope="session")
def small_fashion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """700 + 100 images of the embedded set as IDX files, so that a teacher's training takes seconds."""
    folder = tmp_path_factory.mktemp("small")
    data = load_data(train_size=700, val_size=100)
    for part, images in (("train", data.train), ("t10k", data.val)):
        for kind, array in (("images-idx3", images.images[:, 0]), ("labels-idx1", images.labels)):
            pixels = array.numpy().astype(np.uint8)
            header = struct.pack(">HBB", 0, 8, pixels.ndim) + struct.pack(f">{pixels.ndim}I", *pixels.shape)
            (folder / f"{part}-{kind}-ubyte").write_bytes(header + pixels.tobytes())
    return folder


@pytest.fixture(scope="session")
def write_photographs() -> Callable[..., Path]:
    """Writes a folder of real JPEGs: `train` and half as many in `val`, of 2 classes, the halves of a photograph."""
    whole = Image.open(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)).convert("RGB")  # 512 x 600 pixels

    def write(root: Path, count: int, smallest: int, largest: int) -> Path:
        rng = np.random.default_rng(0)
        for part, own in (("train", count), ("val", count // 2)):
            for number in range(own):
                below = number % 2
                width, height = rng.integers(smallest, largest + 1, 2).tolist()
                left, top = int(rng.integers(512 - width)), int(rng.integers(300 - height)) + 300 * below
                folder = root / part / ("above", "below")[below]
                folder.mkdir(parents=True, exist_ok=True)
                cut = whole.crop((left, top, left + width, top + height))
                cut.save(folder / f"{number // 2:03}.jpg", quality=90)
        return root

    return write
