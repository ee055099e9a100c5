"""Real searches on AKDBench, and ledgers that hold the beginning of one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from akd_gym.agents.search import run_search
from akd_gym.agents.settings import read_search_name, settings_for
from akd_gym.ledger import Ledger
from akd_gym.ledger_schema import CANDIDATES, TABLES

BUDGET = 60


@pytest.fixture(scope="session")
def searched(tmp_path_factory: pytest.TempPathFactory, own_cache: None) -> Callable[..., Path]:
    """Makes the run directory of a finished search of random students; equal settings give the same directory."""
    made: dict[str, Path] = {}

    def make(name: str = "run", **changes: object) -> Path:
        settings = replace(settings_for(evaluator="bench"), agent="random", budget=BUDGET, **changes)
        key = json.dumps([name, settings.to_json()])
        if key not in made:
            made[key] = tmp_path_factory.mktemp("searched") / name
            run_search(settings, made[key])
        return made[key]

    return make


@pytest.fixture
def begun(tmp_path: Path, searched: Callable[..., Path]) -> Callable[[int], Path]:
    """The directory of a search that has come so far: 0 for not a candidate. Called again, it goes on."""
    source, run = searched(), tmp_path / "begun"

    def go_on(count: int) -> Path:
        run.mkdir(exist_ok=True)
        shutil.copy(source / "settings.json", run)
        if count:
            name = read_search_name(source)
            with (
                Ledger.open(source / "ledger.sqlite", read_only=True) as old,
                Ledger.open(run / "ledger.sqlite") as new,
            ):
                assert len(list(old.candidates(name))) >= count
                for table in TABLES:
                    for row in old.rows(table):
                        number = row[CANDIDATES.column_names.index("number")] if table is CANDIDATES else 0
                        if number < count:
                            new.add_row(table, row)
        return run

    return go_on
