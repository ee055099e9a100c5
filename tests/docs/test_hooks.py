"""The hooks of mkdocs that make pages and links."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
from mkdocs.exceptions import PluginError

Hook = Callable[[str], ModuleType]


def write_notebook(path: Path, *cells: str) -> Path:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbformat.write(notebook, path)
    return path


def test_a_notebook_that_raises_ends_the_build(hook: Hook, tmp_path: Path) -> None:
    path = write_notebook(tmp_path / "broken.ipynb", "1 + 1", "raise ValueError('no such teacher')")
    with pytest.raises(PluginError, match=r"broken\.ipynb must run without an error, but: (?s:.)*no such teacher"):
        hook("notebook").convert_notebook(path)


def test_what_a_notebook_prints_and_shows_is_on_its_page(hook: Hook, tmp_path: Path) -> None:
    path = write_notebook(
        tmp_path / "small.ipynb",
        "print('seen')\nimport sys\nprint('not seen', file=sys.stderr)",
        "6 * 7",
        "from PIL import Image\nImage.new('RGB', (2, 3))",
        "from pathlib import Path\nPath('kept').touch()",
    )
    page = hook("notebook").convert_notebook(path)
    assert "```{ .text .output }\nseen\n```" in page.markdown
    assert "```{ .text .output }\n42\n```" in page.markdown
    assert page.markdown.count("not seen") == 1  # in the code alone
    assert "![What the cell above shows](small-1.png)" in page.markdown
    assert [name for name, content in page.pictures.items() if content.startswith(b"\x89PNG")] == ["small-1.png"]
    assert [child.name for child in tmp_path.iterdir()] == ["small.ipynb"]  # it ran elsewhere


@pytest.mark.parametrize(
    ("uri", "link", "expected"),
    [
        ("agents.md", "../benchmarks/tuning.md", "tuning.md"),
        ("extend/agent.md", "../../CHANGELOG.md#unreleased", "../changelog.md#unreleased"),
        ("changelog.md", "docs/agents.md", "agents.md"),
        ("tuning.md", "../docs/agents.md", "agents.md"),
        ("changelog.md", "CONTRIBUTING.md", "contributing.md"),
        ("agents.md", "leaderboard.md", "leaderboard.md"),
        ("extend/agent.md", "../agents.md#your-own", "../agents.md#your-own"),
        ("agents.md", "https://arxiv.org/abs/1911.09074", "https://arxiv.org/abs/1911.09074"),
    ],
)
def test_links_through_the_repository_lead_to_pages(hook: Hook, uri: str, link: str, expected: str) -> None:
    assert hook("repository").relink(f"See [this]({link}).", uri) == f"See [this]({expected})."


def test_names_in_code_become_references_where_there_is_none_yet(hook: Hook) -> None:
    names = {"Player": "akd_gym.agents.Player"}
    link_names = hook("references").link_names
    reference = '<autoref optional identifier="akd_gym.agents.Player"><code>Player</code></autoref>'
    assert link_names("<p>A <code>Player</code>.</p>", names) == f"<p>A {reference}.</p>"
    assert link_names("<code>Players</code>", names) == "<code>Players</code>"
    for kept in (
        "<h2><code>Player</code></h2>",
        '<a href="x"><code>Player</code></a>',
        "<pre><code>Player</code></pre>",
    ):
        assert link_names(f"{kept}<code>Player</code>", names) == kept + reference


def test_help_is_taken_apart(hook: Hook) -> None:
    commands = hook("commands")
    said = commands.read_help(
        "usage: akd fit [-h] FILE\n\nFit <a> table_of it.\n\nFor instance:\n- akd fit a.json\n\n"
        "╭─ options ─────────╮\n"
        "│ -h, --help  help  │\n"
        "│ --count INT       │\n"
        "│             Many. │\n"
        "│             (1)   │\n"
        "╰───────────────────╯\n"
        "╭─ subcommands ─────╮\n"
        "│   • list  All.    │\n"
        "╰───────────────────╯\n"
    )
    assert said.usage == "usage: akd fit [-h] FILE"
    assert said.subcommands == ["list"]
    assert "".join(commands.options("options", said.boxes["options"], said.description)) == (
        "`--count INT`\n:   Many. (1)\n"
    )
    prose = "\n".join(commands.prose(said.description))
    assert "Fit &lt;a&gt; table\\_of it." in prose
    assert "```bash\nakd fit a.json\n```" in prose
