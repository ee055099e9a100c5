"""`akd evaluate`, `akd train` and `akd export`: one student by its architecture string."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from akd_gym.agents.settings import SearchSettings, optional
from akd_gym.architecture import NetworkSpec
from akd_gym.errors import InfeasibleCandidateError, InvalidSettingError
from akd_gym.recipes import full_recipe, with_overrides

if TYPE_CHECKING:
    from torch import nn

    from akd_gym.analysis.outcomes import Outcome

_Architecture = Annotated[str, tyro.conf.arg(metavar="ARCHITECTURE")]


def _say(console: Console, text: str) -> None:
    console.print(text, style="dim", highlight=False, markup=False, soft_wrap=True)


@dataclass(frozen=True)
class Evaluate:
    """Evaluate one architecture exactly as a search does: proxy training, then latency.

    With --like RUN the settings are those of a search and its numbers are shown beside the new ones: the accuracy is
    the same to the last digit on the same machine, the latency within the noise of the device.
    """

    architecture: tyro.conf.Positional[_Architecture]
    """Canonical string, as searches print it."""
    settings: Annotated[SearchSettings, tyro.conf.arg(name="")] = field(default_factory=SearchSettings)
    like: Annotated[Path | None, optional("RUN")] = None
    """Run directory whose settings to use, and whose numbers to compare with."""

    def __call__(self, console: Console) -> None:
        """Evaluate and print."""
        from akd_gym.analysis.formats import format_cost, format_count
        from akd_gym.evaluation import make_evaluator

        spec = NetworkSpec.parse(self.architecture).canonical()
        settings = self.settings
        evaluator = make_evaluator(
            **settings.evaluator_kwargs(),
            ledger=settings.ledger if self.like is None else None,  # what is to be checked must not be looked up
            workers=1,
            announce=lambda text: _say(console, text),
        )
        try:
            choices = evaluator.space.choices(spec)
            with console.status("training and measuring"):
                [result] = evaluator.evaluate([choices])
        finally:
            evaluator.close()
        if result.status != "ok":
            raise InfeasibleCandidateError(str(result.reason), f"{spec} gets no accuracy")
        assert result.accuracy is not None
        known = self._known(result.architecture)
        console.print(f"accuracy  {100 * result.accuracy:.4f} %", highlight=False)
        if known is not None and known.accuracy is not None:
            console.print(f"          {100 * known.accuracy:.4f} % in {self.like}", highlight=False, markup=False)
        if result.latency_ms is not None:
            latency = format_cost(result.latency_ms, "ms")
            console.print(f"latency   {latency} ({result.latency_kind}: {result.device})", highlight=False)
        if known is not None and known.latency_ms is not None:
            console.print(
                f"          {format_cost(known.latency_ms, 'ms')} in {self.like}", highlight=False, markup=False
            )
        console.print(f"MAdds     {format_count(result.madds)}", highlight=False)
        console.print(f"params    {format_count(result.params)}", highlight=False)
        console.print(f"seconds   {result.seconds:.1f}", highlight=False)

    def _known(self, architecture: str) -> Outcome | None:
        """What the search to compare with found."""
        if self.like is None:
            return None
        from akd_gym.agents.search import read_outcomes

        outcomes = read_outcomes(self.like).outcomes
        return next((outcome for outcome in outcomes if outcome.architecture == architecture), None)


@dataclass(frozen=True)
class Train:
    """Train one student fully, by distillation or by hard labels, and judge it on the test set.

    Writes student.safetensors and record.json; a training that was stopped goes on when started again.
    """

    architecture: tyro.conf.Positional[_Architecture]
    """Canonical string, as searches print it; it need not be of any search space."""
    out: Path
    """Folder of the results and of the checkpoint."""
    method: Literal["kd", "hard"] = "kd"
    """kd: the teacher's soft labels; hard: the labels alone."""
    teacher: str = "shipped:inception"
    """Who is distilled, as for `akd search`."""
    data: str = "fashion"
    """Images, as for `akd search`."""
    epochs: Annotated[int | None, optional("N")] = None
    """Passes over the training images; by default 60 on small images, 400 on ImageNet as in the paper."""
    learning_rate: Annotated[float | None, optional("RATE")] = None
    """Peak learning rate; by default the recipe's."""
    batch_size: Annotated[int | None, optional("N")] = None
    """Images a step; by default the recipe's."""
    train_size: Annotated[int | None, optional("N")] = None
    """Images to train on; by default all that mini-val leaves."""
    resolution: Annotated[int | None, optional("PIXELS")] = None
    """Pixels of height and width; by default the data's own."""
    seed: int = 0
    """Of the initial weights and the order of images."""
    device: str = "cpu"
    """cpu or cuda."""
    threads: int = 1
    """Torch threads on a CPU."""

    def __call__(self, console: Console) -> None:
        """Train and print the accuracy."""
        from akd_gym.executors import load_task_data
        from akd_gym.full_training import train_fully

        spec = NetworkSpec.parse(self.architecture).canonical()
        if self.method == "kd" and self.teacher == "none":
            raise InvalidSettingError("`method` kd must have a teacher, but got `teacher` none.")
        if self.epochs is not None and self.epochs < 1:
            raise InvalidSettingError(f"`epochs` must be at least 1, but got {self.epochs}.")
        recipe = full_recipe(self.data)
        names = ("epochs", "learning_rate", "batch_size", "train_size", "resolution")
        overrides = {name: getattr(self, name) for name in names}
        if self.epochs is not None:
            overrides["warmup_epochs"] = min(recipe.warmup_epochs, self.epochs / 5)
        recipe = with_overrides(recipe, overrides)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("training", total=recipe.epochs)

            def on_epoch(epoch: int, loss: float) -> None:
                progress.update(task, completed=epoch, description=f"loss {loss:.3f}")

            result = train_fully(
                spec,
                load_task_data(self.data, recipe),
                recipe,
                self.out,
                teacher=None if self.method == "hard" else self.teacher,
                seed=self.seed,
                device=self.device,
                threads=self.threads,
                announce=lambda text: _say(progress.console, text),
                on_epoch=on_epoch,
            )
        console.print(f"mini-val accuracy  {100 * result.val_accuracy:.2f} %", highlight=False)
        if result.test_accuracy is not None:
            console.print(f"test accuracy      {100 * result.test_accuracy:.2f} %", highlight=False)
        console.print(f"weights            {result.student}", highlight=False, markup=False, soft_wrap=True)


