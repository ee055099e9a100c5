"""One small real search, and its audit."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from akd_gym.agents.search import run_search
from akd_gym.agents.settings import SearchSettings
from akd_gym.ledger_records import TrainingRecord
from akd_gym.proxy_audit.plan import AuditPlan, AuditSettings, plan_audit
from akd_gym.proxy_audit.run import run_audit
from akd_gym.proxy_audit.trainings import Training
from akd_gym.recipes import Recipe

RECIPE = Recipe(epochs=2, warmup_epochs=1, train_size=64, val_size=100, batch_size=32)


class Audited(NamedTuple):
    """A finished audit."""

    plan: AuditPlan
    records: dict[Training, TrainingRecord]
    identity: dict[str, Any]


@pytest.fixture(scope="session")
def searched(tmp_path_factory: pytest.TempPathFactory, own_cache: None, small_fashion: Path) -> Path:
    """A run directory: 10 random students of 700 images, by distillation."""
    run = tmp_path_factory.mktemp("searched") / "small"
    settings = SearchSettings(
        agent="random",
        teacher="shipped:resnet",
        data=f"fashion-mnist:{small_fashion}",
        cost="madds",
        budget=10,
        workers=1,
        seed=3,
        recipe=RECIPE,
    )
    run_search(settings, run)
    return run


@pytest.fixture
def copied(searched: Path, tmp_path: Path) -> Path:
    """The run, with nothing audited yet."""
    return Path(shutil.copytree(searched, tmp_path / "run", ignore=shutil.ignore_patterns("audit")))


@pytest.fixture(scope="session")
def audited(searched: Path) -> Audited:
    plan = plan_audit(searched, AuditSettings(count=5, seeds=2, neighbours=5, epochs=1))
    return Audited(plan, *run_audit(plan))
