"""Modules of the user's own, named on a command line as `module:attribute`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType


def import_user_module(module: str) -> ModuleType:
    """Import a module, from the current directory where it is nowhere else.

    An installed command does not look there, unlike `python -m`, and that is where users keep what they try.

    Raises:
        ModuleNotFoundError: There is none.
        Exception: Whatever the module raises while it is imported.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:  # it was found; what it imports was not
            raise
    here = str(Path.cwd())
    sys.path.append(here)
    try:
        importlib.invalidate_caches()  # the file may be younger than the last look
        return importlib.import_module(module)
    finally:
        sys.path.remove(here)
