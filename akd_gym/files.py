"""Results written whole or not at all."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from akd_gym.errors import StorageError


def write_atomically(path: str | Path, content: bytes) -> Path:
    """Writes a file so that at every moment there is the old one or the new one, complete.

    Returns:
        The path written.

    Raises:
        StorageError: It cannot be written; an old file is as it was.
    """
    path = Path(path)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        try:
            with draft.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"`{path}` cannot be written: {error.strerror or error}.") from error
    return path
