"""How far teachers agree with each other and with the labels: divergences and matching answers (Figure 2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from akd_gym.analysis.style import INK, SOFT
from akd_gym.errors import InvalidSettingError

GROUND_TRUTH = "GT"
"""What the labels are called, as in the paper."""

LABEL_FLOOR = 1e-6
"""The probability that a label is taken to leave to each other class where a divergence from it is asked for.

The divergence of anything from a label that leaves none is infinite. The paper prints numbers for it (the last column
of Figure 2 (a)) and does not say what it did; so compare this column within a figure only."""

_COLOURS = "Blues"  # one hue from light to dark: the same order in grey and to every kind of colour vision
_NORMAL_95 = 1.959964

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Agreement:
    """Each of some teachers, and the labels, against each other; rows and columns in the order of `names`.

    Attributes:
        names: Of the teachers, and last `GROUND_TRUTH`.
        images: On how many they were compared.
        divergences: Mean KL(row ‖ column) in nats, shape (k, k); infinite where a column excludes what a row does not.
        divergence_reach: Half the width of their 95 % intervals over images, shape (k, k).
        matches: Share of images on which both have the same most probable class, shape (k, k); against the labels
            this is the accuracy.
        match_reach: Half the width of their 95 % intervals, shape (k, k).
    """

    names: tuple[str, ...]
    images: int
    divergences: Array
    divergence_reach: Array
    matches: Array
    match_reach: Array


def agreement(
    probabilities: Mapping[str, ArrayLike], labels: ArrayLike, *, label_floor: float = LABEL_FLOOR
) -> Agreement:
    """Compares what teachers say about the same images.

    Args:
        probabilities: By teacher, shape (images, classes), every row a distribution.
        labels: Class of each image, shape (images,).
        label_floor: See `LABEL_FLOOR`; with 0 divergences from the labels are infinite.

    Raises:
        InvalidSettingError: There is no teacher or fewer than two images, shapes that do not fit, rows that are no
            distributions, labels that are no classes, or a teacher of the name `GROUND_TRUTH`.
    """
    answers = _checked(probabilities)
    images, classes = next(iter(answers.values())).shape
    truth = _checked_labels(labels, images, classes)
    if not 0 <= label_floor < 1 / classes:
        raise InvalidSettingError(
            f"`label_floor` must be at least 0 and below 1 / {classes} classes, but got {label_floor}."
        )
    one_hot = np.zeros((images, classes))
    one_hot[np.arange(images), truth] = 1.0
    softened = np.where(one_hot == 1.0, 1 - (classes - 1) * label_floor, label_floor)
    of_rows, of_columns = [*answers.values(), one_hot], [*answers.values(), softened]

    k = len(of_rows)
    divergences, divergence_reach = np.zeros((k, k)), np.zeros((k, k))
    for i, p in enumerate(of_rows):
        for j, q in enumerate(of_columns):
            if i != j:
                divergences[i, j], divergence_reach[i, j] = _mean_and_reach(_divergence(p, q))
    classes_said = np.stack([p.argmax(axis=1) for p in of_rows])
    same = classes_said[:, None, :] == classes_said[None, :, :]
    matches = same.mean(axis=-1)
    return Agreement(
        names=(*answers, GROUND_TRUTH),
        images=images,
        divergences=divergences,
        divergence_reach=divergence_reach,
        matches=matches,
        match_reach=_NORMAL_95 * np.sqrt(matches * (1 - matches) / (images - 1)),
    )


def agreement_figure(found: Agreement, *, title: str = "") -> Figure:
    """Both matrices with their numbers, as the paper's Figure 2; up to five names with their intervals."""
    k = len(found.names)
    side = max(2.9, 0.62 * k)
    figure = Figure(figsize=(2 * side + 1.6, side + 0.9), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.08)  # type: ignore[union-attr, call-arg]
    left, right = figure.subplots(1, 2)
    finite = np.where(np.isfinite(found.divergences), found.divergences, np.nan)
    largest = float(np.nanmax(finite)) or 1.0
    lowest = min(float(found.matches.min()), 0.99)
    for axes, values, reach, norm, heading in (
        # The root: divergences between teachers are small beside those from the labels.
        (left, found.divergences, found.divergence_reach, PowerNorm(0.5, 0, largest), "(a)  KL(p ‖ q), nats"),
        (right, found.matches, found.match_reach, PowerNorm(1, lowest, 1), "(b)  same most probable class"),
    ):
        shades = norm(np.clip(np.where(np.isfinite(values), values, largest), norm.vmin, norm.vmax))
        axes.imshow(0.85 * np.asarray(shades), cmap=_COLOURS, vmin=0, vmax=1)
        for (row, column), value in np.ndenumerate(values):
            ink = "white" if shades[row, column] > 0.68 else INK
            shown = "∞" if np.isinf(value) else f"{value:.2f}"
            with_reach = k <= 5 and row != column and np.isfinite(value)
            axes.text(column, row - 0.1 * with_reach, shown, ha="center", va="center", color=ink, fontsize=10)
            if with_reach:
                small = f"± {reach[row, column]:.3f}"
                axes.text(column, row + 0.22, small, ha="center", va="center", color=ink, fontsize=6.5)
        axes.set_xticks(range(k), found.names, rotation=0 if max(map(len, found.names)) <= 10 else 30)
        axes.set_yticks(range(k), found.names)
        for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
            label.set_parse_math(False)  # names are shown as they are, dollars and all
        axes.set_xlabel("q" if axes is left else "")
        axes.set_ylabel("p" if axes is left else "", rotation=0, labelpad=10)
        axes.tick_params(length=0, labelsize=9, labelcolor=INK)
        axes.spines[:].set_visible(False)
        # White lines between the cells, and one apart before the labels, which are no teacher.
        axes.set_xticks(np.arange(k - 1) + 0.5, minor=True)
        axes.set_yticks(np.arange(k - 1) + 0.5, minor=True)
        axes.grid(which="minor", color="white", linewidth=1.5)
        axes.tick_params(which="minor", length=0)
        axes.axhline(k - 1.5, color=SOFT, linewidth=1)
        axes.axvline(k - 1.5, color=SOFT, linewidth=1)
        axes.set_title(heading, fontsize=10, color=INK)
    if title:
        figure.suptitle(title, fontsize=11, color=INK, x=0.01, ha="left", fontweight="bold")
    return figure


