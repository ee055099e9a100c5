"""What a search is about: who evaluates, how accuracy is weighed against cost, and the cost aimed at."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from akd_gym.errors import InvalidSettingError, UnknownNameError
from akd_gym.evaluation import Evaluation, Evaluator, make_evaluator
from akd_gym.reward import Reward, check_target

if TYPE_CHECKING:
    from akd_gym.ledger import Ledger
    from akd_gym.recipes import Recipe
    from akd_gym.space import SearchSpace

COST_UNITS = {"latency": "ms", "madds": "madds"}
"""What can stand as cost, and the unit that an evaluator gives it in."""

TARGET_ARGUMENTS = {"ms": "target_ms", "madds": "target"}
"""The argument and reset option that names the target, by unit."""

_DEFAULTS: dict[str, Any] = {
    "space": "akd",
    "teacher": "shipped:inception",
    "data": "fashion",
    "cost": "latency",
    "latency": "host",
    "recipe": None,
    "seed": None,
    "ledger": None,
}


class RoundWatch(Protocol):
    """Who counts and keeps what a task evaluates: a search's records, a competition's budget."""

    def before(self, count: int) -> None:
        """Asked before `count` architectures are evaluated; an error that it raises keeps them from it."""
        ...

    def after(self, rewards: Sequence[float], infos: Sequence[dict[str, Any]]) -> None:
        """Told what they earned, in order; `infos` are those of `AKDSearchEnv` at the end of an episode."""
        ...


@runtime_checkable
class NoisyEvaluator(Protocol):
    """An evaluator whose accuracies carry noise that a seed fixes, as those of AKDBench do."""

    noise_seed: int


class SearchTask:
    """The settings that environments of one search share, resolved. See `AKDSearchEnv` for the arguments.

    All environments that a task is given to (`AKDSearchEnv(task=env.unwrapped.task)`, whatever their form of action and
    however many episodes they hold) have one evaluator, one target and one `watch`.

    Attributes:
        watch: Asked before and told after every round; None for nobody.

    Raises:
        UnknownNameError: No such cost or reward; or space, teacher or data set, from the evaluator's making.
        InvalidSettingError: A target that is not positive, given in the other cost's name, or settings of an
            evaluator beside an evaluator.
    """

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
        workers: int | None = None,
    ) -> None:
        if cost not in COST_UNITS:
            raise UnknownNameError("cost", str(cost), COST_UNITS)
        if isinstance(reward, Reward) and reward_weight is not None:
            raise InvalidSettingError("`reward_weight` must be left out where `reward` is a `Reward` with its own.")
        self.reward = reward if isinstance(reward, Reward) else Reward(reward, reward_weight)
        settings: dict[str, Any] = dict(
            zip(_DEFAULTS, (space, teacher, data, cost, latency, recipe, seed, ledger), strict=True)
        )
        unit = COST_UNITS[cost] if evaluator is None else evaluator.cost_unit
        given = pick_target({"target_ms": target_ms, "target": target}, unit)
        self._owns_evaluator = evaluator is None
        if evaluator is None:
            evaluator = make_evaluator(**settings, workers=workers)
        else:
            _check_beside(evaluator, settings)
        self.evaluator: Evaluator = evaluator
        self.space: SearchSpace = self.evaluator.space
        self.cost_unit = unit
        self.watch: RoundWatch | None = None
        self._target = given
        self._reference_cost: float | None = None

    @property
    def reference_cost(self) -> float:
        """T_ref, what the space's reference architecture costs on this device; measured when first asked."""
        if self._reference_cost is None:
            self._reference_cost = float(self.evaluator.reference_cost())
        return self._reference_cost

    @property
    def target(self) -> float:
        """T, in ms or multiply-adds: what was set, else the reference architecture's cost."""
        return self.reference_cost if self._target is None else self._target

    @target.setter
    def target(self, value: float) -> None:
        check_target(value)
        self._target = float(value)

    def reseed(self, seed: int) -> None:
        """Choose the realisation of the evaluator's noise, if it has noise that a seed fixes.

        Args:
            seed: What an environment was reset with.
        """
        if isinstance(self.evaluator, NoisyEvaluator):
            self.evaluator.noise_seed = int(seed)

    def log_ratio(self, target: float) -> float:
        """`log(T / T_ref)`, the observation's last entry."""
        return math.log(target / self.reference_cost)

    def target_option(self, options: Mapping[str, Any] | None) -> float | None:
        """The target among the options of `reset`, if there.

        Raises:
            UnknownNameError: Another option than the target's.
            InvalidSettingError: A target that is not positive, or given in the other cost's name.
        """
        options = dict(options or {})
        for name in options:
            if name not in TARGET_ARGUMENTS.values():
                raise UnknownNameError("reset option", str(name), [TARGET_ARGUMENTS[self.cost_unit]])
        return pick_target(options, self.cost_unit)

    def evaluate(
        self, choices: Sequence[tuple[int, ...]], targets: Sequence[float]
    ) -> list[tuple[float, dict[str, Any]]]:
        """Evaluate the architectures of one round together.

        Args:
            choices: One architecture an episode.
            targets: One an episode, in the cost's unit.

        Returns:
            One reward and `info` an episode.
        """
        if self.watch is not None:
            self.watch.before(len(choices))
        evaluations = self.evaluator.evaluate(choices)
        outcomes = [
            (self.reward(e.accuracy, e.cost, target) if e.status == "ok" else self.reward(None, None, target),
             self._info(e, c, target))
            for e, c, target in zip(evaluations, choices, targets, strict=True)
        ]  # fmt: skip
        if self.watch is not None:
            self.watch.after([reward for reward, _ in outcomes], [info for _, info in outcomes])
        return outcomes

    def _info(self, evaluation: Evaluation, choices: tuple[int, ...], target: float) -> dict[str, Any]:
        return {
            "architecture": evaluation.architecture,
            "choices": choices,
            "status": evaluation.status,
            "reason": evaluation.reason,
            "accuracy": _number(evaluation.accuracy),
            "cost": _number(evaluation.cost),
            "cost_unit": evaluation.cost_unit,
            "target": target,
            "latency_ms": _number(evaluation.latency_ms),
            "latency_unit": "ms",
            "latency_kind": evaluation.latency_kind,
            "device": evaluation.device,
            "madds": int(evaluation.madds),
            "params": int(evaluation.params),
            "seconds": float(evaluation.seconds),
            "from_ledger": bool(evaluation.from_ledger),
        }

    def close(self) -> None:
        """Close the evaluator, if it was made here."""
        if self._owns_evaluator:
            self.evaluator.close()
            self._owns_evaluator = False


