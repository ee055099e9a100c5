from __future__ import annotations

import itertools

import pytest

import akd_gym

COMMANDS = (
    *("search", "finalists", "evaluate", "train", "export"),
    *("measure", "latency", "phones", "teacher", "repair"),
)


@pytest.mark.parametrize("words", [["--help"], *([command, "--help"] for command in COMMANDS)])
def test_help_teaches_and_imports_nothing_heavy(akd_process, words):
    heavy = ("torch", "torchvision", "stable_baselines3", "matplotlib", "scipy", "ai_edge_litert", "tensorboard")
    check = f"import atexit; atexit.register(lambda: print('HEAVY', [m for m in {heavy} if m in sys.modules]))"
    result = akd_process(*words, before=check)
    assert (result.status, result.err) == (0, "")
    assert result.out.endswith("HEAVY []\n")
    assert f"usage: akd {'' if len(words) == 1 else words[0]}".strip() in result.out


def test_help_lists_every_command(akd):
    result = akd("--help")
    assert result.status == 0
    for command in COMMANDS:
        assert f"• {command}" in result.out


def test_every_option_is_explained(akd):
    """No option without a sentence, and no `default: None` that says nothing."""
    single = ("search", "evaluate", "train", "export", "finalists", "measure", "repair")
    grouped = ("latency fit", "latency show", "phones list", "phones setup", "phones restore", "phones loopback")
    for command in (*single, *grouped):
        out = akd(*command.split(), "--help").out
        assert "{None}" not in out.split("recipe options")[0]
        assert "default: None" not in out.split("recipe options")[0]
        lines = [line.strip("│ ").rstrip() for line in out.splitlines()]
        lines = [line for line in lines if set(line) != {"-"}]  # rules between groups
        for line, following in itertools.pairwise(lines):
            if line.startswith("--"):
                assert len(line.split("  ")) > 1 or not following.startswith("--"), line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["serch"], "serch"),
        (["search", "--rewrd", "soft"], "--rewrd"),
        (["search", "--reward", "softt"], "invalid choice 'softt'"),
        (["search", "--budget", "many"], "many"),
        (["finalists", "run"], "--within"),
        (["export", "--out", "x"], "ARCHITECTURE"),
    ],
)
def test_what_does_not_parse_is_a_usage_error(akd, words, message):
    result = akd(*words)
    assert result.status == 2
    assert message in result.err
    assert "Traceback" not in result.err


def test_the_package_has_a_version():
    assert akd_gym.__version__
