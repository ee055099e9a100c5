"""The paper's Figure 4 of one search: its five panels, each alone or all in one figure."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from akd_gym.analysis.cost_histogram import CostHistogram, cost_histogram
from akd_gym.analysis.cost_relation import CostRelation, cost_relation
from akd_gym.analysis.panels import Panel
from akd_gym.analysis.progress import Progress, progress
from akd_gym.analysis.runs import SearchRun
from akd_gym.analysis.style import INK, SOFT, finish
from akd_gym.analysis.trade_off import TradeOff, trade_off
from akd_gym.errors import InvalidSettingError


@dataclass(frozen=True, eq=False)
class SearchPanels:
    """Figure 4 of one search.

    Attributes:
        name: Of the search.
        histogram: A: how its costs are spread around the target.
        trade_off: B: accuracy against cost, with the Pareto front.
        cost: C: cost over the search.
        accuracy: D: accuracy over the search.
        relation: E: multiply-adds against latency; None where it cannot be had.
        left_out: Why E is left out; None if it is not.
    """

    name: str
    histogram: CostHistogram
    trade_off: TradeOff
    cost: Progress
    accuracy: Progress
    relation: CostRelation | None
    left_out: str | None

    @property
    def by_letter(self) -> Mapping[str, Panel]:
        """Those there are, by the paper's letters."""
        panels: dict[str, Panel] = {"A": self.histogram, "B": self.trade_off, "C": self.cost, "D": self.accuracy}
        return panels if self.relation is None else {**panels, "E": self.relation}

    @property
    def caption(self) -> str:
        """What is seen, panel by panel, in sentences without markup."""
        sentences = [f"({letter}) {panel.caption}" for letter, panel in self.by_letter.items()]
        return " ".join(sentences if self.left_out is None else [*sentences, f"(E) is left out: {self.left_out}"])


def search_panels(run: SearchRun, *, window: int | None = None) -> SearchPanels:
    """The data of Figure 4 of one search, finished or not.

    Args:
        run: With any kind of cost; panel E needs latencies, and says so where there are none.
        window: Candidates in the moving means of C and D; if None a tenth of them, but from 5 to 200.

    Raises:
        InvalidSettingError: No candidate is feasible, or a window of less than one candidate.
    """
    relation, left_out = None, None
    try:
        relation = cost_relation(run)
    except InvalidSettingError as error:
        left_out = str(error)
    return SearchPanels(
        name=run.name,
        histogram=cost_histogram(run.outcomes),
        trade_off=trade_off(run.outcomes, run.reward),
        cost=progress(run.outcomes, "cost", window),
        accuracy=progress(run.outcomes, "accuracy", window),
        relation=relation,
        left_out=left_out,
    )


def search_figure(panels: SearchPanels, *, title: str = "") -> Figure:
    """All of Figure 4, for the width of a page; where E is left out, the reason stands below.

    Args:
        panels: From `search_panels`.
        title: Above the figure.
    """
    figure = Figure(figsize=(10, 6.4), layout="constrained")
    rows = ["AAAAABBBBBBB", "CCCCDDDDEEEE" if panels.relation is not None else "CCCCCCDDDDDD"]
    grid: Mapping[str, Axes] = figure.subplot_mosaic("\n".join(rows))
    for letter, panel in panels.by_letter.items():
        panel.draw(grid[letter])
        grid[letter].annotate(
            letter,
            (0, 1),
            xycoords="axes fraction",
            xytext=(-34, 6),  # left of a legend that stands above the panel
            textcoords="offset points",
            fontsize=12,
            fontweight="bold",
            color=INK,
        )
    if panels.left_out is not None:
        reason = "\n".join(textwrap.wrap(f"(E) is left out: {panels.left_out}", 120))
        figure.supxlabel(reason, fontsize=8.5, color=SOFT)
    finish(figure, [grid[letter] for letter in panels.by_letter], title)
    return figure


def panel_figure(panel: Panel, *, title: str = "") -> Figure:
    """One panel alone.

    Args:
        panel: One of a `SearchPanels`.
        title: Above the figure.
    """
    figure = Figure(figsize=(5.6, 4.0), layout="constrained")
    axes = figure.add_subplot()
    panel.draw(axes)
    finish(figure, [axes], title)
    return figure
