"""Where what was computed once is kept for later searches."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """The folder of soft labels and of what else is worth keeping: `$AKD_GYM_CACHE`, else the user's cache folder."""
    if chosen := os.environ.get("AKD_GYM_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "akd_gym"
