"""What a candidate's proxy training costs: beside hard labels, beside the bare arithmetic, beside a plain PyTorch loop.

Every ratio is one of two trainings of the same architecture that follow each other; reported is the median over the
reference architecture and random ones.
"""

from __future__ import annotations

import contextlib
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, replace

import numpy as np
import torch
from torch.nn import functional

from akd_gym.agents.settings import SearchSettings
from akd_gym.architecture import NetworkSpec
from akd_gym.augment import AugmentRecipe
from akd_gym.cache import cache_dir
from akd_gym.cores import available_cores
from akd_gym.cost import count_cost
from akd_gym.data import TaskData
from akd_gym.executors import Job, ProcessExecutor, TrainingTask, load_task_data
from akd_gym.recipes import Recipe
from akd_gym.soft_labels import SoftLabels, soft_labels
from akd_gym.space import make_space
from akd_gym.student_answers import Normalise, evaluate
from akd_gym.teachers import load_teacher
from akd_gym.torch_settings import cpu_settings
from akd_gym.training import build_student, train_student
from benchmarks.plain_training import PLAIN, Ingredients, train_student_with
from benchmarks.results import Measurement

SETTINGS = SearchSettings()
RECIPE = SETTINGS.recipe
SHORT_RECIPE = replace(RECIPE, epochs=2)
"""For what is the same in every epoch."""


def measure() -> dict[str, Measurement]:
    """Give `kd_cost_ratio`, `proxy_efficiency` and `proxy_speedup`."""
    return cost_ratios() | {"proxy_speedup": proxy_speedup() | {"ingredients": ingredients()}}


def architectures(count: int) -> list[NetworkSpec]:
    """The reference of the default space, then random others; always the same."""
    space, rng = make_space(SETTINGS.space, "small"), np.random.default_rng(0)
    return [space.network(space.reference), *(space.network(space.sample(rng)) for _ in range(count - 1))]


