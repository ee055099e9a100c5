"""Image sets, resident in memory as uint8, and their seeded stratified splits."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import numpy as np

FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
FASHION_FULL_ROOT = Path("/usr/share/datasets/fashion-mnist")
"""Where the Debian package `dataset-fashion-mnist` puts the full set (IDX files, gzipped)."""


def read_idx(path: Path) -> np.ndarray:
    """Read an IDX file of unsigned bytes, gzipped (`.gz`) or raw: shape as its header says, uint8."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    rank = data[3]
    shape = np.frombuffer(data, ">i4", count=rank, offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)


def pool_fingerprint(images: np.ndarray, labels: np.ndarray) -> str:
    """Hash pixels (N, C, H, W) and labels (N,) into the identity of a pool of images."""
    digest = hashlib.sha256(repr((images.shape, "uint8")).encode())
    digest.update(np.ascontiguousarray(images, np.uint8).data)
    digest.update(np.ascontiguousarray(labels, "<i8").data)
    return digest.hexdigest()[:32]
