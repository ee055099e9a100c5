import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from akd_gym.cost import count_cost
from akd_gym.errors import InvalidArchitectureError, InvalidSettingError, UnknownNameError
from akd_gym.space import SKELETONS, Decision, SearchSpace, Skeleton, make_space

SPACES = {(name, skeleton): make_space(name, skeleton) for name in ("akd", "mnas") for skeleton in SKELETONS}


def test_sizes_of_the_presets():
    akd = make_space("akd")
    assert len(akd.decisions) == 35
    assert akd.num_features == 77
    assert sum(akd.option_counts) == 112
    assert akd.num_actions == 4
    assert akd.size == 288**7
    assert len(make_space("mnas").decisions) == 42


@pytest.mark.parametrize("key", SPACES)
@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_everything_round_trips(key, seed):
    space = SPACES[key]
    choices = space.sample(np.random.default_rng(seed))
    network = space.network(choices)
    canonical = space.choices(str(network))
    assert space.network(canonical) == network
    assert space.canonical(choices) == canonical == space.canonical(canonical)
    assert space.choices_from_features(space.features(choices)) == choices
    assert network.canonical() == network


def test_different_choices_can_build_one_network():
    space = make_space("akd")
    shorter = list(space.reference)
    shorter[3] = 0  # block 1 has one layer: -1 clips to it
    assert space.network(shorter) == space.network(space.reference)
    assert space.canonical(shorter) == space.reference


def test_filter_options_stay_distinct_after_rounding():
    for space in SPACES.values():
        for block in range(7):
            channels = {
                space.network(_with(space, f"block{block + 1}.filters", option)).blocks[block].channels
                for option in range(3)
            }
            assert len(channels) == 3


def test_neighbours_differ_by_one_decision_and_are_all_networks():
    space = make_space("akd", "small")
    own = space.network(space.reference)
    neighbours = [space.network(n) for n in space.neighbours(space.reference)]
    assert own not in neighbours
    assert len(set(neighbours)) == len(neighbours)
    assert all(sum(a != b for a, b in zip(own.blocks, n.blocks, strict=True)) <= 2 for n in neighbours)


def test_mutation_changes_the_network_and_follows_the_seed():
    space = make_space("akd", "small")
    mutants = [space.mutate(space.reference, np.random.default_rng(seed)) for seed in range(50)]
    assert space.network(space.reference) not in [space.network(m) for m in mutants]
    assert mutants == [space.mutate(space.reference, np.random.default_rng(seed)) for seed in range(50)]


def test_a_space_of_ones_own():
    skeleton = Skeleton("tiny", repeats=(1, 2), filters=(8, 16), strides=(1, 2), stem_channels=8, head_channels=32)
    space = SearchSpace(
        "mine", [Decision(1, "kernel", (3, 5, 7)), Decision(2, "conv_op", ("conv", "mbconv6"))], skeleton
    )
    assert (len(space.decisions), space.num_features, space.size) == (2, 3, 6)
    assert str(space.network((2, 0))).startswith("stem_k3_s2_c8 ir_r1_k7_s1_e6_c8_id cn_r2_k3_s2_c16_id")
    assert space.choices(space.network((2, 0))) == (2, 0)
    for copy in (SearchSpace.from_json(json.loads(json.dumps(space.to_json()))), pickle.loads(pickle.dumps(space))):
        assert copy.to_json() == space.to_json()
    assert make_space(space) is space


def test_a_space_by_module_and_attribute(monkeypatch, tmp_path):
    (tmp_path / "my_spaces.py").write_text(
        "from akd_gym.space import Decision, SearchSpace\n"
        "def one(skeleton): return SearchSpace('one', [Decision(1, 'kernel', (3, 5))], skeleton)\n"
        "def none(skeleton): return 7\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert len(make_space("my_spaces:one", "small").decisions) == 1
    with pytest.raises(InvalidSettingError, match="must be or make a SearchSpace, but got int"):
        make_space("my_spaces:none")
    with pytest.raises(InvalidSettingError, match="must be importable"):
        make_space("my_spaces:two")


def test_decided_blocks_grow_with_the_decisions():
    space = make_space("akd", "small")
    network = space.network(space.reference)
    for due in range(36):
        assert space.decided_blocks(space.reference[:due]) == list(network.blocks[: due // 5])


def test_small_students_cost_about_a_million_multiply_adds():
    space = make_space("akd", "small")
    rng = np.random.default_rng(0)
    madds = [count_cost(space.network(space.sample(rng)), 28, 1, 10).madds for _ in range(200)]
    reference = count_cost(space.network(space.reference), 28, 1, 10).madds
    assert np.quantile(madds, 0.25) < reference < np.quantile(madds, 0.75)


@pytest.mark.parametrize(("call", "error", "match"), [
    (lambda: make_space("akdd"), UnknownNameError, "Did you mean 'akd'.*Known: akd, mnas"),
    (lambda: make_space("akd", "tiny"), UnknownNameError, "Known: mnasnet, small"),
    (lambda: make_space("akd").network((0,) * 34), InvalidArchitectureError, "takes 35 choices, but got 34"),
    (lambda: make_space("akd").network((4,) * 35), InvalidArchitectureError, "`block1.conv_op` must be from 0 to 3"),
    (lambda: make_space("akd").choices("nonsense"), InvalidArchitectureError, "nonsense"),
    (lambda: make_space("akd").choices_from_features([0.0]), InvalidArchitectureError, "77 features"),
    (lambda: Decision(1, "kernel", (3,)), InvalidSettingError, "2 or more distinct options"),
    (lambda: Decision(1, "colour", (1, 2)), UnknownNameError, "Known: conv_op"),
    (lambda: Decision(1, "conv_op", ("conv", "conv9")), UnknownNameError, "Did you mean 'conv'"),
    (lambda: Decision(1, "kernel", (3, 5), default=2), InvalidSettingError, "`default`"),
    (lambda: SearchSpace("x", [], SKELETONS["small"]), InvalidSettingError, "at least one decision"),
    (lambda: SearchSpace("x", [Decision(8, "kernel", (3, 5))], SKELETONS["small"]), InvalidSettingError, "1 to 7"),
    (lambda: SearchSpace("x", [Decision(1, "filters", (1, 1.05))], SKELETONS["small"]),
     InvalidSettingError, "must stay distinct after rounding"),
    (lambda: Skeleton("x", (1,), (8, 8), (1,), 8, 8), InvalidSettingError, "one entry a block"),
])  # fmt: skip
def test_bad_input(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_an_architecture_of_another_space_is_refused():
    small, large = make_space("akd", "small"), make_space("akd")
    with pytest.raises(InvalidArchitectureError, match="not of the space 'akd' with skeleton 'small'"):
        small.choices(large.network(large.reference))
    mnas = make_space("mnas", "small")
    pooled_se = _with(mnas, "block2.skip_op", 2, _with(mnas, "block2.se", 1))
    with pytest.raises(InvalidArchitectureError, match="no choices build block 2"):
        small.choices(str(mnas.network(pooled_se)))


def _with(space, name, option, choices=None):
    choices = list(choices or space.reference)
    choices[[d.name for d in space.decisions].index(name)] = option
    return tuple(choices)
