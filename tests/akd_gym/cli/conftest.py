"""The `akd` command in this process, and one small finished search that many tests look at."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from akd_gym.cli import main

collect_ignore = [] if sys.platform == "linux" else ["test_phones.py", "test_search_latency.py"]
"""They run against loopback phones, which need Linux."""


class Result(NamedTuple):
    """What a command did."""

    status: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The error that standard error ends with, lines joined; no traceback, and the status of an error."""
        assert self.status == 1, self
        assert "Traceback" not in self.err
        _, colon, said = self.err.rpartition("error: ")
        assert colon, self
        return " ".join(said.split())


Akd = Callable[..., Result]


def run_here(*words: object) -> Result:
    out, err, before = io.StringIO(), io.StringIO(), signal.getsignal(signal.SIGTERM)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main([str(word) for word in words])
    except SystemExit as stop:
        status = int(stop.code or 0)
    finally:
        signal.signal(signal.SIGTERM, before)
    return Result(status, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session", autouse=True)
def wide_terminal():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "160")
        yield


@pytest.fixture(scope="session")
def akd() -> Akd:
    """Runs `akd WORDS...` in this process."""
    return run_here


@pytest.fixture(scope="session")
def akd_process() -> Akd:
    """Runs `akd WORDS...` in a process of its own; `before` is code that runs first."""

    def run(*words: object, before: str = "") -> Result:
        code = f"import sys; {before}\nfrom akd_gym.cli import main\nsys.exit(main())"
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, words)],
            capture_output=True,
            text=True,
            env={**os.environ, "COLUMNS": "160"},
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def tiny() -> list[str]:
    """Options of a proxy task that trains in a fraction of a second."""
    recipe = {"epochs": 2, "train-size": 64, "val-size": 100, "batch-size": 32}
    return [f"--recipe.{name}={value}" for name, value in recipe.items()]


@pytest.fixture(scope="session")
def tiny_search(tiny: list[str]) -> list[str]:
    """Options of a search of 16 students by multiply-adds, over in a few seconds."""
    options = ["--teacher=shipped:resnet", "--cost=madds", "--budget=16", "--round-size=4", "--workers=1"]
    return ["search", *options, *tiny]


class Finished(NamedTuple):
    """A finished search and what it showed."""

    run: Path
    out: str


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, own_cache: None, tiny_search: list[str]) -> Finished:
    run = tmp_path_factory.mktemp("finished") / "my run"  # with a space, so that commands must quote it
    result = run_here(*tiny_search, "--run", run)
    assert result.status == 0, result
    return Finished(run, result.out)
