"""A hook of mkdocs: pages that lie elsewhere in the repository, linked to as the repository itself links to them."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

OUTSIDE = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/tuning.md": "tuning.md",
}
"""Place in the repository -> place on the site."""

_LINK = re.compile(r"\]\((?P<target>[^)#:\s]+)(?P<anchor>#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    for place, uri in OUTSIDE.items():
        files.append(File.generated(config, uri, abs_src_path=str(root(config) / place)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links from the one kind of page to the other to where they are on the site."""
    return relink(markdown, page.file.src_uri, Path(config.docs_dir).name)


def root(config: MkDocsConfig) -> Path:
    """The repository."""
    return Path(config.docs_dir).parent


def relink(markdown: str, uri: str, docs: str = "docs") -> str:
    """Rewrite the relative links of the page at `uri` that go through the repository, and leave the others alone."""
    places = {on_site: place for place, on_site in OUTSIDE.items()}
    folder = posixpath.dirname(places.get(uri, f"{docs}/{uri}"))

    def on_site(link: re.Match[str]) -> str:
        place = posixpath.normpath(posixpath.join(folder, link["target"]))
        if place in OUTSIDE:
            target = OUTSIDE[place]
        elif uri in places and place.startswith(f"{docs}/"):
            target = place.removeprefix(f"{docs}/")
        else:
            return link[0]
        return f"]({posixpath.relpath(target, posixpath.dirname(uri) or '.')}{link['anchor'] or ''})"

    return _LINK.sub(on_site, markdown)
