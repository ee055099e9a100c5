"""Table 6: what each distillation method brings a student, and MobileNetV2 reduced to the student's cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from akd_gym.architecture import NetworkSpec
from akd_gym.cost import count_cost
from akd_gym.reproduce.baselines import reduced
from akd_gym.reproduce.grid import grid_budget, train_grid, ways
from akd_gym.reproduce.scale import Budget
from akd_gym.reproduce.study import Finding, Study, Workshop
from akd_gym.space import make_space


@dataclass(frozen=True)
class Methods(Study):
    """Every method against hard labels, over paired seeds.

    Args:
        teacher: Who is distilled; one with anchors.
        methods: Beside hard labels.
    """

    name: ClassVar[str] = "table6"
    title: ClassVar[str] = "Table 6: distillation methods"
    paper: ClassVar[str] = (
        "ImageNet, 33 ms, top-1 %: MobileNetV2 0.5x 65.4 without KD, +2.2 by TA-KD, +2.8 by RCO-KD, +2.3 by CC-KD; "
        "AKDNet-M 68.9 without KD, +3.1, +3.5, +3.3. One training each."
    )

    teacher: str = "shipped:resnet"
    methods: tuple[str, ...] = ("kd", "ta", "rco", "cc", "features")

    def students(self) -> dict[str, NetworkSpec]:
        """The reference architecture of the space, and MobileNetV2 with as many multiply-adds."""
        space = make_space("akd", "small")
        own = space.network(space.reference).canonical()
        return {"akd reference": own, "MobileNetV2": reduced("mobilenet_v2", count_cost(own, 28, 1, 10).madds)}

    def budget(self, workshop: Workshop) -> Budget:
        """See `Study.budget`."""
        return grid_budget(workshop, self.students().values(), ways(self.methods, self.teacher))

    def run(self, workshop: Workshop) -> Finding:
        """See `Study.run`."""
        return train_grid(workshop, self.students(), ways(self.methods, self.teacher))
