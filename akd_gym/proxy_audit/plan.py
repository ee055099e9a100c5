"""What an audit trains: which students of a search, which of their neighbours, with which seeds and for how long."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np

from akd_gym.agents.runs import read_run
from akd_gym.agents.settings import SearchSettings, optional, read_settings, run_ledger
from akd_gym.analysis.outcomes import Outcome, distinct
from akd_gym.analysis.runs import SearchRun
from akd_gym.errors import InvalidSettingError
from akd_gym.ledger import Ledger, TrainingRecord
from akd_gym.proxy_audit.trainings import FULL, PROXY, TRAININGS_FILE, Training, read_trainings
from akd_gym.recipes import Recipe, full_recipe
from akd_gym.space import SearchSpace

FOLDER = "audit"
"""In the run directory."""

LEAST = 5
"""Students; fewer cannot be told from chance: four are in any one order in 1 of 24 cases."""

USUAL = 16
LONGER = 2
"""How many times as long the longer proxy is."""

_DRAWS = 20206  # of the sample and its neighbours
_EVALUATED = 1 / 3
"""What an image costs without the backward pass, relative to training on it."""


@dataclass(frozen=True)
class AuditSettings:
    """How much an audit trains."""

    count: Annotated[int | None, optional("N")] = None
    """Students to train fully; by default 16, or all that there are."""
    seeds: int = 3
    """Seeds of their proxy trainings, the search's own among them."""
    full_seeds: int = 1
    """Seeds of their full trainings; with 2 or more, the noise of these is known too."""
    neighbours: Annotated[int | None, optional("N")] = None
    """Students one decision beside one of the sample, trained on the proxy; by default as many as the sample has."""
    epochs: Annotated[int | None, optional("N")] = None
    """Of the full trainings; by default those of akd train: 60 on small images, 400 on ImageNet."""

    def __post_init__(self) -> None:
        for name, least in (("count", LEAST), ("seeds", 1), ("full_seeds", 1), ("neighbours", 0), ("epochs", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InvalidSettingError(f"`{name}` must be at least {least}, but got {value}.")


class Neighbour(NamedTuple):
    """A student that differs from one of the sample in a single decision.

    Attributes:
        student: Place of that one in the sample.
        architecture: Canonical string.
    """

    student: int
    architecture: str


@dataclass(frozen=True)
class AuditPlan:
    """An audit before, while and after it is made.

    Args:
        run: Run directory of the search.
        search: What it found.
        settings: Its settings.
        audit: How much to train.
        full: Recipe of the full trainings.
        students: The sample, the most accurate first.
        neighbours: Of some of the sample.
        known: What the search itself has trained.
        identity: What the search's trainings depend on; None where AKDBench answered and nothing was trained.
    """

    run: Path
    search: SearchRun
    settings: SearchSettings
    audit: AuditSettings
    full: Recipe
    students: tuple[Outcome, ...]
    neighbours: tuple[Neighbour, ...]
    known: Mapping[Training, TrainingRecord] = field(repr=False)
    identity: Mapping[str, Any] | None = field(repr=False)

    @property
    def folder(self) -> Path:
        """Where all that the audit makes is kept."""
        return self.run / FOLDER

    @property
    def seeds(self) -> range:
        """Of proxy trainings; the search's own is the first."""
        return range(self.settings.seed, self.settings.seed + self.audit.seeds)

    @property
    def full_seeds(self) -> range:
        """Of full trainings."""
        return range(self.settings.seed, self.settings.seed + self.audit.full_seeds)

    @property
    def is_bench(self) -> bool:
        """Whether what is audited are answers of AKDBench."""
        return self.settings.evaluator == "bench"

    def proxy(self, architecture: str, seed: int, times: int = 1) -> Training:
        """A training by the search's recipe, or one `times` as long."""
        return Training(PROXY, times * self.settings.recipe.epochs, architecture, seed)

    def fully(self, architecture: str, seed: int) -> Training:
        """A full training."""
        return Training(FULL, self.full.epochs, architecture, seed)

    def recipe(self, kind: str, epochs: int) -> Recipe:
        """How a training is made."""
        return replace(self.full if kind == FULL else self.settings.recipe, epochs=epochs)

    def trainings(self) -> list[Training]:
        """All that the audit rests on, what the search has paid for included; the cheap ones first."""
        names = [student.architecture for student in self.students]
        first = self.settings.seed
        planned = [self.proxy(name, seed) for seed in self.seeds for name in names]
        planned += [self.proxy(neighbour.architecture, first) for neighbour in self.neighbours]
        planned += [self.proxy(name, first, LONGER) for name in names]
        planned += [self.fully(name, seed) for seed in self.full_seeds for name in names]
        return list(dict.fromkeys(planned))

    def done(self) -> dict[Training, TrainingRecord]:
        """What the search or an earlier audit has paid for.

        Raises:
            CorruptFileError: The table of trainings is damaged.
            StorageError: It cannot be read.
        """
        kept = read_trainings(self.folder / TRAININGS_FILE) | dict(self.known)
        return {training: kept[training] for training in self.trainings() if training in kept}

    def seconds(self, trainings: Sequence[Training]) -> float:
        """What trainings will take on one core, by what those of the search took; neighbours as their students.

        Raises:
            DataError: The images must be counted, and are not there.
        """
        own = {e.candidate.architecture: e.training.seconds for e in self.search.evaluations if e.training}
        for neighbour in self.neighbours:
            own.setdefault(neighbour.architecture, own[self.students[neighbour.student].architecture])
        work = {kind: images_seen(self.recipe(*kind), self.settings.data) for kind in {one[:2] for one in trainings}}
        once = images_seen(self.settings.recipe, self.settings.data)
        return sum(own[one.architecture] * work[one[:2]] / once for one in trainings)


def plan_audit(run: Path, audit: AuditSettings) -> AuditPlan:
    """What to train to audit a search, as far as that has come. Draws are fixed: the same search, the same plan.

    Raises:
        RunMismatchError: If `run` is no run directory, or nothing was evaluated yet.
        InvalidSettingError: If the search has too few students for an audit, or fewer than asked for.
        AKDGymError: See `read_run`.
    """
    settings, search = read_settings(run), read_run(run)
    feasible = sorted(distinct(search.outcomes), key=lambda outcome: -(outcome.accuracy or 0.0))
    if len(feasible) < max(LEAST, audit.count or 0):
        wanted = f"{audit.count} students are asked for" if audit.count else f"an audit needs {LEAST} students or more"
        raise InvalidSettingError(
            f"{wanted[0].upper()}{wanted[1:]}, but the search in {run} has {len(feasible)} distinct feasible "
            f"one{'' if len(feasible) == 1 else 's'} among {len(search.evaluations)} candidates. "
            + ("Ask for fewer." if len(feasible) >= LEAST else "Search on, or audit another run.")
        )
    rng = np.random.default_rng(_DRAWS)
    students = stratified(feasible, audit.count or min(USUAL, len(feasible)), rng)
    wanted_neighbours = len(students) if audit.neighbours is None else audit.neighbours
    names = [student.architecture for student in students]
    known, identity = {}, None
    if settings.evaluator == "proxy":
        for e in search.evaluations:
            if e.training is not None:
                key = Training(PROXY, settings.recipe.epochs, e.candidate.architecture, e.candidate.seed)
                known[key] = e.training
        with Ledger.open(run_ledger(settings, run), read_only=True) as ledger:
            identity = ledger.identity(search.evaluations[0].candidate.training_context)
    return AuditPlan(
        run=run,
        search=search,
        settings=settings,
        audit=audit,
        full=full_recipe_of(settings, audit.epochs),
        students=tuple(students),
        neighbours=tuple(draw_neighbours(search.space, names, wanted_neighbours, rng)),
        known=known,
        identity=identity,
    )


def stratified(ordered: Sequence[Outcome], count: int, rng: np.random.Generator) -> list[Outcome]:
    """The first, and one of each further quantile.

    Args:
        ordered: At least `count`, the most accurate first.
        count: How many quantiles.
        rng: Draws one of each.
    """
    edges = np.linspace(0, len(ordered), count + 1).astype(int).tolist()
    others = [ordered[int(rng.integers(low, high))] for low, high in itertools.pairwise(edges[1:])]
    return [ordered[0], *others]


def draw_neighbours(space: SearchSpace, names: Sequence[str], count: int, rng: np.random.Generator) -> list[Neighbour]:
    """Distinct random networks that differ in one decision from one of `names` and are none of them.

    The networks of `names` take turns, in a random order; there are fewer than `count` only if there are no more.
    """
    around = []
    for place in rng.permutation(len(names)).tolist():
        found = space.neighbours(space.choices(names[place]))
        around.append([Neighbour(place, str(space.network(found[i]))) for i in rng.permutation(len(found))])
    taken = set(names)
    drawn: list[Neighbour] = []
    while len(drawn) < count and any(around):
        for waiting in around:
            while waiting and waiting[-1].architecture in taken:
                waiting.pop()
            if waiting and len(drawn) < count:
                drawn.append(waiting.pop())
                taken.add(drawn[-1].architecture)
    return drawn


def full_recipe_of(settings: SearchSettings, epochs: int | None) -> Recipe:
    """The recipe of `akd train` for a search's images, with the search's own pictures and distillation."""
    own, recipe = settings.recipe, full_recipe(settings.data)
    if epochs is not None:
        recipe = replace(recipe, epochs=epochs, warmup_epochs=min(recipe.warmup_epochs, epochs / 5))
    return replace(
        recipe,
        resolution=own.resolution or recipe.resolution,
        split_seed=own.split_seed,
        temperature=own.temperature,
        alpha=own.alpha,
        precision=own.precision or recipe.precision,
    )


def epochs(count: int) -> str:
    """As `5 epochs`."""
    return f"{count} epoch{'' if count == 1 else 's'}"


def images_seen(recipe: Recipe, data: str) -> float:
    """Images that a training sees, those that it is only judged on at what they cost."""
    train, val = recipe.train_size, recipe.val_size
    if train is None or val is None:
        from akd_gym.data import open_pools  # here: it imports torch

        images = len(open_pools(data, None, with_test=False)[0].labels)
        val = val or images // 6
        train = train or images - val
    return recipe.epochs * train + _EVALUATED * val
