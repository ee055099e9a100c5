"""Figure 2: how alike the teachers answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from akd_gym.analysis.agreement import agreement, agreement_figure
from akd_gym.reproduce.scale import Budget
from akd_gym.reproduce.study import DATA, Finding, Study, Workshop
from akd_gym.reproduce.tables import markdown_table
from akd_gym.teachers import load_teacher


@dataclass(frozen=True)
class TeacherAgreement(Study):
    """Divergences and matching answers of the shipped teachers on test images that none of them saw.

    Args:
        teachers: Whom.
    """

    name: ClassVar[str] = "figure2"
    title: ClassVar[str] = "Figure 2: how alike teachers answer"
    paper: ClassVar[str] = (
        "Eight ImageNet teachers: KL divergences of 0.11 to 0.87 between teachers, of 0.86 to 1.72 from the labels; "
        "they give the same answer on 92 to 96 % of the images."
    )

    teachers: tuple[str, ...] = ("shipped:resnet", "shipped:inception", "shipped:mixer")

    def budget(self, workshop: Workshop) -> Budget:
        """See `Study.budget`: the teachers answer once."""
        return Budget()

    def run(self, workshop: Workshop) -> Finding:
        """See `Study.run`."""
        data = workshop.trainings.data
        assert data.test is not None, f"{DATA} has a test set"
        answers = {}
        for name in self.teachers:
            teacher = load_teacher(name, data)
            assert teacher is not None
            workshop.observer.announce(f"{name} looks at {len(data.test):,} images")
            parts = data.test.batches(torch.arange(len(data.test)).split(500), torch.device("cpu"))
            logits = torch.cat([teacher.logits(pictures) for pictures in parts])
            answers[name.partition(":")[2]] = torch.softmax(logits.double(), dim=1).numpy()
        found = agreement(answers, data.test.labels.numpy())
        names, k = found.names, len(found.names)
        lines = [
            (
                names[i],
                *(_with_reach(found.divergences[i, j], found.divergence_reach[i, j], 3) for j in range(k)),
                *(_with_reach(100 * found.matches[i, j], 100 * found.match_reach[i, j], 1) for j in range(k)),
            )
            for i in range(k)
        ]
        head = ("", *(f"KL(row, {name})" for name in names), *(f"{name}, same answer, %" for name in names))
        text = (
            f"{markdown_table(head, lines)}\n\nOn {found.images:,} test images, with 95 % intervals over images; GT "
            "are the labels. A divergence *from* a label that leaves nothing to the other classes would be infinite: "
            "the label is taken to leave each of them 1e-6, so the last KL column compares within itself only."
        )
        numbers = {
            "names": names,
            "images": found.images,
            "divergences": found.divergences.tolist(),
            "divergence_reach": found.divergence_reach.tolist(),
            "matches": found.matches.tolist(),
            "match_reach": found.match_reach.tolist(),
        }
        return Finding(text, numbers, {"agreement": agreement_figure(found)})


def _with_reach(value: float, reach: float, digits: int) -> str:
    return f"{value:.{digits}f} ± {reach:.{digits}f}" if reach else f"{value:g}"
