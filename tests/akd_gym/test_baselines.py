"""Baselines are the published networks, at every width, and their ratio is found with few measurements."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import MNASNet, MobileNetV2, MobileNetV3
from torchvision.models.mobilenetv3 import _mobilenet_v3_conf

from akd_gym.architecture import NetworkSpec
from akd_gym.baseline_fit import fit_baseline
from akd_gym.baselines import BASELINES, baseline
from akd_gym.channels import expansion_for, round_channels
from akd_gym.cost import count_cost
from akd_gym.errors import InvalidArchitectureError, InvalidSettingError, UnknownNameError
from akd_gym.networks import build_network


def mobilenet_v3(kind, ratio):
    settings, last_channel = _mobilenet_v3_conf(f"mobilenet_v3_{kind}", width_mult=ratio)
    return MobileNetV3(settings, last_channel)


TORCHVISION = {
    "mobilenet_v2": lambda ratio: MobileNetV2(width_mult=ratio),
    "mobilenet_v3_small": partial(mobilenet_v3, "small"),
    "mobilenet_v3_large": partial(mobilenet_v3, "large"),
    "mnasnet_b1": MNASNet,
}
PUBLISHED = {  # parameters and multiply-adds in millions at 224 px, as their papers and model cards give them
    "mobilenet_v2": (3.5, 300, 3_504_872),
    "mobilenet_v3_small": (2.5, 56, 2_542_856),
    "mobilenet_v3_large": (5.5, 217, 5_483_032),
    "mnasnet_a1": (3.9, 312, None),
    "mnasnet_b1": (4.4, 315, 4_383_312),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_size(name):
    madds, params = count_cost(baseline(name), 224)
    millions, madds_millions, exact = PUBLISHED[name]
    assert round(params / 1e6, 1) == millions
    assert madds / 1e6 == pytest.approx(madds_millions, rel=0.012)
    assert exact is None or params == exact


@pytest.mark.parametrize("ratio", [0.35, 0.5, 0.75, 1.0, 1.4])
@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvisions_network_parameter_for_parameter_at_every_width(name, ratio):
    spec = baseline(name, ratio)
    theirs = TORCHVISION[name](ratio)
    eps = next(module.eps for module in theirs.modules() if isinstance(module, nn.BatchNorm2d))
    ours = build_network(spec, 1000, norm_layer=partial(nn.BatchNorm2d, eps=eps))
    assert [p.shape for p in ours.parameters()] == [p.shape for p in theirs.parameters()]
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))
    assert counter.get_total_flops() == 2 * 2 * 2 * count_cost(spec, 64).madds  # two images, two networks


def test_mobilenet_v3_small_reads_as_in_its_paper():
    assert str(baseline("mobilenet_v3_small")) == (
        "stem_k3_s2_c16_nhs ds_r1_k3_s2_c16_hse0.25_noskip ir_r1_k3_s2_e4.5_c24_noskip ir_r1_k3_s1_e3.67_c24_id "
        "ir_r1_k5_s2_e4_c40_hse0.25_nhs_noskip ir_r1_k5_s1_e6_c40_hse0.25_nhs_id ir_r1_k5_s1_e6_c40_hse0.25_nhs_id "
        "ir_r1_k5_s1_e3_c48_hse0.25_nhs_noskip ir_r1_k5_s1_e3_c48_hse0.25_nhs_id "
        "ir_r1_k5_s2_e6_c96_hse0.25_nhs_noskip ir_r1_k5_s1_e6_c96_hse0.25_nhs_id ir_r1_k5_s1_e6_c96_hse0.25_nhs_id "
        "head_c576_f1024_nhs"
    )


@pytest.mark.parametrize("name", BASELINES)
def test_every_width_round_trips_and_costs_more_than_the_one_before(name):
    madds = []
    for ratio in np.arange(0.05, 2.5, 0.035):
        spec = baseline(name, ratio)
        assert spec.canonical() == spec == NetworkSpec.parse(str(spec))
        assert NetworkSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
        assert all(layer.mid_channels % 8 == layer.in_channels % 8 == 0 for layer in spec.layers())
        madds.append(count_cost(spec, 224).madds)
    assert madds == sorted(madds)
    assert madds[-1] > 20 * madds[0]


def test_strides_are_undone_from_the_front():
    whole, small = baseline("mobilenet_v2"), baseline("mobilenet_v2", undo_strides=2)
    assert (whole.stem_stride, small.stem_stride) == (2, 1)
    assert [block.stride for block in whole.blocks] == [1, 2, 2, 2, 1, 2, 1]
    assert [block.stride for block in small.blocks] == [1, 1, 2, 2, 1, 2, 1]
    assert count_cost(whole, 64).params == count_cost(small, 64).params


@pytest.mark.parametrize(
    ("channels", "rounded"), [(1, 8), (12, 16), (11.9, 16), (17.7, 16), (17.8, 24), (83, 80), (84, 88)]
)
def test_channels_are_rounded_as_in_the_papers(channels, rounded):
    assert round_channels(channels) == rounded


@pytest.mark.parametrize(
    ("inputs", "mid", "expansion"), [(16, 72, 4.5), (24, 88, 3.67), (80, 184, 2.3), (16, 96, 6), (7, 7, 1)]
)
def test_the_expansion_of_exact_channels(inputs, mid, expansion):
    assert expansion_for(inputs, mid) == expansion
    assert type(expansion_for(inputs, mid)) is type(expansion)


def test_what_is_no_baseline():
    with pytest.raises(UnknownNameError, match=r"Unknown baseline 'mobilenet_v4'\. Did you mean 'mobilenet_v2'"):
        baseline("mobilenet_v4")
    for ratio in (0.0, -1.0, 5.0, float("nan")):
        with pytest.raises(InvalidSettingError, match=r"`ratio` must be from 0\.05 to 4"):
            baseline("mobilenet_v2", ratio)
    with pytest.raises(InvalidSettingError, match="`divisor` must be at least 1, but got 0"):
        baseline("mobilenet_v2", divisor=0)
    for count in (-1, 6):
        with pytest.raises(InvalidSettingError, match="`undo_strides` must be from 0 to the 5 strides"):
            baseline("mobilenet_v2", undo_strides=count)
    with pytest.raises(InvalidArchitectureError, match="at least the input's 24, but got 16"):
        expansion_for(24, 16)


# the ratio of a latency


class Device:
    """A device whose latency is an affine function of multiply-adds, and that counts what it is asked."""

    def __init__(self, noise=0.0):
        self.asked, self.noise, self.rng = [], noise, np.random.default_rng(0)

    def __call__(self, architecture):
        self.asked.append(architecture)
        exact = 0.5 + count_cost(NetworkSpec.parse(architecture), 224).madds / 20e6
        return exact * (1 + self.noise * self.rng.uniform(-1, 1))


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("target_ms", [2.5, 7.0, 15.0, 30.0])
def test_few_measurements_find_the_ratio(name, target_ms):
    device = Device()
    fit = fit_baseline(name, target_ms, device, divisor=2)
    assert fit.is_met
    assert fit.best.latency_ms == pytest.approx(target_ms, rel=0.03)
    assert fit.best.architecture == str(baseline(name, fit.best.ratio, divisor=2))
    assert len(device.asked) == len(set(device.asked)) <= 7
    assert [trial.architecture for trial in fit.trials] == device.asked


@pytest.mark.parametrize(("name", "target_ms", "tolerance"), [
    ("mobilenet_v3_small", 2.0, 1e-6),
    ("mobilenet_v2", 7.0, 0.03),  # where the layers of 112 px widen: 5.8 or 7.8 ms
    ("mnasnet_a1", 2.5, 0.03),
])  # fmt: skip
def test_where_no_width_fits_the_nearest_step_is_taken_and_said(name, target_ms, tolerance):
    device = Device()
    fit = fit_baseline(name, target_ms, device, tolerance=tolerance)
    assert not fit.is_met
    every = {str(baseline(name, step * 0.005)) for step in range(10, 300)}
    nearest = min(every, key=lambda text: abs(np.log(Device()(text) / target_ms)))
    assert fit.best.architecture == nearest
    assert len(device.asked) < 15


@pytest.mark.parametrize("target_ms", [3.0, 10.0])
def test_a_noisy_device_is_asked_once_for_each_width_and_the_search_ends(target_ms):
    device = Device(noise=0.1)
    fit = fit_baseline("mobilenet_v2", target_ms, device, tolerance=0.002)
    assert len(device.asked) == len(set(device.asked)) < 25
    assert fit.best.latency_ms == pytest.approx(target_ms, rel=0.1)


def test_targets_that_no_width_meets():
    with pytest.raises(InvalidSettingError, match=r"at least 1\.\d+, which it takes at its narrowest .*but got 0\.1"):
        fit_baseline("mobilenet_v2", 0.1, Device())
    with pytest.raises(InvalidSettingError, match=r"at most \d+.*, which it takes at its widest \(ratio 4\)"):
        fit_baseline("mobilenet_v3_small", 1e6, Device())
    for target in (0.0, -3.0, float("inf"), float("nan")):
        with pytest.raises(InvalidSettingError, match="`target_ms` must be positive"):
            fit_baseline("mobilenet_v2", target, Device())
    with pytest.raises(InvalidSettingError, match="`tolerance` must be between 0 and 1"):
        fit_baseline("mobilenet_v2", 1.0, Device(), tolerance=0.0)
    with pytest.raises(UnknownNameError, match="Unknown baseline"):
        fit_baseline("resnet", 1.0, Device())
