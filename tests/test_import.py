"""`import akd_gym` is light and silent, and modules import in one direction only (design section 3)."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

RANKS = {
    "errors": 0, "files": 0, "user_modules": 0, "channels": 0, "cores": 0, "architecture": 0, "cost": 0, "space": 0,
    "reward": 1, "ledger": 1, "networks": 1,
    "device_lab": 2,
    "evaluation": 4, "executors": 4, "bench": 4,
    "envs": 5,
    "agents": 6,
    "report": 7, "reproduce": 7, "proxy_audit": 7,
    "cli": 8, "__main__": 8,
}  # fmt: skip
"""A module may import those of its own rank or a lower one; what is not named has rank 3, but for `analysis`."""

LIGHT = (
    "akd_gym",
    "akd_gym.space",
    "akd_gym.architecture",
    "akd_gym.reward",
    "akd_gym.ledger",
    "akd_gym.bench.evaluator",
    "akd_gym.envs",
)


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")


@pytest.mark.parametrize("module", LIGHT)
def test_importing_is_silent_and_brings_no_torch(module: str) -> None:
    heavy = ("torch", "torchvision", "stable_baselines3", "matplotlib", "scipy", "ai_edge_litert")
    result = run(f"import sys, {module}; assert not [m for m in {heavy} if m in sys.modules], sys.modules.keys()")
    assert (result.stdout, result.stderr) == ("", "")


def test_importing_registers_the_ids() -> None:
    code = (
        "import gymnasium, akd_gym\n"
        "specs = [spec for name, spec in gymnasium.registry.items() if name.startswith('AKD')]\n"
        "assert not [s.id for s in specs if s.nondeterministic != s.id.startswith('AKDSearch')]\n"
        "print(*(f'{s.id} {s.entry_point} {s.vector_entry_point}' for s in specs), sep='\\n')"
    )
    envs = "akd_gym.envs"
    assert run(code).stdout.splitlines() == [
        f"{family}{form}-v0 {envs}.{module}:{family}{form}Env {envs}.vector:{family}{form}VectorEnv"
        for family, module in (("AKDSearch", "search"), ("AKDBench", "bench"))
        for form in ("", "OneShot", "Box")
    ]


def test_every_public_name_resolves() -> None:
    run(
        "import akd_gym\n"
        "for module in (akd_gym, akd_gym.envs, akd_gym.agents):\n"
        "    for name in module.__all__: getattr(module, name)"
    )


def test_an_unknown_name_is_an_attribute_error() -> None:
    run(
        "import akd_gym, akd_gym.envs\n"
        "for module in (akd_gym, akd_gym.envs):\n"
        "    try: module.nothing\n"
        "    except AttributeError as error: assert 'nothing' in str(error)\n"
        "    else: raise SystemExit(1)"
    )


def modules() -> Iterator[tuple[str, Path]]:
    """First-level name in the package, and file."""
    for path in sorted((ROOT / "akd_gym").glob("*.py")):
        if path.stem != "__init__":
            yield path.stem, path
    for folder in (
        "agents",
        "envs",
        "device_lab",
        "akd_gym/analysis",
        "akd_gym/bench",
        "akd_gym/cli",
        "akd_gym/distill",
        "akd_gym/proxy_audit",
        "akd_gym/report",
        "akd_gym/reproduce",
        "akd_gym/teachers",
    ):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield Path(folder).name, path


def imported(path: Path) -> set[str]:
    """First-level names in the package that a file imports, at the top or inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            assert node.level == 0, f"{path} imports relatively."
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.split(".")[1] for name in found if name.startswith("akd_gym.")}


def rank(module: str) -> int:
    return RANKS.get("ledger" if module.startswith("ledger_") else module, 3)


@pytest.mark.parametrize(("module", "path"), list(modules()), ids=lambda value: str(value).rpartition("/")[2])
def test_imports_run_one_way(module: str, path: Path) -> None:
    if module == "analysis":
        assert not imported(path) & {"agents", "envs", "cli", "evaluation", "training"}
        return
    allowed = {"analysis"} if rank(module) >= rank("envs") else set()
    upwards = {name for name in imported(path) - allowed if rank(name) > rank(module)}
    assert not upwards, f"{module} (rank {rank(module)}) must not import {sorted(upwards)}."
