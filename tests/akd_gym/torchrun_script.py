"""What `test_distributed.py` starts by `torchrun`, and does itself in one process to compare with.

torchrun --nproc-per-node 2 torchrun_script.py together|stopped|whole OUT
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from akd_gym.data import TaskData, load_data
from akd_gym.distill import Answer, Batch, Distillation, HardLabels
from akd_gym.distributed import ALONE, Peers, joined
from akd_gym.errors import InvalidSettingError
from akd_gym.full_training import train_fully
from akd_gym.networks import StudentNetwork
from akd_gym.recipes import Recipe
from akd_gym.space import make_space
from akd_gym.torch_settings import cpu_settings
from akd_gym.training import build_student, train

SPEC = make_space("akd", "small").network((1, 1, 0, 0, 0) * 7)
RECIPE = Recipe(epochs=2, warmup_epochs=1, batch_size=32, learning_rate=0.02, ema_decay=0.9)
CASES = ("batch norm", "parts", "no norm", "own weights")


class Projected(HardLabels):
    """Hard labels, and a loss by weights of its own on the features."""

    needs_features = True

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(SPEC.head_channels, 4, bias=False)
        nn.init.constant_(self.project.weight, 0.1)

    def loss(self, answer: Answer, batch: Batch) -> Tensor:
        assert answer.features is not None
        return super().loss(answer, batch) + 0.01 * self.project(answer.features).square().mean()


def images() -> TaskData:
    return load_data(train_size=128, val_size=100, test_size=100)


def trained(case: str, peers: Peers = ALONE, parts: int = 1) -> dict[str, Tensor]:
    """All weights after a training, a batch in so many times as many parts; and the mean loss."""
    data, recipe = images(), RECIPE
    network = build_student(SPEC, data, 0, torch.device("cpu"))
    if case == "no norm":
        network = in_double_precision(without_norm(network))
    if case == "parts":
        network, parts = in_double_precision(network), 2 * parts
    method: Distillation = Projected() if case == "own weights" else HardLabels()
    weights: dict[str, Tensor] = {}

    def keep(state: object, loss: float) -> None:
        for owner, module in (("network", network), ("method", method)):
            for name, tensor in module.named_parameters():
                weights[f"{owner}.{name}"] = tensor.detach().contiguous().clone()
        weights["loss"] = torch.tensor(loss, dtype=torch.float64)

    with cpu_settings(1):
        train(network, data, replace(recipe, accumulate=parts), method, seed=0, on_epoch=keep, peers=peers)
    weights |= {f"average.{name}": tensor.detach().contiguous() for name, tensor in network.named_parameters()}
    return weights


def without_norm(network: StudentNetwork) -> StudentNetwork:
    """A student whose images do not depend on each other."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, nn.Identity())
    return network


def in_double_precision(network: StudentNetwork) -> StudentNetwork:
    """At single precision rounding errors grow into other networks."""
    network.register_forward_pre_hook(lambda _, pictures: pictures[0].double())
    return network.double()


def together(out: Path) -> None:
    """Every case, the weights of each process in a file of its own; and what a batch that cannot be shared gets."""
    try:
        train_fully(SPEC, images(), replace(RECIPE, batch_size=33), out / "refused")
    except InvalidSettingError as error:
        refusal = str(error)
    with joined(torch.device("cpu")) as peers:
        (out / f"refusal{peers.rank}.txt").write_text(refusal)
        for case in CASES:
            save_file(trained(case, peers), out / f"{case}{peers.rank}.safetensors")


def fully(out: Path, stop: bool) -> None:
    """A full training, which the first process may leave after an epoch, as if all were well."""

    def on_epoch(epoch: int, loss: float) -> None:
        if stop:
            os._exit(0)  # with another status `torchrun` would end the other before it notices

    recipe = replace(RECIPE, accumulate=2)
    result = train_fully(SPEC, images(), recipe, out, teacher="shipped:resnet", on_epoch=on_epoch, announce=print)
    print(f"accuracy {result.val_accuracy}")


if __name__ == "__main__":
    what, folder = sys.argv[1], Path(sys.argv[2])
    if what == "together":
        together(folder)
    else:
        fully(folder, what == "stopped")
