"""What a full training shows while it runs: its pace, and its course in TensorBoard."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from akd_gym.errors import StorageError
from akd_gym.recipes import Recipe
from akd_gym.student_answers import Accuracy

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_SHOW_EVERY_S = 0.5  # reading a loss waits for the GPU


@dataclass(frozen=True)
class Progress:
    """How far a training is.

    Attributes:
        epoch: Epochs done; a fraction of one counts too.
        epochs: In all.
        loss: Of the last step.
        learning_rate: Of the last step.
        images_per_s: Since the progress was last told.
    """

    epoch: float
    epochs: int
    loss: float
    learning_rate: float
    images_per_s: float


class Pace:
    """Turns steps into progress, told a few times a second.

    Args:
        recipe: Of the training.
        batch_size: Images a step, of all processes.
        tell: Told the progress.
    """

    def __init__(self, recipe: Recipe, batch_size: int, tell: Callable[[Progress], None]) -> None:
        self._recipe, self._batch_size, self._tell = recipe, batch_size, tell
        self._since, self._steps = time.perf_counter(), 0

    def step(self, epoch: float, loss: Tensor) -> None:
        """Note a step after so many epochs; see `train`."""
        self._steps += 1
        seconds = time.perf_counter() - self._since
        if seconds < _SHOW_EVERY_S:
            return
        pace = self._steps * self._batch_size / seconds
        rate = self._recipe.learning_rate_at(epoch)
        self._tell(Progress(epoch, self._recipe.epochs, float(loss), rate, pace))
        self._since, self._steps = time.perf_counter(), 0


class TrainingLog:
    """Writes the course of a training for TensorBoard, by epoch; a training that goes on writes its later part anew.

    Args:
        folder: Of the event files; made with the first epoch.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: SummaryWriter | None = None
        self._since = time.perf_counter()

    @property
    def is_begun(self) -> bool:
        """Whether an epoch was written."""
        return self._writer is not None

    def epoch(self, epoch: int, recipe: Recipe, loss: float, images: int) -> None:
        """Write an epoch just done (from 1): its mean loss, its last learning rate, seconds and images a second.

        Raises:
            StorageError: It cannot be written; so for the other methods.
        """
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            with self._storage_errors():
                self._writer = SummaryWriter(str(self._folder), purge_step=epoch)
        seconds = time.perf_counter() - self._since
        self._add("train/loss", loss, epoch)
        self._add("train/learning_rate", recipe.learning_rate_at(epoch), epoch)
        self._add("train/seconds", seconds, epoch)
        self._add("train/images_per_s", images / seconds, epoch)

    def accuracy(self, part: str, accuracy: Accuracy, epoch: int) -> None:
        """Write the accuracy on a part of the data after an epoch."""
        self._add(f"{part}/top1", accuracy.top1, epoch)
        if accuracy.top5 is not None:
            self._add(f"{part}/top5", accuracy.top5, epoch)

    def begin_epoch(self) -> None:
        """Bring to disk what was said of the last epoch, and start the clock of the next."""
        self.flush()
        self._since = time.perf_counter()

    def flush(self) -> None:
        """Bring to disk what was said."""
        if self._writer is not None:
            with self._storage_errors():
                self._writer.flush()

    def close(self) -> None:
        """End writing; what was not flushed may be lost."""
        if self._writer is not None:
            with contextlib.suppress(OSError):
                self._writer.close()

    def _add(self, name: str, value: float, epoch: int) -> None:
        assert self._writer is not None
        with self._storage_errors():
            self._writer.add_scalar(name, value, epoch)

    @contextlib.contextmanager
    def _storage_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageError(f"`{self._folder}` cannot be written: {error.strerror or error}.") from error
