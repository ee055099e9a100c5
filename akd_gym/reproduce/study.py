"""What a study is: one figure or table of the paper, made again at a scale that is said beforehand."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from matplotlib.figure import Figure

from akd_gym.analysis.runs import SearchRun
from akd_gym.recipes import RECIPES, Recipe, full_recipe, with_overrides
from akd_gym.reproduce.finalists import BenchSearch, Finalist, find_finalists
from akd_gym.reproduce.scale import Budget, Observer, Scale
from akd_gym.reproduce.searches import Cost, bench_search, benchmark
from akd_gym.reproduce.trainings import FullTrainings, StudentTraining, TrainedStudent

DATA = "fashion"


@dataclass(frozen=True)
class Finding:
    """What a study has found.

    Args:
        text: Markdown: the table, and what it says in a sentence or two.
        numbers: The same and the raw numbers behind it, plain JSON.
        figures: By a short name.
    """

    text: str
    numbers: Mapping[str, Any]
    figures: Mapping[str, Figure] = field(default_factory=dict)


def with_epochs(recipe: Recipe, epochs: int | None) -> Recipe:
    """A recipe of another length, of which not all is spent on warming up; None for its own."""
    if epochs is None:
        return recipe
    return with_overrides(recipe, {"epochs": epochs, "warmup_epochs": min(recipe.warmup_epochs, epochs / 5)})


class Workshop:
    """Where studies work: searches and trainings that one has made are there for the next.

    Args:
        scale: How much may be spent.
        results: Folder of tables: of all trainings, and of the students that searches found.
        work: Folder of runs, weights and checkpoints.
        workers: Trainings side by side; None for one a core.
        observer: Told how it goes.

    Attributes:
        trainings: By the full recipe.
        proxy: By the recipe of searches.
    """

    def __init__(
        self, scale: Scale, results: Path, work: Path, workers: int | None = None, observer: Observer | None = None
    ) -> None:
        self.scale, self.results, self.work, self.observer = scale, results, work, observer or Observer()
        recipe = with_overrides(with_epochs(full_recipe(DATA), scale.epochs), {"train_size": scale.train_size})
        table, folder = results / "trainings.csv", work / "trainings"
        self.trainings = FullTrainings(DATA, recipe, table, folder, workers)
        self.proxy = FullTrainings(DATA, RECIPES[DATA], table, folder, workers)

    def search(self, teacher: str, seed: int, target_ratio: float = 1.0, cost: Cost = "latency") -> SearchRun:
        """A search on AKDBench."""
        run = bench_search(self.work / "searches", teacher, seed, self.scale.search_budget, target_ratio, cost)
        self.observer.advance(f"searched for {teacher}, target x {target_ratio:g}, seed {seed}")
        return run

    def finalists(
        self, searches: Iterable[tuple[str, float, int]], cost: Cost = "latency", tolerance: float = 0.1
    ) -> list[Finalist]:
        """The students that searches found, by teacher, target ratio and seed; see `find_finalists`."""
        wanted = [
            BenchSearch(teacher, cost, ratio, seed, self.scale.search_budget, tolerance, benchmark().hash[:12])
            for teacher, ratio, seed in searches
        ]
        self.observer.begin("searches", len(wanted))
        table = self.results / "finalists.csv"
        return find_finalists(wanted, table, lambda one: self.search(one.teacher, one.seed, one.target_ratio, cost))

    def train(
        self, trainings: Sequence[StudentTraining], by: FullTrainings | None = None
    ) -> dict[StudentTraining, TrainedStudent]:
        """Trainings by the full recipe, or by another; see `FullTrainings.carry_out`."""
        by = by or self.trainings
        self.observer.begin("trainings", len(by.missing(trainings)))
        return by.carry_out(trainings, self._tell)

    def _tell(self, done: TrainedStudent) -> None:
        result = done.reason if done.test_accuracy is None else f"{100 * done.test_accuracy:.2f} %"
        training = done.training
        self.observer.advance(f"{training.method}, {training.teacher}, seed {training.seed}: {result}")


class Study(ABC):
    """A figure or table of the paper.

    Attributes:
        name: As `akd reproduce` knows it, such as `"table5"`.
        title: What it shows.
        paper: The paper's own result beside which ours stands; Markdown.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    paper: ClassVar[str]

    @abstractmethod
    def budget(self, workshop: Workshop) -> Budget:
        """What it will spend."""

    @abstractmethod
    def run(self, workshop: Workshop) -> Finding:
        """Make what is missing, and conclude.

        Raises:
            AKDGymError: Whatever keeps it from being made; what was paid for is kept.
        """
