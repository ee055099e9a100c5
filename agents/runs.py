"""A run directory read for analysis; safe while its search runs."""

from __future__ import annotations

from pathlib import Path

from akd_gym.agents.settings import read_search_name, read_settings, run_ledger
from akd_gym.analysis.runs import SearchRun
from akd_gym.errors import RunMismatchError
from akd_gym.ledger import Ledger
from akd_gym.reward import Reward
from akd_gym.space import make_space


def read_run(run: Path, name: str | None = None) -> SearchRun:
    """The search in a run directory, as far as it has come.

    Args:
        run: The run directory.
        name: What to call it; by default the directory's name.

    Raises:
        RunMismatchError: If `run` is no run directory, or nothing was evaluated yet.
        SchemaVersionError: If a newer version of this package wrote it.
        CorruptFileError: If its settings or its ledger are damaged.
        StorageError: If its ledger cannot be read.
    """
    settings = read_settings(run)
    with Ledger.open(run_ledger(settings, run), read_only=True) as ledger:
        evaluations = tuple(ledger.evaluations(read_search_name(run)))
    if not evaluations:
        raise RunMismatchError(f"The search in {run} must have evaluated a round, but it has not yet.")
    return SearchRun(
        name=name or run.resolve().name,
        # What a skeleton is changes networks, and neither choices nor features.
        space=make_space(settings.space, settings.skeleton or "small"),
        evaluations=evaluations,
        reward=Reward(settings.reward, settings.reward_weight),
        budget=settings.budget,
        settings=settings.to_json(),
    )
