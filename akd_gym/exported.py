"""What an exported file is worth: the images that calibrate it, and its accuracy, by running the file itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from akd_gym.data import TaskData
from akd_gym.errors import ExportError, InvalidSettingError
from akd_gym.images import Images
from akd_gym.student_answers import Normalise

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BATCH = 64


@dataclass(frozen=True)
class FileAccuracy:
    """How a file does on images.

    Attributes:
        answers: The class it gives each image, int64 (N,).
        accuracy: Share of right answers.
    """

    answers: NDArray[np.int64]
    accuracy: float

    def agreement(self, other: FileAccuracy) -> float:
        """Share of images on which another file, right or wrong, gives the same class."""
        return float((self.answers == other.answers).mean())


def calibration_batches(data: TaskData, count: int) -> Iterator[Tensor]:
    """`count` training images spread over all, normalised as a student takes them: float32 (B, C, H, W).

    Raises:
        InvalidSettingError: If the data does not hold so many, or `count` is below 1.
    """
    for _, batch in _normalised(data.train, data, _spread(data.train, count, "calibration images")):
        yield batch


def file_accuracy(model: bytes, images: Images, data: TaskData, count: int) -> FileAccuracy:
    """Run a TFLite file on `count` of `images`, spread over all, one at a time on one thread.

    Args:
        model: A file of `akd_gym.device_lab.tflite`, whatever its format.
        images: What to classify.
        data: Says how pixels are scaled.
        count: How many images.

    Raises:
        InvalidSettingError: If there are not so many images, or `count` is below 1.
        ExportError: If the runtime refuses the file.
    """
    from ai_edge_litert.interpreter import Interpreter

    rows = _spread(images, count, "images")
    try:
        interpreter = Interpreter(model_content=model, num_threads=1)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ExportError(f"LiteRT must run the exported file, but: {error}.") from error
    [given], [got] = interpreter.get_input_details(), interpreter.get_output_details()
    answers = []
    for _, batch in _normalised(images, data, rows):
        for picture in batch.permute(0, 2, 3, 1).numpy():
            interpreter.set_tensor(given["index"], np.ascontiguousarray(picture[None]))
            interpreter.invoke()
            answers.append(int(interpreter.get_tensor(got["index"]).argmax()))
    found = np.array(answers, np.int64)
    return FileAccuracy(found, float((found == images.labels[rows].numpy()).mean()))


def _spread(images: Images, count: int, what: str) -> Tensor:
    if not 1 <= count <= len(images):
        raise InvalidSettingError(
            f"The number of {what} must be from 1 to the {len(images):,} there are, but got {count}."
        )
    return torch.linspace(0, len(images) - 1, count, dtype=torch.float64).round().long()


def _normalised(images: Images, data: TaskData, rows: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows and their pictures, batch by batch."""
    device = torch.device("cpu")
    normalise, batches = Normalise(data, device), rows.split(_BATCH)
    for own, pictures in zip(batches, images.batches(batches, device), strict=True):
        yield own, normalise(pictures)
