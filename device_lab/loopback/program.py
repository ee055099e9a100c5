"""`benchmark_model` for a loopback phone, as one executable file."""

from __future__ import annotations

import sys
from pathlib import Path

from akd_gym.errors import InvalidSettingError


def benchmark_program() -> bytes:
    """An executable to push to a loopback phone and start as `benchmark_model`.

    It needs this very Python with its packages, so it works on this machine only. Its header is a shell script and a
    Python string at once: unlike a `#!` line it takes a path of any length, with blanks.

    Raises:
        InvalidSettingError: The path of this Python cannot be written into the header.
    """
    python = sys.executable
    if set(python) & set("'\\\n"):
        raise InvalidSettingError(f"The path of Python must hold no quote, backslash or line end, but got {python!r}.")
    header = f"#!/bin/sh\n'''exec' '{python}' \"$0\" \"$@\"\n' '''\n"
    return header.encode() + Path(__file__).with_name("benchmark_model.py").read_bytes()