def cost_ratios(count: int = 6, teacher: str | None = None) -> dict[str, Measurement]:
    """Proxy seconds with KD, with hard labels, and of the bare arithmetic, one thread each.

    Args:
        count: Architectures.
        teacher: Another than the default one.
    """
    teacher = teacher or SETTINGS.teacher
    data = load_task_data(SETTINGS.data, RECIPE)
    labels = _soft_labels(teacher, data)
    runs: dict[str, Callable[[NetworkSpec], float]] = {
        "kd": lambda spec: train_student(spec, data, RECIPE, labels).seconds,
        "hard": lambda spec: train_student(spec, data, RECIPE).seconds,
        "bare": lambda spec: bare_seconds(spec, data, RECIPE, RECIPE.epochs),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for index, spec in enumerate(architectures(count)):
        bare_seconds(spec, data, RECIPE, epochs=0.1)  # whoever meets a shape first prepares its kernels for all
        for name in sorted(runs, reverse=index % 2 == 1):  # none is always first
            seconds[name].append(runs[name](spec))
    details = {"architectures": count, "recipe": asdict(RECIPE), "seconds": seconds}
    return {
        "kd_cost_ratio": _median_ratio(seconds["kd"], seconds["hard"]) | {"teacher": teacher} | details,
        "proxy_efficiency": _median_ratio(seconds["bare"], seconds["hard"]) | details,
    }


def bare_seconds(spec: NetworkSpec, data: TaskData, recipe: Recipe, epochs: float) -> float:
    """Forward, backward and step on resident batches as often as a proxy training does, and its final evaluation.

    Args:
        spec: The student.
        data: As for `train_student`.
        recipe: As for `train_student`.
        epochs: As many steps as so many epochs have.
    """
    normalise = Normalise(data, torch.device("cpu"))
    batches = [
        (normalise(images), labels)
        for images, labels in zip(
            data.train.images.split(recipe.batch_size), data.train.labels.split(recipe.batch_size), strict=True
        )
        if len(labels) == recipe.batch_size
    ]
    network = build_student(spec, data, 0, torch.device("cpu")).train()
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=recipe.learning_rate / 10,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=True,
        fused=True,
    )
    with cpu_settings(1):
        start = time.perf_counter()
        for step in range(round(epochs * len(batches))):
            images, labels = batches[step % len(batches)]
            loss = functional.cross_entropy(network(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        evaluate(network, data.val, data)
        return time.perf_counter() - start


def proxy_speedup(rounds: int = 4, round_size: int = 4) -> Measurement:
    """Candidates an hour by our executor on all cores, and by the plain loop one after the other; by hard labels.

    Round by round, first ours, then theirs. Workers have started and both have trained before the clock runs, as in
    the second round of a search. Where a round has fewer architectures than two a core, ours trains each with several
    seeds.

    Returns:
        `value`, the median over rounds, and the accuracies of both with their difference over the same architectures.
    """
    data = load_task_data(SETTINGS.data, RECIPE)

    def madds(spec: NetworkSpec) -> int:
        return count_cost(spec, data.resolution, data.in_channels, data.num_classes).madds

    everything = architectures(rounds * round_size)
    seeds = math.ceil(2 * available_cores() / round_size)
    ours_s, plain_s, ours, plain = [], [], [], []
    with contextlib.closing(ProcessExecutor()) as executor:
        _run(executor, SHORT_RECIPE, everything[:1] * available_cores(), 1)
        train_student_with(PLAIN, everything[0], data, SHORT_RECIPE)
        for first in range(0, len(everything), round_size):
            specs = sorted(everything[first : first + round_size], key=madds, reverse=True)  # as the evaluator does
            round_s, accuracies = _run(executor, RECIPE, specs, seeds)
            ours_s.append(round_s / (len(specs) * seeds))
            ours += accuracies
            trained = [train_student_with(PLAIN, spec, data, RECIPE) for spec in specs]
            plain_s.append(sum(t.seconds for t in trained) / len(trained))
            plain += [t.accuracy for t in trained]
    differences = [a - b for a, b in zip(ours, plain, strict=True)]
    return _median_ratio(plain_s, ours_s) | {
        "rounds": rounds,
        "architectures": len(everything),
        "seeds_of_each": seeds,
        "workers": available_cores(),
        "plain_threads": torch.get_num_threads(),
        "seconds_a_candidate": {"ours": ours_s, "plain": plain_s},
        "candidates_an_hour": {"ours": 3600 / statistics.mean(ours_s), "plain": 3600 / statistics.mean(plain_s)},
        "accuracy": {
            "ours": statistics.mean(ours),
            "plain": statistics.mean(plain),
            "difference": statistics.mean(differences),
            "standard_error": statistics.stdev(differences) / math.sqrt(len(differences)),
        },
        "recipe": asdict(RECIPE),
    }


def ingredients(count: int = 3) -> Measurement:
    """What each ingredient brings: seconds of a training with it off / with all on, median over architectures.

    `one_thread` is the ratio of one training by all cores' threads to one by a single thread; as many of the latter
    run side by side as there are cores.
    """
    data = load_task_data(SETTINGS.data, SHORT_RECIPE)
    variants = {f.name: replace(Ingredients(), **{f.name: False}) for f in fields(Ingredients)}
    ratios: dict[str, list[float]] = {name: [] for name in variants}
    for spec in architectures(count):
        for name, variant in variants.items():
            off, on = (train_student_with(chosen, spec, data, SHORT_RECIPE) for chosen in (variant, Ingredients()))
            ratios[name].append(off.seconds / on.seconds)
    medians = {name: statistics.median(values) for name, values in ratios.items()}
    return {"off_over_on": medians, "architectures": count, "epochs": SHORT_RECIPE.epochs, "ratios": ratios}


def _run(
    executor: ProcessExecutor, recipe: Recipe, specs: Sequence[NetworkSpec], seeds: int
) -> tuple[float, list[float]]:
    """Train every architecture with every seed; return the seconds, and the accuracies under seed 0."""
    jobs = [Job(str(spec), seed) for spec in specs for seed in range(seeds)]
    accuracies: dict[int, float] = {}
    start = time.perf_counter()
    for index, record in executor.run(TrainingTask(SETTINGS.data, recipe), jobs):
        assert record.accuracy is not None, record.detail
        accuracies[index] = record.accuracy
    return time.perf_counter() - start, [accuracies[index] for index, job in enumerate(jobs) if job.seed == 0]


def _soft_labels(teacher: str, data: TaskData) -> SoftLabels:
    loaded = load_teacher(teacher, data)
    assert loaded is not None
    augment = AugmentRecipe(RECIPE.augment_seed, RECIPE.shift, RECIPE.flip)
    return soft_labels(loaded, data.train, data.fingerprint, augment, RECIPE.kept_views, cache_dir())


def _median_ratio(above: Sequence[float], below: Sequence[float]) -> Measurement:
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    return {"value": statistics.median(ratios), "ratios": ratios}
