import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import mnasnet1_0

from akd_gym.architecture import Block, NetworkSpec
from akd_gym.cost import count_cost
from akd_gym.errors import InvalidArchitectureError
from akd_gym.networks import build_network

MNASNET_A1 = [
    "r1_k3_s11_e1_i32_o16_noskip",
    "r2_k3_s22_e6_i16_o24",
    "r3_k5_s22_e3_i24_o40_se0.25",
    "r4_k3_s22_e6_i40_o80",
    "r2_k3_s11_e6_i80_o112_se0.25",
    "r3_k5_s22_e6_i112_o160_se0.25",
    "r1_k3_s11_e6_i160_o320",
]
MNASNET_B1 = [
    "r1_k3_s11_e1_i32_o16_noskip",
    "r3_k3_s22_e3_i16_o24",
    "r3_k5_s22_e3_i24_o40",
    "r3_k5_s22_e6_i40_o80",
    "r2_k3_s11_e6_i80_o96",
    "r4_k5_s22_e6_i96_o192",
    "r1_k3_s11_e6_i192_o320_noskip",
]

# Canonical strings are ledger keys: they must never drift.
STRINGS = [
    (
        NetworkSpec.from_mnasnet(MNASNET_A1),
        "stem_k3_s2_c32 ds_r1_k3_s1_c16_noskip ir_r2_k3_s2_e6_c24_id ir_r3_k5_s2_e3_c40_se0.25_id "
        "ir_r4_k3_s2_e6_c80_id ir_r2_k3_s1_e6_c112_se0.25_id ir_r3_k5_s2_e6_c160_se0.25_id "
        "ir_r1_k3_s1_e6_c320_noskip head_c1280",
    ),
    (
        NetworkSpec(5, 3, 8, (Block("conv", 1, 3, 1, 1, 6, "pool"), Block("sepconv", 2, 5, 2, 1, 8, "identity")), 64),
        "stem_k5_s3_c8 cn_r1_k3_s1_c6_pool ds_r2_k5_s2_c8_id head_c64",
    ),
    (
        NetworkSpec(3, 1, 8, (Block("mbconv", 1, 3, 1, 6, 8, "identity", 0.5),), 16),
        "stem_k3_s1_c8 ir_r1_k3_s1_e6_c8_se0.5_id head_c16",
    ),
    (
        NetworkSpec(
            3,
            2,
            16,
            (
                Block("sepconv", 1, 3, 2, 1, 16, "none", 0.25, "mobilenet_v3"),
                Block("mbconv", 2, 5, 1, 3.67, 24, "identity", 0.25, "mobilenet_v3", "hard_swish"),
                Block("conv", 1, 3, 1, 1, 24, "pool", act="relu6"),
            ),
            96,
            hidden_channels=128,
            stem_act="hard_swish",
            head_act="hard_swish",
        ),
        "stem_k3_s2_c16_nhs ds_r1_k3_s2_c16_hse0.25_noskip ir_r2_k5_s1_e3.67_c24_hse0.25_nhs_id "
        "cn_r1_k3_s1_c24_nr6_pool head_c96_f128_nhs",
    ),
]


@pytest.mark.parametrize(("spec", "text"), STRINGS)
def test_string_and_json_round_trip(spec, text):
    assert str(spec) == text
    assert NetworkSpec.parse(text) == spec
    assert NetworkSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_json_of_a_network_of_a_space_has_the_fields_it_always_had():
    data = STRINGS[2][0].to_json()
    assert set(data) == {"stem_kernel", "stem_stride", "stem_channels", "blocks", "head_channels"}
    fields = {"op", "layers", "kernel", "stride", "expansion", "channels", "skip", "se"}
    assert set(data["blocks"][0]) == fields
    assert type(data["blocks"][0]["expansion"]) is int


def test_mnasnet_a1_has_the_published_size():
    """Tan et al., Table 1: 3.9 M parameters, 312 M multiply-adds at 224 px."""
    madds, params = count_cost(NetworkSpec.from_mnasnet(MNASNET_A1), 224)
    assert round(params / 1e6, 1) == 3.9
    assert round(madds / 1e6) == 312


def test_mnasnet_b1_is_torchvisions_parameter_for_parameter():
    ours = build_network(NetworkSpec.from_mnasnet(MNASNET_B1), 1000)
    theirs = mnasnet1_0(weights=None)
    assert [p.shape for p in ours.parameters()] == [p.shape for p in theirs.parameters()]
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


