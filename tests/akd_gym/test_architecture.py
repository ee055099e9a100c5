import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import mnasnet1_0

from akd_gym.architecture import Block, NetworkSpec, count_cost
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
]


@pytest.mark.parametrize(("spec", "text"), STRINGS)
def test_string_and_json_round_trip(spec, text):
    assert str(spec) == text
    assert NetworkSpec.parse(text) == spec
    assert NetworkSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


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


@pytest.mark.parametrize(("text", "match"), [
    ("", "stem"),
    ("stem_k3_s2_c8 head_c8", "BLOCK"),
    ("stem_k3_s2_c8 xx_r1_k3_s1_c8_id head_c8", "xx_r1_k3_s1_c8_id"),
    ("stem_k3_s2_c8 ir_r1_k3_s1_c8_id tail_c8", "tail_c8"),
    ("stem_k3_s2_c8 cn_r0_k3_s1_c8_id head_c8", "`layers`"),
    ("stem_k3_s2_c8 cn_r1_k4_s1_c8_id head_c8", "`kernel` must be odd"),
    ("stem_k3_s2_c8 ds_r1_k3_s1_e3_c8_id head_c8", "`expansion` must be 1"),
    ("stem_k3_s2_c8 ir_r1_k3_s1_e3_c8_se7.5_id head_c8", "`se` must be"),
])  # fmt: skip
def test_malformed_strings_are_named(text, match):
    with pytest.raises(InvalidArchitectureError, match=match):
        NetworkSpec.parse(text)


def test_mnasnet_strings_must_chain():
    with pytest.raises(InvalidArchitectureError, match="must take 32 channels"):
        NetworkSpec.from_mnasnet(["r1_k3_s11_e1_i16_o16"])
