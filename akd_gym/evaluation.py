"""Architecture -> what it is worth: accuracy after proxy training and cost, paid for once and kept in a ledger."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from akd_gym.architecture import NetworkSpec
from akd_gym.cost import Cost, count_cost
from akd_gym.errors import DeviceError, UnknownNameError
from akd_gym.executors import Executor, Job, TrainingTask, load_task_data, make_executor
from akd_gym.latencies import LatencyBook
from akd_gym.ledger import Ledger, TrainingRecord
from akd_gym.ledger_records import latency_ms
from akd_gym.recipes import Recipe, default_recipe
from akd_gym.space import Choices, SearchSpace, make_space

if TYPE_CHECKING:
    from akd_gym.data import TaskData
    from akd_gym.device_lab import LatencyMeter

Announce = Callable[[str], None]

SMALL_IMAGES = 64
"""Up to this resolution, in pixels, students have the skeleton `small`, beyond it `mnasnet`."""


class Evaluation(NamedTuple):
    """What is known of one candidate.

    Attributes:
        architecture: Canonical string of the network.
        status: `"ok"` or `"infeasible"`.
        reason: Why it is infeasible; None if it is not.
        accuracy: On mini-val after proxy training, a fraction; None if infeasible.
        cost: Latency or multiply-adds, whichever the search weighs; None if it could not be measured.
        cost_unit: `"ms"` or `"madds"`.
        latency_ms: Milliseconds for one image; None if not measured.
        latency_kind: `"host"`, `"phone"`, `"loopback"` or `"predicted"`; None if not measured.
        device: Name of the device that measured.
        madds: Multiply-adds for one image.
        params: Parameters.
        seconds: Paid for training and measuring, now.
        from_ledger: Whether it was known before and cost nothing.
    """

    architecture: str
    status: str
    reason: str | None
    accuracy: float | None
    cost: float | None
    cost_unit: str
    latency_ms: float | None
    latency_kind: str | None
    device: str | None
    madds: int
    params: int
    seconds: float
    from_ledger: bool


class Evaluator(Protocol):
    """What an environment asks for the worth of architectures."""

    space: SearchSpace
    cost_unit: str

    def reference_cost(self) -> float:
        """Cost of the space's reference architecture, in `cost_unit`."""
        ...

    def evaluate(self, choices: Sequence[Choices]) -> list[Evaluation]:
        """Evaluate the candidates of one round, equal ones once."""
        ...

    def close(self) -> None:
        """Release whatever is held; twice is fine."""
        ...


