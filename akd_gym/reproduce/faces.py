"""Table 9: students of images as embedders of faces."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from akd_gym.analysis.intervals import mean_interval
from akd_gym.architecture import NetworkSpec
from akd_gym.reproduce.baselines import reduced
from akd_gym.reproduce.scale import Budget
from akd_gym.reproduce.study import Finding, Study, Workshop, with_epochs
from akd_gym.reproduce.tables import markdown_table, method_title

if TYPE_CHECKING:
    from akd_gym.retrieval.identities import FaceTask
    from akd_gym.retrieval.study import Row

_TRAINING_SECONDS = 60.0  # of one student on ORL


@dataclass(frozen=True)
class Faces(Study):
    """Rank-1 identification of people nobody was trained on, by students searched for another task.

    The data are the ORL faces, the teacher is dlib's face network, which is one checkpoint: RCO-KD needs a route, so
    the table is without it. A seed draws the people, the initial weights and the distractors: intervals over seeds are
    of other people too. Beyond the pictures of people not trained on, distractors are synthetic embeddings.

    Args:
        methods: What students learn from; hard labels are the people trained on.
        distractors: How many.
    """

    name: ClassVar[str] = "table9"
    title: ClassVar[str] = "Table 9: face retrieval"
    paper: ClassVar[str] = (
        "MegaFace, rank 1 among 10^3 and 10^6 distractors, %: teacher 99.6 and 98.2; MobileNetV2 91.5 and 65.9, by "
        "CC-KD 97.9 and 86.3, by RCO-KD 98.3 and 85.9; AKDNet-M 93.8 and 68.6, by CC-KD 98.3 and 88.4, by RCO-KD 98.4 "
        "and 90.2. One training each."
    )

    methods: tuple[str, ...] = ("hard", "features", "cc")
    distractors: tuple[int, ...] = (100, 1_000, 10_000)

    def budget(self, workshop: Workshop) -> Budget:
        """See `Study.budget`."""
        count = 2 * len(self.methods) * workshop.scale.seeds
        return Budget(1, count, count * _TRAINING_SECONDS)

    def run(self, workshop: Workshop) -> Finding:
        """See `Study.run`.

        Raises:
            DataError: The extra `faces`, which has the pictures and the teacher, is not installed.
        """
        from akd_gym.retrieval.dlib_faces import align_face
        from akd_gym.retrieval.identities import load_faces, split_faces

        [found] = workshop.finalists([("shipped:resnet", 1.0, 0)])
        students = {"AKDNet": found.spec, "MobileNetV2": reduced("mobilenet_v2", found.madds)}
        workshop.observer.begin("trainings", len(students) * len(self.methods) * workshop.scale.seeds)
        rates: dict[tuple[str, str], list[list[float]]] = {}
        workshop.observer.announce("cutting the faces out of their pictures")
        faces = load_faces("orl", align=align_face)
        for seed in range(workshop.scale.seeds):
            for (name, method), row in self._of_seed(workshop, split_faces(faces, seed=seed), students, seed).items():
                rates.setdefault((name, method), []).append([100 * one.value for one in row.rates])
        lines = [
            (
                name,
                method_title(method) if method else "",
                *(f"{mean_interval([one[i] for one in of_seeds]):.1f}" for i in range(len(self.distractors))),
            )
            for (name, method), of_seeds in rates.items()
        ]
        lines += [
            (
                f"AKDNet less MobileNetV2, {method_title(method)}",
                "",
                *(f"{mean_interval([a[i] - b[i] for a, b in paired]):+.1f}" for i in range(len(self.distractors))),
            )
            for method in self.methods
            for paired in [list(zip(rates["AKDNet", method], rates["MobileNetV2", method], strict=True))]
        ]
        head = ("embedder", "trained by", *(f"{count:,} distractors" for count in self.distractors))
        text = (
            f"{markdown_table(head, lines)}\n\nRank 1 in %, ORL faces, means over {workshop.scale.seeds} seeds (other "
            "people looked for, other initial weights) with 95 % intervals of Student's t. Distractors beyond the "
            "pictures of the other people looked for are synthetic embeddings.\n\n"
            + "\n".join(f"- {name}: `{spec}`" for name, spec in students.items())
        )
        numbers = {"rates": [{"embedder": n, "method": m, "by_seed": r} for (n, m), r in rates.items()]}
        return Finding(text, numbers)

    def _of_seed(
        self, workshop: Workshop, task: FaceTask, students: dict[str, NetworkSpec], seed: int
    ) -> dict[tuple[str, str], Row]:
        from akd_gym.retrieval.embedders import PixelEmbedder
        from akd_gym.retrieval.study import FACE_RECIPE, Judge, Subject
        from akd_gym.retrieval.teachers import load_embedding_teacher
        from akd_gym.retrieval.training import Place, train_embedder
        from akd_gym.torch_settings import cpu_settings

        recipe = with_epochs(FACE_RECIPE, workshop.scale.epochs)
        folder = workshop.work / "faces" / f"epochs{recipe.epochs}-seed{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        place = Place(torch.device("cpu"), seed)
        teacher = load_embedding_teacher("dlib:face", task.data, recipe, folder / "teacher", place=place)
        assert teacher is not None
        judge = Judge(task, self.distractors, folder, place.device, seed=seed)
        with cpu_settings(1):
            rows = {
                ("raw pixels", ""): judge.judge(Subject("raw pixels", PixelEmbedder())),
                ("dlib's network", ""): judge.judge(Subject("teacher", teacher.features)),
            }
            for (name, spec), method in itertools.product(students.items(), self.methods):
                out = folder / f"{name}-{method}"
                embedder = train_embedder(spec, task.data, recipe, out, method=method, teacher=teacher, place=place)
                rows[name, method] = judge.judge(Subject("student", embedder, str(spec), method))
                rate = rows[name, method].rates[-1].value
                workshop.observer.advance(
                    f"{name}, {method}, seed {seed}: {100 * rate:.1f} % among {self.distractors[-1]:,}"
                )
        return rows
