"""`akd train`: the full training of one student."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from akd_gym.agents.settings import optional
from akd_gym.architecture import NetworkSpec
from akd_gym.cli.console import say
from akd_gym.distill import METHODS
from akd_gym.errors import InvalidSettingError
from akd_gym.recipes import Precision, Recipe, full_recipe, with_overrides

if TYPE_CHECKING:
    from akd_gym.full_training import FullTrainingResult
    from akd_gym.training_log import Progress

_RECIPE_FIELDS = (
    "epochs", "learning_rate", "batch_size", "accumulate", "ema_decay", "label_smoothing", "alpha", "temperature",
    "train_size", "val_size", "resolution", "crop_area", "views", "precision",
)  # fmt: skip


@dataclass(frozen=True)
class Train:
    """Train one student fully, by distillation or by hard labels, and judge it on the test set.

    Writes student.safetensors, record.json, a model card (README.md) and tensorboard/ to --out. A training that was
    stopped goes on when started again, to the same result.

    On several GPUs or machines: torchrun --nproc-per-node 4 -m akd_gym train ARCHITECTURE --device cuda ...
    Each process trains on its share of every batch, by statistics of batch norm of its own.
    """

    architecture: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="ARCHITECTURE")]]
    """Canonical string, as searches print it; it need not be of any search space."""
    out: Path
    """Folder of the results and of the checkpoint."""
    method: str = "kd"
    """What the student learns from: hard (the labels alone), kd (the teacher's soft labels), another distillation
    method (rco, ta, cc, features), or module:Class."""
    teacher: str = "shipped:inception"
    """Who is distilled, as for `akd search`."""
    data: str = "fashion"
    """Images, as for `akd search`."""
    epochs: Annotated[int | None, optional("N")] = None
    """Passes over the training images; by default 60 on small images, 400 on ImageNet as in the paper."""
    learning_rate: Annotated[float | None, optional("RATE")] = None
    """Peak learning rate; by default the recipe's."""
    batch_size: Annotated[int | None, optional("N")] = None
    """Images a step, of all processes together; by default 128 on small images, 256 on ImageNet."""
    accumulate: Annotated[int | None, optional("N")] = None
    """Parts that a batch is cut into where it does not fit in memory at once; batch norm sees a part."""
    ema_decay: Annotated[float | None, optional("DECAY")] = None
    """Of a running average of the weights, which then is what is judged and kept; by default 0.9999 on ImageNet, else
    none."""
    label_smoothing: Annotated[float | None, optional("SHARE")] = None
    """Share of a hard label that goes to all classes alike, with --method hard alone; by default 0.1 on ImageNet, else
    none."""
    alpha: Annotated[float | None, optional("WEIGHT")] = None
    """Weight of the distillation term, the labels having the rest; by default 0.9."""
    temperature: Annotated[float | None, optional("T")] = None
    """Of the teacher's and the student's softmax; by default 1."""
    train_size: Annotated[int | None, optional("N")] = None
    """Images to train on; by default all that mini-val leaves."""
    val_size: Annotated[int | None, optional("N")] = None
    """Images of mini-val; by default 2,000 of the embedded set, 50,000 of ImageNet, a sixth of others."""
    resolution: Annotated[int | None, optional("PIXELS")] = None
    """Pixels of height and width; by default the data's own."""
    crop_area: Annotated[float | None, optional("SHARE")] = None
    """Smallest share of a picture's area that a random-resized crop keeps, by default 0.08 on ImageNet, else none, but
    shifts."""
    views: Annotated[int | None, optional("N")] = None
    """Augmented views of each image, which a longer training goes through again; by default 10, on ImageNet 50."""
    precision: Annotated[Precision | None, optional("float32|bfloat16")] = None
    """Of the student's answers; by default bfloat16 on a GPU and float32 on a CPU. Weights have 32 bits."""
    seed: int = 0
    """Of the initial weights and the order of images."""
    device: str = "cpu"
    """cpu or cuda."""
    threads: int = 1
    """Torch threads on a CPU."""
    eval_every: Annotated[int | None, optional("EPOCHS")] = None
    """Epochs between two evaluations on mini-val, which do not change the result; by default ten in all."""
    latency: Annotated[str | None, optional("SOURCE")] = None
    """Who measures the trained student for its record, such as host or phone, as for `akd measure`; else nobody."""

    def __call__(self, console: Console) -> None:
        """Train and print the accuracy."""
        from akd_gym.distributed import is_first_process
        from akd_gym.executors import load_task_data
        from akd_gym.full_training import train_fully

        spec = NetworkSpec.parse(self.architecture).canonical()
        recipe = self._recipe()
        if not is_first_process():
            console = Console(quiet=True)
        columns = (
            TextColumn("epoch {task.fields[epoch]} of {task.total}"),
            BarColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
        )
        with Bar(*columns, console=console) as bar:
            task = bar.add_task("", total=recipe.epochs, epoch=1)

            def on_progress(progress: Progress) -> None:
                bar.update(
                    task,
                    completed=progress.epoch,
                    epoch=min(int(progress.epoch) + 1, recipe.epochs),
                    description=f"loss {progress.loss:.3f}  rate {progress.learning_rate:.2g}  "
                    f"{progress.images_per_s:,.0f} images/s",
                )

            result = train_fully(
                spec,
                load_task_data(self.data, recipe, announce=lambda text: say(bar.console, text)),
                recipe,
                self.out,
                method=self.method,
                teacher=self.teacher,
                seed=self.seed,
                device=self.device,
                threads=self.threads,
                eval_every=self.eval_every,
                latency=self.latency,
                announce=lambda text: say(bar.console, text),
                on_epoch=lambda epoch, loss: bar.update(task, completed=epoch),
                on_progress=on_progress,
            )
        console.print(_table(result))
        console.print(f"weights  {result.student}", highlight=False, markup=False, soft_wrap=True)

    def _recipe(self) -> Recipe:
        """The data's recipe with what was asked for.

        Raises:
            InvalidSettingError: If something does not go together.
        """
        from akd_gym.distill import load_method

        needs_teacher = load_method(self.method).needs_teacher
        if self.teacher == "none" and needs_teacher:
            raise InvalidSettingError(f"`method` {self.method} must have a teacher, but got `teacher` none.")
        if self.label_smoothing and needs_teacher and self.method in METHODS:
            raise InvalidSettingError(
                f"`label_smoothing` is for `method` hard, distillation goes without it, but got {self.label_smoothing} "
                f"with `method` {self.method}."
            )
        for name in ("epochs", "eval_every", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InvalidSettingError(f"`{name}` must be at least 1, but got {value}.")
        recipe = full_recipe(self.data)
        overrides = {name: getattr(self, name) for name in _RECIPE_FIELDS}
        if self.epochs is not None:
            overrides["warmup_epochs"] = min(recipe.warmup_epochs, self.epochs / 5)
        return with_overrides(recipe, overrides)


def _table(result: FullTrainingResult) -> Table:
    table = Table(box=SIMPLE_HEAD)
    table.add_column("images")
    for column in ("top-1", "top-5"):
        table.add_column(column, justify="right")
    rows = [("mini-val", result.val_accuracy, result.val_top5)]
    if result.test_accuracy is not None:
        rows.append(("test", result.test_accuracy, result.test_top5))
    for part, top1, top5 in rows:
        table.add_row(part, f"{100 * top1:.2f} %", "-" if top5 is None else f"{100 * top5:.2f} %")
    return table
