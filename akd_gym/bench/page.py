"""AKDBench's card as a page of the documentation, with its figure."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from akd_gym.analysis.style import FAINT, INK, finish
from akd_gym.bench.card import (
    ACCURACY_HEADINGS,
    DIFFERENCE_HEADINGS,
    DIFFERENCE_NAMES,
    SIGNAL_NAMES,
    accuracy_rows,
    difference_rows,
    with_interval,
    without_interval,
)
from akd_gym.bench.make import Made
from akd_gym.bench.plan import COVERING, REPLICATE_EVERY, SIGNALS
from akd_gym.bench.surrogate import MIXING

_WIDTH = 120
_BLUE, _ORANGE, _GREEN = "#0072b2", "#d55e00", "#009e73"  # Okabe and Ito

_INTRODUCTION = """\
# AKDBench

<!-- Written by `akd bench fit --page`; do not edit. -->

{opening}

```python
import akd_gym, gymnasium as gym

env = gym.make("AKDBench-v0")
```
"""

_AGAIN = """\
## Making it again

```
akd bench build --out runs/bench     # hours; goes on where it was stopped
akd bench fit --folder runs/bench    # from the tables alone: minutes
akd bench show                       # this card
```
"""


def card_page(card: Mapping[str, Any], figure: str) -> str:
    """The page.

    Args:
        card: From `read_card`.
        figure: File name of the figure, beside the page.
    """
    counts = card["counts"]
    opening = _wrapped(
        "A benchmark for search agents on which an episode costs microseconds and means something: a model of what any "
        "network of the `akd` space would reach on this package's proxy task, and what it would cost, fitted to "
        f"{counts['trainings']:,} real trainings and {counts['latencies']:,} measured latencies. Agents play it as "
        "they play `AKDSearch-v0`: decisions, observations and rewards are the same."
    )
    tried = "; ".join(
        f"{kind}: tau {without_interval(row['kendall'])}, R2 {without_interval(row['r2'])}"
        for kind, row in card["surfaces_tried"].items()
    )
    sections = [
        _INTRODUCTION.format(opening=opening),
        "## How it was made\n",
        *(_wrapped(item, "- ") for item in _how_it_was_made(card)),
        "\n## How good it is\n",
        _wrapped(
            "Predictions of networks that the fit did not see (no signal and no seed of them), in brackets 95 % "
            "intervals over networks. *At best* is what a perfect surface would reach, given how far trainings with "
            "other seeds scatter. A line in the logarithm of multiply-adds has a tau of "
            f"{_madds_alone(card, 'kendall')} and an R2 of {_madds_alone(card, 'r2')}."
        ),
        "",
        _grid(ACCURACY_HEADINGS, accuracy_rows(card)),
        f"\n![Held-out predictions]({figure})\n",
        _wrapped(
            f"The surface is of the kind *{card['surface']}*, the simplest of those tried that is within noise of the "
            f"best ({tried}; both of the mean over signals)."
        ),
        "\n### Differences between signals\n",
        _wrapped(
            "One surface is shared by all signals. A difference between them depends on the network only where "
            "features predict the differences of unseen networks (R2 above 0), and do so better than in 95 % of "
            f"{card['differences']['gain']['permutations']} refits with shuffled labels (p). Else it is a constant."
        ),
        "",
        _grid(DIFFERENCE_HEADINGS, difference_rows(card)),
        "",
        *(_wrapped(_in_words(name, row), "- ") for name, row in card["differences"].items()),
        *_noise(card["noise"]),
        *_latency(card["latency"]),
        *_second_stage(card),
        *_recipes(card),
        "",
        _AGAIN,
        _wrapped(
            f"Model `{card['hash']}`, data `{card['data_hash']}`. A model with another hash is another benchmark: give "
            "the hash (`BenchEvaluator.hash`) with results. The model that the package ships is the benchmark; a fit "
            "to the same data on another machine agrees with it to about eight digits, not to the last bit."
        ),
    ]
    return "\n".join(sections) + "\n"


def held_out_figure(made: Made) -> Figure:
    """Held-out predictions against measured accuracies, and the same of the differences between signals."""
    figure = Figure(figsize=(9.6, 3.4), layout="constrained")
    panels = figure.subplots(1, 3)
    for signal, colour, x, y in zip(SIGNALS, (_BLUE, _ORANGE, _GREEN), made.held_out.T, made.measured.T, strict=True):
        _scatter(panels[0], x, y, colour, SIGNAL_NAMES[signal])
    panels[0].legend(fontsize=8, frameon=False, loc="upper left")
    panels[0].set_title("accuracy (%)", fontsize=10, color=INK)
    unmix = np.linalg.inv(MIXING)[1:]
    for axes, name, row in zip(panels[1:], DIFFERENCE_NAMES, unmix, strict=True):
        _scatter(axes, made.held_out @ row, made.measured @ row, _BLUE)
        axes.set_title(f"{DIFFERENCE_NAMES[name]} (points)", fontsize=10, color=INK)
    panels[0].set_ylabel("measured")
    for axes in panels:
        axes.set_xlabel("predicted, held out")
    finish(figure, panels, f"{len(made.measured)} networks that the fit did not see")
    return figure


def _madds_alone(card: Mapping[str, Any], name: str) -> str:
    return ", ".join(without_interval(row["madds_alone"][name]) for row in card["signals"].values())


def _how_it_was_made(card: Mapping[str, Any]) -> list[str]:
    counts = card["counts"]
    recipe = ((card.get("trainings_of") or {}).get("none") or {}).get("recipe", {})
    device = card.get("latencies_of") or {}
    first = counts["networks"] - counts["second_stage"]
    reached = "all of them" if first >= COVERING else f"{first} of them so far"
    return [
        f"**Networks.** {COVERING} cover the space by Latin hypercubes: every decision takes each option equally often "
        f"({reached} are trained by all signals). Then those that searches end at: the best that local search finds on "
        "a model of the first ones, and their neighbours, for every signal, at the latency of the reference "
        f"architecture and at half of it ({counts['second_stage']} are trained).",
        "**Signals.** Each network is trained by hard labels and by distillation from the two shipped teachers that "
        "differ most in kind, a residual network and an MLP-Mixer, with the same seeds: equal initial weights, order "
        f"and views of the images. Every {REPLICATE_EVERY}th has three seeds ({counts['with_several_seeds']} have).",
        f"**Recipe.** {recipe.get('epochs')} epochs on {recipe.get('train_size')} images of Fashion-MNIST, batches of "
        f"{recipe.get('batch_size')}, learning rate {recipe.get('learning_rate')}, "
        f"accuracy on {recipe.get('val_size')} other images; distillation at temperature 1 with weight 0.9.",
        f"**Latency.** {counts['latencies']} networks on one pinned core of {device.get('device', 'the machine')} by "
        f"{device.get('runtime', 'LiteRT')} {device.get('runtime_version', '')}; "
        f"{counts['latencies_with_warnings']} with a warning.",
        f"**What it took.** {counts['seconds'] / 3600:.1f} core-hours of training on the same machine; "
        f"{counts['infeasible']} of {counts['trainings']:,} trainings failed.",
    ]


def _in_words(name: str, row: Mapping[str, Any]) -> str:
    parts = row["over_networks_and_seeds"]
    return (
        f"{DIFFERENCE_NAMES[name]}: over networks with several seeds it varies by {100 * parts['network_std']:.2f} "
        f"points, beside {100 * parts['seed_std']:.2f} over seeds (analysis of variance, {parts['networks']} networks, "
        f"p = {parts['p']:.3f}; it takes the noise of all networks for equal, which it is not)."
    )


def _noise(noise: Mapping[str, Any]) -> list[str]:
    rows = [
        [name, f"{100 * row['accuracy']:.1f} %", *(f"{100 * row[signal]:.2f}" for signal in SIGNALS)]
        for name, row in noise["std_at"].items()
    ]
    return [
        "\n### Noise\n",
        _wrapped(
            "`noise=True` gives the accuracy of one training: the surface plus a deviation, drawn from "
            f"{noise['draws']} measured ones and scaled by how good the network is. It is the same for a network "
            "however often it is asked for, and the signals share it as trainings with equal seeds do. Standard "
            "deviation, points:"
        ),
        "",
        _grid(["network", "accuracy", *SIGNAL_NAMES.values()], rows),
        "",
        f"The deviations have a kurtosis of {noise['kurtosis']:.1f} (a normal distribution: 3).",
    ]


def _latency(latency: Mapping[str, Any]) -> list[str]:
    rows = [
        [
            name,
            f"{row['within_10']:.1%} [{row['within_10_interval'][0]:.1%}, {row['within_10_interval'][1]:.1%}]",
            f"{row['mean_error']:.1%}",
            f"{row['kendall']:.3f}",
        ]
        for name, row in (("sum over operators", latency["table"]), ("MAdds alone", latency["madds_alone"]))
    ]
    low, high = latency["range_ms"]
    return [
        "\n### Latency\n",
        f"From {low:.3f} to {high:.3f} ms. Of networks that the fit did not see:",
        "",
        _grid(["", "within 10 %", "mean error", "Kendall's tau"], rows),
    ]


def _second_stage(card: Mapping[str, Any]) -> list[str]:
    rows = {SIGNAL_NAMES[s]: row["second_stage"] for s, row in card["signals"].items() if "second_stage" in row}
    if not rows:
        return []
    listed = ", ".join(f"{name} {with_interval(row['kendall'])}" for name, row in rows.items())
    return [
        "\n### Among the best\n",
        _wrapped(
            "Networks that searches end at lie close together, and are the hardest to tell apart. Kendall's tau of "
            f"held-out predictions among them: {listed}."
        ),
    ]


def _recipes(card: Mapping[str, Any]) -> list[str]:
    found = card.get("default_recipe")
    if not found:
        return []
    return [
        "\n### Against the default search's recipe\n",
        _wrapped(
            f"On {found['networks']} networks trained by the default search's recipe, with its teacher and twice the "
            f"images (`benchmarks/proxy_study.json`), Kendall's tau of the surrogate is {found['kendall']:.2f} "
            f"[{found['low']:.2f}, {found['high']:.2f}]."
        ),
    ]


def _scatter(
    axes: Axes, predicted: NDArray[np.float64], measured: NDArray[np.float64], colour: str, label: str | None = None
) -> None:
    axes.scatter(100 * predicted, 100 * measured, s=9, alpha=0.6, color=colour, linewidths=0, label=label)
    ends = [100 * float(measured.min()), 100 * float(measured.max())]
    axes.plot(ends, ends, color=FAINT, linewidth=1, zorder=0)


def _grid(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [headings, ["---"] * len(headings), *rows])


def _wrapped(text: str, bullet: str = "") -> str:
    return textwrap.fill(
        text, _WIDTH, initial_indent=bullet, subsequent_indent=" " * len(bullet), break_long_words=False
    )
