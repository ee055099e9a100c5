"""Table 7: a searched student beside networks of the literature, reduced to its multiply-adds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from akd_gym.architecture import NetworkSpec
from akd_gym.baselines import baseline
from akd_gym.cost import count_cost
from akd_gym.reproduce.grid import grid_budget, train_grid, ways
from akd_gym.reproduce.scale import Budget
from akd_gym.reproduce.study import Finding, Study, Workshop
from akd_gym.space import make_space

_RATIOS = np.arange(0.05, 1.0, 0.005)
_UNDONE_STRIDES = 2  # of networks for 224 pixels, on 28
"""As `akd baseline` does on small images."""


def reduced(name: str, madds: float) -> NetworkSpec:
    """A network of the literature with its channels scaled by one ratio to about so many multiply-adds of an image."""
    made = (baseline(name, float(ratio), divisor=1, undo_strides=_UNDONE_STRIDES) for ratio in _RATIOS)
    return min(made, key=lambda spec: abs(count_cost(spec, 28, 1, 10).madds - madds)).canonical()


@dataclass(frozen=True)
class Baselines(Study):
    """A student that a search found with the teacher, and reduced networks, by hard labels and distilled.

    The paper reduces them until their measured latency is the student's, which `akd baseline NAME --target-ms` does as
    well. Here they are reduced to its multiply-adds, so that they are the same networks on every machine.

    Args:
        teacher: Who is distilled, in search and training.
        names: Networks of `akd baseline`.
    """

    name: ClassVar[str] = "table7"
    title: ClassVar[str] = "Table 7: beside networks of the literature"
    paper: ClassVar[str] = (
        "ImageNet, 15 to 20 ms, top-1 %: AKDNet 63.9, +2.6 by KD, +3.1 by RCO-KD; MobileNetV2 59.2, +1.4; MNASNet "
        "62.2, +1.5; MobileNetV3 64.1, +1.3 by KD. One training each."
    )

    teacher: str = "shipped:resnet"
    names: tuple[str, ...] = ("mobilenet_v2", "mnasnet_b1", "mobilenet_v3_small")
    methods: tuple[str, ...] = ("kd", "rco")

    def budget(self, workshop: Workshop) -> Budget:
        """See `Study.budget`."""
        space = make_space("akd", "small")
        like = [space.network(space.reference)] * (1 + len(self.names))
        trainings = grid_budget(workshop, like, ways(self.methods, self.teacher))
        return Budget(1, trainings.trainings, trainings.core_seconds)

    def run(self, workshop: Workshop) -> Finding:
        """See `Study.run`."""
        [found] = workshop.finalists([(self.teacher, 1.0, 0)])
        students = {"AKDNet": found.spec} | {name: reduced(name, found.madds) for name in self.names}
        return train_grid(workshop, students, ways(self.methods, self.teacher))
