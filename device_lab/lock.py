"""One measurement at a time on one machine, whoever starts it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import filelock

from akd_gym.errors import DeviceTimeoutError, StorageError


@contextlib.contextmanager
def machine_lock(name: str, timeout_s: float) -> Iterator[None]:
    """Holds the machine-wide lock `name`, shared by all users of the machine; freed also when its holder dies.

    Raises:
        DeviceTimeoutError: Another process held it for longer than `timeout_s`.
        StorageError: The lock file cannot be opened.
    """
    path = lock_path(name)
    lock = filelock.FileLock(path, timeout=timeout_s, mode=0o666)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise DeviceTimeoutError(
            f"The lock {path} must be free within {timeout_s:g} s, but another measurement holds it. "
            "Wait for that one to end, or raise `lock_timeout_s`."
        ) from error
    except OSError as error:
        raise StorageError(f"The lock file {path} must be writable: {error}.") from error
    try:
        yield
    finally:
        lock.release()


def phone_lock(serial_hash: str, timeout_s: float) -> contextlib.AbstractContextManager[None]:
    """The lock of whoever measures on a phone, or changes it; see `machine_lock`."""
    return machine_lock(f"phone-{serial_hash}", timeout_s)


def lock_path(name: str) -> Path:
    """The file behind a machine-wide lock; its folder is made if it is missing.

    The folder is open to all users and not sticky: in a sticky one the kernel may refuse to open a file of another
    user for writing (`fs.protected_regular`).

    Raises:
        StorageError: The folder cannot be made.
    """
    folder = Path(tempfile.gettempdir(), "akd_gym-locks")
    try:
        folder.mkdir(exist_ok=True)
        if hasattr(os, "getuid") and folder.stat().st_uid == os.getuid():
            folder.chmod(0o777)
    except OSError as error:
        raise StorageError(f"The folder of machine-wide locks, {folder}, must be writable: {error}.") from error
    return folder / f"{name}.lock"
