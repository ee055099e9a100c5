"""Table 4: whether students become friendlier to the teacher as the search for them goes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from akd_gym.analysis.gains import RelativeGain, gain_rise, relative_gain
from akd_gym.analysis.outcomes import distinct
from akd_gym.analysis.runs import SearchRun
from akd_gym.architecture import NetworkSpec
from akd_gym.reproduce.scale import Budget
from akd_gym.reproduce.searches import search_seconds
from akd_gym.reproduce.study import Finding, Study, Workshop
from akd_gym.reproduce.tables import markdown_table
from akd_gym.reproduce.trainings import StudentTraining, TrainedStudent
from akd_gym.space import make_space

_SIDES = ("shipped:resnet", "none")
_PARTS = 4  # of a search, as in the paper
_SEED = 4


@dataclass(frozen=True)
class RelativeGains(Study):
    """What distillation gives students that were searched by it, less what it gives those searched by hard labels.

    As in the paper, students are trained as in the search: by the proxy recipe, and judged on mini-val. One search of
    each kind, from the same agent.

    Args:
        stages: Which quarters of a search, from 1.
        sample: Students drawn from each; the paper draws 80 from four stages.
    """

    name: ClassVar[str] = "table4"
    title: ClassVar[str] = "Table 4: relative gain over a search"
    paper: ClassVar[str] = (
        "Relative gain and winning ratio go up along the search; 80 architectures from 4 stages of 10,000, no "
        "intervals."
    )

    stages: tuple[int, ...] = (1, 4)
    sample: int = 20

    def budget(self, workshop: Workshop) -> Budget:
        """See `Study.budget`."""
        space = make_space("akd", "small")
        count = len(self.stages) * self.sample * len(_SIDES) * 2
        seconds = workshop.proxy.seconds([(space.network(space.reference), "hard")] * count)
        searching = search_seconds(len(_SIDES), workshop.scale.search_budget)
        return Budget(searches=len(_SIDES), trainings=count, core_seconds=seconds + searching)

    def run(self, workshop: Workshop) -> Finding:
        """See `Study.run`."""
        workshop.observer.begin("searches", len(_SIDES))
        drawn = {
            (stage, side): self._draw(run, stage)
            for side in _SIDES
            for run in [workshop.search(side, 0)]
            for stage in self.stages
        }
        planned = {
            (stage, side, method): [
                StudentTraining(one, method, _SIDES[0] if method == "kd" else "none", 0) for one in architectures
            ]
            for (stage, side), architectures in drawn.items()
            for method in ("kd", "hard")
        }
        done = workshop.train([one for many in planned.values() for one in many], workshop.proxy)
        found = {stage: self._gain(stage, planned, done) for stage in self.stages}
        lines = [
            (
                f"{stage} of {_PARTS}",
                f"{100 * gain.akd.mean():+.2f}",
                f"{100 * gain.nas.mean():+.2f}",
                f"{100 * gain.gain.value:+.2f} ({100 * gain.gain.low:+.2f} to {100 * gain.gain.high:+.2f})",
                f"{gain.winning.value:.2f} ({gain.winning.low:.2f} to {gain.winning.high:.2f})",
                gain.paper_ratio,
            )
            for stage, gain in found.items()
        ]
        rise = gain_rise(found[self.stages[0]], found[self.stages[-1]])
        head = (
            *("quarter", "KD gives AKD students", "KD gives NAS students", "relative gain, points"),
            *("share of pairs won", "winning ratio"),
        )
        text = (
            f"{markdown_table(head, lines)}\n\n{self.sample} students drawn from each quarter of each search, trained "
            "by KD and by hard labels; 95 % intervals over students. From the first quarter to the last the relative "
            f"gain changed by {100 * rise.value:+.2f} points ({100 * rise.low:+.2f} to {100 * rise.high:+.2f}).\n"
        )
        numbers = {
            "stages": {stage: {"akd": gain.akd.tolist(), "nas": gain.nas.tolist()} for stage, gain in found.items()},
            "rise": rise._asdict(),
        }
        return Finding(text, numbers)

    def _draw(self, run: SearchRun, stage: int) -> list[str]:
        quarter = len(run.outcomes) // _PARTS
        there = distinct(run.outcomes[(stage - 1) * quarter : stage * quarter])
        rng = np.random.default_rng([_SEED, stage])
        chosen = rng.choice(len(there), size=min(self.sample, len(there)), replace=False)
        return [str(NetworkSpec.parse(there[i].architecture).canonical()) for i in chosen]

    def _gain(
        self,
        stage: int,
        planned: dict[tuple[int, str, str], list[StudentTraining]],
        done: dict[StudentTraining, TrainedStudent],
    ) -> RelativeGain:
        columns = []
        for side in _SIDES:
            pairs = [
                (kd, hard)
                for one, other in zip(planned[stage, side, "kd"], planned[stage, side, "hard"], strict=True)
                if (kd := done[one].val_accuracy) is not None and (hard := done[other].val_accuracy) is not None
            ]
            columns += [[kd for kd, _ in pairs], [hard for _, hard in pairs]]
        return relative_gain(*columns)
