"""What all tests share: a cache of their own, and a proxy task small enough to train in a second."""

import json
import os
import tempfile
from dataclasses import replace

import pytest

from akd_gym.recipes import RECIPES, Recipe

ALLOWED_SKIPS = ("one core only", "needs Debian's adb", "needs Debian's chromium")
"""On CI any other skip is a failure: a test that does not run there runs nowhere."""

# Read by torch when it is imported, here and in every process that a test starts. Networks this small gain nothing
# from more threads, and where other processes want the cores too, threads that wait for each other cost tenfold.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    """Soft labels of tests never touch the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AKD_GYM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def own_machine(monkeypatch, tmp_path):
    """Locks and the canary's reference of the test's own, so that a search beside it is neither stopped nor seen."""
    from akd_gym.device_lab.canary import CanaryReference

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("AKD_GYM_CACHE", str(tmp_path / "cache"))
    reference = CanaryReference().path
    reference.parent.mkdir()
    reference.write_text(json.dumps({"canary_ms": 0.2}), encoding="utf-8")
    return tmp_path


@pytest.fixture
def tiny_recipe() -> Recipe:
    """128 images, 2 epochs."""
    return replace(RECIPES["fashion"], epochs=2, train_size=128, val_size=200, batch_size=32)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr)
        if not any(allowed in reason for allowed in ALLOWED_SKIPS):
            report.outcome, report.longrepr = "failed", f"On CI a test must not be skipped: {reason}"
    return report
