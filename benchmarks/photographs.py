"""Folders of real JPEGs in the sizes of ImageNet, cut from the few photographs that are inside installed packages."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from matplotlib import cbook
from PIL import Image


def photographs() -> list[Image.Image]:
    """20 ImageNet pictures of `foolbox`, if that is installed, and one of matplotlib: 512 pixels and more a side."""
    paths = [Path(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))]
    package = find_spec("foolbox")
    if package is not None and package.origin is not None:
        paths += sorted(Path(package.origin).parent.glob("data/imagenet_*.jpg"))
    return [Image.open(path).convert("RGB") for path in paths]


def write_folder(root: Path, count: int, classes: int = 10) -> Path:
    """Write an image folder of `count` pictures of 333 to 500 by 250 to 375 pixels.

    Each class is cut from photographs of its own, so it can be learned; but the pictures of a class are parts of one or
    two scenes, and overlap. Speed and memory do not depend on that; accuracies mean nothing.
    """
    sources, rng = photographs(), np.random.default_rng(0)
    for number in range(count):
        label = number % classes
        own = sources[label % len(sources) :: classes]
        source = own[int(rng.integers(len(own)))]
        width, height = int(rng.integers(333, 501)), int(rng.integers(250, 376))
        left, top = (int(rng.integers(room)) for room in (source.width - width, source.height - height))
        folder = root / f"class{label:02}"
        folder.mkdir(parents=True, exist_ok=True)
        source.crop((left, top, left + width, top + height)).save(folder / f"{number:06}.jpg", quality=92)
    return root
