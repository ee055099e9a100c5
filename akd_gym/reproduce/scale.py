"""How much a study may spend and is about to spend, and who is told how it goes. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from akd_gym.errors import InvalidSettingError


@dataclass(frozen=True)
class Scale:
    """How much a study may spend.

    Args:
        seeds: Repetitions, from seed 0 on: of searches, and of trainings.
        epochs: Of a full training; None for the full recipe's.
        train_size: Images of a full training; None for all.
        search_budget: Candidates of a search on AKDBench.

    Raises:
        InvalidSettingError: Fewer than two seeds, of which no interval could be made, or another number below 1.
    """

    seeds: int = 3
    epochs: int | None = None
    train_size: int | None = None
    search_budget: int = 10_000

    def __post_init__(self) -> None:
        if self.seeds < 2:
            raise InvalidSettingError(f"`seeds` must be at least 2, as one gives no interval, but got {self.seeds}.")
        for name in ("epochs", "train_size", "search_budget"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InvalidSettingError(f"`{name}` must be at least 1, but got {value}.")


@dataclass(frozen=True)
class Budget:
    """What a study is about to spend, at most: what was made before is not made again.

    Args:
        searches: On AKDBench, of `Scale.search_budget` candidates each.
        trainings: Full ones.
        core_seconds: About what all of it takes on one core.
    """

    searches: int = 0
    trainings: int = 0
    core_seconds: float = 0.0

    def describe(self, scale: Scale) -> str:
        """In words, but for the time."""
        parts = []
        if self.searches:
            count = f"{self.searches} search{'es' if self.searches > 1 else ''}"
            parts.append(f"{count} of {scale.search_budget:,} candidates on AKDBench")
        if self.trainings:
            epochs = "" if scale.epochs is None else f" of {scale.epochs} epochs"
            images = "" if scale.train_size is None else f" on {scale.train_size:,} images"
            parts.append(f"{self.trainings} trainings{epochs}{images}")
        if not parts:
            return "no search and no training"
        return " and ".join(parts) + (f", {scale.seeds} seeds" if self.searches > 1 or self.trainings else "")


class Observer:
    """Told how a study goes; the command line shows it. Every method does nothing here."""

    def announce(self, text: str) -> None:
        """Something begins, in words."""

    def begin(self, what: str, count: int) -> None:
        """So many searches or trainings come now."""

    def advance(self, text: str) -> None:
        """One of them is done, in words."""
