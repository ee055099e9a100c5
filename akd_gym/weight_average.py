"""The running average of a student's weights, which judges better than the weights of the last step."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class WeightAverage:
    """Exponential moving average of all weights and batch-norm statistics of a network, over steps.

    At step n the average keeps `min(decay, (1 + n) / (10 + n))` of itself, as TensorFlow's does that knows the step: in
    a short training the initial weights must be forgotten too. MobileNetV3 was trained with a decay of 0.9999.

    Paper: Searching for MobileNetV3 - https://arxiv.org/abs/1905.02244

    Args:
        network: On its device; averaged in place, it must not be moved.
        decay: From 0 to below 1.
        steps: That were averaged before.
    """

    def __init__(self, network: nn.Module, decay: float, steps: int = 0) -> None:
        self.decay, self.steps = decay, steps
        self._network = network
        now = network.state_dict()  # shares its memory with the network
        self._names = [name for name, tensor in now.items() if tensor.is_floating_point()]
        self._now = [now[name] for name in self._names]
        self._average = [tensor.clone() for tensor in self._now]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after a step."""
        self.steps += 1
        kept = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self._average, self._now, 1 - kept)

    def state_dict(self) -> dict[str, Tensor]:
        """The average as a state of the network; counters are copies of the network's own."""
        average = dict(zip(self._names, self._average, strict=True))
        return {
            name: average[name] if name in average else now.clone() for name, now in self._network.state_dict().items()
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from an average that `state_dict` gave."""
        for name, own in zip(self._names, self._average, strict=True):
            own.copy_(state[name])
