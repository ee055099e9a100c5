"""`AKDSearch-v0`: one architecture an episode, one decision a step."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from akd_gym.envs.episodes import EpisodeLayout, LockstepEpisodes
from akd_gym.envs.rendering import RENDER_MODES, Scene, check_render_mode, render
from akd_gym.envs.task import SearchTask
from akd_gym.reward import Reward

if TYPE_CHECKING:
    from akd_gym.evaluation import Evaluator
    from akd_gym.ledger import Ledger
    from akd_gym.recipes import Recipe
    from akd_gym.space import SearchSpace


class AKDSearchEnv(gym.Env[NDArray[np.float32], np.int64]):
    """Design the student network that best distils a teacher at a given cost, one decision at a time.

    ## Description
    Architecture-aware knowledge distillation (Liu et al., "Search to Distill: Pearls are Everywhere but not
    the Eyes" - https://arxiv.org/abs/1911.09074, section 3): which student is best depends on the teacher it
    learns from. An episode takes the decisions of one architecture in order, for the space `akd` seven blocks
    of five: `conv_op`, `skip_op`, `kernel`, `layers`, `filters`. After the last one the student is trained on
    a proxy task with the teacher's soft labels and its latency is measured; a network that was evaluated
    before is looked up.

    ## Action Space
    `Discrete(4)`: the option of the decision now due, numbered as in `env.unwrapped.space.decisions`.

    | decision | 0 | 1 | 2 | 3 |
    |---|---|---|---|---|
    | `conv_op` | conv | sepconv | mbconv3 | mbconv6 |
    | `skip_op` | none | identity | pool | identity+se |
    | `kernel` | 3 | 5 | | |
    | `layers` | base - 1 | base | base + 1 | |
    | `filters` | 0.75 x | 1 x | 1.25 x | |

    Where the due decision has `n` options, fewer than the space, action `a` counts as `a % n` and
    `info["folded"]` says so. `action_masks()` returns the valid ones, shape (4,), bool; they can also be read
    off the observation. Other spaces have `max(option_counts)` actions.

    ## Observation Space
    `Box`, float32, shape (148,) for the space `akd`:

    | index | observation | min | max | unit |
    |---|---|---|---|---|
    | 0-111 | one-hot of the decisions made so far, all zero for those to come | 0 | 1 | - |
    | 112-146 | one-hot of the decision now due, all zero at the end | 0 | 1 | - |
    | 147 | `log(T / T_ref)`: target against the cost of the space's reference architecture | -10 | 10 | nat |

    Other spaces have `sum(option_counts) + len(decisions) + 1` entries in the same order. Do not normalise
    observations: the one-hots carry the mask.

    ## Rewards
    0 until the last step, then accuracy weighed against cost (`akd_gym.reward.Reward`), accuracy being a
    fraction: `"absolute"` is `accuracy - 0.05 * abs(cost / T - 1)`. A candidate that could not be built,
    trained or measured gets `INFEASIBLE_REWARD` (-1), which is below every feasible one.

    ## Starting State
    No decision made, the first one due. It is always the same: all randomness is in the candidates'
    trainings.

    ## Episode End
    Terminates after the last decision (35 steps for `akd`). There is no truncation.

    ## Information
    `info` is empty but for the last step, and `{"folded": True}` where an action was folded. At the end it
    holds

    | key | what | unit |
    |---|---|---|
    | `architecture` | canonical string of the network | - |
    | `choices` | options chosen, a tuple of ints | - |
    | `status`, `reason` | `"ok"` or `"infeasible"`, and why (None if ok) | - |
    | `accuracy` | on held-out images after proxy training; NaN if infeasible | fraction |
    | `cost`, `cost_unit` | what the reward weighs, `"ms"` or `"madds"`; NaN if infeasible | as said |
    | `target` | T | `cost_unit` |
    | `latency_ms`, `latency_unit` | measured latency of one image, NaN if not measured; `"ms"` | ms |
    | `latency_kind`, `device` | kind of latency (see below) and name of the device, None if not measured | - |
    | `madds`, `params` | multiply-adds of one image, parameters | count |
    | `seconds` | training and measuring paid for this candidate | s |
    | `from_ledger` | whether it was looked up instead of evaluated | - |

    ## Arguments
    ```python
    env = gymnasium.make("AKDSearch-v0", teacher="shipped:resnet", target_ms=0.8)
    env.reset(options={"target_ms": 0.5})
    ```

    | argument | default | what |
    |---|---|---|
    | `space` | `"akd"` | preset (`"akd"`, `"mnas"`), `"module:attribute"`, or a `SearchSpace` |
    | `teacher` | `"shipped:inception"` | who is distilled; None or `"none"` for hard labels |
    | `data` | `"fashion"` | the images |
    | `cost` | `"latency"` | `"latency"` or `"madds"` |
    | `latency` | `"host"` | `"host"`, `"phone"`, `"phone:ADDRESS"`, `"loopback"` or `"predicted:FILE"` |
    | `target_ms` | None | T where `cost="latency"`; None is the cost of the space's reference architecture |
    | `target` | None | T in multiply-adds where `cost="madds"` |
    | `reward` | `"absolute"` | `"absolute"`, `"soft"` (the paper's), `"hard"`, or a `Reward` |
    | `reward_weight` | None | weight of the cost; None is the kind's own |
    | `recipe` | None | the proxy training; None is the data set's own |
    | `evaluator` | None | what evaluates candidates; takes the place of everything above that says how |
    | `seed` | None | of the candidates' trainings; None is the recipe's own |
    | `ledger` | None | file that evaluations are kept in and looked up from; None for a temporary one |
    | `render_mode` | None | `"ansi"` (text) or `"rgb_array"` (a picture of the network so far) |

    `reset(options={"target_ms": ...})`, or `{"target": ...}` where `cost="madds"`, changes the target from
    then on.

    Raises:
        UnknownNameError: No such cost, reward, space, teacher, data set or render mode.
        InvalidSettingError: A target that is not positive, or in the other cost's name; settings that do not
            go together.

    ## Version History
    * v0: Initial version. Registered as nondeterministic: a measured latency varies from run to run.
    """

    metadata = {"render_modes": list(RENDER_MODES), "render_fps": 4}  # noqa: RUF012 - Gymnasium's attribute

    def __init__(
        self,
        *,
        space: str | SearchSpace = "akd",
        teacher: str | None = "shipped:inception",
        data: str = "fashion",
        cost: str = "latency",
        latency: str = "host",
        target_ms: float | None = None,
        target: float | None = None,
        reward: str | Reward = "absolute",
        reward_weight: float | None = None,
        recipe: Recipe | None = None,
        evaluator: Evaluator | None = None,
        seed: int | None = None,
        ledger: str | Path | Ledger | None = None,
        render_mode: str | None = None,
    ) -> None:
        self.render_mode = check_render_mode(render_mode)
        self.task = SearchTask(
            space=space,
            teacher=teacher,
            data=data,
            cost=cost,
            latency=latency,
            target_ms=target_ms,
            target=target,
            reward=reward,
            reward_weight=reward_weight,
            recipe=recipe,
            evaluator=evaluator,
            seed=seed,
            ledger=ledger,
        )
        self.space = self.task.space
        self.layout = EpisodeLayout(self.space.option_counts)
        self.observation_space: spaces.Box = self.layout.observation_space()  # type: ignore[assignment]
        self.action_space = self.layout.action_space()
        self._episode = LockstepEpisodes(self.layout)
        self._outcome: dict[str, Any] | None = None

    @property
    def target(self) -> float:
        """T, in the unit of the cost."""
        return self.task.target

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode; see the class for the options.

        Raises:
            UnknownNameError: Another option than the target.
            InvalidSettingError: A target that is not positive, or in the other cost's name.
        """
        super().reset(seed=seed)
        target = self.task.target_option(options)
        if target is not None:
            self.task.target = target
        self._episode.reset(self.task.log_ratio(self.task.target))
        self._outcome = None
        return self._episode.observation(), {}

    def step(self, action: np.int64 | int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Take the due decision; after the last one the architecture is evaluated.

        Raises:
            InvalidActionError: If the action is outside the action space.
            EpisodeOverError: If no decision is due.
        """
        episode = self._episode
        info = {"folded": True} if episode.advance(self.layout.check_action(action)) else {}
        if not episode.over:
            return episode.observation(), 0.0, False, False, info
        choices = tuple(episode.choices.tolist())
        [(reward, outcome)] = self.task.evaluate([choices], [self.task.target])
        self._outcome = {"reward": reward, **outcome}
        return episode.observation(), reward, True, False, info | outcome

    def action_masks(self) -> NDArray[np.bool_]:
        """Valid actions of the decision now due, shape (num_actions,).

        Raises:
            EpisodeOverError: If no decision is due.
        """
        return self._episode.mask()

    def render(self) -> str | NDArray[np.uint8] | None:
        """The network chosen so far: text, or a picture of shape (H, W, 3)."""
        if self.render_mode is None:
            gym.logger.warn('Give `render_mode="ansi"` or `"rgb_array"` to `gymnasium.make` for `render()` to show it.')
            return None
        choices = self._episode.choices[: self._episode.due] if self._episode.begun else ()
        scene = Scene(self.space, tuple(int(c) for c in choices), self.task.target, self.task.cost_unit, self._outcome)
        return render(scene, self.render_mode)

    def close(self) -> None:
        """Release the evaluator, if this environment made it."""
        self.task.close()
