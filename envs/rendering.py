"""What an environment shows of the network chosen so far: text, or a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akd_gym.analysis.formats import cost_in_words
from akd_gym.errors import UnknownNameError
from akd_gym.space import Choices, SearchSpace

RENDER_MODES = ("ansi", "rgb_array")


@dataclass(frozen=True)
class Scene:
    """One episode at one moment.

    Attributes:
        space: The search space.
        choices: Options chosen so far.
        target: T, in `cost_unit`.
        cost_unit: `"ms"` or `"madds"`.
        outcome: At the end `info` and the reward, else None.
    """

    space: SearchSpace
    choices: Choices
    target: float
    cost_unit: str
    outcome: dict[str, Any] | None = None


def check_render_mode(mode: str | None) -> str | None:
    """The mode itself.

    Raises:
        UnknownNameError: If there is no such mode.
    """
    if mode is not None and mode not in RENDER_MODES:
        raise UnknownNameError("render mode", str(mode), RENDER_MODES)
    return mode


def render(scene: Scene, mode: str) -> str | NDArray[np.uint8]:
    """Text for `"ansi"`, a picture of shape (H, W, 3) for `"rgb_array"`."""
    return render_text(scene) if mode == "ansi" else render_picture(scene)


def render_text(scene: Scene) -> str:
    """A line a block: built ones by their block string, the one under way with the due decision marked."""
    space, taken = scene.space, len(scene.choices)
    total = len(space.decisions)
    due = f"decision {taken + 1} of {total}: {space.decisions[taken].name}" if taken < total else "complete"
    lines = [f"{space.name} on {space.skeleton.name}, target {cost_in_words(scene.target, scene.cost_unit)}, {due}"]
    skeleton = space.skeleton
    lines.append(f"    stem  k{skeleton.stem_kernel} s{skeleton.stem_stride} c{skeleton.stem_channels}")
    built = space.decided_blocks(scene.choices)
    for block in range(1, len(space.skeleton.repeats) + 1):
        if block <= len(built):
            lines.append(f"    {block:>4}  {built[block - 1]}")
            continue
        parts = []
        for index, decision in enumerate(space.decisions):
            if decision.block != block:
                continue
            if index < taken:
                parts.append(f"{decision.role}={decision.options[scene.choices[index]]}")
            elif index == taken:
                parts.append(f"{decision.role}=[{' | '.join(map(str, decision.options))}]")
        marker = ">" if parts else " "
        lines.append(f"  {marker} {block:>4}  {'  '.join(parts) or '.'}")
    lines.append(f"    head  c{space.skeleton.head_channels}")
    if scene.outcome is not None:
        lines.append(describe_outcome(scene.outcome))
    return "\n".join(lines) + "\n"


def render_picture(scene: Scene) -> NDArray[np.uint8]:
    """The network as drawn by `akd_gym.analysis.drawing`, uint8, shape (H, W, 3)."""
    from akd_gym.analysis.drawing import draw_search  # here: matplotlib takes its time

    caption = None if scene.outcome is None else describe_outcome(scene.outcome)
    return draw_search(scene.space, scene.choices, caption=caption)


def describe_outcome(outcome: dict[str, Any]) -> str:
    """One line: the reward and what it was made from."""
    if outcome["status"] != "ok":
        return f"infeasible ({outcome['reason']}): reward {outcome['reward']:.4f}"
    cost = cost_in_words(outcome["cost"], outcome["cost_unit"])
    return (
        f"reward {outcome['reward']:.4f}: accuracy {100 * outcome['accuracy']:.2f} %, cost {cost}, "
        f"{outcome['params']:,} parameters"
    )
