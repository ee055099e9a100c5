"""What a teacher is wanted for: the pictures it will see, and the classes it must know, if any."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from akd_gym.data import TaskData
from akd_gym.errors import TeacherError


@dataclass(frozen=True)
class Scaling:
    """How a network wants its pixels.

    Args:
        mean: Per channel, of images / 255.
        std: Per channel, of images / 255, above 0.
        resolution: Input size it insists on, pixels; None: takes what comes.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    resolution: int | None

    def check(self, name: str, in_channels: int) -> Scaling:
        """Return itself, or say what cannot be.

        Raises:
            TeacherError: Not one value a channel, or values that are not of images / 255.
        """
        for field, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != in_channels:
                raise TeacherError(
                    f"`{field}` of teacher {name!r} must have one value for each of {in_channels} channels, "
                    f"but has {len(values)}."
                )
        if not all(math.isfinite(value) and value > 0 for value in self.std):
            raise TeacherError(f"`std` of teacher {name!r} must be above 0, but is {self.std}.")
        if not all(0 <= value <= 1 for value in self.mean) or max(self.std) > 1:
            raise TeacherError(
                f"`mean` and `std` of teacher {name!r} must be of pixels between 0 and 1, but are {self.mean} and "
                f"{self.std}: divide what was computed of pixels up to 255 by 255."
            )
        return self


@dataclass(frozen=True)
class Task:
    """Pictures that a teacher is to answer for.

    Args:
        name: Of the data, for messages.
        in_channels: Channels of a picture.
        resolution: Height and width of a picture, pixels.
        scaling: For teachers whose own is not known.
        class_names: The classes, in order; None where only embeddings are wanted.
    """

    name: str
    in_channels: int
    resolution: int
    scaling: Scaling
    class_names: tuple[str, ...] | None

    @classmethod
    def of_data(cls, data: TaskData) -> Task:
        """The classification task of a data set."""
        return cls(data.name, data.in_channels, data.resolution, Scaling(data.mean, data.std, None), data.class_names)

    @property
    def num_classes(self) -> int:
        """How many; 0 where only embeddings are wanted."""
        return len(self.class_names or ())

    def check_classes(self, name: str, known: Sequence[str], in_channels: int | None = None) -> None:
        """Refuse a teacher that was trained for other classes or channels than these.

        Args:
            name: Of the teacher.
            known: The classes that it knows, in order.
            in_channels: Channels that it takes; None if that shows elsewhere.

        Raises:
            TeacherError: They differ.
        """
        channels = self.in_channels if in_channels is None else in_channels
        fits = self.class_names is None or self.class_names == tuple(known)
        if fits and channels == self.in_channels:
            return
        theirs = f"{self.num_classes} classes ({_listed(self.class_names)})" if self.class_names else "any classes"
        raise TeacherError(
            f"Teacher {name!r} knows {channels}-channel images of {len(known)} classes ({_listed(known)}), but "
            f"{self.name!r} has {self.in_channels} channels and {theirs}. Train one that fits with "
            "`akd teacher train`, or bring your own as file:PATH@ARCHITECTURE."
        )


def _listed(names: Sequence[str] | None) -> str:
    names = names or ()
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