def share_or_make(
    task: SearchTask | None, make: Callable[..., SearchTask], settings: Mapping[str, Any]
) -> tuple[SearchTask, bool]:
    """The task that an environment was given, or one made for it.

    Args:
        task: What it was given; None for nothing.
        make: Makes a task from settings; its defaults say which settings were left out.
        settings: The environment's, none of which may be set beside a task.

    Returns:
        The task, and whether it was made here and so is the environment's to close.

    Raises:
        InvalidSettingError: A setting beside a task.
    """
    if task is None:
        return make(**settings), True
    parameters = inspect.signature(make).bind(**settings).signature.parameters
    for name, value in settings.items():
        if value != parameters[name].default:
            raise InvalidSettingError(
                f"`{name}` must be left out beside `task`, which has fixed it, but got {value!r}."
            )
    return task, False


def pick_target(given: Mapping[str, Any], unit: str) -> float | None:
    """The target in the name that belongs to the unit: `target_ms` for ms, `target` for multiply-adds.

    Raises:
        InvalidSettingError: If the other name is used, or the target is no positive number.
    """
    name = TARGET_ARGUMENTS[unit]
    for other in TARGET_ARGUMENTS.values():
        if other != name and given.get(other) is not None:
            raise InvalidSettingError(
                f"`{name}` must name the target where cost is in {unit}, but got `{other}={given[other]}`."
            )
    value = given.get(name)
    if value is None:
        return None
    try:
        value = float(value)
    except (TypeError, ValueError):
        raise InvalidSettingError(f"`{name}` must be a positive number, but got {value!r}.") from None
    check_target(value)
    return value


def _check_beside(evaluator: Evaluator, settings: dict[str, Any]) -> None:
    """Refuse settings that an evaluator has already fixed, unless they are the defaults or agree with it."""
    agreed = {
        "space": (evaluator.space, evaluator.space.name),
        "cost": [cost for cost, unit in COST_UNITS.items() if unit == evaluator.cost_unit],
    }
    for name, value in settings.items():
        if value != _DEFAULTS[name] and value not in agreed.get(name, ()):
            raise InvalidSettingError(
                f"`{name}` must be left out beside `evaluator`, which has fixed it, but got {value!r}."
            )


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
