"""`akd compete` and `akd leaderboard`: what they show, what they leave, and what they refuse."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from akd_gym.agents.competition import read_competition
from akd_gym.agents.competition.storage import run_file, write_run
from akd_gym.analysis.competition import AgentRun
from akd_gym.analysis.formats import format_cost
from akd_gym.bench.evaluator import BenchEvaluator
from akd_gym.cli.leaderboard import commands

OWN_AGENTS = """
import os
from akd_gym.agents.random_search import random_search

def careful(env, budget, seed):
    random_search(env, budget // 2, seed + 100)

def dies(env, budget, seed):
    os._exit(7)
"""

FILES = {
    *("settings.json", "best.json", "curves.csv", "scores.csv", "leaderboard.md", "runs", "logs"),
    *(f"{name}.{kind}" for name in ("regret-evaluations", "regret-seconds", "scores") for kind in ("png", "svg")),
}


class Held(NamedTuple):
    folder: Path
    out: str


@pytest.fixture(scope="module")
def held(akd, tmp_path_factory) -> Held:
    """A finished competition of 12 evaluations: random search, one that keeps to the rules, one that dies."""
    code = tmp_path_factory.mktemp("code")
    (code / "rivals.py").write_text(OWN_AGENTS)
    folder = tmp_path_factory.mktemp("held") / "twelve"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(code)  # where a user's module is found
        agents = "rivals:careful, rivals:dies"
        result = akd("compete", "--agents", agents, "--budget", 12, "--seeds", 2, "--first-seed", 5, "--out", folder)
    assert result.status == 0, result
    return Held(folder, result.out)


def test_a_competition_shows_how_it_goes_and_who_won(held):
    out = held.out
    assert "Competing on AKDBench: 12 evaluations a run, shipped:resnet, target 0.0" in out
    assert f"Directory: {held.folder}" in out
    assert re.search(r"random, seed 5: value 0\.\d{4} after 12 evaluations", out)
    assert re.search(r"rivals:careful, seed 6: value 0\.\d{4} after 6 evaluations", out)
    assert "rivals:dies, seed 5: disqualified: Its process ended with status 7." in out
    assert "6/6 runs" in out
    table = out[out.index("12 evaluations: shipped:resnet, target") :]
    assert re.search(r"^ *1 +(random|rivals:careful) +0\.\d{4} ", table, re.MULTILINE)
    assert "disqualified rivals:dies, seeds 5, 6: Its process ended with status 7." in table


def test_a_competition_leaves_its_files(held):
    assert {path.name for path in held.folder.iterdir() if not path.name.startswith(".")} == FILES
    with (held.folder / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["agent"], row["seed"]) for row in rows] == [
        (agent, seed) for agent in ("random", "rivals:careful", "rivals:dies") for seed in ("5", "6")
    ]
    competition = read_competition(held.folder)
    value = next(run.value for run in competition.runs if (run.agent, run.seed) == ("random", 5))
    assert float(rows[0]["value"]) == pytest.approx(value, abs=1e-8)
    assert float(rows[0]["regret"]) == pytest.approx(competition.best_value - value, abs=1e-7)
    text = (held.folder / "leaderboard.md").read_text()
    assert "- `rivals:dies`, 2 of 2 runs:" in text
    assert BenchEvaluator().hash[:16] in text


def test_the_printed_command_makes_the_same_runs(akd, held, tmp_path, monkeypatch):
    [command] = commands(read_competition(held.folder))
    assert command in (held.folder / "leaderboard.md").read_text()
    program, *words = shlex.split(command)
    assert program == "akd"
    words[words.index("--agents") + 1] = "random"  # the others' module is not here
    again = tmp_path / "again"
    assert akd(*words, "--out", again).status == 0
    first, second = (read_competition(folder) for folder in (held.folder, again))
    assert first.settings == second.settings
    for seed in (5, 6):
        values = [
            next(run.values.tolist() for run in one.runs if (run.agent, run.seed) == ("random", seed))
            for one in (first, second)
        ]
        assert values[0] == values[1]


def test_the_same_command_again_runs_nothing_anew(akd, held, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(held.folder, folder)
    before = run_file(folder, "random", 5).stat().st_mtime_ns
    result = akd("compete", "--agents", "random", "--budget", 12, "--seeds", 2, "--first-seed", 5, "--out", folder)
    assert result.status == 0, result
    assert "2 runs are there already, 0 are to be made" in result.out
    assert "rivals:careful" in result.out  # what others have left there counts on
    assert run_file(folder, "random", 5).stat().st_mtime_ns == before


def test_agents_of_other_seeds_have_commands_of_their_own(held, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(held.folder, folder)
    competition = read_competition(folder)
    some = next(run for run in competition.runs if run.agent == "random")
    for agent, seed in (("tpe", 0), ("tpe", 1), ("tpe", 5)):
        arrays = {name: getattr(some, name) for name in ("choices", "observed", "values", "accuracies", "costs")}
        write_run(folder, AgentRun(agent, seed, None, **arrays, seconds=some.seconds, total_seconds=1.0))
    common = f"--teacher shipped:resnet --target-ms {competition.settings.target:g}"
    assert commands(read_competition(folder)) == [
        f"akd compete --agents rivals:careful,rivals:dies --budget 12 --seeds 2 --first-seed 5 {common}",
        f"akd compete --agents tpe --budget 12 --seeds 2 {common}",
        f"akd compete --agents tpe --budget 12 --seeds 1 --first-seed 5 {common}",
    ]


def test_several_competitions_make_a_page(akd, held, tmp_path):
    half = tmp_path / "half"
    options = ["--budget", 8, "--seeds", 1, "--target-ratio", 0.5, "--no-noise", "--out", half]
    assert akd("compete", "--agents", "random", *options).status == 0
    page = tmp_path / "docs" / "leaderboard.md"
    page.parent.mkdir()
    result = akd("leaderboard", held.folder, half, "--out", page)
    assert result.status == 0, result
    text = page.read_text()
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    target = format_cost(BenchEvaluator().reference_cost() / 2, "ms")
    assert headings[0] == "Over all competitions"
    assert headings[1].startswith("12 evaluations: shipped:resnet, target ")
    assert headings[2] == f"8 evaluations: shipped:resnet, target {target}, without noise"
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)
    assert len(pictures) == 6
    for picture in pictures:
        assert (page.parent / picture).read_bytes().startswith(b"\x89PNG")
    assert "--no-noise" in text
    assert str(tmp_path) not in text


def test_competitions_at_the_same_target_share_the_best_known_value(akd, held, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(held.folder, other)
    (other / "best.json").write_text(json.dumps({"value": 0.999, "choices": []}))
    assert akd("leaderboard", held.folder, other, "--out", tmp_path / "page.md").status == 0
    assert (tmp_path / "page.md").read_text().count("Best known value: 0.9990.") == 2


# Wrong input


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--agents", "pppo"], "Unknown agent 'pppo'. Did you mean 'ppo'?"),
        (["--agents", "random", "--budget", "0"], "`budget` must be at least 1 evaluation, but got 0."),
        (["--agents", "random", "--seeds", "0"], "`seeds` must be at least 1, but got 0."),
        (["--agents", "random", "--first-seed", "-1"], "each from 0 to 4294967295, but got from -1 to 8"),
        (["--agents", "random", "--workers", "0"], "`workers` must be at least 1, but got 0."),
        (["--agents", "random", "--teacher", "shipped:vgg"], "Unknown teacher of AKDBench 'shipped:vgg'."),
        (["--agents", "random", "--target-ms", "-1"], "`target_ms` must be positive and finite, but got -1.0."),
        (["--agents", "random", "--target-ratio", "0"], "`target_ratio` must be positive and finite, but got 0.0."),
        (["--agents", "random", "--target-ms", "1", "--target-ratio", "1"], "both name the target: leave one out."),
        (["--agents", "nowhere:agent"], "The agent 'nowhere:agent' must be importable"),
    ],
)
def test_what_cannot_work_is_said_before_anything_runs(akd, tmp_path, options, said):
    result = akd("compete", *options, "--out", tmp_path / "none")
    assert said in result.error
    assert not (tmp_path / "none").exists()


def test_other_settings_need_another_directory(akd, held):
    result = akd("compete", "--agents", "random", "--budget", 13, "--seeds", 1, "--out", held.folder)
    assert "differs in budget (12, not 13). Choose another directory with --out." in result.error


def test_a_page_is_of_one_benchmark(akd, held, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(held.folder, other)
    settings = json.loads((other / "settings.json").read_text())
    (other / "settings.json").write_text(json.dumps(settings | {"benchmark": "0" * 64}))
    result = akd("leaderboard", held.folder, other, "--out", tmp_path / "page.md")
    assert "must be on the same AKDBench, but got 0000000000000000, " in result.error


def test_a_page_needs_finished_competitions(akd, tmp_path):
    assert "must be the directory of a competition" in akd("leaderboard", tmp_path, "--out", tmp_path / "p.md").error
    assert "At least one directory" in akd("leaderboard", "--out", tmp_path / "p.md").error
    assert not (tmp_path / "p.md").exists()