class ProxyEvaluator:
    """Trains candidates on the proxy task and measures them; what the ledger knows is not paid for again.

    A round trains its new networks side by side. Their latencies are measured before, while nothing trains, if
    that would disturb the measurement (on this machine), and else meanwhile (on phones). Each result is in the ledger
    as soon as it is there. An infeasible candidate is an `Evaluation` with its reason; a device that fails raises,
    because its silence is no latency.

    Args:
        space: The search space.
        task: What to train on, and how.
        training_identity: All that a training's result depends on besides architecture and seed.
        seed: Of initial weights and order of images, the same for every candidate.
        input_shape: `(channels, resolution, resolution)` of the images.
        num_classes: Classes of the images.
        ledger: Where evaluations are kept.
        executor: Where students are trained.
        meter: Measures latency; None makes multiply-adds the cost.
        resources: Closed together with the evaluator.
    """

    def __init__(
        self,
        space: SearchSpace,
        task: TrainingTask,
        training_identity: dict[str, Any],
        *,
        seed: int,
        input_shape: tuple[int, int, int],
        num_classes: int,
        ledger: Ledger,
        executor: Executor,
        meter: LatencyMeter | None,
        resources: contextlib.ExitStack | None = None,
    ) -> None:
        self.space, self.task, self.seed = space, task, seed
        self.input_shape, self.num_classes = input_shape, num_classes
        self.cost_unit = "madds" if meter is None else "ms"
        self.ledger = ledger
        self.training_context = ledger.context(training_identity)
        self.latencies = None if meter is None else LatencyBook(meter, ledger, input_shape, num_classes)
        self.on_training: Callable[[str, TrainingRecord], None] | None = None
        self._executor = executor
        self._resources = resources or contextlib.ExitStack()

    @property
    def latency_context(self) -> str | None:
        """The ledger's context of latencies; None where multiply-adds are the cost."""
        return None if self.latencies is None else self.latencies.context

    def cost_of(self, network: NetworkSpec) -> Cost:
        """Multiply-adds and parameters on the images of the task."""
        channels, resolution, _ = self.input_shape
        return count_cost(network, resolution, channels, self.num_classes)

    def reference_cost(self) -> float:
        """Cost of the space's reference architecture, in `cost_unit`.

        Raises:
            DeviceError: If its latency cannot be measured.
        """
        reference = self.space.network(self.space.reference)
        if self.latencies is None:
            return float(self.cost_of(reference).madds)
        record = self.latencies.measure([str(reference)])[str(reference)]
        latency = latency_ms(record)
        if latency is None:
            raise DeviceError(f"The reference architecture must be measurable, but got: {record.get('reason')}.")
        return latency

    def evaluate(self, choices: Sequence[Choices]) -> list[Evaluation]:
        """Evaluate one round; see the class.

        Raises:
            DeviceError: If the device fails.
            StorageError: If the ledger cannot be written.
        """
        networks = [self.space.network(c) for c in choices]
        names = [str(network) for network in networks]
        book = self.latencies
        to_train = {name for name in names if self._training(name) is None}
        to_measure = set() if book is None else {name for name in names if book.find(name) is None}
        measuring_s = 0.0
        if book is None:
            trainings = self.train(names)
        elif book.meter.needs_quiet:
            start = time.perf_counter()
            book.measure(names)
            measuring_s = time.perf_counter() - start
            trainings = self.train([name for name in names if book.is_measurable(name)])
        else:  # what turns out to be unmeasurable is trained in vain: it is rare, and waiting for it would cost more
            measuring = book.begin(names)
            trainings = self.train([name for name in names if book.is_measurable(name)], after_each=measuring.keep)
            measuring.finish()
            measuring_s = measuring.seconds
        measuring_s /= max(1, len(to_measure))
        evaluations = []
        for name, network in zip(names, networks, strict=True):
            training = trainings.get(name)
            paid_s = [measuring_s] if name in to_measure else []
            if training is not None and name in to_train:
                paid_s.append(training.seconds)
            evaluations.append(self._evaluation(name, network, training, paid_s))
            to_measure.discard(name)  # a repeat within the round is not paid for
            to_train.discard(name)
        return evaluations

    def train(
        self, architectures: Sequence[str], after_each: Callable[[], None] = lambda: None
    ) -> dict[str, TrainingRecord]:
        """Train what the ledger does not know yet; every result is in it as soon as it is there."""
        known = {name: self._training(name) for name in architectures}
        jobs = [Job(name, self.seed) for name, record in known.items() if record is None]
        jobs.sort(key=lambda job: -self.cost_of(NetworkSpec.parse(job.architecture)).madds)  # short tail
        for index, record in self._executor.run(self.task, jobs):
            name = jobs[index].architecture
            known[name] = self.ledger.add_training(self.training_context, name, self.seed, record)
            if self.on_training is not None:
                self.on_training(name, record)
            after_each()
        return {name: record for name, record in known.items() if record is not None}

    def close(self) -> None:
        """End the workers, give the device back, close the ledger."""
        self._resources.close()

    def _training(self, name: str) -> TrainingRecord | None:
        return self.ledger.find_training(self.training_context, name, self.seed)

    def _evaluation(
        self,
        name: str,
        network: NetworkSpec,
        training: TrainingRecord | None,
        paid_s: Sequence[float],
    ) -> Evaluation:
        cost = self.cost_of(network)
        latency = None if self.latencies is None else self.latencies.find(name)
        measured_ms = None if latency is None else latency_ms(latency)
        reason = None if training is None else training.reason
        if reason is None and (training is None or (self.latencies is not None and measured_ms is None)):
            reason = "unmeasurable"
        return Evaluation(
            architecture=name,
            status="ok" if reason is None else "infeasible",
            reason=reason,
            accuracy=None if training is None or reason is not None else training.accuracy,
            cost=float(cost.madds) if self.latencies is None else measured_ms,
            cost_unit=self.cost_unit,
            latency_ms=measured_ms,
            latency_kind=None if latency is None else latency["kind"],
            device=None if latency is None else latency["device"],
            madds=cost.madds,
            params=cost.params,
            seconds=sum(paid_s),
            from_ledger=not paid_s,
        )


