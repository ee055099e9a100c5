"""`akd search --dry-run`: the settings in full, and what the search would cost."""

from __future__ import annotations

import json
import time

import numpy as np
from rich.console import Console
from rich.table import Table

from akd_gym.agents.settings import LEARNERS, SearchSettings
from akd_gym.architecture import NetworkSpec
from akd_gym.cli.inputs import describe_images
from akd_gym.cost import count_cost
from akd_gym.space import make_space

_RANDOM_ARCHITECTURES = 200
_TIMED_IMAGES = 8
_EVALUATED = 1 / 3
"""What an image costs without the backward pass, relative to training on it."""


def print_estimate(settings: SearchSettings, console: Console) -> None:
    """Print all settings and an estimate of compute, time and disk.

    Multiply-adds are exact means over random architectures of the space. Seconds are those of this machine: a few
    training steps of the median architecture are timed, on one core.
    """
    console.print_json(json.dumps(settings.to_json()))
    if settings.evaluator == "bench":
        text = f"{settings.budget:,} candidates that AKDBench answers for: nothing is trained or measured."
        console.print(text, highlight=False)
        return
    recipe = settings.recipe
    channels, resolution, classes, images_in_all = describe_images(settings.data, recipe.resolution)
    val_size = recipe.val_size or max(1, images_in_all // 6)
    train_size = recipe.train_size or images_in_all - val_size
    space = make_space(settings.space, settings.skeleton or ("small" if resolution <= 64 else "mnasnet"))
    rng = np.random.default_rng(settings.seed)
    networks = [space.network(space.sample(rng)) for _ in range(_RANDOM_ARCHITECTURES)]
    networks.sort(key=lambda network: count_cost(network, resolution, channels, classes).madds)
    madds = [count_cost(network, resolution, channels, classes).madds for network in networks]
    images = recipe.epochs * train_size + _EVALUATED * val_size
    training = 3 * images * float(np.mean(madds))
    seconds = images * _seconds_an_image(networks[len(networks) // 2], channels, resolution, classes)
    total = settings.budget * seconds
    views = recipe.kept_views
    bytes_an_image = 2 * classes if classes <= 100 else 10 * 6 + 4

    table = Table(title="Estimate", show_header=False)
    in_rounds = f" in {settings.budget // settings.round_size:,} rounds" if settings.agent in LEARNERS else ""
    table.add_row("candidates", f"{settings.budget:,}{in_rounds}")
    table.add_row("a candidate", f"{recipe.epochs} epochs x {train_size:,} images at {resolution} px")
    table.add_row("multiply-adds of a student", f"{np.mean(madds) / 1e6:,.1f} M (mean), {madds[0] / 1e6:,.1f} M to "
                  f"{madds[-1] / 1e6:,.1f} M")  # fmt: skip
    table.add_row("training, all candidates", f"{settings.budget * training:.2e} multiply-adds")
    table.add_row("on one core of this machine", f"{_duration(seconds)} a candidate, {_duration(total)} in all")
    if settings.teacher != "none":
        size = views * train_size * bytes_an_image
        table.add_row("soft labels", f"{views} views, {size / 2**20:,.1f} MiB on disk, one pass of the teacher a view")
    console.print(table)
    console.print("Time on one core is timed on the median architecture; teacher and latency come on top.", style="dim")


def _seconds_an_image(network: NetworkSpec, channels: int, resolution: int, classes: int) -> float:
    """Seconds of a training step an image, on one core."""
    import torch

    from akd_gym.networks import build_network
    from akd_gym.torch_settings import cpu_settings

    batch = 64 if resolution <= 64 else _TIMED_IMAGES
    with cpu_settings(1):
        student = build_network(network, classes, channels).to(memory_format=torch.channels_last)
        pictures = torch.randn(batch, channels, resolution, resolution)
        pictures = pictures.contiguous(memory_format=torch.channels_last)
        times = []
        for _ in range(3):
            start = time.perf_counter()
            student(pictures).logsumexp(1).sum().backward()
            times.append(time.perf_counter() - start)
    return min(times) / batch


def _duration(seconds: float) -> str:
    for size, name in ((365.25 * 86400, "years"), (86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= size:
            return f"{seconds / size:.1f} {name}"
    return f"{seconds:.1f} seconds"
