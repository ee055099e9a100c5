"""A hook of mkdocs: the page of the `akd` command, made from what its commands answer to `--help`."""

from __future__ import annotations

import contextlib
import functools
import html
import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import tyro
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from akd_gym.cli.main import _commands

PAGE = "cli.md"

_INTRODUCTION = """# The `akd` command

What each command answers to `--help`, written down when these pages were made. `akd` is installed with the package;
`python -m akd_gym` is the same.
"""
_TOP = re.compile(r"^╭─ (?P<title>.*?) ─*╮$")
_WIDTH = "120"
"""Columns that help is laid out in: enough for every option, and too few for frames to stand side by side."""


@dataclass
class Help:
    """What a command says of itself.

    Attributes:
        usage: Its first line.
        description: Paragraphs and lists.
        boxes: Title of each frame -> its lines.
    """

    usage: str
    description: list[str] = field(default_factory=list)
    boxes: dict[str, list[str]] = field(default_factory=dict)

    @property
    def subcommands(self) -> list[str]:
        """Names, in their order."""
        return [line.split()[1] for line in self.boxes.get("subcommands", []) if line.lstrip().startswith("• ")]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page."""
    files.append(File.generated(config, PAGE, content=command_page()))
    return files


def command_page() -> str:
    """The page in Markdown: every command, and below each its own commands."""
    overview = read_help(ask())
    return "\n".join([_INTRODUCTION, *_sections(overview.subcommands, ())])


@functools.cache
def ask(*words: str) -> str:
    """What `akd WORDS... --help` prints.

    Only the command line is read; nothing runs.
    """
    argv, said = [*words, "--help"], io.TextIOWrapper(io.BytesIO(), encoding="utf-8")  # the encoding decides on frames
    with _columns(_WIDTH), contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        tyro.cli(_commands(argv), prog="akd", args=argv)
    said.seek(0)
    return said.read()


def read_help(text: str) -> Help:
    """Take help apart: usage, description, and the frames around options."""
    usage, *lines = text.splitlines()
    said = Help(usage)
    box: list[str] | None = None
    for line in lines:
        if top := _TOP.match(line):
            box = said.boxes.setdefault(top["title"], [])
        elif line.startswith("╰"):
            box = None
        elif box is None:
            said.description.append(line)
        else:
            box.append(line.strip("│")[1:].rstrip())
    return said


def _sections(names: list[str], above: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        words = (*above, name)
        said = read_help(ask(*words))
        yield f"{'#' * (len(words) + 1)} akd {' '.join(words)}\n"
        yield f"```text\n{said.usage}\n```\n"
        yield from prose(said.description)
        for title, lines in said.boxes.items():
            if title != "subcommands":
                yield from options(title, lines, said.description)
        yield from _sections(said.subcommands, words)


def prose(lines: list[str]) -> Iterator[str]:
    """A description; the commands that it gives as examples become a block of code."""
    examples: list[str] = []
    for line in [*lines, ""]:
        if line.startswith("- akd "):
            examples.append(line.removeprefix("- "))
            continue
        if examples:
            yield "\n```bash\n" + "\n".join(examples) + "\n```\n"
            examples = []
        yield _escaped(line)


def options(title: str, lines: list[str], description: list[str]) -> Iterator[str]:
    """The entries of a frame, as a list of definitions, below what the frame says of all of them."""
    rule = next((index for index, line in enumerate(lines) if set(line) == {"─"}), None)
    if rule is not None:
        about, lines = lines[:rule], lines[rule + 1 :]
        if not " ".join(description).lstrip().startswith(about[0]):  # else the frame repeats the command's own words
            yield f"\n**{title.rpartition('.')[2].capitalize()}.** {_escaped(' '.join(about))}\n"
    entries: list[tuple[str, list[str]]] = []
    for line in lines:
        if line.startswith(" "):
            entries[-1][1].append(line.strip())
        else:
            name, _, text = line.partition("  ")
            entries.append((name.strip(), [text.strip()]))
    for name, texts in entries:
        if name != "-h, --help":
            yield f"`{name}`\n:   {_escaped(' '.join(text for text in texts if text))}\n"


def _escaped(text: str) -> str:
    """Plain text as Markdown, but for the code in it."""

    def plain(part: str) -> str:
        return re.sub(r"([*_\\\[\]])", r"\\\1", html.escape(part, quote=False))

    return "".join(part if part.startswith("`") else plain(part) for part in re.split(r"(`[^`]*`)", text))


@contextlib.contextmanager
def _columns(width: str) -> Iterator[None]:
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = width
    try:
        yield
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
