"""Every error that `akd_gym` raises on purpose, each also the builtin error it resembles."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AKDGymError(Exception):
    """Base of all errors of this package."""


class UnknownNameError(AKDGymError, ValueError):
    """A name (of a space, teacher, data set, ...) that nobody registered.

    Args:
        kind: What the name should have named, e.g. `"teacher"`.
        name: What was got.
        known: The valid names, shown in the message together with the closest match.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = tuple(known)
        super().__init__(kind, name, known)
        self.kind, self.name, self.known = kind, name, known

    def __str__(self) -> str:
        close = difflib.get_close_matches(self.name, self.known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        return f"Unknown {self.kind} {self.name!r}.{hint} Known: {', '.join(self.known)}."


class InvalidSettingError(AKDGymError, ValueError):
    """A setting whose value cannot work; the message says what must hold."""


class InvalidArchitectureError(AKDGymError, ValueError):
    """An architecture string, choice or feature vector that a space or the grammar refuses."""


class DataError(AKDGymError, ValueError):
    """Images or labels that cannot be used."""


class TeacherError(AKDGymError, ValueError):
    """A teacher that cannot be loaded or does not fit the data."""


class CorruptFileError(AKDGymError, OSError):
    """A file of ours (ledger, soft labels, checkpoint, weights) that is damaged; names the file and the cure."""


class StorageError(AKDGymError, OSError):
    """A file that cannot be written or read: disk full, read-only directory."""


class SchemaVersionError(AKDGymError, ValueError):
    """A file written by a newer version of this package than the one that reads it."""


class RunMismatchError(AKDGymError, ValueError):
    """A run directory that belongs to other settings than those asked for."""


class ExportError(AKDGymError, ValueError):
    """A network that the TFLite writer cannot express; names the operator."""


class DeviceError(AKDGymError, RuntimeError):
    """A device that did not deliver a latency. Never turned into a number."""


class DeviceTimeoutError(DeviceError, TimeoutError):
    """A device that did not answer in time."""


class DeviceLostError(DeviceError, ConnectionError):
    """A device that cannot be reached, or whose link broke."""


class DeviceUnauthorizedError(DeviceError, PermissionError):
    """A device that does not accept this computer's key; it must be allowed on the device's screen."""


class UnsteadyDeviceError(DeviceError):
    """A device whose heat, clock or speed changed while it measured, so that the number is not to be trusted."""


class CommandFailedError(DeviceError, ChildProcessError):
    """A command or file transfer that the device carried out and reported as failed."""


class BadOutputError(DeviceError, ValueError):
    """Output of a device that is incomplete, damaged or inconsistent."""


class InfeasibleCandidateError(AKDGymError, RuntimeError):
    """A candidate that cannot be evaluated: its `reason` is recorded and it gets the lowest reward.

    Args:
        reason: A short stable code: `"out_of_memory"`, `"time_limit"`, `"diverged"`,
            `"worker_died"`, `"unmeasurable"`.
        detail: What happened, in words.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


class BudgetExceededError(AKDGymError, RuntimeError):
    """An evaluation beyond what an agent may spend; it was not carried out.

    Args:
        budget: Evaluations that the agent has.
        spent: Those it has used.
        asked: Those it asks for on top.
    """

    def __init__(self, budget: int, spent: int, asked: int) -> None:
        super().__init__(budget, spent, asked)
        self.budget, self.spent, self.asked = budget, spent, asked

    def __str__(self) -> str:
        return f"An agent may use {self.budget} evaluations, but after {self.spent} it asked for {self.asked} more."
