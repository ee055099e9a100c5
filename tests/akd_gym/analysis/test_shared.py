"""Searches of different spaces are compared on what means the same in both."""

import numpy as np
import pytest

from akd_gym.analysis.shared import shared_features, unshared_decisions
from akd_gym.errors import InvalidSettingError
from akd_gym.space import Decision, SearchSpace, make_space


def test_searches_of_one_space_share_all_77_features(made_run):
    runs = [made_run([1.0, 2.0], [0.5, 0.6]), made_run([1.0, 2.0, 3.0], [0.5, 0.6, 0.7])]
    (first, second), names = shared_features(runs)
    assert (first.shape, second.shape, len(names)) == ((2, 77), (3, 77), 77)
    assert names == runs[0].feature_names
    assert np.array_equal(second, runs[1].features)
    assert unshared_decisions(runs) == ()


def test_a_decision_with_other_options_is_left_out_whole(made_run):
    """`akd` and `mnas` both have `skip_op=identity`, but only in `akd` some identities are counted elsewhere."""
    akd, mnas = make_space("akd", "small"), make_space("mnas", "small")
    runs = [made_run([1.0], [0.5], space=akd), made_run([1.0], [0.5], space=mnas)]
    (first, second), names = shared_features(runs)
    assert len(names) == 7 * (4 + 1 + 1 + 1)  # the operator, kernel, layers and filters of 7 blocks
    assert not [name for name in names if "skip_op" in name or name.endswith(".se")]
    assert (
        first[0, names.index("block3.kernel")]
        == akd.decisions[12].options[runs[0].evaluations[0].candidate.choices[12]]
    )
    kernel = [d.name for d in mnas.decisions].index("block3.kernel")
    chosen = runs[1].evaluations[0].candidate.choices[kernel]
    assert second[0, names.index("block3.kernel")] == mnas.decisions[kernel].options[chosen]
    left_out = unshared_decisions(runs)
    assert set(left_out) == {f"block{b}.{role}" for b in range(1, 8) for role in ("skip_op", "se")}
    assert left_out[0] == "block1.skip_op"


def test_options_in_another_order_are_the_same_decision(made_run):
    small = make_space("akd", "small").skeleton
    one = SearchSpace("one", [Decision(1, "conv_op", ("conv", "sepconv"))], small)
    two = SearchSpace("two", [Decision(1, "conv_op", ("sepconv", "conv")), Decision(2, "kernel", (3, 5))], small)
    runs = [made_run([1.0], [0.5], space=one, choices=[(0,)]), made_run([1.0], [0.5], space=two, choices=[(1, 0)])]
    (first, second), names = shared_features(runs)
    assert names == ("block1.conv_op=conv", "block1.conv_op=sepconv")
    assert first.tolist() == second.tolist() == [[1, 0]]
    assert unshared_decisions(runs) == ("block2.kernel",)


def test_nothing_to_compare_is_refused(made_run):
    small = make_space("akd", "small").skeleton
    one = SearchSpace("one", [Decision(1, "kernel", (3, 5))], small)
    two = SearchSpace("two", [Decision(1, "kernel", (3, 5, 7))], small)
    with pytest.raises(InvalidSettingError, match="share none: 'one' of 'a', 'two' of 'b'"):
        shared_features([made_run([1.0], [0.5], space=one, name="a"), made_run([1.0], [0.5], space=two, name="b")])
    with pytest.raises(InvalidSettingError, match="At least one search"):
        shared_features([])
