"""`AKDBench-v0` and its forms: the same search on a surrogate that answers in microseconds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from akd_gym.envs.base import ActionMasks, ActionT, ArchitectureEnv
from akd_gym.envs.episodes import LockstepEpisodes
from akd_gym.envs.one_step import BoxEpisodes, OneShotEpisodes
from akd_gym.envs.task import SearchTask
from akd_gym.reward import Reward

DEFAULT_TEACHER = "shipped:resnet"


def make_bench_task(
    *,
    teacher: str | None = DEFAULT_TEACHER,
    target_ms: float | None = None,
    noise: bool = True,
    reward: str | Reward = "absolute",
    reward_weight: float | None = None,
) -> SearchTask:
    """Make the task of an AKDBench environment; see `AKDBenchEnv` for the arguments.

    Raises:
        UnknownNameError: No such reward, or a teacher that the benchmark does not hold.
        InvalidSettingError: A target that is not positive.
    """
    from akd_gym.bench.evaluator import BenchEvaluator  # here: it reads the surrogate, which AKDSearch needs not

    evaluator = BenchEvaluator(teacher, noise=noise)
    return SearchTask(evaluator=evaluator, target_ms=target_ms, reward=reward, reward_weight=reward_weight)


class _BenchEnv(ArchitectureEnv[ActionT]):
    """The arguments that the forms of AKDBench have in common; see `AKDBenchEnv`."""

    def __init__(
        self,
        *,
        teacher: str | None = DEFAULT_TEACHER,
        target_ms: float | None = None,
        noise: bool = True,
        reward: str | Reward = "absolute",
        reward_weight: float | None = None,
        render_mode: str | None = None,
        task: SearchTask | None = None,
    ) -> None:
        settings = {
            "teacher": teacher,
            "target_ms": target_ms,
            "noise": noise,
            "reward": reward,
            "reward_weight": reward_weight,
        }
        super().__init__(task, make_bench_task, settings, render_mode)


class AKDBenchEnv(ActionMasks, _BenchEnv[np.int64]):
    """`AKDSearch-v0` on a benchmark: an episode costs microseconds, and its outcome repeats.

    ## Description
    The same search as `AKDSearchEnv`'s, over the whole space `akd` on small images, answered by a surrogate that was
    fitted to real trainings by this package: how accurate a student is after the proxy training, with hard labels or
    distilled from a teacher, and what it costs on the machine that the benchmark was measured on. To develop, tune
    and compare agents with; what was trained, and how far the surrogate can be trusted, is in its card
    (`docs/akdbench.md`).

    ## Action Space
    `Discrete(4)`: the option of the decision now due, as in `AKDSearchEnv`, with the same folding and
    `action_masks()`.

    ## Observation Space
    `Box`, float32, shape (148,), as in `AKDSearchEnv`:

    | index | observation | min | max | unit |
    |---|---|---|---|---|
    | 0-111 | one-hot of the decisions made so far, all zero for those to come | 0 | 1 | - |
    | 112-146 | one-hot of the decision now due, all zero at the end | 0 | 1 | - |
    | 147 | `log(T / T_ref)`: target against the cost of the space's reference architecture | -10 | 10 | nat |

    ## Rewards
    As in `AKDSearchEnv`: 0 until the last step, then accuracy weighed against cost.

    ## Starting State
    No decision made, the first one due; always the same. `reset(seed=s)` chooses the realisation of the noise: an
    architecture has one noisy accuracy a seed, however often and in whatever order it is asked for. Where no seed was
    ever given, it is that of seed 0.

    ## Episode End
    Terminates after the last decision (35 steps). There is no truncation.

    ## Information
    The keys of `AKDSearchEnv`, at the end. `latency_ms` is the cost, of kind `"predicted"` and device `"AKDBench"`;
    `seconds` are those that the training would have taken; `from_ledger` is false, as every episode counts.

    ## Arguments
    ```python
    env = gymnasium.make("AKDBench-v0", teacher="shipped:mixer", target_ms=0.04)
    env.reset(seed=0, options={"target_ms": 0.02})
    ```

    | argument | default | what |
    |---|---|---|
    | `teacher` | `"shipped:resnet"` | who is distilled, of those the benchmark holds; None, `"none"` for hard labels |
    | `target_ms` | None | T in ms; None is the cost of the space's reference architecture |
    | `noise` | True | whether accuracies scatter as trainings with different seeds do |
    | `reward` | `"absolute"` | `"absolute"`, `"soft"`, `"hard"`, or a `Reward` |
    | `reward_weight` | None | weight of the cost; None is the kind's own |
    | `render_mode` | None | `"ansi"` (text) or `"rgb_array"` (a picture of the network so far) |
    | `task` | None | another environment's `unwrapped.task`, shared; takes the place of all but `render_mode` |

    `reset(options={"target_ms": ...})` changes the target from then on, also for the environments that share the task.

    Raises:
        UnknownNameError: No such reward or render mode, or a teacher that the benchmark does not hold.
        InvalidSettingError: A target that is not positive; settings that do not go together.

    ## Version History
    * v0: Initial version. Deterministic under a seed.
    """

    form = LockstepEpisodes


class AKDBenchOneShotEnv(ActionMasks, _BenchEnv[NDArray[np.int64]]):
    """`AKDBench-v0` in one step: the action is a whole architecture, an integer a decision.

    ## Description
    The benchmark of `AKDBenchEnv` in the form of `AKDSearchOneShotEnv`.

    ## Action Space
    `MultiDiscrete(option_counts)`, shape (35,): seven times `[4, 4, 2, 3, 3]`. `action_masks()`, shape (112,), bool, is
    all true.

    ## Observation Space
    `Box`, float32, shape (1,), before the step and after it:

    | index | observation | min | max | unit |
    |---|---|---|---|---|
    | 0 | `log(T / T_ref)`: target against the cost of the space's reference architecture | -10 | 10 | nat |

    ## Rewards
    Of the one step, as in `AKDSearchEnv`.

    ## Starting State
    As in `AKDBenchEnv`, noise included.

    ## Episode End
    Terminates after one step. There is no truncation.

    ## Information
    That of `AKDBenchEnv`.

    ## Arguments
    Those of `AKDBenchEnv`.
    ```python
    env = gymnasium.make("AKDBenchOneShot-v0", teacher="none", noise=False)
    ```

    Raises:
        UnknownNameError: See `AKDBenchEnv`.
        InvalidSettingError: See `AKDBenchEnv`.

    ## Version History
    * v0: Initial version. Deterministic under a seed.
    """

    form = OneShotEpisodes


class AKDBenchBoxEnv(_BenchEnv[NDArray[np.float32]]):
    """`AKDBench-v0` in one step: the action is a whole architecture, a point in a box.

    ## Description
    The benchmark of `AKDBenchEnv` in the form of `AKDSearchBoxEnv`.

    ## Action Space
    `Box(-1, 1)`, float32, shape (35,): each decision's option is the bin of its entry, as in `AKDSearchBoxEnv`. There
    are no masks.

    ## Observation Space
    `Box`, float32, shape (1,), before the step and after it:

    | index | observation | min | max | unit |
    |---|---|---|---|---|
    | 0 | `log(T / T_ref)`: target against the cost of the space's reference architecture | -10 | 10 | nat |

    ## Rewards
    Of the one step, as in `AKDSearchEnv`.

    ## Starting State
    As in `AKDBenchEnv`, noise included.

    ## Episode End
    Terminates after one step. There is no truncation.

    ## Information
    That of `AKDBenchEnv`.

    ## Arguments
    Those of `AKDBenchEnv`.
    ```python
    env = gymnasium.make("AKDBenchBox-v0", target_ms=0.04)
    ```

    Raises:
        UnknownNameError: See `AKDBenchEnv`.
        InvalidSettingError: See `AKDBenchEnv`.

    ## Version History
    * v0: Initial version. Deterministic under a seed.
    """

    form = BoxEpisodes
