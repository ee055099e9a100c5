"""What the rows of a table depend on, kept beside it, so that rows of another kind never join them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from akd_gym.errors import CorruptFileError, RunMismatchError, StorageError
from akd_gym.files import write_atomically


def check_identity(path: Path, identity: Mapping[str, Any], what: str, must_be: str) -> None:
    """Keep an identity, or refuse one that differs from the one kept.

    Args:
        path: Where it is kept; the folder is made if need be.
        identity: Plain JSON.
        what: Rows of what, for the message.
        must_be: What they must be of, likewise.

    Raises:
        RunMismatchError: They differ; says in which entries.
        CorruptFileError: What is kept is damaged.
        StorageError: It cannot be written.
    """
    kept = read_identity(path)
    if kept is None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{path.parent} cannot be made: {error.strerror or error}.") from error
        write_atomically(path, (json.dumps(identity, indent=1) + "\n").encode())
    elif kept != identity:
        differing = sorted(name for name in {*kept, *identity} if kept.get(name) != identity.get(name))
        raise RunMismatchError(
            f"The {what} in {path.parent} must be of this {must_be}, but {', '.join(differing)} "
            f"{'differs' if len(differing) == 1 else 'differ'}. Choose another folder."
        )


def read_identity(path: Path) -> dict[str, Any] | None:
    """What is kept; None if nothing is yet.

    Raises:
        CorruptFileError: It is damaged.
        StorageError: It cannot be read.
    """
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise CorruptFileError(f"{path} must hold what the table beside it depends on, but: {error}.") from error
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror or error}.") from error
    if not isinstance(kept, dict):
        raise CorruptFileError(f"{path} must hold what the table beside it depends on, but holds {kept!r}.")
    return kept
