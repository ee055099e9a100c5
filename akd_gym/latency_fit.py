"""From a device to a table that predicts it: networks drawn, measured through a ledger, fitted, and the fit judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from akd_gym.architecture import NetworkSpec
from akd_gym.cost import count_cost
from akd_gym.device_lab.predictor import (
    LatencyTable,
    MeasuredNetwork,
    Operator,
    cross_validate,
    fit_latency,
    fit_madds,
    judge,
    operators_hash,
    read_operators,
    total_madds,
)
from akd_gym.errors import DeviceError, InvalidSettingError
from akd_gym.latencies import LatencyBook, export_architecture
from akd_gym.ledger_records import latency_ms, utc_now
from akd_gym.space import Choices, SearchSpace

ROUND_SIZE = 8
"""Networks measured together, as in a search."""

LEAST_NETWORKS = 10

_POOL = 2048  # networks drawn to choose from, so that asking for more later keeps those chosen before
_STRATA = 10
_EVENNESS = 0.5  # of the Dirichlet distribution that biased draws take their odds from: lower is more one-sided

Operators = tuple[Operator, ...]
OnMeasured = Callable[[str, dict[str, Any]], None]


def sample_architectures(
    space: SearchSpace, count: int, *, input_shape: tuple[int, int, int], num_classes: int, seed: int = 0
) -> list[str]:
    """Draw distinct networks whose multiply-adds cover the space: the reference, then evenly from ten strata.

    Networks drawn uniformly crowd around the middle of a space, while a search ends at its edge. So half of those to
    choose from come from draws that prefer some options, others each time, and the strata are equally wide on a
    logarithmic scale of multiply-adds.

    Args:
        space: What to draw from.
        count: How many; of a larger count, the first are the same.
        input_shape: `(channels, resolution, resolution)` of the images.
        num_classes: Classes of the images.
        seed: Of the draws.

    Returns:
        Canonical strings.

    Raises:
        InvalidSettingError: Fewer than one, or more than the space seems to have.
    """
    if count < 1:
        raise InvalidSettingError(f"`count` must be at least 1, but got {count}.")
    rng = np.random.default_rng(seed)
    size = max(_POOL, 4 * count)
    draws = (_biased_draw(space, rng) if i % 2 else space.sample(rng) for i in range(size))
    pool = dict.fromkeys(str(space.network(choices)) for choices in (space.reference, *draws))
    if len(pool) < count:
        raise InvalidSettingError(
            f"`count` must be at most the number of networks in the space, but got {count}, "
            f"and {size} draws gave {len(pool)} networks."
        )
    reference, *names = pool
    channels, resolution, _ = input_shape
    madds = np.log([count_cost(NetworkSpec.parse(name), resolution, channels, num_classes).madds for name in names])
    width = float(np.ptp(madds)) or 1.0
    strata: list[list[str]] = [[] for _ in range(_STRATA)]
    for name, value in zip(names, madds.tolist(), strict=True):
        strata[min(_STRATA - 1, int((value - madds.min()) / width * _STRATA))].append(name)
    chosen = [reference]
    while len(chosen) < count:
        for stratum in strata:
            if stratum and len(chosen) < count:
                chosen.append(stratum.pop(0))
    return chosen


def measure_networks(
    architectures: Sequence[str], book: LatencyBook, on_measured: OnMeasured | None = None
) -> dict[str, tuple[Operators, dict[str, Any]]]:
    """Operators and latency record of each network, after measuring those that the ledger does not know yet.

    Args:
        architectures: Canonical strings.
        book: Where they are measured and kept.
        on_measured: Told of each, also of those that were known.

    Raises:
        DeviceError: The device fails; what it measured before is kept.
    """
    found: dict[str, tuple[Operators, dict[str, Any]]] = {}
    for start in range(0, len(architectures), ROUND_SIZE):
        models = [
            (name, export_architecture(name, book.input_shape, book.num_classes))
            for name in architectures[start : start + ROUND_SIZE]
        ]
        known = {name: record for name, _ in models if (record := book.find(name)) is not None}
        for name, record in known.items():
            if on_measured is not None:
                on_measured(name, record)
        if new := [(name, model) for name, model in models if name not in known]:
            for measured in book.meter.measure(new):
                name = measured.architecture
                known[name] = book.ledger.add_latency(book.context, name, measured.to_dict())
                if on_measured is not None:
                    on_measured(name, known[name])
        found |= {name: (read_operators(model), known[name]) for name, model in models}
    return found


def fit_table(
    measured: dict[str, tuple[Operators, dict[str, Any]]],
    book: LatencyBook,
    space: SearchSpace,
    *,
    spec: str,
    data: str | None = None,
    held_out: float = 0.2,
    repeats: int = 5,
    seed: int = 0,
) -> LatencyTable:
    """Fit a table to measured networks, and judge it by fits that did not see the networks they are judged on.

    Args:
        measured: From `measure_networks`.
        book: That they were measured with.
        space: That they were drawn from.
        spec: What names the device, see `make_latency_meter`.
        data: Name of the images that the input shape is of.
        held_out: Share of the networks that a fit to be judged does not see.
        repeats: How often all networks are divided anew.
        seed: Of the divisions.

    Raises:
        DeviceError: Fewer than 10 networks could be measured.
        InvalidSettingError: A device that is none, or `held_out` out of range.
    """
    identity = book.meter.identity()
    check_fittable(identity)
    ok = {name: found for name, found in measured.items() if latency_ms(found[1]) is not None}
    if len(ok) < LEAST_NETWORKS:
        reasons = "; ".join(sorted({str(record.get("reason")) for _, record in measured.values() if record["reason"]}))
        raise DeviceError(
            f"A fit needs at least {LEAST_NETWORKS} measured networks, but {len(ok)} of {len(measured)} could be "
            f"measured{': ' + reasons if reasons else ''}."
        )
    models = [operators for operators, _ in ok.values()]
    latencies = np.array([latency_ms(record) for _, record in ok.values()], dtype=np.float64)
    by_table = cross_validate(
        models,
        latencies.tolist(),
        lambda seen, seen_ms: fit_latency(seen, seen_ms).predict_known,
        held_out=held_out,
        repeats=repeats,
        seed=seed,
    )
    by_madds = cross_validate(
        models,
        latencies.tolist(),
        lambda seen, seen_ms: fit_madds(seen, seen_ms).predict,
        held_out=held_out,
        repeats=repeats,
        seed=seed,
    )
    record = next(iter(ok.values()))[1]
    networks = [
        MeasuredNetwork(name, latency, predicted, total_madds(model), operators_hash(model))
        for name, latency, predicted, model in zip(
            ok, latencies.tolist(), by_table.mean(axis=0).tolist(), models, strict=True
        )
    ]
    return LatencyTable(
        model=fit_latency(models, latencies.tolist()),
        spec=spec,
        identity=identity,
        **{
            name: record[name] for name in ("device", "device_id", "runtime", "runtime_version", "os", "soc", "threads")
        },
        input_shape=book.input_shape,
        classes=book.num_classes,
        space=space.to_json(),
        data=data,
        held_out=judge(by_table, latencies),
        madds_alone=judge(by_madds, latencies),
        networks=tuple(networks),
        failed=len(measured) - len(ok),
        warned=sum(bool(one.get("warnings")) for _, one in ok.values()),
        created=utc_now(),
        tool_version=record["tool_version"],
    )


def check_fittable(identity: dict[str, Any]) -> None:
    """Refuse what is no one device.

    Raises:
        InvalidSettingError: Predictions, or phones of different models.
    """
    if identity["kind"] == "predicted":
        raise InvalidSettingError("A table must be fitted to a device, but predictions were named as one.")
    if "mixed" in identity:
        raise InvalidSettingError("A table must be fitted to phones of one model, but got phones of several.")


def _biased_draw(space: SearchSpace, rng: np.random.Generator) -> Choices:
    """Choices with odds that are the same in all blocks, but other ones each time."""
    odds = {
        (decision.role, len(decision.options)): rng.dirichlet(np.full(len(decision.options), _EVENNESS))
        for decision in space.decisions
    }
    return tuple(
        int(rng.choice(len(decision.options), p=odds[decision.role, len(decision.options)]))
        for decision in space.decisions
    )
