"""A hook of mkdocs: a public name that a docstring puts in backticks leads to where it is explained."""

from __future__ import annotations

import importlib
import re

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

_PACKAGES = ("akd_gym", "akd_gym.envs", "akd_gym.agents", "akd_gym.teachers", "akd_gym.distill", "akd_gym.device_lab")
_FOLDERS = ("api/", "environments/")
_TOKEN = re.compile(r"<(?P<tag>/?(?:a|autoref|h\d|pre)\b)[^>]*>|<code>(?P<name>[A-Za-z_]\w*)</code>")
_INSIDE = ("a", "autoref", "pre", "h1", "h2", "h3", "h4", "h5", "h6")
"""Where a name stays as it is: in links, in headings, in code."""


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Make the links; what is public and explained nowhere stays as it is."""
    return link_names(html, public_names()) if page.file.src_uri.startswith(_FOLDERS) else html


def public_names() -> dict[str, str]:
    """Every name that a package lists, with its full one; the first package that lists it counts."""
    names: dict[str, str] = {}
    for package in _PACKAGES:
        for name in importlib.import_module(package).__all__:
            if not name.startswith("_") and f"{package}.{name}" not in _PACKAGES:
                names.setdefault(name, f"{package}.{name}")
    return names


def link_names(html: str, names: dict[str, str]) -> str:
    """Put a reference around each name in code, but where there is a link, a heading or a block of code already."""
    depth = 0

    def link(found: re.Match[str]) -> str:
        nonlocal depth
        if tag := found["tag"]:
            if tag.removeprefix("/") in _INSIDE:
                depth += -1 if tag.startswith("/") else 1
            return found[0]
        if depth or found["name"] not in names:
            return found[0]
        return f'<autoref optional identifier="{names[found["name"]]}">{found[0]}</autoref>'

    return _TOKEN.sub(link, html)