def make_evaluator(
    *,
    space: str | SearchSpace = "akd",
    skeleton: str | None = None,
    teacher: str | None = "shipped:inception",
    data: str = "fashion",
    cost: str = "latency",
    latency: str = "host",
    recipe: Recipe | None = None,
    seed: int | None = None,
    ledger: str | Path | Ledger | None = None,
    workers: int | None = None,
    device: str = "cpu",
    announce: Announce | None = None,
) -> ProxyEvaluator:
    """Make the evaluator of a search: loads data and teacher, and computes the teacher's soft labels once.

    Args:
        space: See `make_space`.
        skeleton: See `make_space`; None for `small` up to 64 px, `mnasnet` beyond.
        teacher: See `load_teacher`; None for hard labels.
        data: See `load_data`.
        cost: `"latency"` or `"madds"`.
        latency: See `make_latency_meter`.
        recipe: Of the proxy training; None for the data set's own.
        seed: Of trainings; None for 0.
        ledger: A file, or an open ledger that the caller closes; None for a temporary one.
        workers: Students trained at once; None for one a core, 1 for in this process.
        device: Torch device for students and teacher.
        announce: Told what takes time or space before it does.

    Raises:
        UnknownNameError: If a name is unknown.
        AKDGymError: See `load_data`, `load_teacher`, `soft_labels` and `Ledger.open`.
    """
    if cost not in ("latency", "madds"):
        raise UnknownNameError("cost", cost, ("latency", "madds"))
    from akd_gym.device_lab import make_latency_meter
    from akd_gym.torch_settings import check_device

    check_device(device)
    resources = contextlib.ExitStack()
    try:
        meter = make_latency_meter(latency, announce) if cost == "latency" else None
        if meter is not None:
            resources.callback(meter.close)
        task, identity, images = prepare_training(
            teacher, data, default_recipe(data) if recipe is None else recipe, device=device, announce=announce
        )
        if not isinstance(space, SearchSpace):
            skeleton = skeleton or ("small" if images.resolution <= SMALL_IMAGES else "mnasnet")
            space = make_space(space, skeleton)
        if ledger is None:
            ledger = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="akd_gym-")), "ledger.sqlite")
        if not isinstance(ledger, Ledger):
            ledger = resources.enter_context(Ledger.open(ledger))
        executor = make_executor(workers)
        resources.callback(executor.close)
        return ProxyEvaluator(
            space,
            task,
            identity,
            seed=0 if seed is None else seed,
            input_shape=(images.in_channels, images.resolution, images.resolution),
            num_classes=images.num_classes,
            ledger=ledger,
            executor=executor,
            meter=meter,
            resources=resources,
        )
    except BaseException:
        resources.close()  # a phone keeps no setting of ours
        raise


def prepare_training(
    teacher: str | None, data: str, recipe: Recipe, *, device: str = "cpu", announce: Announce | None = None
) -> tuple[TrainingTask, dict[str, Any], TaskData]:
    """Load data and teacher, and compute the teacher's soft labels where they are not cached yet.

    Args:
        teacher: See `load_teacher`; None for hard labels.
        data: See `load_data`.
        recipe: Of the training.
        device: Torch device for students and teacher.
        announce: Told what takes time or space before it does.

    Returns:
        What an executor trains with; all that a training's result depends on besides architecture and seed; the images.

    Raises:
        AKDGymError: See `load_data`, `load_teacher` and `soft_labels`.
    """
    from akd_gym.cache import cache_dir
    from akd_gym.soft_labels import soft_labels
    from akd_gym.teachers import load_teacher

    images = load_task_data(data, recipe, announce=announce)
    loaded = load_teacher(teacher, images)
    labels = None
    if loaded is not None:
        loaded.to(device)
        augment, views = recipe.augmentation(), recipe.kept_views
        labels = soft_labels(loaded, images.train, images.fingerprint, augment, views, cache_dir(), announce=announce)
    identity = {
        "kind": "training",
        "data": data,
        "fingerprint": images.fingerprint,
        "resolution": images.resolution,
        "teacher": None if loaded is None else {"name": loaded.name, "weights": loaded.weights_hash},
        "recipe": recipe.identity(distilled=loaded is not None),
        "device": device.partition(":")[0],
    }
    return TrainingTask(data, recipe, labels, device), identity, images
