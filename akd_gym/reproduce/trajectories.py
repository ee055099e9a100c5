"""Figures 4 to 8: what searches look like, and whether those with different teachers or seeds end apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from matplotlib.figure import Figure

from akd_gym.analysis.differences import group_differences
from akd_gym.analysis.differences_figure import differences_figure
from akd_gym.analysis.principal import principal_plane
from akd_gym.analysis.principal_figure import principal_figure, stages_figure
from akd_gym.analysis.runs import SearchRun
from akd_gym.analysis.search_figures import search_figure, search_panels
from akd_gym.analysis.separability import (
    TAIL,
    Separability,
    separability_of_pairs,
    separability_of_searches,
    separability_of_two,
)
from akd_gym.errors import InvalidSettingError
from akd_gym.reproduce.scale import Budget
from akd_gym.reproduce.searches import search_seconds
from akd_gym.reproduce.study import Finding, Study, Workshop
from akd_gym.reproduce.tables import markdown_table

RESNET, MIXER, HARD = "shipped:resnet", "shipped:mixer", "none"


@dataclass(frozen=True)
class OneSearch(Study):
    """What one search by distillation looks like."""

    name: ClassVar[str] = "figure4"
    title: ClassVar[str] = "Figure 4: a search"
    paper: ClassVar[str] = (
        "Over 10,000 models the reward pulls the latency to the 15 ms target while accuracy rises, and multiply-adds "
        "lie within a band that grows with latency: 3.4 (ms - 7) to 10.47 (ms - 7) million."
    )

    def budget(self, workshop: Workshop) -> Budget:
        """See `Study.budget`."""
        return _searches(workshop, 1)

    def run(self, workshop: Workshop) -> Finding:
        """See `Study.run`."""
        workshop.observer.begin("searches", 1)
        panels = search_panels(workshop.search(RESNET, 0))
        numbers: dict[str, Any] = {"caption": panels.caption}
        if panels.relation is not None:
            numbers |= {"tau": panels.relation.tau._asdict()}
        return Finding(panels.caption, numbers, {"search": search_figure(panels)})


@dataclass(frozen=True)
class Comparison(Study):
    """Two settings, each searched with the same seeds: do they end in different places?

    Searches of one seed begin with the same agent, so that they are paired (section 3.3).

    Args:
        first: Teacher of the one.
        second: Teacher of the other, `"none"` for hard labels.
    """

    name: ClassVar[str] = "figure5"
    title: ClassVar[str] = "Figure 5: searched by distillation or by hard labels"
    paper: ClassVar[str] = (
        "One search each; their final generations are called clearly separable, by eye. The paper gives no test."
    )

    first: str = RESNET
    second: str = HARD

    def budget(self, workshop: Workshop) -> Budget:
        """See `Study.budget`."""
        return _searches(workshop, 2 * workshop.scale.seeds)

    def run(self, workshop: Workshop) -> Finding:
        """See `Study.run`."""
        pairs = self._pairs(workshop)
        tests = {
            "pairs of searches swapped": separability_of_pairs(pairs),
            "searches exchanged": separability_of_searches([one for one, _ in pairs], [other for _, other in pairs]),
            "blocks of the two searches of seed 0": separability_of_two(*pairs[0]),
        }
        runs = [run for pair in pairs for run in pair]
        groups = [_name(self.first), _name(self.second)] * len(pairs)
        figures = {
            "stages": stages_figure(principal_plane(pairs[0])),
            "plane": principal_figure(principal_plane(runs), groups=groups),
        }
        return separable(tests, runs, figures)

    def _pairs(self, workshop: Workshop) -> list[tuple[SearchRun, SearchRun]]:
        seeds = range(workshop.scale.seeds)
        workshop.observer.begin("searches", 2 * len(seeds))
        return [(workshop.search(self.first, seed), workshop.search(self.second, seed)) for seed in seeds]


@dataclass(frozen=True)
class TwoTeachers(Comparison):
    """Two teachers."""

    name: ClassVar[str] = "figure6"
    title: ClassVar[str] = "Figure 6: different teachers"
    paper: ClassVar[str] = (
        "Inception-ResNet-v2 and EfficientNet-B7, one search each from the same agent: their final generations "
        "converge into different areas, by eye."
    )

    second: str = MIXER


@dataclass(frozen=True)
class TwoSeeds(Study):
    """One teacher, other seeds of the agent and of the noise of trainings: what the others are to be held against."""

    name: ClassVar[str] = "figure7"
    title: ClassVar[str] = "Figure 7: the same teacher, other seeds"
    paper: ClassVar[str] = (
        "Inception-ResNet-v2 with two seeds and two splits of the data: both searches converge into the same area, "
        "by eye."
    )

    def budget(self, workshop: Workshop) -> Budget:
        """See `Study.budget`."""
        return _searches(workshop, workshop.scale.seeds)

    def run(self, workshop: Workshop) -> Finding:
        """See `Study.run`.

        Raises:
            InvalidSettingError: Fewer than four seeds, of which no two halves could be made.
        """
        seeds = workshop.scale.seeds
        if seeds < 4:
            raise InvalidSettingError(f"`seeds` must be at least 4, two for either half, but got {seeds}.")
        workshop.observer.begin("searches", seeds)
        runs = [workshop.search(RESNET, seed) for seed in range(seeds)]
        half = seeds // 2
        tests = {
            "first half of the seeds against the second, searches exchanged": separability_of_searches(
                runs[:half], runs[half:]
            )
        }
        tests |= {
            f"blocks of two searches, seeds {one} and {one + 1}": separability_of_two(runs[one], runs[one + 1])
            for one in range(0, seeds - 1, 2)
        }
        return separable(tests, runs, {"plane": principal_figure(principal_plane(runs))})


@dataclass(frozen=True)
class Differences(Comparison):
    """What the best students of the two settings of Figure 5 have more or less of."""

    name: ClassVar[str] = "figure8"
    title: ClassVar[str] = "Figure 8: what distillation prefers"
    paper: ClassVar[str] = (
        "The best 500 of one search each within a latency band: means differ by option and block; no intervals."
    )

    def run(self, workshop: Workshop) -> Finding:
        """See `Study.run`."""
        pairs = self._pairs(workshop)
        names = (f"distilled from {_name(self.first)}", "hard labels" if self.second == HARD else _name(self.second))
        found = group_differences(names, [one for one, _ in pairs], [other for _, other in pairs])
        apart = sorted((f for f in found.features if f.is_apart), key=lambda f: -abs(f.difference / f.span))
        lines = [
            (f"block {f.block}", f.role, f.option or "", f"{f.difference:+.2f} ({f.low:+.2f} to {f.high:+.2f})")
            for f in apart
        ]
        table = markdown_table(("where", "decision", "option", "difference (95 % interval)"), lines) if lines else ""
        numbers = {"features": [vars(feature) for feature in found.features], "counts": found.counts}
        return Finding(f"{found.caption}\n\n{table}", numbers, {"differences": differences_figure(found)})


def separable(
    tests: dict[str, Separability], runs: Sequence[SearchRun], figures: dict[str, Figure], tail: float = TAIL
) -> Finding:
    """The finding of a study that asks whether searches end apart.

    Args:
        tests: By what they exchanged.
        runs: The searches.
        figures: By a short name.
        tail: The share of each search that counts.
    """
    lines = [
        (
            name,
            f"{100 * found.accuracy:.1f}",
            f"{100 * found.chance.value:.1f} ({100 * found.chance.low:.1f} to {100 * found.chance.high:.1f})",
            f"{found.p_value:.3g}",
            f"{found.smallest_p:.2g}",
            str(found.splits),
        )
        for name, found in tests.items()
    ]
    head = ("what was exchanged", "told apart, %", "under exchange, %", "p", "p at best", "exchanges")
    suppositions = {found.exchanged: found.supposition for found in tests.values()}
    meanings = "\n".join(f"- {exchanged} exchanged: {words}." for exchanged, words in suppositions.items())
    text = (
        f"{markdown_table(head, lines)}\n\nA linear classifier, on the last {tail:.0%} of each search, judged on "
        "searches or blocks that it did not see; 50 % is guessing. p is how often they could be told apart at "
        f"least that well\n\n{meanings}\n"
    )
    plane = principal_plane(runs)
    numbers = {
        "tests": {name: vars(found) for name, found in tests.items()},
        "runs": [run.name for run in runs],
        "explained": plane.explained.tolist(),
        "top_loadings": [[one._asdict() for one in plane.top_loadings(component)] for component in (0, 1)],
    }
    return Finding(text, numbers, figures)


def _searches(workshop: Workshop, count: int) -> Budget:
    return Budget(searches=count, core_seconds=search_seconds(count, workshop.scale.search_budget))


def _name(teacher: str) -> str:
    return "hard labels" if teacher == HARD else teacher.partition(":")[2]
