"""`make docs`: the pages build without a warning, hold what they should, and need nothing from elsewhere."""

from __future__ import annotations

import importlib
import json
import re
import zlib
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import gymnasium
import pytest

from akd_gym.reproduce.registry import STUDIES


class _Loaded(HTMLParser):
    """Collects what a page loads by itself, links to be followed excepted."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """See `HTMLParser`."""
        names = {"link": ("href",), "a": ()}.get(tag, ("src", "srcset", "data", "poster", "href"))
        self.urls += [value for name, value in attrs if name in names and value]


def loaded(page: Path) -> list[str]:
    parser = _Loaded()
    parser.feed(page.read_text(encoding="utf-8"))
    return parser.urls


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        assert [url for url in loaded(page) if re.match(r"(\w+:)?//", url)] == [], page
    for sheet in site.rglob("*.css"):
        urls = re.findall(r"url\(['\"]?([^'\")]+)|@import ['\"]([^'\"]+)", sheet.read_text(encoding="utf-8"))
        assert [url for pair in urls for url in pair if re.match(r"(https?:)?//", url)] == [], sheet


def test_what_pages_load_is_there(site: Path) -> None:
    for page in site.rglob("*.html"):
        if page.name == "404.html":  # shown at any address, so its own are absolute
            continue
        for url in loaded(page):
            if not url.startswith(("#", "data:")):
                assert (page.parent / url.partition("#")[0].partition("?")[0]).exists(), f"{page}: {url}"


def explained(site: Path) -> set[str]:
    """Full names of all that has an entry of its own."""
    *_, packed = (site / "objects.inv").read_bytes().split(b"\n", 4)
    return {line.split()[0] for line in zlib.decompress(packed).decode().splitlines()}


@pytest.mark.parametrize(
    "package", ["akd_gym", "akd_gym.envs", "akd_gym.agents", "akd_gym.distill", "akd_gym.teachers"]
)
def test_every_public_name_is_explained(site: Path, package: str) -> None:
    subpackages = {"agents", "analysis", "device_lab", "envs", "__version__"}
    public = {f"{package}.{name}" for name in importlib.import_module(package).__all__ if name not in subpackages}
    assert public - explained(site) == set()


def test_every_environment_has_its_page(site: Path) -> None:
    names = [name for name in gymnasium.registry if name.startswith("AKD")]
    assert len(names) == 6
    for name in names:
        slug = name.removesuffix("-v0").replace("OneShot", "-oneshot").replace("Box", "-box").lower()
        page = (site / "environments" / f"{slug}.html").read_text(encoding="utf-8")
        for part in ("Description", "Action Space", "Observation Space", "Rewards", "Episode End", "Version History"):
            assert re.search(rf"<h\d[^>]*>{part}<", page), f"{name}: {part}"
        entry = gymnasium.spec(name).entry_point
        assert isinstance(entry, str)
        single = entry.partition(":")[2]
        for kind in (single, single.removesuffix("Env") + "VectorEnv"):
            assert f'id="akd_gym.envs.{kind}"' in page


def test_every_command_is_on_its_page(site: Path, hook: Callable[[str], ModuleType]) -> None:
    commands = hook("commands")
    page = (site / "cli.html").read_text(encoding="utf-8")

    def walk(*words: str) -> Iterator[tuple[str, ...]]:
        for name in commands.read_help(commands.ask(*words)).subcommands:
            yield (*words, name)
            yield from walk(*words, name)

    found = list(walk())
    assert {("search",), ("phones", "loopback"), ("report",)} <= set(found)
    for words in found:
        section = re.split(rf'<h\d id="akd-{"-".join(words)}"[^>]*>', page)
        assert len(section) == 2, words
        section = re.split(r"<h\d ", section[1], maxsplit=1)
        for option in re.findall(r"^│ (--[\w.-]+)", commands.ask(*words), re.MULTILINE):
            assert option in section[0], (words, option)


def test_the_notebook_was_run_and_can_be_downloaded(root: Path, site: Path) -> None:
    page = (site / "quickstart.html").read_text(encoding="utf-8")
    assert len(re.findall(r'class="[^"]*\boutput\b', page)) == 5
    for picture in ("quickstart-1.png", "quickstart-2.png"):
        assert f'src="{picture}"' in page
        assert (site / picture).read_bytes().startswith(b"\x89PNG")
    assert 'href="quickstart.ipynb"' in page
    assert (site / "quickstart.ipynb").read_bytes() == (root / "docs" / "quickstart.ipynb").read_bytes()


def test_the_changelog_and_others_from_outside_are_there(root: Path, site: Path) -> None:
    for place, name in (("CHANGELOG.md", "changelog"), ("CONTRIBUTING.md", "contributing")):
        heading = (root / place).read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        assert re.search(rf"<h1[^>]*>{heading}<", (site / f"{name}.html").read_text(encoding="utf-8"))
    assert 'href="tuning.html"' in (site / "agents.html").read_text(encoding="utf-8")


def test_every_study_is_among_the_papers_items(root: Path) -> None:
    text = (root / "docs" / "paper.md").read_text(encoding="utf-8")
    assert [name for name in STUDIES if f"`akd reproduce {name}`" not in text] == []


def test_hooks_are_not_published(site: Path) -> None:
    assert not list(site.rglob("*.py"))


def test_the_notebook_in_the_repository_has_no_outputs(root: Path) -> None:
    for path in (root / "docs").rglob("*.ipynb"):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            assert not cell.get("outputs"), path
            assert cell.get("execution_count") is None, path


def test_links_of_the_readme_lead_somewhere(root: Path) -> None:
    text = (root / "README.md").read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#\s]+)\)", text)
    assert len(targets) > 5
    for target in targets:
        assert target.startswith("https://") or (root / target).exists(), target