@dataclass(frozen=True)
class Export:
    """Write one student as a TFLite file (float32), ready for a phone."""

    architecture: tyro.conf.Positional[_Architecture]
    """Canonical string, as searches print it."""
    out: Path
    """File to write, such as student.tflite."""
    weights: Annotated[Path | None, optional("FILE")] = None
    """student.safetensors of `akd train`; without it the weights are random, which is enough to measure latency."""
    resolution: int = 28
    """Pixels of the input; taken from the weights where given."""
    channels: int = 1
    """Channels of the input; taken from the weights where given."""
    classes: int = 10
    """Outputs; taken from the weights where given."""

    def __call__(self, console: Console) -> None:
        """Export and say what was written."""
        from akd_gym.device_lab.tflite import export_tflite
        from akd_gym.files import write_atomically
        from akd_gym.full_training import load_student
        from akd_gym.networks import build_network

        spec = NetworkSpec.parse(self.architecture).canonical()
        resolution, channels = self.resolution, self.channels
        for name in ("resolution", "channels", "classes"):
            if getattr(self, name) < 1:
                raise InvalidSettingError(f"`{name}` must be at least 1, but got {getattr(self, name)}.")
        if self.weights is None:
            network: nn.Module = build_network(spec, self.classes, channels).eval()
        else:
            network, about = load_student(self.weights, spec)
            resolution, channels = int(about["resolution"]), int(about["channels"])
        model = export_tflite(network, (1, channels, resolution, resolution))
        write_atomically(self.out, model)
        kind = "random weights" if self.weights is None else f"weights of {self.weights}"
        text = f"{self.out}: {len(model) / 1024:.0f} KiB, {kind}"
        console.print(text, highlight=False, markup=False, soft_wrap=True)
