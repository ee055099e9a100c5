"""The directory of a competition: one file a run, written whole when the run has ended.

```
settings.json          what the agents compete at
runs/AGENT/SEED.npz    a run that has ended, disqualified ones too; to have it run again, delete it
logs/AGENT-SEED.log    what a run printed, with the traceback of an agent that failed
best.json              the best architecture that is known
```
"""

from __future__ import annotations

import contextlib
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import filelock
import numpy as np

from akd_gym.agents.competition.settings import SETTINGS_FILE
from akd_gym.analysis.competition import AgentRun
from akd_gym.errors import AKDGymError, CorruptFileError, RunMismatchError, StorageError
from akd_gym.files import write_atomically

_ARRAYS = {
    "choices": np.uint8,
    "observed": np.float64,
    "values": np.float64,
    "accuracies": np.float64,
    "costs": np.float64,
    "seconds": np.float64,
}
_LOCK_FILE = ".lock"


def run_file(folder: Path, agent: str, seed: int) -> Path:
    """Where a run is kept once it has ended."""
    return folder / "runs" / quote(agent, safe="") / f"{seed}.npz"


def log_file(folder: Path, agent: str, seed: int) -> Path:
    """Where what a run prints goes."""
    return folder / "logs" / f"{quote(agent, safe='')}-{seed}.log"


def write_run(folder: Path, run: AgentRun) -> None:
    """Keep a run that has ended.

    Raises:
        StorageError: If it cannot be written.
    """
    about = {"agent": run.agent, "seed": run.seed, "reason": run.reason, "total_seconds": run.total_seconds}
    arrays = {name: getattr(run, name).astype(kind) for name, kind in _ARRAYS.items()}
    content = io.BytesIO()
    np.savez_compressed(content, about=np.array(json.dumps(about)), **arrays)
    path = run_file(folder, run.agent, run.seed)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{path.parent} cannot be made: {error.strerror or error}.") from error
    write_atomically(path, content.getvalue())


def read_run(path: Path) -> AgentRun:
    """A run that has ended.

    Raises:
        StorageError: If it cannot be read.
        CorruptFileError: If it is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            about = json.loads(str(file["about"]))
            arrays = {name: file[name] for name in _ARRAYS}
        lengths = {len(array) for array in arrays.values()}
        if len(lengths) != 1:
            raise ValueError(f"its arrays have the lengths {sorted(lengths)}")
        arrays["choices"] = arrays["choices"].astype(np.int64)
        return AgentRun(**about, **arrays)
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise CorruptFileError(f"{path} must hold a run, but: {error}. Delete it to have it run again.") from error
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror or error}.") from error


def read_runs(folder: Path) -> list[AgentRun]:
    """All runs that have ended, in the order of their files' names.

    Raises:
        StorageError: If one cannot be read.
        CorruptFileError: If one is damaged.
    """
    return [read_run(path) for path in sorted((folder / "runs").glob("*/*.npz"))]


@contextlib.contextmanager
def keeping(folder: Path) -> Iterator[None]:
    """Keeps a competition's directory to this process; makes it where there is none.

    Raises:
        RunMismatchError: If another process competes in it, or something else is in it.
        StorageError: If it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        others = [path.name for path in folder.iterdir() if path.name != _LOCK_FILE]
        if others and not (folder / SETTINGS_FILE).exists():
            raise RunMismatchError(
                f"{folder} must be the directory of a competition or empty, but it has no {SETTINGS_FILE} and "
                f"holds {sorted(others)[0]}. Choose another with --out."
            )
        (folder / _LOCK_FILE).touch()  # where it cannot be made, a lock would only be waited for
        with filelock.FileLock(folder / _LOCK_FILE, timeout=0):
            (folder / "logs").mkdir(exist_ok=True)
            yield
    except filelock.Timeout as error:
        raise RunMismatchError(f"{folder} must not be in use, but another process competes in it.") from error
    except OSError as error:
        if isinstance(error, AKDGymError):
            raise
        raise StorageError(f"The directory {folder} cannot be written: {error.strerror or error}.") from error
