"""How a student is trained: the settings of the proxy task and of full training, as data.

The paper (section 3.2): 5 epochs on mini-train, the first with a warm-up of the learning rate, accuracy on
mini-val; distillation at temperature 1 with weight 0.9; for the final training 400 epochs. This module imports no
torch, so that the command line can explain itself quickly.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from akd_gym.errors import InvalidSettingError


@dataclass(frozen=True)
class Recipe:
    """How students are trained and judged.

    Attributes:
        epochs: Passes over mini-train.
        warmup_epochs: Over which the learning rate rises linearly from 0; then it falls as a half cosine to 0.
        batch_size: Images a step.
        learning_rate: Peak of SGD with Nesterov momentum.
        momentum: Of SGD.
        weight_decay: Of SGD, on all weights.
        temperature: Of the teacher's and the student's softmax (T in equation 2 of Hinton et al.).
        alpha: Weight of the distillation term; the hard labels have `1 - alpha`.
        train_size: Images in mini-train; None for all that mini-val leaves.
        val_size: Images in mini-val; None for the data set's own choice.
        split_seed: Draws mini-train and mini-val.
        resolution: Pixels of height and width; None for the data set's own.
        augment_seed: Selects the replayable augmentation.
        shift: Largest shift of a picture, in pixels of a 28-pixel image.
        flip: Whether pictures are mirrored.
        views: Augmented views of each image that soft labels are kept for; a longer training goes through them
            again. None for one an epoch.
        time_limit_s: After which a candidate is infeasible.

    Raises:
        InvalidSettingError: If a field is out of its range.
    """

    epochs: int = 5
    warmup_epochs: float = 1.0
    batch_size: int = 64
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    temperature: float = 1.0
    alpha: float = 0.9
    train_size: int | None = None
    val_size: int | None = None
    split_seed: int = 0
    resolution: int | None = None
    augment_seed: int = 0
    shift: int = 2
    flip: bool = True
    views: int | None = None
    time_limit_s: float = 600.0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "train_size", "val_size", "resolution", "views"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InvalidSettingError(f"`{name}` must be at least 1, but got {value}.")
        for name in ("learning_rate", "temperature", "time_limit_s"):
            value = getattr(self, name)
            if not value > 0 or math.isinf(value):
                raise InvalidSettingError(f"`{name}` must be positive and finite, but got {value}.")
        for name in ("warmup_epochs", "momentum", "weight_decay", "alpha"):
            if not getattr(self, name) >= 0:
                raise InvalidSettingError(f"`{name}` must not be negative, but got {getattr(self, name)}.")
        if self.alpha > 1:
            raise InvalidSettingError(f"`alpha` must be from 0 to 1, but got {self.alpha}.")
        if self.warmup_epochs >= self.epochs:
            raise InvalidSettingError(
                f"`warmup_epochs` must be less than `epochs` ({self.epochs}), but got {self.warmup_epochs}."
            )

    @property
    def kept_views(self) -> int:
        """How many views soft labels are computed for."""
        return min(self.views or self.epochs, self.epochs)

    def learning_rate_at(self, epoch: float) -> float:
        """Learning rate after `epoch` epochs (a fraction of one counts too)."""
        if epoch < self.warmup_epochs:
            return self.learning_rate * epoch / self.warmup_epochs
        progress = (epoch - self.warmup_epochs) / (self.epochs - self.warmup_epochs)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))

    def identity(self, *, distilled: bool) -> dict[str, Any]:
        """What a training's result depends on, for the ledger: all but the time limit.

        Args:
            distilled: Whether there is a teacher; without one, temperature and alpha change nothing.
        """
        ignored = {"time_limit_s"} if distilled else {"time_limit_s", "temperature", "alpha"}
        # Without a `views` bound, every epoch has a view of its own.
        return {k: v for k, v in asdict(self).items() if k not in ignored} | {"views": self.kept_views}


RECIPES: dict[str, Recipe] = {
    "fashion": Recipe(learning_rate=0.05, train_size=4096, val_size=7904),
    "paper": Recipe(
        batch_size=256,
        learning_rate=0.1,
        weight_decay=1e-5,
        val_size=50_000,
        resolution=224,
        time_limit_s=24 * 3600.0,
    ),
}
"""Proxy recipes: `fashion` for the embedded data, `paper` for ImageNet (section 3.2 of the paper).

`fashion` was chosen for its signal. All 12,000 images are used, and half the learning rate of full training leaves
architectures further apart in accuracy than seeds: see `benchmarks/proxy_study.json`.
"""

FULL_RECIPES: dict[str, Recipe] = {
    "fashion": Recipe(epochs=60, warmup_epochs=3.0, batch_size=128, val_size=2000, views=10),
    "paper": replace(RECIPES["paper"], epochs=400, warmup_epochs=5.0, views=50),
}
"""For the full training of what was found: more images, more epochs. The paper trains 400 epochs."""


def default_recipe(data: str) -> Recipe:
    """The proxy recipe of a data set: its own if it has one, else the paper's shape at the data's size."""
    if data in RECIPES:
        return RECIPES[data]
    return RECIPES["paper"] if data.startswith("imagenet") else Recipe()


def full_recipe(data: str) -> Recipe:
    """The recipe that students of a data set are fully trained with."""
    if data.startswith("imagenet"):
        return FULL_RECIPES["paper"]
    return FULL_RECIPES["fashion"] if data == "fashion" else replace(FULL_RECIPES["fashion"], val_size=None)


def with_overrides(recipe: Recipe, overrides: dict[str, Any]) -> Recipe:
    """`recipe` with the fields in `overrides` that are not None.

    Raises:
        InvalidSettingError: If a field is unknown or out of range.
    """
    known = {field.name for field in fields(Recipe)}
    unknown = sorted(set(overrides) - known)
    if unknown:
        raise InvalidSettingError(f"A recipe has the fields {sorted(known)}, but got {unknown}.")
    return replace(recipe, **{key: value for key, value in overrides.items() if value is not None})
