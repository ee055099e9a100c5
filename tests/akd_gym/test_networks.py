import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from akd_gym.architecture import Block, NetworkSpec
from akd_gym.cost import count_cost
from akd_gym.networks import PoolSkip, StudentNetwork, build_network
from akd_gym.space import SKELETONS, make_space

SPACES = {(name, skeleton): make_space(name, skeleton) for name in ("akd", "mnas") for skeleton in SKELETONS}


def count_while_running(network: StudentNetwork, images: torch.Tensor) -> tuple[int, torch.Tensor]:
    """Multiply-adds of one image, from what goes in and out of the modules, and the logits."""
    madds = 0

    def count(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal madds
        outputs = output[0].numel()
        if isinstance(module, nn.Conv2d):
            madds += outputs * inputs[0].shape[1] // module.groups * module.kernel_size[0] * module.kernel_size[1]
        elif isinstance(module, nn.Linear):
            madds += outputs * inputs[0].shape[1]

    for module in network.modules():
        module.register_forward_hook(count)
    with torch.no_grad():
        logits = network.eval()(images)
    return madds, logits


@pytest.mark.parametrize("key", SPACES, ids="-".join)
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), resolution=st.integers(1, 70), channels=st.integers(1, 4))
def test_any_network_at_any_resolution_costs_what_is_counted_without_building_it(key, seed, resolution, channels):
    space = SPACES[key]
    spec = space.network(space.sample(np.random.default_rng(seed)))
    network = build_network(spec, 7, channels)
    images = torch.rand(2, channels, resolution, resolution)
    madds, logits = count_while_running(network, images)
    assert logits.shape == (2, 7)
    assert torch.isfinite(logits).all()
    cost = count_cost(spec, resolution, channels, 7)
    assert cost.madds == madds
    assert cost.params == sum(p.numel() for p in network.parameters() if p.requires_grad)


_ACTS = st.sampled_from(["relu", "relu6", "hard_swish"])
_EXPANSIONS = st.integers(1, 6) | st.decimals(1, 6, places=2).map(float)


@st.composite
def specs(draw):
    """Any network of the grammar: any width, kernel, stride, expansion, skip, activation and squeeze-and-excite."""
    blocks = []
    for _ in range(draw(st.integers(1, 4))):
        op = draw(st.sampled_from(["conv", "sepconv", "mbconv"]))
        blocks.append(
            Block(
                op,
                layers=draw(st.integers(1, 3)),
                kernel=draw(st.sampled_from([1, 3, 5, 7])),
                stride=draw(st.integers(1, 3)),
                expansion=draw(_EXPANSIONS) if op == "mbconv" else 1,
                channels=draw(st.integers(1, 24)),
                skip=draw(st.sampled_from(["none", "identity", "pool"])),
                se=draw(st.sampled_from([0.0, 0.25, 0.5, 1.0])),
                se_style=draw(st.sampled_from(["mnasnet", "mobilenet_v3"])),
                act=draw(_ACTS),
            )
        )
    stem = {"stem_kernel": draw(st.sampled_from([1, 3, 5])), "stem_stride": draw(st.integers(1, 4))}
    channels = {"stem_channels": draw(st.integers(1, 24)), "head_channels": draw(st.integers(1, 40))}
    hidden = {"hidden_channels": draw(st.none() | st.integers(1, 20))}
    acts = {"stem_act": draw(_ACTS), "head_act": draw(_ACTS)}
    return NetworkSpec(**stem, **channels, **hidden, **acts, blocks=tuple(blocks))


