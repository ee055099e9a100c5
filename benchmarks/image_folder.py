"""A folder of JPEGs at 224 pixels, streamed: memory, throughput, and what distillation costs there.

The pictures are real and of ImageNet's size, but cut from few photographs (`benchmarks.photographs`).
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from torchvision import datasets
from torchvision.transforms import v2

from akd_gym.architecture import NetworkSpec
from akd_gym.augment import AugmentRecipe
from akd_gym.cores import available_cores
from akd_gym.data import TaskData, load_data
from akd_gym.networks import build_network
from akd_gym.recipes import Recipe
from akd_gym.soft_labels import SoftLabels, soft_labels
from akd_gym.space import make_space
from akd_gym.teachers import NetworkTeacher
from akd_gym.training import train_student
from benchmarks.photographs import photographs, write_folder
from benchmarks.results import Measurement

SIDE, BATCH = 224, 32
CROPS = AugmentRecipe(crop_area=0.08)
TINY = "stem_k3_s2_c8 ir_r1_k3_s2_e2_c12_noskip ir_r1_k3_s2_e2_c16_noskip head_c32"
_EPOCH = """
import sys
from pathlib import Path
from benchmarks.image_folder import TINY, distil
distil(sys.argv[1], Path(sys.argv[2]))
print(Path("/proc/self/status").read_text())
"""


def measure() -> dict[str, Measurement]:
    """Give `folder_mib_a_thousand`, `folder_vs_dataloader` and `folder_kd_cost_ratio`."""
    with tempfile.TemporaryDirectory() as folder:
        small, large = (write_folder(Path(folder, name), count) for name, count in (("small", 450), ("large", 4500)))
        sources = {"photographs": len(photographs()), "resolution": SIDE}
        return {
            "folder_mib_a_thousand": memory(small, large, Path(folder)) | sources,
            "folder_vs_dataloader": throughput(large) | sources,
            "folder_kd_cost_ratio": kd_cost_ratio(small, Path(folder)) | sources,
        }


def memory(small: Path, large: Path, cache: Path) -> Measurement:
    """Peak memory of two trainings, the second on ten times as many pictures: what a thousand more cost, MiB.

    Each is one epoch of distillation with random-resized crops, with the check of the files, the teacher's pass and the
    final evaluation, in a process of its own.
    """
    if not Path("/proc/self/status").exists():
        return {"value": None, "note": "peaks are read from /proc, which this system does not have"}
    counts, peaks = [], []
    for folder in (small, large):
        done = subprocess.run(
            [sys.executable, "-c", _EPOCH, str(folder), str(cache / f"labels-{folder.name}")],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parents[1],
            env=os.environ | {"AKD_GYM_CACHE": str(cache / "checks"), "OMP_NUM_THREADS": "1"},
        )
        line = next(line for line in done.stdout.splitlines() if line.startswith("VmHWM:"))
        peaks.append(int(line.split()[1]) / 1024)
        counts.append(sum(1 for _ in folder.rglob("*.jpg")))
    growth = (peaks[1] - peaks[0]) / (counts[1] - counts[0]) * 1000
    held = 3 * SIDE**2 * 1000 / 2**20
    return {"value": growth, "resident_would_cost": held, "images": counts, "peaks_mib": peaks}


def distil(folder: str, root: Path) -> None:
    """Train a tiny student for an epoch by a tiny teacher, as `akd train` does, on streamed pictures."""
    data = load_data(f"imagefolder:{folder}?stream", val_size=64, resolution=SIDE)  # its batch is not full in either
    recipe = Recipe(epochs=1, warmup_epochs=0.5, batch_size=BATCH, crop_area=CROPS.crop_area)
    train_student(NetworkSpec.parse(TINY), data, recipe, labels_of_a_tiny_teacher(data, root))


def labels_of_a_tiny_teacher(data: TaskData, root: Path) -> SoftLabels:
    """What an untrained network says of one view: as large, and looked up as fast, as any teacher's."""
    torch.manual_seed(0)
    network = build_network(NetworkSpec.parse(TINY), data.num_classes, 3).eval()
    teacher = NetworkTeacher("tiny", network, "tiny", data.num_classes, 3, data.mean, data.std)
    return soft_labels(teacher, data.train, data.fingerprint, CROPS, 1, root)


def throughput(folder: Path, rounds: int = 3) -> Measurement:
    """Pictures a second, random-resized crops and flips to uint8 batches: ours / by `ImageFolder` and `DataLoader`.

    Theirs decodes in as many processes as ours in threads, one a core. Details: both with a single one as well, theirs
    then in the process itself.
    """
    cores = available_cores()
    runs: dict[str, Callable[[], float]] = {
        "ours": lambda: _ours(folder, cores),
        "dataloader": lambda: _theirs(folder, cores),
        "ours_one_thread": lambda: _ours(folder, 1),
        "dataloader_in_process": lambda: _theirs(folder, 0),
    }
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds):
        for name in sorted(runs, reverse=number % 2 == 1):  # none is always first
            rates[name].append(runs[name]())
    ratios = [a / b for a, b in zip(rates["ours"], rates["dataloader"], strict=True)]
    return {"value": statistics.median(ratios), "ratios": ratios, "images_a_second": rates, "cores": cores}


def _ours(folder: Path, threads: int) -> float:
    data = load_data(f"imagefolder:{folder}?stream", val_size=1, resolution=SIDE, threads=threads)
    rows = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0)).split(BATCH)
    start = time.perf_counter()
    seen = sum(len(pictures) for pictures in data.train.batches(rows, torch.device("cpu"), CROPS))
    return seen / (time.perf_counter() - start)


def _theirs(folder: Path, workers: int) -> float:
    transform = v2.Compose([v2.RandomResizedCrop(SIDE), v2.RandomHorizontalFlip(), v2.PILToTensor()])
    pictures = datasets.ImageFolder(str(folder), transform)
    batches: Any = DataLoader(pictures, BATCH, shuffle=True, num_workers=workers)
    start = time.perf_counter()
    seen = sum(len(images) for images, _ in batches)
    return seen / (time.perf_counter() - start)


def kd_cost_ratio(folder: Path, root: Path, rounds: int = 9) -> Measurement:
    """Proxy seconds with KD from cached soft labels / with hard labels, one thread, on streamed pictures."""
    data = load_data(f"imagefolder:{folder}?stream", train_size=96, val_size=32, resolution=SIDE, threads=1)
    space = make_space("akd", "small")
    spec = space.network(space.reference)
    recipe = Recipe(epochs=1, warmup_epochs=0.5, batch_size=BATCH, crop_area=CROPS.crop_area)
    labels = labels_of_a_tiny_teacher(data, root / "kd")
    train_student(spec, data, recipe)  # whoever meets a shape first prepares its kernels
    seconds: dict[str, list[float]] = {"kd": [], "hard": []}
    for number in range(rounds):
        for name in sorted(seconds, reverse=number % 2 == 1):
            seconds[name].append(train_student(spec, data, recipe, labels if name == "kd" else None).seconds)
    ratios = [a / b for a, b in zip(seconds["kd"], seconds["hard"], strict=True)]
    return {"value": statistics.median(ratios), "ratios": ratios, "seconds": seconds, "architecture": str(spec)}
