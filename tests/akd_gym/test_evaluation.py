"""The evaluator: real trainings of a tiny recipe, each paid for once, and latencies before them."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from akd_gym.cost import count_cost
from akd_gym.device_lab import LatencyRecord, host_process
from akd_gym.device_lab.tflite_writer import EXPORTER, exporter_of
from akd_gym.envs.search import AKDSearchEnv
from akd_gym.errors import DeviceError, UnknownNameError
from akd_gym.evaluation import Evaluation, ProxyEvaluator, make_evaluator
from akd_gym.executors import Job, SerialExecutor, TrainingTask
from akd_gym.ledger import Ledger, TrainingRecord
from akd_gym.recipes import Recipe
from akd_gym.reward import INFEASIBLE_REWARD, Reward
from akd_gym.space import Choices, make_space

SPACE = make_space("akd", "small")
REFERENCE = SPACE.reference
SMALLEST: Choices = (1, 0, 0, 0, 0) * 7
"""sepconv, no skip, kernel 3, one layer fewer, 0.75 x filters: the cheapest network there is."""
LARGEST: Choices = (0, 1, 1, 2, 2) * 7
NAMES = {choices: str(SPACE.network(choices)) for choices in (REFERENCE, SMALLEST, LARGEST)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def make(tiny_recipe: Recipe, path: Path) -> Iterator[Any]:
    """`make_evaluator` for hard labels and multiply-adds in this process; what it trains is in `trained`."""
    made: list[ProxyEvaluator] = []

    def make(**settings: Any) -> ProxyEvaluator:
        defaults = {"teacher": None, "cost": "madds", "recipe": tiny_recipe, "workers": 1, "ledger": path}
        evaluator = make_evaluator(**{**defaults, **settings})
        evaluator.trained = []  # type: ignore[attr-defined]
        evaluator.on_training = lambda name, _: evaluator.trained.append(name)  # type: ignore[attr-defined]
        made.append(evaluator)
        return evaluator

    yield make
    for evaluator in made:
        evaluator.close()


def training(evaluator: ProxyEvaluator, choices: Choices) -> TrainingRecord:
    record = evaluator.ledger.find_training(evaluator.training_context, NAMES[choices], evaluator.seed)
    assert record is not None
    return record


def known(evaluation: Evaluation) -> Evaluation:
    """What an evaluation says when it is asked for again."""
    return evaluation._replace(seconds=0.0, from_ledger=True)


def test_a_candidate_is_trained_once_and_then_looked_up(make: Any, path: Path) -> None:
    evaluator = make()
    [first] = evaluator.evaluate([REFERENCE])
    assert (first.status, first.reason, first.from_ledger) == ("ok", None, False)
    assert first.architecture == NAMES[REFERENCE]
    assert 0 < first.accuracy < 1
    assert first.seconds == training(evaluator, REFERENCE).seconds > 0
    assert evaluator.evaluate([REFERENCE]) == [known(first)]
    assert evaluator.trained == [NAMES[REFERENCE]]

    beside = make()  # while the first one has the ledger open
    assert beside.evaluate([REFERENCE]) == [known(first)]
    [new] = beside.evaluate([SMALLEST])
    assert evaluator.evaluate([SMALLEST]) == [known(new)]
    evaluator.close()
    beside.close()
    later = make()
    assert later.evaluate([SMALLEST, REFERENCE]) == [known(new), known(first)]
    assert later.trained == []
    with Ledger.open(path, read_only=True) as ledger:
        assert ledger.counts()["trainings"] == 2


def test_equal_networks_of_a_round_are_trained_once(make: Any) -> None:
    evaluator = make()
    shorter = (*REFERENCE[:3], 0, *REFERENCE[4:])  # block 1 has one layer: -1 clips to it
    first, other, second, third = evaluator.evaluate([REFERENCE, SMALLEST, shorter, REFERENCE])
    assert sorted(evaluator.trained) == sorted([NAMES[REFERENCE], NAMES[SMALLEST]])
    assert not first.from_ledger
    assert not other.from_ledger
    assert second == third == known(first)


def test_a_ledger_of_ones_own_is_left_open(make: Any, path: Path) -> None:
    with Ledger.open(path) as ledger:
        evaluator = make(ledger=ledger)
        evaluator.evaluate([SMALLEST])
        evaluator.close()
        evaluator.close()
        assert ledger.counts()["trainings"] == 1


def test_without_a_ledger_evaluations_are_kept_until_the_end(make: Any) -> None:
    evaluator = make(ledger=None)
    evaluator.evaluate([SMALLEST])
    assert evaluator.evaluate([SMALLEST])[0].from_ledger
    folder = evaluator.ledger.path.parent
    assert folder.is_dir()
    evaluator.close()
    assert not folder.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 3},
        {"learning_rate": 0.123},
        {"train_size": 160},
        {"split_seed": 1},
        {"resolution": 14},
        {"augment_seed": 1},
        {"flip": False},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_another_recipe_is_another_context(make: Any, tiny_recipe: Recipe, changes: dict[str, Any]) -> None:
    assert make(recipe=replace(tiny_recipe, **changes)).training_context != make().training_context


def test_another_teacher_is_another_context_and_what_it_ignores_is_not(make: Any, tiny_recipe: Recipe) -> None:
    colder = replace(tiny_recipe, temperature=2.0)
    taught, taught_colder = (make(teacher="shipped:resnet", recipe=r) for r in (tiny_recipe, colder))
    alone, alone_colder = (make(teacher=None, recipe=r) for r in (tiny_recipe, colder))
    assert len({e.training_context for e in (taught, taught_colder, alone)}) == 3
    assert alone_colder.training_context == alone.training_context == make(teacher="none").training_context
    identity = taught.ledger.identity(taught.training_context)
    assert sorted(identity) == ["data", "device", "fingerprint", "kind", "recipe", "resolution", "teacher"]
    assert sorted(identity["teacher"]) == ["name", "weights"]
    assert identity["recipe"]["alpha"] == 0.9


def test_another_seed_is_paid_for_anew(make: Any) -> None:
    zero, one = make(), make(seed=1)
    assert zero.training_context == one.training_context
    zero.evaluate([SMALLEST])
    [evaluation] = one.evaluate([SMALLEST])
    assert not evaluation.from_ledger
    assert training(zero, SMALLEST).loss != training(one, SMALLEST).loss


def test_the_skeleton_follows_the_resolution(make: Any, tiny_recipe: Recipe) -> None:
    small = make()
    assert (small.space.skeleton.name, small.input_shape, small.num_classes) == ("small", (1, 28, 28), 10)
    large = make(recipe=replace(tiny_recipe, train_size=32, val_size=32, resolution=65))
    assert (large.space.skeleton.name, large.input_shape) == ("mnasnet", (1, 65, 65))
    assert make(skeleton="mnasnet").space.skeleton.name == "mnasnet"
    assert make(space=SPACE).space is SPACE


def test_the_same_evaluation_in_another_ledger_is_the_same(make: Any, tmp_path: Path) -> None:
    settings = {"teacher": "shipped:resnet", "seed": 3}
    here, there = (make(**settings, ledger=tmp_path / name) for name in ("a.sqlite", "b.sqlite"))
    [first] = here.evaluate([REFERENCE])
    _, second = there.evaluate([SMALLEST, REFERENCE])  # not the first one trained
    assert not second.from_ledger
    assert second._replace(seconds=first.seconds) == first
    assert training(there, REFERENCE).loss == training(here, REFERENCE).loss


def test_distilled_students_are_other_students(make: Any, tiny_recipe: Recipe) -> None:
    recipe = replace(tiny_recipe, epochs=6, train_size=256, val_size=1000)
    taught, alone = make(teacher="shipped:resnet", recipe=recipe), make(teacher=None, recipe=recipe)
    by_teacher, by_labels = ([e.accuracy for e in m.evaluate([REFERENCE, LARGEST])] for m in (taught, alone))
    assert by_teacher != by_labels
    assert len(taught.trained) == len(alone.trained) == 2
    assert max(by_teacher + by_labels) > 0.15  # they learned something to differ in: chance is 0.1


def test_multiply_adds_as_the_cost(make: Any) -> None:
    evaluator = make()
    reference, smallest = evaluator.evaluate([REFERENCE, SMALLEST])
    for evaluation, choices in ((reference, REFERENCE), (smallest, SMALLEST)):
        cost = count_cost(SPACE.network(choices), 28, 1, 10)
        assert (evaluation.madds, evaluation.params) == cost
        assert (evaluation.cost, evaluation.cost_unit) == (cost.madds, "madds")
        assert (evaluation.latency_ms, evaluation.latency_kind, evaluation.device) == (None, None, None)
    assert evaluator.reference_cost() == reference.cost > smallest.cost
    assert evaluator.ledger.counts()["latencies"] == 0


def test_unknown_names(make: Any) -> None:
    with pytest.raises(UnknownNameError, match=r"cost 'watts'.*latency, madds"):
        make(cost="watts")
    with pytest.raises(UnknownNameError, match="Did you mean 'shipped:resnet'"):
        make(teacher="shipped:resnett")
    with pytest.raises(UnknownNameError, match="Known: akd, mnas"):
        make(space="akdd")
    with pytest.raises(UnknownNameError, match="Did you mean 'fashion'"):
        make(data="fashon")
    with pytest.raises(UnknownNameError, match="Did you mean 'host'"):
        make(cost="latency", latency="hots")


# ---- candidates that cannot be evaluated -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"), [({"time_limit_s": 1e-6}, "time_limit"), ({"learning_rate": 1e30}, "diverged")]
)
def test_an_infeasible_candidate_is_recorded_and_earns_the_least(
    make: Any, tiny_recipe: Recipe, changes: dict[str, Any], reason: str
) -> None:
    evaluator = make(recipe=replace(tiny_recipe, **changes))
    [evaluation] = evaluator.evaluate([REFERENCE])
    assert (evaluation.status, evaluation.reason, evaluation.accuracy) == ("infeasible", reason, None)
    record = training(evaluator, REFERENCE)
    assert (record.status, record.reason) == ("infeasible", reason)
    assert record.detail
    assert evaluator.evaluate([REFERENCE]) == [known(evaluation)]
    assert evaluator.trained == [NAMES[REFERENCE]]

    env = AKDSearchEnv(evaluator=evaluator)
    env.reset()
    for choice in REFERENCE:
        _, reward, terminated, _, info = env.step(choice)
    assert terminated
    assert reward == INFEASIBLE_REWARD < min(Reward(kind)(0.0, 1e9, 1.0) for kind in ("absolute", "soft", "hard"))
    assert (info["status"], info["reason"]) == ("infeasible", reason)
    assert math.isnan(info["accuracy"])


def test_a_search_stopped_in_a_round_keeps_what_was_paid_for(make: Any) -> None:
    class Stopped(SerialExecutor):
        """Ctrl-C while the second student trains."""

        def run(self, task: TrainingTask, jobs: Sequence[Job]) -> Iterator[tuple[int, TrainingRecord]]:
            yield next(super().run(task, jobs))
            raise KeyboardInterrupt

    evaluator = make()
    evaluator._executor = Stopped()
    with pytest.raises(KeyboardInterrupt):
        evaluator.evaluate([SMALLEST, LARGEST, REFERENCE])
    evaluator.close()
    again = make()
    assert again.ledger.counts()["trainings"] == 1
    evaluations = again.evaluate([SMALLEST, LARGEST, REFERENCE])
    assert [e.from_ledger for e in evaluations] == [False, True, False]  # the costliest goes first
    assert again.trained == [NAMES[REFERENCE], NAMES[SMALLEST]]


# ---- latency ---------------------------------------------------------------------------------------------


class ScriptedMeter:
    """A device that answers for every model what its script says: milliseconds, or why it failed."""

    kind = "host"
    needs_quiet = True

    def __init__(self, script: dict[str, float | str], events: list[str]) -> None:
        self.script, self.events = script, events

    def identity(self) -> dict[str, Any]:
        return {"kind": self.kind, "device": "scripted"}

    def measure(self, models: Sequence[tuple[str, bytes]]) -> list[LatencyRecord]:
        self.events += [f"measure {name}" for name, _ in models]
        if any(name not in self.script for name, _ in models):
            raise DeviceError("the device is gone")
        assert {exporter_of(model)[0] for _, model in models} == {EXPORTER}
        return [self._record(name, self.script[name]) for name, _ in models]

    def close(self) -> None:
        self.events.append("close")

    def _record(self, name: str, answer: float | str) -> LatencyRecord:
        about: dict[str, Any] = {"architecture": name, "kind": "host", "device": "scripted"}
        for text in ("model_sha256", "exporter", "exporter_version", "runtime", "runtime_version", "device_id", "os"):
            about[text] = "?"
        about |= {"core": 0, "affinity": (0,), "governor": None, "threads": 1, "clock": "wall"}
        about |= {"created": "2026-11-22T12:00:00+00:00", "tool_version": "0.1.0"}
        if isinstance(answer, str):
            return LatencyRecord(**about, verdict="failed", reason=answer)
        passes = {"pass_min_ms": (answer,), "pass_canary_before_ms": (1.0,), "pass_canary_after_ms": (1.0,)}
        return LatencyRecord(**about, verdict="ok", min_ms=answer, canary_reference_ms=1.0, **passes)


class MeterElsewhere(ScriptedMeter):
    """A device that is not this machine: it goes on only after something has been trained meanwhile."""

    needs_quiet = False

    def measure(self, models: Sequence[tuple[str, bytes]]) -> Iterator[LatencyRecord]:
        for model in models:
            deadline = time.monotonic() + 60
            while not any(event.startswith("trained") for event in self.events) and time.monotonic() < deadline:
                time.sleep(0.01)
            yield from super().measure([model])


class LoggingExecutor(SerialExecutor):
    """Notes what is trained."""

    def __init__(self, events: list[str]) -> None:
        self.events = events

    def run(self, task: TrainingTask, jobs: Sequence[Job]) -> Iterator[tuple[int, TrainingRecord]]:
        self.events += [f"train {job.architecture}" for job in jobs]
        for index, record in super().run(task, jobs):
            self.events.append(f"trained {jobs[index].architecture}")
            yield index, record


@pytest.fixture
def events() -> list[str]:
    """What was measured and trained, in order."""
    return []


@pytest.fixture
def measured(path: Path, tiny_recipe: Recipe, events: list[str]) -> Iterator[Any]:
    """An evaluator whose device follows a script."""
    with Ledger.open(path) as ledger:

        def measured(script: dict[Choices, float | str], meter: type[ScriptedMeter] = ScriptedMeter) -> ProxyEvaluator:
            return ProxyEvaluator(
                SPACE,
                TrainingTask("fashion", tiny_recipe),
                {"task": "tiny"},
                seed=0,
                input_shape=(1, 28, 28),
                num_classes=10,
                ledger=ledger,
                executor=LoggingExecutor(events),
                meter=meter({NAMES[choices]: answer for choices, answer in script.items()}, events),
            )

        yield measured


def test_a_round_is_measured_before_it_is_trained_and_the_costliest_trains_first(
    measured: Any, events: list[str]
) -> None:
    evaluator = measured({SMALLEST: 0.1, LARGEST: 0.9})
    small, large = evaluator.evaluate([SMALLEST, LARGEST])
    assert events == [
        f"measure {NAMES[SMALLEST]}",
        f"measure {NAMES[LARGEST]}",
        f"train {NAMES[LARGEST]}",
        f"train {NAMES[SMALLEST]}",
        f"trained {NAMES[LARGEST]}",
        f"trained {NAMES[SMALLEST]}",
    ]
    assert (small.cost, small.cost_unit, small.latency_ms) == (pytest.approx(0.1), "ms", pytest.approx(0.1))
    assert (large.cost, large.latency_kind, large.device) == (pytest.approx(0.9), "host", "scripted")
    assert evaluator.evaluate([LARGEST, SMALLEST]) == [known(large), known(small)]
    assert len(events) == 6


def test_a_model_that_cannot_be_measured_is_not_trained(measured: Any, events: list[str]) -> None:
    evaluator = measured({SMALLEST: "signal SIGSEGV", REFERENCE: 0.5})
    bad, good = evaluator.evaluate([SMALLEST, REFERENCE])
    assert (bad.status, bad.reason, bad.accuracy, bad.cost, bad.latency_ms) == (
        "infeasible",
        "unmeasurable",
        None,
        None,
        None,
    )
    assert good.status == "ok"
    assert events[2:] == [f"train {NAMES[REFERENCE]}", f"trained {NAMES[REFERENCE]}"]
    record = evaluator.ledger.find_latency(evaluator.latency_context, NAMES[SMALLEST])
    assert (record["verdict"], record["reason"]) == ("failed", "signal SIGSEGV")
    assert evaluator.evaluate([SMALLEST]) == [known(bad)]
    assert len(events) == 4
    assert Reward()(bad.accuracy, bad.cost, 0.5) == INFEASIBLE_REWARD < Reward()(good.accuracy, good.cost, 0.5)


def test_a_device_that_fails_is_no_latency(measured: Any, events: list[str]) -> None:
    evaluator = measured({REFERENCE: 0.5})
    with pytest.raises(DeviceError, match="the device is gone"):
        evaluator.evaluate([SMALLEST, REFERENCE])
    assert not [event for event in events if event.startswith("train")]
    counts = evaluator.ledger.counts()
    assert (counts["trainings"], counts["latencies"]) == (0, 0)
    assert evaluator.evaluate([REFERENCE])[0].status == "ok"


def test_a_device_elsewhere_measures_while_students_train(measured: Any, events: list[str]) -> None:
    evaluator = measured({SMALLEST: 0.1, LARGEST: "signal SIGSEGV"}, MeterElsewhere)
    small, large = evaluator.evaluate([SMALLEST, LARGEST])
    assert events.index(f"trained {NAMES[LARGEST]}") < events.index(f"measure {NAMES[SMALLEST]}")
    assert (small.status, small.cost) == ("ok", pytest.approx(0.1))
    assert (large.status, large.reason, large.accuracy, large.cost) == ("infeasible", "unmeasurable", None, None)
    assert evaluator.evaluate([LARGEST, SMALLEST]) == [known(large), known(small)]


def test_a_device_elsewhere_that_fails_leaves_what_was_paid_for_in_the_ledger(measured: Any, events: list[str]) -> None:
    evaluator = measured({SMALLEST: 0.1}, MeterElsewhere)
    with pytest.raises(DeviceError, match="the device is gone"):
        evaluator.evaluate([SMALLEST, REFERENCE])
    counts = evaluator.ledger.counts()
    assert (counts["trainings"], counts["latencies"]) == (2, 1)
    assert evaluator.evaluate([SMALLEST])[0].from_ledger


def test_the_reference_is_measured_once(measured: Any, events: list[str]) -> None:
    evaluator = measured({REFERENCE: 0.5})
    assert evaluator.reference_cost() == pytest.approx(0.5)
    assert AKDSearchEnv(evaluator=evaluator).target == pytest.approx(0.5)  # what `target_ms=None` means
    assert events == [f"measure {NAMES[REFERENCE]}"]


def test_a_reference_that_cannot_be_measured_is_named(measured: Any) -> None:
    with pytest.raises(DeviceError, match="reference architecture must be measurable, but got: too large"):
        measured({REFERENCE: "too large"}).reference_cost()


def test_only_what_is_paid_now_counts_as_seconds(measured: Any, events: list[str]) -> None:
    evaluator = measured({SMALLEST: 0.1})
    earlier = TrainingRecord("ok", accuracy=0.5, seconds=1e6)
    evaluator.ledger.add_training(evaluator.training_context, NAMES[SMALLEST], 0, earlier)
    [evaluation] = evaluator.evaluate([SMALLEST])
    assert not evaluation.from_ledger  # it was measured now
    assert 0 < evaluation.seconds < 1e6
    assert events == [f"measure {NAMES[SMALLEST]}"]


def test_a_real_round_on_this_machine(make: Any, own_machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluator = make(cost="latency")
    reference_ms = evaluator.reference_cost()
    reference, large = evaluator.evaluate([REFERENCE, LARGEST])
    for evaluation in (reference, large):
        assert evaluation.status == "ok"
        assert evaluation.cost == evaluation.latency_ms > 0
        assert (evaluation.cost_unit, evaluation.latency_kind) == ("ms", "host")
        assert evaluation.device
    assert reference.latency_ms == reference_ms != large.latency_ms
    identity = evaluator.ledger.identity(evaluator.latency_context)
    assert (identity["input_shape"], identity["classes"], identity["kind"]) == ([1, 28, 28], 10, "host")
    evaluator.close()

    monkeypatch.setattr(host_process, "WORKER", own_machine / "gone.py")  # nothing can be measured any more
    again = make(cost="latency")
    assert again.evaluate([LARGEST, REFERENCE]) == [known(large), known(reference)]
    assert again.reference_cost() == reference_ms
    with pytest.raises(DeviceError):
        again.evaluate([SMALLEST])
