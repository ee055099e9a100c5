"""Channel arithmetic of scaled networks: rounding widths, and expansions that give exact channels.

This module imports neither torch nor NumPy.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal

from akd_gym.errors import InvalidArchitectureError

_MOST_DECIMALS = 7


def round_channels(channels: float, divisor: int = 8) -> int:
    """Channels rounded to a multiple of `divisor`, at least one, and at most 10 % below what was asked for.

    The rule by which MobileNet and MnasNet are published at widths other than 1.
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * channels else rounded + divisor


def expanded_channels(channels: int, expansion: float) -> int:
    """`channels` times `expansion`, rounded half up; exact in the decimals that an architecture string shows."""
    if isinstance(expansion, int):
        return channels * expansion
    return int((channels * Decimal(str(expansion))).to_integral_value(ROUND_HALF_UP))


def expansion_for(in_channels: int, mid_channels: int) -> float:
    """The canonical expansion with which a layer of `in_channels` expands to exactly `mid_channels`.

    Raises:
        InvalidArchitectureError: If the layer would not expand but shrink.
    """
    if mid_channels < in_channels:
        raise InvalidArchitectureError(
            f"`mid_channels` must be at least the input's {in_channels}, but got {mid_channels}."
        )
    expansion = shortest_expansion({in_channels: mid_channels})
    assert expansion is not None, "below ten million channels, one layer alone always has a ratio"
    return expansion


def shortest_expansion(expanded: Mapping[int, int]) -> float | None:
    """The ratio of fewest decimals that expands every key to its value; None if seven decimals are too few."""
    channels, first = next(iter(expanded.items()))
    for decimals in range(_MOST_DECIMALS + 1):
        unit = 10**decimals
        low = max(-(-(2 * mid - 1) * unit // (2 * inputs)) for inputs, mid in expanded.items())
        high = min(-(-(2 * mid + 1) * unit // (2 * inputs)) - 1 for inputs, mid in expanded.items())
        if low <= high:  # of several, the one nearest to the first layer's exact ratio
            nearest = (2 * first * unit + channels) // (2 * channels)
            return whole(min(max(nearest, low), high) / unit)
    return None


def whole(value: float) -> float:
    """An int where the value is one, so that it is written without a fraction."""
    return int(value) if value == int(value) else value
