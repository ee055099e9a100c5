"""The `akd` command."""

from akd_gym.cli.main import main

__all__ = ["main"]