@settings(max_examples=100, deadline=None)
@given(spec=specs(), resolution=st.integers(1, 40), channels=st.integers(1, 4))
def test_any_width_round_trips_builds_and_costs_what_is_counted(spec, resolution, channels):
    canonical = spec.canonical()
    assert NetworkSpec.parse(str(canonical)) == NetworkSpec.from_json(canonical.to_json()) == canonical
    assert NetworkSpec.parse(str(spec)).canonical() == canonical == canonical.canonical()
    assert NetworkSpec.from_json(spec.to_json()) == spec
    network = build_network(spec, 3, channels, generator=torch.Generator().manual_seed(0))
    images = torch.rand(2, channels, resolution, resolution, generator=torch.Generator().manual_seed(0))
    madds, logits = count_while_running(network, images)
    assert count_cost(spec, resolution, channels, 3) == (madds, sum(p.numel() for p in network.parameters()))
    spelled_canonically = build_network(canonical, 3, channels, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(spelled_canonically.eval()(images), logits)


@pytest.mark.parametrize("name", ["akd", "mnas"])
@pytest.mark.parametrize(
    ("skeleton", "resolution", "channels"), [("small", 28, 1), ("small", 33, 3), ("mnasnet", 64, 3)]
)
def test_every_kind_of_network_builds_and_learns(name, skeleton, resolution, channels):
    space = make_space(name, skeleton)
    rng = np.random.default_rng(0)
    for _ in range(4):
        network = build_network(space.network(space.sample(rng)), 5, channels)
        logits = network(torch.randn(2, channels, resolution, resolution))
        assert logits.shape == (2, 5)
        logits.sum().backward()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


@pytest.mark.parametrize("name", ["akd", "mnas"])
def test_every_option_of_every_decision_builds(name):
    space = make_space(name, "small")
    for index, decision in enumerate(space.decisions):
        for option in range(len(decision.options)):
            choices = (*space.reference[:index], option, *space.reference[index + 1 :])
            network = build_network(space.network(choices), 10, 1).eval()
            assert network(torch.zeros(1, 1, 28, 28)).shape == (1, 10)


def test_pool_skip_does_not_count_padding_and_fits_channels():
    ones = torch.ones(1, 2, 5, 5)
    torch.testing.assert_close(PoolSkip(2, 2, 1)(ones), ones)
    wider = PoolSkip(2, 3, 2)(ones)
    assert wider.shape == (1, 3, 3, 3)
    torch.testing.assert_close(wider[:, :2], torch.ones(1, 2, 3, 3))
    assert not wider[:, 2].any()
    assert PoolSkip(2, 1, 2)(ones).shape == (1, 1, 3, 3)


def test_identity_skip_adds_the_input():
    spec = NetworkSpec(3, 1, 4, (Block("conv", 1, 3, 1, 1, 4, "identity"),), 8)
    layer = build_network(spec, 2, 1).layers[0].eval()
    nn.init.zeros_(layer.main[0].weight)
    x = torch.randn(1, 4, 6, 6)
    torch.testing.assert_close(layer(x), x)  # the convolution gives 0, batch norm at rest keeps it


def test_weights_come_from_the_generator_alone():
    spec = make_space("akd", "small").network(make_space("akd", "small").reference)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = build_network(spec, 10, 1, generator=torch.Generator().manual_seed(7))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    second = build_network(spec, 10, 1, generator=torch.Generator().manual_seed(7))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_weights_of_a_seed_never_change():
    """Every ledger's accuracies are of these initial weights; the sums are of what version 0.1 drew."""
    space = make_space("akd", "small")
    network = build_network(space.network(space.reference), 10, 1, generator=torch.Generator().manual_seed(7))
    sums = [weight.detach().double().sum().item() for weight in network.parameters() if weight.dim() > 1]
    assert sums[:3] == pytest.approx([-2.68852029, -6.80237356, 6.49612433], rel=1e-6)
    assert sum(sums) == pytest.approx(70.0894682, rel=1e-6)


def test_named_activations_and_gates_are_built():
    text = "stem_k3_s1_c8_nhs ir_r1_k3_s1_e2_c8_hse0.25_nr6_id ds_r1_k3_s1_c8_se0.25_id head_c16_f8_nhs"
    network = build_network(NetworkSpec.parse(text), 10, 1)
    kinds = [type(module) for module in network.modules()]
    counts = {nn.Hardswish: 3, nn.ReLU6: 2, nn.ReLU: 3, nn.Hardsigmoid: 1, nn.Sigmoid: 1, nn.Linear: 2}
    assert {kind: kinds.count(kind) for kind in counts} == counts
    assert network.forward_features(torch.zeros(2, 1, 9, 9)).shape == (2, network.spec.feature_channels) == (2, 8)


def test_layers_can_be_exchanged():
    spec = make_space("akd", "small").network(make_space("akd", "small").reference)
    network = build_network(spec, 10, 1, act_layer=nn.SiLU, norm_layer=lambda c: nn.GroupNorm(1, c))
    kinds = {type(module) for module in network.modules()}
    assert nn.SiLU in kinds
    assert nn.GroupNorm in kinds
    assert not kinds & {nn.ReLU, nn.BatchNorm2d}
