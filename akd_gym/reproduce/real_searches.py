"""Figure 7 once more, by real searches: one teacher, other seeds and other splits of the images."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from akd_gym.agents.runs import read_run
from akd_gym.agents.search import run_search
from akd_gym.agents.settings import SETTINGS_FILE, SearchSettings
from akd_gym.analysis.principal import principal_plane
from akd_gym.analysis.principal_figure import principal_figure
from akd_gym.analysis.runs import SearchRun
from akd_gym.analysis.separability import separability_of_two
from akd_gym.errors import InvalidSettingError
from akd_gym.recipes import RECIPES, Recipe
from akd_gym.reproduce.scale import Budget
from akd_gym.reproduce.study import DATA, Finding, Study, Workshop
from akd_gym.reproduce.trajectories import RESNET, separable
from akd_gym.space import make_space

_TAIL = 0.5  # of so short a search, its later half


@dataclass(frozen=True)
class RealSeeds(Study):
    """Two searches with real trainings, each with its own seed, its own mini-train and its own mini-val.

    The cost is multiply-adds, so that the searches are the same on every machine.

    Args:
        candidates: Of each search.
        recipe: How they are trained.
        blocks: Into how many the later half of a search is cut for the test.
    """

    name: ClassVar[str] = "figure7real"
    title: ClassVar[str] = "Figure 7 by real searches: other seeds and other splits"
    paper: ClassVar[str] = (
        "As above: two searches of about 10,000 candidates with other seeds and other splits converge into one area."
    )

    candidates: int = 48
    recipe: Recipe = field(default_factory=lambda: RECIPES[DATA])
    blocks: int = 6

    def budget(self, workshop: Workshop) -> Budget:
        """See `Study.budget`: every candidate is a training of the proxy."""
        space = make_space("akd", "small")
        count = 2 * self.candidates
        seconds = workshop.proxy.seconds([(space.network(space.reference), "kd")] * count)
        return Budget(trainings=count, core_seconds=seconds)

    def run(self, workshop: Workshop) -> Finding:
        """See `Study.run`.

        Raises:
            InvalidSettingError: A search ended with fewer distinct students than blocks.
        """
        workshop.observer.begin("searches", 2)
        runs = [self._search(workshop, seed) for seed in (0, 1)]
        try:
            found = separability_of_two(*runs, tail=_TAIL, blocks=self.blocks)
        except InvalidSettingError as error:
            raise InvalidSettingError(f"The searches of {self.candidates} candidates are too short: {error}") from error
        tests = {"blocks of the later halves, seeds and splits 0 and 1": found}
        return separable(tests, runs, {"plane": principal_figure(principal_plane(runs, windows=6))}, tail=_TAIL)

    def _search(self, workshop: Workshop, seed: int) -> SearchRun:
        run = workshop.work / "searches" / f"real-{self.candidates}-seed{seed}"
        settings = SearchSettings(
            teacher=RESNET,
            cost="madds",
            budget=self.candidates,
            seed=seed,
            recipe=replace(self.recipe, split_seed=seed),
            workers=workshop.trainings.workers,
        )
        run_search(settings, run, resume=(run / SETTINGS_FILE).exists(), announce=workshop.observer.announce)
        workshop.observer.advance(f"searched with seed and split {seed}")
        return read_run(run, f"seed and split {seed}")
