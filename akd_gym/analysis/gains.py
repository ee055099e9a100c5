"""How much more some architectures gain from a teacher than others (equation 1 and Table 4).

Equation 1 is [KD(AKDNet) - CLS(AKDNet)] - [KD(NASNet) - CLS(NASNet)]: what architectures found with a teacher gain from
being trained by it instead of by hard labels, less what architectures found without a teacher gain from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from akd_gym.analysis.aggregates import REPLICATES, Interval, percentiles, probability_of_improvement
from akd_gym.errors import InvalidSettingError

_SEED = 1911_09074

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RelativeGain:
    """Equation 1 over a sample of architectures of either search, with 95 % intervals over architectures.

    The paper's winning ratio comes from pairs drawn at random, one of either search, and depends on the draw. The
    share of *all* pairs does not, so this is what the interval is of.

    Attributes:
        akd: What each architecture found with the teacher gains from it, KD - CLS, shape (n,), fractions.
        nas: The same of each architecture found without, shape (m,).
        gain: Mean of the one less the mean of the other.
        winning: Share of all pairs in which the architecture found with the teacher gains more; a tie is half.
        wins: Of the pairs in the order given, as in Table 4; None if n and m differ.
        ties: Of them, those that are neither won nor lost.
    """

    akd: Array
    nas: Array
    gain: Interval
    winning: Interval
    wins: int | None
    ties: int | None

    @property
    def paper_ratio(self) -> str:
        """As Table 4 prints it: `12 / 20`, less ties `10 / (20-2)`; the share of all pairs if there are no pairs."""
        if self.wins is None:
            return f"{self.winning.value:.0%}"
        return f"{self.wins} / ({len(self.akd)}-{self.ties})" if self.ties else f"{self.wins} / {len(self.akd)}"


def relative_gain(akd_kd: ArrayLike, akd_cls: ArrayLike, nas_kd: ArrayLike, nas_cls: ArrayLike) -> RelativeGain:
    """Equation 1 with its interval, and the winning ratio, of one stage of two searches.

    Architectures trained with several seeds are given by the mean over seeds.

    Args:
        akd_kd: Accuracies of architectures found with a teacher, trained by it, fractions, shape (n,).
        akd_cls: The same ones trained by hard labels, shape (n,).
        nas_kd: Accuracies of architectures found without a teacher, trained by it, shape (m,).
        nas_cls: The same ones trained by hard labels, shape (m,).

    Raises:
        InvalidSettingError: Accuracies that are missing, not finite, or not in pairs.
    """
    akd, nas = _gains(akd_kd, akd_cls, "akd"), _gains(nas_kd, nas_cls, "nas")
    low, high = percentiles(_resampled_means(akd, 0) - _resampled_means(nas, 1))
    won = akd - nas if len(akd) == len(nas) else None
    return RelativeGain(
        akd=akd,
        nas=nas,
        gain=Interval(float(akd.mean() - nas.mean()), float(low), float(high)),
        winning=probability_of_improvement([akd], [nas]),
        wins=None if won is None else int((won > 0).sum()),
        ties=None if won is None else int((won == 0).sum()),
    )


def gain_rise(first: RelativeGain, last: RelativeGain) -> Interval:
    """By how much the relative gain rose from one stage of the searches to another, other architectures in each.

    That it goes up along the search is what Table 4 is to show; it does if this interval lies above 0.
    """
    low, high = percentiles(
        (_resampled_means(last.akd, 0) - _resampled_means(last.nas, 1))
        - (_resampled_means(first.akd, 2) - _resampled_means(first.nas, 3))
    )
    return Interval(last.gain.value - first.gain.value, float(low), float(high))


def _gains(distilled: ArrayLike, classified: ArrayLike, side: str) -> Array:
    kd, cls = np.asarray(distilled, dtype=np.float64), np.asarray(classified, dtype=np.float64)
    if kd.ndim != 1 or kd.shape != cls.shape or len(kd) < 2:
        raise InvalidSettingError(
            f"`{side}_kd` and `{side}_cls` must hold the same architectures, at least two, "
            f"but got shapes {kd.shape} and {cls.shape}."
        )
    if not (np.isfinite(kd).all() and np.isfinite(cls).all()):
        raise InvalidSettingError(f"`{side}_kd` and `{side}_cls` must be finite; leave out what was not trained.")
    # Accuracies are counts of images over their number: what differs by less than any image is a tie.
    return np.round(kd - cls, 12)


def _resampled_means(values: Array, stream: int) -> Array:
    rng = np.random.default_rng([_SEED, stream])
    return values[rng.integers(len(values), size=(REPLICATES, len(values)))].mean(axis=1)
