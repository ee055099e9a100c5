import numpy as np
import pytest

from akd_gym.architecture import NetworkSpec
from akd_gym.bench.blocks import LAYER_COUNTS, BlockTables
from akd_gym.bench.latency import RowOperators
from akd_gym.bench.surrogate import bench_tables
from akd_gym.cost import count_cost
from akd_gym.device_lab.predictor import fit_latency, read_operators
from akd_gym.errors import InvalidArchitectureError
from akd_gym.latencies import export_architecture
from akd_gym.space import make_space


def test_rows_are_the_network_its_cost_and_its_features():
    tables = bench_tables()
    space, rng = tables.space, np.random.default_rng(0)
    for _ in range(300):
        choices = space.sample(rng)
        network = space.network(choices)
        rows = tables.look_up(choices)
        assert tables.name(rows) == str(network)
        assert tuple(tables.costs[[row.place for row in rows]].sum(0)) == count_cost(network, 28, 1, 10)
        features = tables.features[[row.place for row in rows]].sum(0)
        np.testing.assert_allclose(features[: space.num_features], space.features(space.canonical(choices)), rtol=1e-6)
        layers = list(network.layers())
        assert features[space.num_features :].tolist() == [sum(map(f, layers)) for f in LAYER_COUNTS.values()]


def test_choices_that_build_the_same_network_have_the_same_rows():
    tables = bench_tables()
    reference = tables.space.reference
    other = list(reference)
    other[6] = 0  # block 2 strides and has one layer: its identity is no skip
    assert tables.space.network(reference) == tables.space.network(other)
    assert [row.place for row in tables.look_up(reference)] == [row.place for row in tables.look_up(tuple(other))]


def test_a_skip_counts_where_it_acts():
    tables = bench_tables()
    names = tables.feature_names
    place = next(i for i, one in enumerate(tables.blocks) if str(one.block) == "ir_r2_k5_s2_e6_c12_se0.25_id")
    counts = dict(zip(names, tables.features[place], strict=True))
    assert {name: counts[name] for name in LAYER_COUNTS} == {
        "layers": 2,
        "layers.conv": 0,
        "layers.sepconv": 0,
        "layers.mbconv3": 0,
        "layers.mbconv6": 2,
        "layers.noskip": 1,  # the first layer strides
        "layers.identity": 1,
        "layers.pool": 0,
        "layers.se": 2,
        "layers.kernel5": 2,
    }


def test_another_space_is_tabulated_too():
    space = make_space("mnas", "small")
    tables, rng = BlockTables(space), np.random.default_rng(1)
    for _ in range(20):
        choices = space.sample(rng)
        rows = tables.look_up(choices)
        assert tables.name(rows) == str(space.network(choices))
        costs = tables.costs[[row.place for row in rows]].sum(0)
        assert tuple(costs) == count_cost(space.network(choices), 28, 1, 10)


@pytest.mark.parametrize(
    ("choices", "match"),
    [
        ((0,) * 34, "takes 35 choices, but got 34"),
        ((0,) * 36, "takes 35 choices, but got 36"),
        ((0, 4) + (0,) * 33, r"`block1.skip_op` must be from 0 to 3, but got 4"),
        ((0,) * 34 + (-1,), r"`block7.filters` must be from 0 to 2, but got -1"),
    ],
)
def test_choices_of_no_network_are_refused(choices, match):
    with pytest.raises(InvalidArchitectureError, match=match):
        bench_tables().look_up(choices)


def test_any_sequence_of_whole_numbers_is_looked_up():
    tables = bench_tables()
    reference = tables.space.reference
    for same in (list(reference), np.array(reference), tuple(float(c) for c in reference)):
        assert tables.look_up(same) == tables.look_up(reference)


def test_operators_of_rows_are_those_of_whole_networks_and_latencies_the_predictors():
    tables = bench_tables()
    operators, space, rng = RowOperators(tables), tables.space, np.random.default_rng(2)
    choices = [space.reference, *(space.sample(rng) for _ in range(5))]
    whole = []
    for one in choices:
        whole.append(read_operators(export_architecture(str(space.network(one)), (1, 28, 28), 10)))
        assert operators.of_network(one) == whole[-1]
    model = fit_latency(whole, [0.001 * len(one) + 0.01 for one in whole])
    constant = model.predict_known(())
    for one, network in zip(choices, whole, strict=True):
        rows = tables.look_up(one)
        latencies = [model.predict_known(operators.of_row(row.place)) for row in rows]
        assert sum(latencies) - 6 * constant == pytest.approx(model.predict_known(network), rel=1e-9)


def test_the_grammar_reads_every_block():
    for placed in bench_tables().blocks:
        parsed = NetworkSpec.parse(f"stem_k3_s2_c8 {placed.block} head_c64").blocks[0]
        assert parsed == placed.block