def _divergence(p: Array, q: Array) -> Array:
    """KL(p ‖ q) of each image in nats, shape (images,)."""
    from scipy.special import rel_entr  # here: it takes its time

    return np.asarray(rel_entr(p, q).sum(axis=1))


def _mean_and_reach(values: Array) -> tuple[float, float]:
    if not np.isfinite(values).all():
        return float("inf"), float("nan")
    return float(values.mean()), float(_NORMAL_95 * values.std(ddof=1) / np.sqrt(len(values)))


def _checked(probabilities: Mapping[str, ArrayLike]) -> dict[str, Array]:
    if not probabilities:
        raise InvalidSettingError("At least one teacher must be given to compare, but got none.")
    if GROUND_TRUTH in probabilities:
        raise InvalidSettingError(f"A teacher must not be called {GROUND_TRUTH!r}: the labels are.")
    answers = {name: np.asarray(values, dtype=np.float64) for name, values in probabilities.items()}
    shape = next(iter(answers.values())).shape
    for name, values in answers.items():
        if values.ndim != 2 or values.shape != shape or shape[0] < 2 or shape[1] < 2:
            raise InvalidSettingError(
                "Probabilities must have one shape (images, classes), at least two of either, "
                f"but those of {name!r} have {values.shape}, and the first {shape}."
            )
        if not ((values >= 0).all() and np.abs(values.sum(axis=1) - 1).max() <= 1e-3):
            raise InvalidSettingError(
                f"Probabilities must be at least 0 and add up to 1 for each image, but those of {name!r} do not; "
                "logits need a softmax first."
            )
    return {name: values / values.sum(axis=1, keepdims=True) for name, values in answers.items()}


def _checked_labels(labels: ArrayLike, images: int, classes: int) -> NDArray[np.int64]:
    truth = np.asarray(labels)
    if truth.shape != (images,) or not np.issubdtype(truth.dtype, np.integer):
        raise InvalidSettingError(
            f"`labels` must be {images} whole numbers, one an image, but got {truth.dtype} of shape {truth.shape}."
        )
    if not ((truth >= 0) & (truth < classes)).all():
        raise InvalidSettingError(f"`labels` must be from 0 to {classes - 1}, but got {truth.min()} to {truth.max()}.")
    return truth.astype(np.int64)
