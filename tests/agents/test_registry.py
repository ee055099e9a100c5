from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from akd_gym.agents.random_search import random_search
from akd_gym.agents.registry import AGENTS, load_agent
from akd_gym.errors import InvalidSettingError, UnknownNameError


@pytest.mark.parametrize("name", AGENTS)
def test_every_name_has_an_agent(name: str) -> None:
    inspect.signature(load_agent(name)).bind("env", 100, 0)


def test_listing_them_imports_neither_torch_nor_optuna() -> None:
    code = (
        "import sys; from akd_gym.agents.registry import load_agent; load_agent('random'); load_agent('evolution')\n"
        "assert not {'torch', 'stable_baselines3', 'optuna', 'scipy'} & sys.modules.keys(), sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd="/")


def test_an_agent_of_ones_own() -> None:
    assert load_agent("akd_gym.agents.random_search:random_search") is random_search


def test_an_agent_in_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "helper_of_mine.py").write_text("NAME = 'mine'\n", encoding="utf-8")
    (tmp_path / "agents_of_mine.py").write_text(
        "from helper_of_mine import NAME\ndef agent(env, budget, seed): return NAME\n", encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])  # as in an installed command
    before = list(sys.path)
    try:
        assert load_agent("agents_of_mine:agent")(None, 1, 0) == "mine"  # type: ignore[arg-type, func-returns-value]
        assert sys.path == before
    finally:
        for name in ("agents_of_mine", "helper_of_mine"):
            sys.modules.pop(name, None)


@pytest.mark.parametrize("name", ["evolutoin", "nobody", "", ":", "module:", ":function"])
def test_an_unknown_name(name: str) -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown agent .* Known: ppo, rnn, .*, module:function\."):
        load_agent(name)


def test_the_closest_name_is_offered() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'evolution'"):
        load_agent("evolutoin")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:agent", r"must be importable, but got: ModuleNotFoundError.*no_such_module"),
        ("akd_gym.agents.no_such:agent", r"must be importable, but got: ModuleNotFoundError.*no_such"),
        ("akd_gym.agents.registry:nobody", "must be importable, but got: AttributeError.*nobody"),
        ("akd_gym.agents.registry:AGENTS", r"must be a function \(env, budget, seed\), but got dict"),
    ],
)
def test_what_is_no_agent(name: str, message: str) -> None:
    with pytest.raises(InvalidSettingError, match=message):
        load_agent(name)


def test_a_module_that_lacks_what_it_imports_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lacking_agent.py").write_text("import no_such_library\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidSettingError, match=r"'lacking_agent:agent' must be importable.*no_such_library"):
        load_agent("lacking_agent:agent")
