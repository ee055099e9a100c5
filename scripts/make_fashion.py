"""Make the embedded image set, `akd_gym/assets/fashion/`, from the Debian package `dataset-fashion-mnist`.

    apt install dataset-fashion-mnist
    python scripts/make_fashion.py

A pool of 12,000 of the 60,000 training images for the students (1,200 a class) and 5,000 of the 10,000 test
images (500 a class), both drawn by a fixed seed. The other 48,000 training images are for teachers only, so
the pool's indices among the 60,000 are kept beside the pixels. Running it again gives the same arrays.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from akd_gym.image_sources import FASHION_CLASSES, pool_fingerprint, read_idx
from akd_gym.teachers.settings import FASHION_FULL_ROOT

ASSETS = Path(__file__).resolve().parent.parent / "akd_gym" / "assets" / "fashion"
SEED = 2020


def stratified_indices(labels: np.ndarray, per_class: int, rng: np.random.Generator) -> np.ndarray:
    """Draw `per_class` indices of each class, sorted."""
    drawn = [rng.choice(np.flatnonzero(labels == c), per_class, replace=False) for c in range(10)]
    return np.sort(np.concatenate(drawn)).astype(np.int32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=FASHION_FULL_ROOT)
    args = parser.parse_args()

    rng = np.random.default_rng(SEED)
    ASSETS.mkdir(parents=True, exist_ok=True)
    about: dict[str, object] = {
        "source": "Fashion-MNIST, (c) 2017 Zalando SE, MIT licence; Debian package dataset-fashion-mnist",
        "seed": SEED,
        "classes": list(FASHION_CLASSES),
    }
    for name, prefix, per_class in (("pool", "train", 1200), ("test", "t10k", 500)):
        images = read_idx(args.root / f"{prefix}-images-idx3-ubyte.gz")
        labels = read_idx(args.root / f"{prefix}-labels-idx1-ubyte.gz")
        chosen = stratified_indices(labels, per_class, rng)
        images, labels = images[chosen], labels[chosen]
        np.savez_compressed(ASSETS / f"{name}.npz", images=images, labels=labels, source_indices=chosen)
        about[name] = {
            "images": len(chosen),
            "drawn_from": f"{prefix} ({'60,000' if prefix == 'train' else '10,000'})",
            "fingerprint": pool_fingerprint(images[:, None], labels),
        }
        print(f"{name}: {len(chosen)} images, {(ASSETS / f'{name}.npz').stat().st_size / 2**20:.2f} MiB")
    pixels = np.load(ASSETS / "pool.npz")["images"].astype(np.float64) / 255
    about["mean"], about["std"] = [round(pixels.mean(), 4)], [round(pixels.std(), 4)]
    (ASSETS / "about.json").write_text(json.dumps(about, indent=2) + "\n")


if __name__ == "__main__":
    main()
