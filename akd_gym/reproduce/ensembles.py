"""Table 10: a student of an ensemble."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from akd_gym.architecture import NetworkSpec
from akd_gym.reproduce.grid import HARD, Way, grid_budget, train_grid
from akd_gym.reproduce.scale import Budget
from akd_gym.reproduce.study import Finding, Study, Workshop
from akd_gym.space import make_space


class _Named(Way):
    """A way whose teacher belongs into the table."""

    @property
    def title(self) -> str:
        """As in a table."""
        return f"{super().title} from {self.teacher.replace('shipped:', '')}"


@dataclass(frozen=True)
class Ensembles(Study):
    """What a searched student learns from an ensemble, and from each of its members.

    The paper's students are searched with one teacher and learn to find faces from five others. Here the student is
    searched with the residual teacher and classifies, as the other tables' students do.

    Args:
        members: Teachers.
    """

    name: ClassVar[str] = "table10"
    title: ClassVar[str] = "Table 10: an ensemble as the teacher"
    paper: ClassVar[str] = (
        "MegaFace, rank 1 among 10^5 and 10^6 distractors, %: ensemble of five 99.6 and 99.3; AKDNet-M by hard labels "
        "78.2 and 68.6, by KD from the ensemble 94.9 and 90.1, by RCO-KD 95.7 and 90.9. One training each."
    )

    members: tuple[str, ...] = ("shipped:resnet", "shipped:inception", "shipped:mixer")

    @property
    def _ways(self) -> list[Way]:
        ensemble = "+".join(self.members)
        return [HARD, *(_Named("kd", teacher) for teacher in (*self.members, ensemble))]

    def budget(self, workshop: Workshop) -> Budget:
        """See `Study.budget`."""
        space = make_space("akd", "small")
        trainings = grid_budget(workshop, [space.network(space.reference)], self._ways)
        return Budget(1, trainings.trainings, trainings.core_seconds)

    def run(self, workshop: Workshop) -> Finding:
        """See `Study.run`."""
        [found] = workshop.finalists([(self.members[0], 1.0, 0)])
        students: dict[str, NetworkSpec] = {"AKDNet": found.spec}
        return train_grid(workshop, students, self._ways)
