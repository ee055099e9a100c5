"""The built pages in Debian's chromium, opened from the disk."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Debian's chromium: apt-get install chromium"),
]

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
PAGES = ("index", "quickstart", "environments/akdsearch", "api/agents", "cli", "leaderboard", "paper")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Any, site: Path) -> Iterator[Callable[..., Any]]:
    """Opens a page of the site; at the end nothing may have been asked of anybody else, and nothing complained of."""
    wrong: list[str] = []
    contexts = []

    def open_page(name: str, **settings: Any) -> Any:
        context = browser.new_context(**settings)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: request.url.startswith(("file:", "data:")) or wrong.append(request.url))
        page.on("console", lambda message: message.type in ("error", "warning") and wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(f"file://{site / name}.html")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not wrong


def test_search_works_from_the_disk_without_a_network(visit: Callable[..., Any]) -> None:
    page = visit("extend/agent", offline=True)
    page.keyboard.press("f")
    page.keyboard.type("regularised evolution")
    results = page.locator(".md-search-result__link")
    results.first.wait_for(timeout=60_000)
    links = [link.get_attribute("href") for link in results.all()]
    assert any("agents.html" in link for link in links)
    results.first.click()
    page.wait_for_url("**/*.html?h=*")
    assert page.locator("article mark").count()


@pytest.mark.parametrize("name", PAGES)
def test_pages_fit_a_phone(visit: Callable[..., Any], name: str) -> None:
    page = visit(name, viewport={"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator("article h1").is_visible()


def test_dark_mode_is_the_systems_or_chosen(visit: Callable[..., Any]) -> None:
    background = "getComputedStyle(document.body).backgroundColor.match(/[\\d.]+/g).slice(0, 3).map(Number)"
    light = visit("index", color_scheme="light")
    assert min(light.evaluate(background)) > 230
    dark = visit("index", color_scheme="dark")
    assert max(dark.evaluate(background)) < 60
    dark.locator("label[title='Switch to light mode']").click()
    assert min(dark.evaluate(background)) > 230
