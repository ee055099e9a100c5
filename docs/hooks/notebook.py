"""A hook of mkdocs: runs the notebooks of `docs/` and makes a page of each, which shows what they said in this build.

In the repository notebooks have no outputs. A cell that raises ends the build.
"""

from __future__ import annotations

import base64
import re
import tempfile
from pathlib import Path
from typing import NamedTuple

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from traitlets.config import Config

_LINK = re.compile(r"\]\((?P<target>[^)#:\s]+)\.ipynb\)")
_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_CELL_TIMEOUT_S = 600


class NotebookPage(NamedTuple):
    """A notebook as Markdown, and the pictures that it shows, by name."""

    markdown: str
    pictures: dict[str, bytes]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each notebook, which itself stays there to be downloaded."""
    for file in [file for file in files if file.src_uri.endswith(".ipynb")]:
        name = file.src_uri.removesuffix(".ipynb")
        page = convert_notebook(Path(str(file.abs_src_path)))
        files.append(File.generated(config, f"{name}.md", content=page.markdown))
        for picture, content in page.pictures.items():
            files.append(File.generated(config, str(Path(file.src_uri).with_name(picture)), content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to a notebook, which the repository shows, to its page; only that page offers the notebook itself."""
    if files.get_file_from_path(str(Path(page.file.src_uri).with_suffix(".ipynb"))) is not None:
        return markdown
    return _LINK.sub(r"](\g<target>.md)", markdown)


def convert_notebook(path: Path) -> NotebookPage:
    """Run a notebook in an empty folder, and write down what it says and shows.

    Raises:
        PluginError: A cell raises.
    """
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory(prefix="akd_gym-") as folder:
        client = NotebookClient(
            notebook,
            timeout=_CELL_TIMEOUT_S,
            kernel_name="python3",
            resources={"metadata": {"path": folder}},
            # The kernel is spoken to through sockets in the folder, not through ports that others could reach.
            config=Config({"KernelManager": {"transport": "ipc", "ip": str(Path(folder, "kernel"))}}),
        )
        try:
            client.execute()
        except CellExecutionError as error:
            raise PluginError(f"{path.name} must run without an error, but: {error}") from error
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
        elif cell.cell_type == "code":
            parts.append(f"```python\n{cell.source}\n```")
            parts += [_output(output, path.stem, pictures) for output in cell.outputs]
    return NotebookPage("\n\n".join(part for part in parts if part) + "\n", pictures)


def _output(output: NotebookNode, stem: str, pictures: dict[str, bytes]) -> str:
    """What one output is in Markdown; a picture is put beside the others."""
    if output.output_type == "stream":
        return "" if output.name == "stderr" else _text(output.text)
    data = output.get("data", {})
    if "image/png" in data:
        name = f"{stem}-{len(pictures) + 1}.png"
        pictures[name] = base64.b64decode(data["image/png"])
        return f"![What the cell above shows]({name})"
    return _text(data.get("text/plain", ""))


def _text(text: str) -> str:
    plain = _ESCAPES.sub("", text).rstrip()
    return f"```{{ .text .output }}\n{plain}\n```" if plain else ""
