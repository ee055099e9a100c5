"""Several processes that train one student together, as `torchrun` starts them; and one that trains alone.

Every process goes through the same batches and takes its share of each. `DistributedDataParallel` averages their
gradients, so that all take the same step, in expectation the one that a single process takes with the whole batch.
Batch norm normalises a share by the share's own statistics, so that N processes train as one does with N parts to
accumulate; `SyncBatchNorm` would wait for the others in every layer, and knows no CPU. The running statistics are those
of the first process, which alone judges, writes and speaks.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import traceback
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from akd_gym.errors import AKDGymError, InvalidSettingError

_T = TypeVar("_T")
_PATIENCE = timedelta(days=7)  # others wait while one prepares a method or judges; `torchrun` ends all if one dies
_NUMBERS = itertools.count()  # of trainings, alike in all processes
_LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe")  # as gloo says it


class Peers:
    """The processes of a training; this class is one that is alone.

    Attributes:
        rank: Number of this process, from 0.
        count: Of processes.
    """

    rank = 0
    count = 1

    @property
    def is_first(self) -> bool:
        """Whether this process judges, writes and speaks."""
        return self.rank == 0

    def replicate(self, objective: nn.Module, accumulate: int, may_skip_weights: bool) -> nn.Module:
        """`objective`, whose gradients after every `accumulate` calls are the mean of all processes.

        Args:
            objective: From a share of a batch to its loss.
            accumulate: Calls a step.
            may_skip_weights: Whether a loss may not depend on all weights.
        """
        return objective

    def mean(self, value: Tensor) -> Tensor:
        """Mean over processes."""
        return value

    def from_first(self, make: Callable[[], _T]) -> _T:
        """What `make` gives, or raises, in the first process."""
        return make()

    @contextlib.contextmanager
    def first_here(self) -> Iterator[None]:
        """Let the first process of each machine through; the others follow, and find what it left on disk."""
        yield


ALONE = Peers()


class _TorchrunPeers(Peers):
    """The processes that `torchrun` started, in torch's default process group."""

    def __init__(self, device: torch.device) -> None:
        self.rank, self.count = dist.get_rank(), dist.get_world_size()
        self._device = device

    def replicate(self, objective: nn.Module, accumulate: int, may_skip_weights: bool) -> nn.Module:
        return _Replica(objective, accumulate, find_unused_parameters=may_skip_weights)

    def mean(self, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total / self.count

    def from_first(self, make: Callable[[], _T]) -> _T:
        said: list[tuple[_T | None, AKDGymError | None]] = [(None, None)]
        if self.is_first:
            try:
                said = [(make(), None)]
            except AKDGymError as error:
                said = [(None, error)]
        dist.broadcast_object_list(said, src=0, device=self._device)
        value, refusal = said[0]
        if refusal is not None:
            raise refusal
        return value  # type: ignore[return-value]  # what `make` gave

    @contextlib.contextmanager
    def first_here(self) -> Iterator[None]:
        is_first_here = int(os.environ["LOCAL_RANK"]) == 0
        if not is_first_here:
            self._wait_for_all()
        yield
        if is_first_here:
            self._wait_for_all()

    def _wait_for_all(self) -> None:
        float(self.mean(torch.zeros((), device=self._device)))  # as a number, so that a GPU is waited for


class _Replica(DistributedDataParallel):
    """Exchanges gradients in the last call of a step only: what its `no_sync` does, without a block around calls."""

    def __init__(self, objective: nn.Module, accumulate: int, **options: Any) -> None:
        super().__init__(objective, **options)
        self.accumulate, self.calls = accumulate, 0

    def forward(self, *inputs: Any, **named: Any) -> Any:
        self.calls += 1
        self.require_backward_grad_sync = self.calls % self.accumulate == 0
        return super().forward(*inputs, **named)


def is_launched() -> bool:
    """Whether `torchrun` started this process as one of several."""
    return dist.is_torchelastic_launched() and int(os.environ["WORLD_SIZE"]) > 1


def is_first_process() -> bool:
    """Whether this process is the one that speaks: the first that `torchrun` started, or one that is alone."""
    return not is_launched() or int(os.environ["RANK"]) == 0


def local_device(name: str) -> str:
    """The device of this process: each has a GPU of its own.

    Raises:
        InvalidSettingError: `torchrun` started more processes on this machine than it has GPUs.
    """
    if not is_launched() or name != "cuda":
        return name
    number = int(os.environ["LOCAL_RANK"])
    if torch.cuda.is_available() and number >= torch.cuda.device_count():
        raise InvalidSettingError(
            f"`torchrun` must start at most one process a GPU, of which this machine has {torch.cuda.device_count()}, "
            f"but got `--nproc-per-node {os.environ['LOCAL_WORLD_SIZE']}`."
        )
    return f"cuda:{number}"


@contextlib.contextmanager
def joined(device: torch.device) -> Iterator[Peers]:
    """The processes that `torchrun` started, joined for a training on `device` (gloo on a CPU, NCCL on GPUs).

    Raises:
        AKDGymError: Another of them ended.
    """
    if not is_launched():
        yield ALONE
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    store, rank, count = next(dist.rendezvous("env://", timeout=_PATIENCE))
    own = dist.PrefixStore(f"training{next(_NUMBERS)}", store)  # where no address of an earlier group is found
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=own, rank=rank, world_size=count, timeout=_PATIENCE)
    try:
        yield _TorchrunPeers(device)
    except BaseException as error:
        # The frames hold the replica and it the group, whose threads must end before the process does.
        traceback.clear_frames(error.__traceback__)
        if isinstance(error, dist.DistError) or any(text in str(error) for text in _LOST):
            raise AKDGymError(f"Process {rank} stops, because another process of the training did.") from error
        raise
    finally:
        dist.destroy_process_group()
