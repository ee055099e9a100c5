import numpy as np
import pytest
import torch
from torch import nn

from akd_gym.architecture import Block, NetworkSpec
from akd_gym.networks import PoolSkip, build_network
from akd_gym.space import make_space


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


def test_every_option_of_every_decision_builds():
    space = make_space("akd", "small")
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


def test_layers_can_be_exchanged():
    spec = make_space("akd", "small").network(make_space("akd", "small").reference)
    network = build_network(spec, 10, 1, act_layer=nn.SiLU, norm_layer=lambda c: nn.GroupNorm(1, c))
    kinds = {type(module) for module in network.modules()}
    assert nn.SiLU in kinds
    assert nn.GroupNorm in kinds
    assert not kinds & {nn.ReLU, nn.BatchNorm2d}
