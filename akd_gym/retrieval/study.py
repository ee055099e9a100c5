"""A table of rank-1 rates in the shape of the paper's Table 9: who embeds, by which method, among how many."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from akd_gym.analysis.aggregates import Interval
from akd_gym.files import write_atomically
from akd_gym.recipes import Recipe
from akd_gym.retrieval.distractors import Distractors, Synthetic
from akd_gym.retrieval.embedders import Embedder, embed, embed_files
from akd_gym.retrieval.identities import FaceTask
from akd_gym.retrieval.pictures import Reader
from akd_gym.retrieval.ranking import Identification, identify

FACE_RECIPE = Recipe(epochs=120, warmup_epochs=3.0, batch_size=32, learning_rate=0.1, views=4)
"""How embedders of small sets of faces are trained; students, classifiers and a teacher trained here alike."""
TABLE, RECORD, INDEX = "table.csv", "record.json", "distractors.f32"
COLUMNS = (
    "embedder", "architecture", "method", "teacher", "params", "madds", "dim",
    "distractors", "synthetic_distractors", "rank1", "low", "high", "pairs", "people",
)  # fmt: skip


@dataclass(frozen=True)
class Subject:
    """Somebody whose embeddings are judged.

    Attributes:
        label: In the table: `"raw pixels"`, `"teacher"` or `"student"`.
        embed: What embeds.
        architecture: Of a student.
        method: How a student learned.
        teacher: Who was distilled, or is judged.
        params: Weights of a student.
        madds: Multiply-adds of a student.
    """

    label: str
    embed: Embedder
    architecture: str | None = None
    method: str | None = None
    teacher: str | None = None
    params: int | None = None
    madds: int | None = None


@dataclass(frozen=True)
class Row:
    """A subject's results.

    Attributes:
        subject: Who.
        dim: Length of an embedding.
        found: How often the right picture came first.
        rates: The rank-1 rate at each number of distractors.
    """

    subject: Subject
    dim: int
    found: Identification
    rates: list[Interval]


@dataclass(frozen=True)
class Judge:
    """The same probes and distractors for every subject.

    Attributes:
        task: Who is looked for; synthetic distractors are fitted to the people trained on.
        counts: Numbers of distractors.
        folder: For the index of distractor pictures.
        device: Where to embed and compare.
        pictures: Files of distractors beyond the gallery: other people, none of them in the task.
        reader: Decodes them.
        seed: Of the distractors.
        on_block: Told what is going on, how much of it is done, and how much there is.
    """

    task: FaceTask
    counts: tuple[int, ...]
    folder: Path
    device: torch.device
    pictures: tuple[Path, ...] = ()
    reader: Reader | None = None
    seed: int = 0
    on_block: Callable[[str, int, int], None] | None = None

    def judge(self, subject: Subject) -> Row:
        """Embed gallery and distractors, and count.

        Raises:
            DataError: Embeddings are not finite, or pictures unreadable.
            StorageError: The index cannot be written.
        """
        gallery = embed(subject.embed, self.task.gallery, self.device)
        index = None
        if self.pictures:
            assert self.reader is not None
            index = embed_files(
                subject.embed, self.pictures, self.reader, self.folder / INDEX, self.device, self._told("embedding")
            )
        synthetic = Synthetic.fit(embed(subject.embed, self.task.data.train, self.device), self.seed)
        found = identify(
            gallery,
            self.task.gallery.labels,
            self.counts,
            Distractors(index, synthetic),
            seed=self.seed,
            device=self.device,
            on_block=self._told("comparing"),
        )
        (self.folder / INDEX).unlink(missing_ok=True)
        return Row(subject, gallery.shape[1], found, found.rates())

    def _told(self, what: str) -> Callable[[int, int], None] | None:
        told = self.on_block
        return None if told is None else lambda done, total: told(what, done, total)


def as_records(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Rows of the table as flat records, one a subject and number of distractors, with the keys `COLUMNS`."""
    records = []
    for row in rows:
        subject, found = row.subject, row.found
        about = (subject.label, subject.architecture, subject.method, subject.teacher, subject.params, subject.madds)
        for count, synthetic, rate in zip(found.distractors, found.synthetic, row.rates, strict=True):
            values = (*about, row.dim, count, synthetic, *rate, int(found.pairs.sum()), len(found.pairs))
            records.append(dict(zip(COLUMNS, values, strict=True)))
    return records


def write_results(folder: Path, rows: Sequence[Row], about: dict[str, Any]) -> None:
    """Write the table (`table.csv`) and all there is to know about it (`record.json`).

    Raises:
        StorageError: They cannot be written; old files are as they were.
    """
    records = as_records(rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    write_atomically(folder / TABLE, text.getvalue().encode())
    write_atomically(folder / RECORD, (json.dumps(about | {"results": records}, indent=2) + "\n").encode())
