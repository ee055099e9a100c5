"""The script that made the embedded set: from the full set's files to the same kind of assets."""

from __future__ import annotations

import gzip
import importlib.util
import json
import struct
from pathlib import Path

import numpy as np
import pytest

from akd_gym.image_sources import pool_fingerprint

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "make_fashion.py"
SHIPPED = ROOT / "akd_gym" / "assets" / "fashion"


def write_idx(path: Path, array: np.ndarray) -> None:
    header = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes(), compresslevel=1))


@pytest.fixture
def full_set(tmp_path: Path) -> Path:
    """Files like the full set's, where every picture holds its own number."""
    folder = tmp_path / "full"
    folder.mkdir()
    for part, count in (("train", 60_000), ("t10k", 10_000)):
        number = np.arange(count, dtype=np.uint32)
        images = np.zeros((count, 28, 28), np.uint8)
        images[:, 0, :4] = number.view(np.uint8).reshape(-1, 4)
        write_idx(folder / f"{part}-images-idx3-ubyte.gz", images)
        write_idx(folder / f"{part}-labels-idx1-ubyte.gz", (number % 10).astype(np.uint8))
    return folder


def test_it_makes_what_the_package_reads(full_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("make_fashion", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assets = tmp_path / "assets"
    monkeypatch.setattr(script, "ASSETS", assets)
    monkeypatch.setattr("sys.argv", ["make_fashion.py", "--root", str(full_set)])
    script.main()

    about = json.loads((assets / "about.json").read_text())
    for part, a_class in (("pool", 1200), ("test", 500)):
        with np.load(assets / f"{part}.npz") as arrays:
            images, labels, indices = arrays["images"], arrays["labels"], arrays["source_indices"]
        assert np.bincount(labels).tolist() == [a_class] * 10
        assert np.array_equal(np.ascontiguousarray(images[:, 0, :4]).view(np.uint32)[:, 0], indices)
        assert np.array_equal(labels, indices % 10)
        assert (np.diff(indices) > 0).all()
        assert about[part]["fingerprint"] == pool_fingerprint(images[:, None], labels)

    shipped = json.loads((SHIPPED / "about.json").read_text())
    assert about.keys() == shipped.keys()
    for name in ("source", "seed", "classes"):
        assert about[name] == shipped[name]
    assert about["pool"].keys() == shipped["pool"].keys()