@pytest.mark.parametrize(("spec", "resolution", "channels", "classes"), [
    (NetworkSpec.from_mnasnet(MNASNET_A1), 65, 3, 10),
    (STRINGS[1][0], 28, 1, 7),
    (STRINGS[2][0], 9, 2, 3),
    (STRINGS[3][0], 28, 1, 7),
])  # fmt: skip
def test_cost_agrees_with_torchs_own_counter(spec, resolution, channels, classes):
    network = build_network(spec, classes, channels).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, channels, resolution, resolution))
    cost = count_cost(spec, resolution, channels, classes)
    assert counter.get_total_flops() == 2 * cost.madds
    assert sum(p.numel() for p in network.parameters()) == cost.params


def test_an_identity_that_no_layer_can_use_is_no_skip():
    changing = Block("conv", 1, 3, 1, 1, 16, "identity")
    assert changing.canonical(8).skip == "none"
    assert changing.canonical(16).skip == "identity"
    assert Block("conv", 2, 3, 2, 1, 16, "identity").canonical(8).skip == "identity"


@pytest.mark.parametrize(("written", "inputs", "layers", "canonical"), [
    (3.6667, 24, 1, 3.67),  # 88 of 24: 3.7 would give 89, 3.6 gives 86
    (2.25, 4, 1, 2.3),  # 9 of 4: from 2.125 to 2.375, nearest to 2.25, half up
    (6.0, 16, 1, 6),
    (5.99, 16, 1, 6),  # 95.84, so 96
    (1.01, 16, 1, 1),
    (3.67, 24, 2, 3.67),  # the second layer takes 40 channels: 147 of them, from 3.6625 to 3.6875
    (3.6666, 24, 2, 3.67),  # 88 and 147 again
])  # fmt: skip
def test_an_expansion_has_the_fewest_decimals_that_keep_the_channels(written, inputs, layers, canonical):
    spec = NetworkSpec(3, 1, inputs, (Block("mbconv", layers, 3, 1, written, 40),), 8)
    short = spec.canonical()
    assert str(short.blocks[0]) == f"ir_r{layers}_k3_s1_e{canonical}_c40_noskip"
    assert [layer.mid_channels for layer in short.layers()] == [layer.mid_channels for layer in spec.layers()]


def test_a_style_of_no_squeeze_is_no_style():
    assert Block("mbconv", 1, 3, 1, 6, 8, se_style="mobilenet_v3").canonical(8).se_style == "mnasnet"


def test_squeeze_channels_by_hand():
    layer = next(NetworkSpec(3, 1, 24, (Block("mbconv", 1, 3, 1, 3, 40, se=0.25),), 8).layers())
    assert layer.se_channels == 6  # a quarter of 24
    layer = next(
        NetworkSpec(3, 1, 24, (Block("mbconv", 1, 3, 1, 3, 40, se=0.25, se_style="mobilenet_v3"),), 8).layers()
    )
    assert layer.se_channels == 24  # a quarter of 72 is 18, 16 would be more than 10 % less


@pytest.mark.parametrize(("text", "match"), [
    ("", "stem"),
    ("stem_k3_s2_c8 head_c8", "BLOCK"),
    ("stem_k3_s2_c8 xx_r1_k3_s1_c8_id head_c8", "xx_r1_k3_s1_c8_id"),
    ("stem_k3_s2_c8 ir_r1_k3_s1_c8_id tail_c8", "tail_c8"),
    ("stem_k3_s2_c8 cn_r0_k3_s1_c8_id head_c8", "`layers`"),
    ("stem_k3_s2_c8 cn_r1_k4_s1_c8_id head_c8", "`kernel` must be odd"),
    ("stem_k3_s2_c8 ds_r1_k3_s1_e3_c8_id head_c8", "`expansion` must be 1"),
    ("stem_k3_s2_c8 ir_r1_k3_s1_e3_c8_se7.5_id head_c8", "`se` must be"),
    ("stem_k3_s2_c8_nsw ir_r1_k3_s1_e3_c8_id head_c8", "stem_k3_s2_c8_nsw"),
    ("stem_k3_s2_c8 ir_r1_k3_s1_e3.50_c8_id head_c8", "e3.50"),
    ("stem_k3_s2_c8 ir_r1_k3_s1_e0.5_c8_id head_c8", "`expansion` of a block must be at least 1"),
    ("stem_k3_s2_c8 ds_r1_k3_s1_c8_id head_c8_f0", "`hidden_channels` must be at least 1"),
])  # fmt: skip
def test_malformed_strings_are_named(text, match):
    with pytest.raises(InvalidArchitectureError, match=match):
        NetworkSpec.parse(text)


def test_mnasnet_strings_must_chain():
    with pytest.raises(InvalidArchitectureError, match="must take 32 channels"):
        NetworkSpec.from_mnasnet(["r1_k3_s11_e1_i16_o16"])
