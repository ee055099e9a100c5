"""`python -m akd_gym` is the `akd` command, for those who start modules: `torchrun -m akd_gym train ...`."""

from __future__ import annotations

import sys

from akd_gym.cli import main

if __name__ == "__main__":
    sys.exit(main())
