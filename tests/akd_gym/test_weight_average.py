from __future__ import annotations

import pytest
import torch
from torch import nn

from akd_gym.weight_average import WeightAverage


def test_the_average_by_hand():
    """With decay 0.25, step 1 keeps 2/11, step 2 keeps 3/12, and step 3 keeps no more than 0.25 (of 4/13)."""
    network = nn.Linear(1, 1, bias=False)
    network.weight.data.fill_(11.0)
    average = WeightAverage(network, 0.25)
    expected = 11.0
    for weight, kept in ((0.0, 2 / 11), (8.0, 3 / 12), (4.0, 0.25)):
        network.weight.data.fill_(weight)
        average.update()
        expected = kept * expected + (1 - kept) * weight
        assert average.state_dict()["weight"].item() == pytest.approx(expected)
    assert expected == pytest.approx(0.25 * (0.25 * 2 + 0.75 * 8) + 0.75 * 4)
    assert network.weight.item() == 4.0  # left alone


def test_batch_norm_statistics_are_averaged_and_counters_are_the_networks():
    network = nn.BatchNorm2d(2)
    average = WeightAverage(network, 0.9)
    for _ in range(3):
        network(torch.randn(4, 2, 3, 3) + 5)
        average.update()
    state = average.state_dict()
    assert state["num_batches_tracked"] == 3
    assert not torch.equal(state["running_mean"], network.running_mean)
    assert (state["running_mean"] < network.running_mean).all()  # which grow from 0 towards 5
    nn.BatchNorm2d(2).load_state_dict(state)


def test_an_average_goes_on_where_it_stood():
    def walk(network: nn.Linear, average: WeightAverage, steps: range) -> None:
        for step in steps:
            network.weight.data.fill_(float(step))
            average.update()

    whole, broken, resumed = (nn.Linear(3, 2) for _ in range(3))
    broken.load_state_dict(whole.state_dict())
    averages = [WeightAverage(whole, 0.99), WeightAverage(broken, 0.99)]
    walk(whole, averages[0], range(6))
    walk(broken, averages[1], range(4))
    later = WeightAverage(resumed, 0.99, steps=4)
    resumed.load_state_dict(broken.state_dict())
    later.load_state_dict(averages[1].state_dict())
    walk(resumed, later, range(4, 6))
    torch.testing.assert_close(later.state_dict(), averages[0].state_dict(), rtol=0, atol=0)
