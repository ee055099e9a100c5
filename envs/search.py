"""`AKDSearch-v0` and its forms: real trainings, one architecture an episode."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from akd_gym.envs.base import ActionMasks, ActionT, ArchitectureEnv
from akd_gym.envs.episodes import LockstepEpisodes
from akd_gym.envs.one_step import BoxEpisodes, OneShotEpisodes
from akd_gym.envs.task import SearchTask
from akd_gym.reward import Reward

if TYPE_CHECKING:
    from akd_gym.evaluation import Evaluator
    from akd_gym.ledger import Ledger
    from akd_gym.recipes import Recipe
    from akd_gym.space import SearchSpace


class _SearchEnv(ArchitectureEnv[ActionT]):
    """The arguments that the forms of AKDSearch have in common; see `AKDSearchEnv`."""

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
        task: SearchTask | None = None,
    ) -> None:
        settings = {
            "space": space,
            "teacher": teacher,
            "data": data,
            "cost": cost,
            "latency": latency,
            "target_ms": target_ms,
            "target": target,
            "reward": reward,
            "reward_weight": reward_weight,
            "recipe": recipe,
            "evaluator": evaluator,
            "seed": seed,
            "ledger": ledger,
        }
        super().__init__(task, partial(SearchTask, workers=1), settings, render_mode)


class AKDSearchEnv(ActionMasks, _SearchEnv[np.int64]):
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
    | `task` | None | another environment's `unwrapped.task`, shared; takes the place of all but `render_mode` |

    `reset(options={"target_ms": ...})`, or `{"target": ...}` where `cost="madds"`, changes the target from
    then on, also for the environments that share the task.

    `AKDSearchOneShot-v0` and `AKDSearchBox-v0` are the same with whole architectures as actions.

    Raises:
        UnknownNameError: No such cost, reward, space, teacher, data set or render mode.
        InvalidSettingError: A target that is not positive, or in the other cost's name; settings that do not
            go together.

    ## Version History
    * v0: Initial version. Registered as nondeterministic: a measured latency varies from run to run.
    """

    form = LockstepEpisodes


class AKDSearchOneShotEnv(ActionMasks, _SearchEnv[NDArray[np.int64]]):
    """`AKDSearch-v0` in one step: the action is a whole architecture, an integer a decision.

    ## Description
    The same task as `AKDSearchEnv`'s, for agents that propose all decisions at once. A policy over `MultiDiscrete`
    draws each decision independently of the others: it learns which options are good, not which go together.

    ## Action Space
    `MultiDiscrete(option_counts)`, shape (35,) for the space `akd`: seven times `[4, 4, 2, 3, 3]`. Entry `i` is the
    option of decision `i`; nothing is ever folded. `action_masks()`, shape (112,), bool, is all true.

    ## Observation Space
    `Box`, float32, shape (1,), before the step and after it:

    | index | observation | min | max | unit |
    |---|---|---|---|---|
    | 0 | `log(T / T_ref)`: target against the cost of the space's reference architecture | -10 | 10 | nat |

    ## Rewards
    Of the one step, as in `AKDSearchEnv`.

    ## Starting State
    Always the same.

    ## Episode End
    Terminates after one step. There is no truncation.

    ## Information
    What `AKDSearchEnv` gives at the end.

    ## Arguments
    Those of `AKDSearchEnv`.
    ```python
    env = gymnasium.make("AKDSearchOneShot-v0", teacher="shipped:resnet", target_ms=0.8)
    ```

    Raises:
        UnknownNameError: See `AKDSearchEnv`.
        InvalidSettingError: See `AKDSearchEnv`.

    ## Version History
    * v0: Initial version. Registered as nondeterministic: a measured latency varies from run to run.
    """

    form = OneShotEpisodes


class AKDSearchBoxEnv(_SearchEnv[NDArray[np.float32]]):
    """`AKDSearch-v0` in one step: the action is a whole architecture, a point in a box.

    ## Description
    The same task as `AKDSearchEnv`'s, for algorithms of continuous control (SAC, TD3, DDPG, ...) and of black-box
    optimisation.

    ## Action Space
    `Box(-1, 1)`, float32, shape (35,) for the space `akd`. Entry `i` decides decision `i`: [-1, 1] is cut into as many
    bins of equal width as the decision has options, and a bin holds its lower edge.

    | options | 0 | 1 | 2 | 3 |
    |---|---|---|---|---|
    | 2 | [-1, 0) | [0, 1] | | |
    | 3 | [-1, -1/3) | [-1/3, 1/3) | [1/3, 1] | |
    | 4 | [-1, -1/2) | [-1/2, 0) | [0, 1/2) | [1/2, 1] |

    An entry outside, or one that is no number, is an `InvalidActionError`; nothing is clipped. There are no masks.

    ## Observation Space
    `Box`, float32, shape (1,), before the step and after it:

    | index | observation | min | max | unit |
    |---|---|---|---|---|
    | 0 | `log(T / T_ref)`: target against the cost of the space's reference architecture | -10 | 10 | nat |

    ## Rewards
    Of the one step, as in `AKDSearchEnv`.

    ## Starting State
    Always the same.

    ## Episode End
    Terminates after one step. There is no truncation.

    ## Information
    What `AKDSearchEnv` gives at the end.

    ## Arguments
    Those of `AKDSearchEnv`.
    ```python
    env = gymnasium.make("AKDSearchBox-v0", teacher="shipped:resnet", target_ms=0.8)
    ```

    Raises:
        UnknownNameError: See `AKDSearchEnv`.
        InvalidSettingError: See `AKDSearchEnv`.

    ## Version History
    * v0: Initial version. Registered as nondeterministic: a measured latency varies from run to run.
    """

    form = BoxEpisodes
