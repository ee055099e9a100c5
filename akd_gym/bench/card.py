"""AKDBench's card: what is known of the surrogate, as JSON and as tables for the terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from akd_gym.bench.build import IDENTITY_FILE
from akd_gym.bench.identity import read_identity
from akd_gym.bench.latencies import DEVICE_FILE
from akd_gym.errors import CorruptFileError, StorageError
from akd_gym.files import write_atomically

CARD_FILE = "card.json"

SIGNAL_NAMES = {"none": "hard labels", "shipped:resnet": "KD, residual", "shipped:mixer": "KD, mixer"}
DIFFERENCE_NAMES = {
    "gain": "KD minus hard labels",
    "preference": "residual minus mixer",
}

ACCURACY_HEADINGS = ("signal", "mean", "spread", "Kendall tau", "at best", "R2", "at best")
DIFFERENCE_HEADINGS = ("difference", "mean", "spread", "held-out R2", "p", "by")


def write_card(folder: Path, card: Mapping[str, Any]) -> Path:
    """Write the card beside the surrogate, with what the tables depend on.

    Raises:
        CorruptFileError: What the tables depend on is damaged.
        StorageError: It cannot be written.
    """
    whole = dict(card) | {
        "trainings_of": read_identity(folder / IDENTITY_FILE),
        "latencies_of": read_identity(folder / DEVICE_FILE),
    }
    return write_atomically(folder / CARD_FILE, (json.dumps(whole, indent=1, allow_nan=False) + "\n").encode())


def read_card(folder: Path) -> dict[str, Any]:
    """The card of a folder.

    Raises:
        StorageError: There is none; it is made by a fit.
        CorruptFileError: It is damaged.
    """
    path = folder / CARD_FILE
    if not path.exists():
        raise StorageError(f"{path} is missing. `akd bench fit` makes it from the tables.")
    card = read_identity(path)
    if card is None or not {"hash", "signals", "differences", "counts"} <= card.keys():
        raise CorruptFileError(f"{path} must be a card, but lacks entries. Make it again with `akd bench fit`.")
    return card


def accuracy_table(card: Mapping[str, Any]) -> Table:
    """How well accuracies of networks that the fit did not see are predicted."""
    return _table("Accuracy of networks that the fit did not see", ACCURACY_HEADINGS, accuracy_rows(card))


def accuracy_rows(card: Mapping[str, Any]) -> list[list[str]]:
    """The cells of `accuracy_table`, under `ACCURACY_HEADINGS`."""
    return [
        [
            SIGNAL_NAMES.get(signal, signal),
            f"{100 * row['mean']:.1f} %",
            f"{100 * row['std']:.1f}",
            with_interval(row["kendall"]),
            _two_digits(row["ceiling"]["kendall"]),
            with_interval(row["r2"]),
            _two_digits(row["ceiling"]["r2"]),
        ]
        for signal, row in card["signals"].items()
    ]


def difference_table(card: Mapping[str, Any]) -> Table:
    """What differs between signals."""
    title = "Differences between signals, paired seeds, in points of accuracy"
    return _table(title, DIFFERENCE_HEADINGS, difference_rows(card))


def difference_rows(card: Mapping[str, Any]) -> list[list[str]]:
    """The cells of `difference_table`, under `DIFFERENCE_HEADINGS`."""
    return [
        [
            DIFFERENCE_NAMES[name],
            f"{100 * row['mean']:+.2f} [{100 * row['low']:+.2f}, {100 * row['high']:+.2f}]",
            f"{100 * row['std']:.2f}",
            f"{row['held_out_r2']:.3f}",
            f"{row['p']:.3f}",
            "features" if row["varies_in_surrogate"] else "constant",
        ]
        for name, row in card["differences"].items()
    ]


def summary(card: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Facts by name."""
    counts, latency = card["counts"], card["latency"]
    device = card.get("latencies_of") or {}
    within = latency["table"]["within_10"]
    error = latency["table"]["mean_error"]
    facts = [
        ("networks", f"{counts['networks']} trained by all signals, {counts['with_several_seeds']} with several seeds; "
                     f"{counts['second_stage']} about the best that searches found"),
        ("trainings", f"{counts['trainings']}, {counts['infeasible']} infeasible, "
                      f"{counts['seconds'] / 3600:.1f} core-hours"),
        ("latencies", f"{counts['latencies']} measured on {device.get('device', 'this machine')}"
                      f"; of networks that the fit did not see, {within:.0%} within 10 %, mean error {error:.1%}"),
        ("surface", card["surface"]),
        ("MAdds alone", "Kendall tau " + ", ".join(
            f"{without_interval(row['madds_alone']['kendall'])} ({SIGNAL_NAMES.get(signal, signal)})"
            for signal, row in card["signals"].items())),
        ("hash", card["hash"]),
        ("data", card["data_hash"]),
    ]  # fmt: skip
    return facts


def with_interval(score: Mapping[str, float | None]) -> str:
    """A score and its interval; a dash where it is undefined."""
    if score["value"] is None:
        return "-"
    return f"{score['value']:.2f} [{score['low']:.2f}, {score['high']:.2f}]"


def without_interval(score: Mapping[str, float | None]) -> str:
    """A score alone."""
    return _two_digits(score["value"])


def _two_digits(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Headings may be broken to fit a terminal, cells only before their intervals."""
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    lines = [[cell.replace(" [", "\n[").splitlines() for cell in cells] for cells in rows]
    for place, heading in enumerate(headings):
        width = max(len(line) for cells in lines for line in cells[place])
        table.add_column(heading, justify="right" if place else "left", min_width=width)
    for cells in lines:
        table.add_row(*(escape("\n".join(cell)) for cell in cells))
    return table
