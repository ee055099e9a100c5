"""The code in the README and in `docs/` works: Python runs, commands parse, and those marked so run too.

A block may have a comment right above it, which says why it is treated otherwise:

- `<!-- slow: REASON -->`: runs only in the tests marked `slow`.
- `<!-- not run: REASON -->`: is compiled and no more.
- `<!-- run -->`: the commands of this block run, too, in the tests marked `slow`.

The Python blocks of a page share their names and a folder, in order. One that begins with `# NAME.py` lies in that
folder as a module, for the page's commands.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import gymnasium as gym
import pytest
import torch
import tyro

from akd_gym.agents.competition import play_agent
from akd_gym.agents.settings import SearchSettings, write_settings
from akd_gym.cli.main import _commands, main

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

_FENCE = re.compile(
    r"(?:^<!-- (?P<mark>slow|not run|run)(?:: (?P<why>.+?))? -->\n)?^```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_REAL_IN_README = ("make_sb3_vec_env", "AKDSearch-v0")
"""What in the README's Python trains students for real, in minutes; it has no comments about it."""

_INLINE = re.compile(r"`akd ([^`]+)`")
_RUN_OPTIONS = ("--resume", "--like")
"""Options whose run directory is read before the rest of a command can be understood."""


class Block(NamedTuple):
    """A block of code on a page."""

    page: Path
    line: int
    language: str
    code: str
    mark: str

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def commands(self) -> list[list[str]]:
        """The words of every call of `akd` in a block of a shell, without `akd` itself."""
        if self.language not in ("", "bash", "console", "sh"):
            return []
        lines = self.code.replace("\\\n", " ").splitlines()
        calls = [line for line in lines if re.match(r"(\$ )?akd |(torchrun|python) .*-m akd_gym ", line)]
        return [shlex.split(re.sub(r"^.*?(akd|-m akd_gym) ", "", line, count=1), comments=True) for line in calls]


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, found.start("code")), found["language"], found["code"], mark_of(page, found))
        for found in _FENCE.finditer(text)
    ]


def mark_of(page: Path, found: re.Match[str]) -> str:
    if page.name == "README.md" and found["language"] == "python" and any(w in found["code"] for w in _REAL_IN_README):
        return "slow"
    return found["mark"] or ""


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def pages(*, slow: bool) -> list[Any]:
    """Pages with something to run: those for quick tests, or those that only slow ones run whole.

    Commands take seconds, so that a page which runs some is for the slow tests alone.
    """
    found = []
    for page in PAGES:
        blocks = [block for block in BLOCKS if block.page == page]
        marks = {block.mark for block in blocks if block.language == "python" or block.mark == "run"}
        if ("slow" in marks or "run" in marks) if slow else ("" in marks and "run" not in marks):
            found.append(pytest.param(page, id=str(page.relative_to(ROOT))))
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where a page's code runs; what it imports from there is forgotten afterwards, and so are its seeds."""
    monkeypatch.chdir(tmp_path)
    before, state = set(sys.modules), torch.get_rng_state()
    yield tmp_path
    torch.set_rng_state(state)
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


def faces(folder: Path) -> None:
    """What `docs/teachers.md` takes for the reader's own: a network for faces, and its checkpoint."""
    (folder / "my_networks.py").write_text(
        "from torch import nn\n"
        "def face_net(num_classes, in_channels):\n"
        "    assert num_classes == 0\n"
        "    return nn.Sequential(nn.Conv2d(in_channels, 4, 7, 4), nn.AdaptiveAvgPool2d(2), nn.Flatten())\n"
    )
    weights = {"0.weight": torch.randn(4, 3, 7, 7), "0.bias": torch.zeros(4)}
    torch.save(weights, folder / "faces.pt")


BEFORE: dict[str, Callable[[Path], None]] = {"docs/teachers.md": faces}
NAMES = {"docs/teachers.md": {"pictures": torch.randint(0, 255, (2, 3, 112, 112), dtype=torch.uint8)}}
"""What a page takes for the reader's own: files by page, and variables."""


def run_page(page: Path, folder: Path, with_slow: bool) -> dict[str, Any]:
    """Run what a page shows; returns the names that it has defined."""
    place = page.relative_to(ROOT).as_posix()
    BEFORE.get(place, lambda folder: None)(folder)
    names: dict[str, Any] = {"__name__": "__main__", **NAMES.get(place, {})}
    for block in blocks_of(page):
        if block.mark == "not run" or (block.mark == "slow" and not with_slow):
            continue
        if block.language == "python":
            if module := re.match(r"# (\w+\.py)\n", block.code):
                (folder / module[1]).write_text(block.code, encoding="utf-8")
                sys.modules.pop(module[1].removesuffix(".py"), None)  # another test's of the same name
            exec(compile(block.code, block.where, "exec"), names)
        elif block.mark == "run":
            for words in block.commands:
                run_command(words, block.where)
    return names


def run_command(words: list[str], where: str) -> None:
    out, before = io.StringIO(), signal.getsignal(signal.SIGTERM)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            status = main(words)
    except SystemExit as stop:
        status = int(stop.code or 0)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert status == 0, f"{where}: akd {shlex.join(words)}\n{out.getvalue()}"


@pytest.mark.parametrize("page", pages(slow=False))
def test_what_a_page_shows_runs(page: Path, folder: Path) -> None:
    run_page(page, folder, with_slow=False)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", pages(slow=True))
def test_what_a_page_shows_runs_slow_parts_too(page: Path, folder: Path) -> None:
    run_page(page, folder, with_slow=True)


@pytest.mark.parametrize("name", ["search", "stepwise", "a2c"])
def test_the_agents_that_a_page_defines_play_their_budget(name: str, folder: Path) -> None:
    agent = run_page(ROOT / "docs" / "agents.md", folder, with_slow=False)[name]
    played = play_agent(agent, gym.make("AKDBench-v0"), name=name, budget=8, seed=0)
    assert played.reason is None
    assert len(played.values) == 8


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "python"], ids=lambda block: block.where)
def test_every_python_block_compiles(block: Block) -> None:
    compile(block.code, block.where, "exec")


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.commands], ids=lambda block: block.where)
def test_every_command_parses(block: Block, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in block.commands:
        for option in set(words) & set(_RUN_OPTIONS):
            run = Path(words[words.index(option) + 1])
            if not run.exists():
                run.mkdir(parents=True)
                write_settings(run, SearchSettings())
        with contextlib.suppress(SystemExit):  # of `--help`; of what does not parse, there is a word about it
            tyro.cli(_commands(words), prog="akd", args=words)
        assert capsys.readouterr().err == "", f"{block.where}: akd {shlex.join(words)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_amid_sentences_have_options_that_are_there(page: Path, hook: Callable[[str], ModuleType]) -> None:
    commands = hook("commands")
    for found in _INLINE.finditer(page.read_text(encoding="utf-8")):
        words, above = found[1].split(), ()
        said = commands.read_help(commands.ask())
        while words and words[0] in said.subcommands:
            above = (*above, words.pop(0))
            said = commands.read_help(commands.ask(*above))
        assert above, f"{page.name}: `akd {found[1]}` is no command."
        known = set(re.findall(r"--[\w.-]+", commands.ask(*above)))
        assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known, found[0]
