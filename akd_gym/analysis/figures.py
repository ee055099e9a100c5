"""The two pictures that every search leaves: what was found, and how the search went.

Nothing here touches pyplot, so that figures can be made from any thread and leave no state behind.
"""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from akd_gym.analysis.outcomes import Outcome
from akd_gym.analysis.progress import progress
from akd_gym.analysis.style import finish
from akd_gym.analysis.trade_off import trade_off
from akd_gym.reward import Reward


def accuracy_cost_figure(outcomes: Sequence[Outcome], *, reward: Reward | None = None, title: str = "") -> Figure:
    """Accuracy against cost of every candidate, with the Pareto front and the target (Figure 4 B).

    Args:
        outcomes: Of one search, by number.
        reward: Draws its lines of equal reward behind the points.
        title: Above the figure.

    Raises:
        InvalidSettingError: No outcome is feasible.
    """
    panel = trade_off(outcomes, reward)
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    axes = figure.add_subplot()
    panel.draw(axes)
    finish(figure, [axes], title)
    return figure


def progress_figure(outcomes: Sequence[Outcome], *, window: int | None = None, title: str = "") -> Figure:
    """Reward, accuracy and cost over the candidates of a search, with moving means (Figure 4 C and D).

    Args:
        outcomes: Of one search, by number.
        window: Candidates in a moving mean; if None a tenth of them, but from 5 to 200.
        title: Above the figure.

    Raises:
        InvalidSettingError: No outcome is feasible, or a window of less than one candidate.
    """
    panels = [progress(outcomes, quantity, window) for quantity in ("reward", "accuracy", "cost")]
    figure = Figure(figsize=(7.2, 6.4), layout="constrained")
    rows = figure.subplots(3, 1, sharex=True)
    for axes, panel in zip(rows, panels, strict=True):
        panel.draw(axes)
        axes.label_outer()
    finish(figure, list(rows), title)
    return figure
