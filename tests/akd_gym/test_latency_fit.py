"""From this machine to a table: drawing networks, measuring through a ledger, resuming, fitting."""

from __future__ import annotations

import json

import numpy as np
import pytest

from akd_gym.architecture import NetworkSpec
from akd_gym.cost import count_cost
from akd_gym.device_lab import HostLatency, HostProtocol
from akd_gym.device_lab.predictor import PredictedLatency, read_table, write_table
from akd_gym.errors import DeviceError, InvalidSettingError
from akd_gym.latencies import LatencyBook, export_architecture
from akd_gym.latency_fit import check_fittable, fit_table, measure_networks, sample_architectures
from akd_gym.ledger import Ledger
from akd_gym.space import Decision, SearchSpace, Skeleton, make_space

SHAPE, CLASSES = (1, 28, 28), 10
QUICK = HostProtocol(passes=3, pass_ms=0.5, round_s=0, patience_s=0.05, samples_kept=20)
SPACE = make_space("akd", "small")


def draw(count: int, **settings) -> list[str]:
    return sample_architectures(SPACE, count, input_shape=SHAPE, num_classes=CLASSES, **settings)


def madds(names) -> np.ndarray:
    return np.array([count_cost(NetworkSpec.parse(name), 28, 1, 10).madds for name in names])


class CountingHost(HostLatency):
    """This machine, remembering what it was asked to measure."""

    def __init__(self) -> None:
        super().__init__(QUICK)
        self.asked: list[str] = []

    def measure(self, models):
        self.asked += [name for name, _ in models]
        return super().measure(models)


def test_networks_are_distinct_and_begin_with_the_reference() -> None:
    names = draw(100)
    assert len(set(names)) == 100
    assert names[0] == str(SPACE.network(SPACE.reference))
    assert all(str(NetworkSpec.parse(name).canonical()) == name for name in names)


def test_asking_for_more_keeps_those_drawn_before() -> None:
    assert draw(60)[:25] == draw(25)
    assert draw(25, seed=1)[1:] != draw(25)[1:]


def test_multiply_adds_cover_the_space_where_uniform_draws_crowd() -> None:
    rng = np.random.default_rng(0)
    uniform = madds(str(SPACE.network(SPACE.sample(rng))) for _ in range(200))
    drawn = madds(draw(200))
    assert drawn.min() < 0.7 * uniform.min()
    assert drawn.max() > 1.3 * uniform.max()
    counts, _ = np.histogram(np.log(drawn), 8)
    assert counts.min() >= 5  # of 25 on average; the outermost networks are rare


def test_more_networks_than_a_space_has_say_so() -> None:
    skeleton = Skeleton("tiny", repeats=(1,), filters=(8,), strides=(2,), stem_channels=4, head_channels=8)
    space = SearchSpace("two", [Decision(1, "kernel", (3, 5))], skeleton)
    kwargs = {"input_shape": SHAPE, "num_classes": CLASSES}
    assert len(sample_architectures(space, 2, **kwargs)) == 2
    with pytest.raises(InvalidSettingError, match="at most the number of networks in the space, but got 3"):
        sample_architectures(space, 3, **kwargs)
    with pytest.raises(InvalidSettingError, match="`count` must be at least 1"):
        sample_architectures(space, 0, **kwargs)


def test_a_stopped_fit_goes_on_and_ends_in_a_table_that_predicts(own_machine) -> None:
    names = draw(18)
    path = own_machine / "ledger.sqlite"
    seen = []

    def stop_at_the_tenth(name, record) -> None:
        seen.append(name)
        if len(seen) == 10:
            raise KeyboardInterrupt

    with Ledger.open(path) as ledger, pytest.raises(KeyboardInterrupt):
        measure_networks(names, LatencyBook(CountingHost(), ledger, SHAPE, CLASSES), stop_at_the_tenth)
    with Ledger.open(path) as ledger:
        meter = CountingHost()
        book = LatencyBook(meter, ledger, SHAPE, CLASSES)
        kept = [name for name in names if book.find(name) is not None]
        assert 9 <= len(kept) < 18
        told = []
        measured = measure_networks(names, book, lambda name, record: told.append(name))
        assert set(meter.asked) == set(names) - set(kept)
        assert sorted(told) == sorted(names)
        assert ledger.counts()["latencies"] == 18
        table = fit_table(measured, book, SPACE, spec="host", data="fashion", held_out=0.25)
        before = len(meter.asked)
        again = measure_networks(names, book)
        assert {name: record for name, (_, record) in again.items()} == {n: r for n, (_, r) in measured.items()}
        assert len(meter.asked) == before
    assert table.identity == HostLatency(QUICK).identity()
    assert [network.architecture for network in table.networks] == names
    assert [network.madds for network in table.networks] == madds(names).tolist()
    assert table.held_out.networks == 18
    assert table.held_out.repeats == 5
    assert table.held_out.spearman > 0.8
    predictor = PredictedLatency(write_table(own_machine / "host.latency.json", table))
    (record,) = predictor.measure([(names[0], export_architecture(names[0], SHAPE, CLASSES))])
    assert record.latency_ms == pytest.approx(table.networks[0].latency_ms, rel=0.5)
    assert read_table(predictor.path) == table
    assert json.loads(json.dumps(table.to_dict())) == table.to_dict()


def test_networks_that_failed_are_left_out(own_machine) -> None:
    names = draw(14)
    with Ledger.open(own_machine / "ledger.sqlite") as ledger:
        book = LatencyBook(HostLatency(QUICK), ledger, SHAPE, CLASSES)
        measured = measure_networks(names, book)
        for name in names[:2]:
            measured[name][1].update(verdict="failed", reason="timeout: it said nothing")
        table = fit_table(measured, book, SPACE, spec="host")
        assert (len(table.networks), table.failed) == (12, 2)
        for name in names[2:6]:
            measured[name][1].update(verdict="failed", reason="timeout: it said nothing")
        with pytest.raises(
            DeviceError, match=r"at least 10 measured networks, but 8 of 14 .*: timeout: it said nothing"
        ):
            fit_table(measured, book, SPACE, spec="host")


@pytest.mark.parametrize("identity", [{"kind": "predicted"}, {"kind": "phone", "mixed": [{}, {}]}])
def test_what_is_no_one_device_cannot_be_fitted(identity) -> None:
    with pytest.raises(InvalidSettingError, match="A table must be fitted to"):
        check_fittable(identity)
