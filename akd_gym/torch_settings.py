"""How torch runs here: the device, the threads, and what becomes of its failures."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from akd_gym.errors import InfeasibleCandidateError, InvalidSettingError


def check_device(name: str) -> torch.device:
    """The torch device called `name`.

    Raises:
        InvalidSettingError: If there is none, or this machine does not have it.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0].split(". ")[0]
        raise InvalidSettingError(
            f"`device` must be one that torch can use here, such as cpu or cuda, but got {name!r}: {reason}"
        ) from error
    return device


@contextlib.contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Run with so many torch threads on a CPU."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def cpu_settings(threads: int) -> Iterator[None]:
    """Run with so many torch threads and denormals flushed to zero (they cost up to 100 times as much)."""
    with torch_threads(threads):
        torch.set_flush_denormal(True)
        try:
            yield
        finally:
            torch.set_flush_denormal(False)


@contextlib.contextmanager
def infeasible_on_failure() -> Iterator[None]:
    """Turn what a candidate can do to a machine into `InfeasibleCandidateError`."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        torch.cuda.empty_cache()
        raise InfeasibleCandidateError("out_of_memory", str(error).splitlines()[0]) from error
    except MemoryError as error:
        raise InfeasibleCandidateError("out_of_memory", "the machine's memory") from error
    except RuntimeError as error:
        if "can't allocate memory" in str(error):
            raise InfeasibleCandidateError("out_of_memory", str(error).splitlines()[0]) from error
        raise
