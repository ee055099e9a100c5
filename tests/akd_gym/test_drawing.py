"""The picture of a network: it must show what was chosen, and change with every choice."""

import itertools

import numpy as np
import pytest

from akd_gym.analysis.canvas import Canvas, arch
from akd_gym.analysis.drawing import (
    HEIGHT,
    OPERATOR_COLOURS,
    WIDTH,
    draw_network,
    draw_search,
    operator_colour,
)
from akd_gym.architecture import Block, NetworkSpec
from akd_gym.errors import InvalidArchitectureError
from akd_gym.space import make_space

NETWORK = "stem_k3_s2_c8 {} head_c64"


def has(picture, colour):
    return bool((picture[54:340] == np.array(colour, dtype=np.uint8)).all(-1).any())


@pytest.mark.parametrize(
    ("block", "operator"),
    [
        ("cn_r1_k3_s1_c16_noskip", "Conv"),
        ("ds_r2_k5_s1_c16_pool", "SepConv"),
        ("ir_r2_k3_s2_e3_c16_id", "MBConv, ≤ 3×"),
        ("ir_r3_k5_s2_e6_c16_se0.25_id", "MBConv, > 3×"),
    ],
)
def test_operator_is_seen_by_its_colour(block, operator):
    picture = draw_network(NETWORK.format(block), resolution=28, title="title", caption="caption")
    assert picture.shape == (HEIGHT, WIDTH, 3)
    assert picture.dtype == np.uint8
    for name, colour in OPERATOR_COLOURS.items():
        assert has(picture, colour) == (name == operator)


@pytest.mark.parametrize("preset", ["akd", "mnas"])
def test_every_decision_changes_the_picture(preset):
    space = make_space(preset)
    choices = space.sample(np.random.default_rng(0))
    pictures = [draw_search(space, choices[:n], resolution=28) for n in range(len(choices) + 1)]
    for before, after in itertools.pairwise(pictures):
        assert before.shape == after.shape == (HEIGHT, WIDTH, 3)
        assert (before != after).any()


def test_every_option_of_a_decided_block_shows():
    space = make_space("akd")
    reference = list(space.reference)
    for i, decision in enumerate(space.decisions[:5]):  # block 1; skip and layers act together, so both are tried
        pictures = set()
        for option in range(len(decision.options)):
            choices = [*reference[:5]]
            choices[i] = option
            pictures.add(draw_search(space, choices, caption="").tobytes())
        networks = {
            str(space.decided_blocks([*reference[:i], option, *reference[i + 1 : 5]])[0])
            for option in range(len(decision.options))
        }
        assert len(pictures) == len(networks) > 1


def test_picture_is_a_function_of_what_it_shows():
    spec = NetworkSpec.parse(NETWORK.format("ir_r2_k3_s2_e6_c24_id"))
    first = draw_network(spec, resolution=28)
    assert (first == draw_network(str(spec), resolution=28)).all()
    assert (first != draw_network(spec, resolution=32)).any()
    assert (first != draw_network(spec, resolution=28, caption="71.3 %")).any()
    first[:] = 0  # the caller's own copy
    assert draw_network(spec, resolution=28).any()


def test_a_complete_search_looks_like_its_network():
    space = make_space("akd", skeleton="small")
    choices = space.sample(np.random.default_rng(3))
    network = space.network(choices)
    assert (
        draw_search(space, choices, resolution=28, title="t", caption="c")
        == draw_network(network, resolution=28, title="t", caption="c")
    ).all()


def test_deep_and_wide_blocks_stay_inside_their_column():
    block = Block("mbconv", 12, 5, 1, 6, 4096, "identity", 0.25)
    spec = NetworkSpec(3, 2, 32, (block,) * 9, 1280)
    picture = draw_network(spec, resolution=224)
    empty = draw_network(NetworkSpec(3, 2, 32, (Block("conv", 1, 5, 1, 1, 8),) * 9, 1280), resolution=224)
    for edge in range(1, 9):
        x = round(100 + edge * (WIDTH - 200) / 9)
        column = slice(x - 2, x + 3)
        assert (picture[60:250, column] == empty[60:250, column]).all()


def test_refuses_text_that_is_no_architecture():
    with pytest.raises(InvalidArchitectureError):
        draw_network("stem_k3_s2_c8 resnet50 head_c64")


def test_expansion_deepens_the_colour():
    narrow, wide = (Block("mbconv", 1, 3, 1, e, 8, "none", 0.0) for e in (3, 6))
    assert operator_colour(narrow) != operator_colour(wide)


def test_dashes_cover_their_share_and_run_on_around_corners():
    canvas = Canvas(120, 40)
    canvas.dashed([(10, 20), (60, 20), (110, 20)], (0, 0, 0), width=2, on=6, off=4)
    row = canvas.array()[20, 10:110, 0]
    assert np.mean(row < 128) == pytest.approx(0.6, abs=0.08)
    gaps = np.diff(np.flatnonzero(np.diff((row < 128).astype(int))))
    assert gaps.max() <= 7


def test_arch_begins_and_ends_on_its_line():
    curve = arch(10, 30, 50, 15)
    assert curve[0] == (10, 50)
    assert curve[-1] == (30, 50)
    assert min(y for _, y in curve) == pytest.approx(35)
