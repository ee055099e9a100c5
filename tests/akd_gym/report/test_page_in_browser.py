"""The page in Debian's chromium: what it shows, and what people do with it."""

from __future__ import annotations

import re
import shlex
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from akd_gym.agents.settings import SearchSettings
from akd_gym.analysis.pareto import pareto_front, pareto_outcomes
from akd_gym.analysis.runs import SearchRun
from akd_gym.architecture import NetworkSpec
from akd_gym.ledger_records import TrainingRecord
from akd_gym.report import LiveReport, read_reported_runs, separations, write_report

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Debian's chromium: apt-get install chromium"),
]

FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
PLANE = {"left": 56, "right": 14, "top": 12, "bottom": 46}
"""Pixels around the axes of the plane, as `plots.js` has them."""


class Opened:
    """A page with what it complained of and what it asked for."""

    def __init__(self, page: Any, url: str) -> None:
        self.page, self.url = page, url
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.on(
            "console", lambda message: message.type in ("error", "warning") and self.complaints.append(message.text)
        )
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(url)

    def drawn(self) -> Opened:
        self.page.wait_for_selector("body[data-drawn]", timeout=60_000)
        return self

    def doing(self, action: Any) -> None:
        """Does something that draws the page anew, and waits until it is."""
        before = self.page.evaluate("document.body.dataset.drawn")
        action()
        self.page.wait_for_selector(f"body:not([data-drawn='{before}'])", timeout=60_000)

    def until(self, selector: str, text: str) -> None:
        """Waits until an element says just that."""
        exact = re.compile(rf"^{re.escape(text)}$")
        self.page.locator(selector, has_text=exact).wait_for(timeout=60_000)

    def text(self, selector: str) -> str:
        return self.page.inner_text(selector)

    def slide(self, count: int) -> None:
        self.doing(lambda: self.page.fill("#time", str(count)))

    def rows(self) -> list[int]:
        """Numbers of the candidates in the table."""
        keys = self.page.eval_on_selector_all("#students tbody", "all => all.map(one => one.dataset.student)")
        return [int(key.split("-")[1]) for key in keys]

    def place(self, outcome: Any) -> tuple[float, float]:
        """Where a candidate is drawn in the plane."""
        box = self.page.locator("#plane").bounding_box()
        layout = self.page.evaluate(
            "(() => { const l = document.querySelector('#plane .axes').layout;"
            " return {x: l.xaxis.range, y: l.yaxis.range, log: l.xaxis.type === 'log'}; })()"
        )
        across, up = outcome.cost, 100 * outcome.accuracy
        if layout["log"]:
            across = self.page.evaluate("Math.log10", across)
        width = box["width"] - PLANE["left"] - PLANE["right"]
        height = box["height"] - PLANE["top"] - PLANE["bottom"]
        (x0, x1), (y0, y1) = layout["x"], layout["y"]
        x = box["x"] + PLANE["left"] + width * (across - x0) / (x1 - x0)
        return x, box["y"] + PLANE["top"] + height * (1 - (up - y0) / (y1 - y0))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def show(browser):
    """Opens pages; at the end none of them may have complained, or asked for anything but itself."""
    opened, contexts = [], []

    def open_page(target: Path | str, **options: Any) -> Opened:
        url = target if isinstance(target, str) else target.as_uri()
        contexts.append(browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | options))
        opened.append(Opened(contexts[-1].new_page(), url))
        return opened[-1]

    yield open_page
    for one in opened:
        assert one.complaints == []
        if one.url.startswith("file:"):
            assert one.requests == [one.url]
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def single(searched, tmp_path_factory):
    """The report of a search, and the search."""
    runs = read_reported_runs([searched()])
    return write_report(tmp_path_factory.mktemp("page") / "report.html", runs), runs[0].search


@pytest.fixture(scope="module")
def shared(browser, single):
    context = browser.new_context(
        viewport={"width": 1280, "height": 900}, permissions=["clipboard-read", "clipboard-write"]
    )
    yield Opened(context.new_page(), single[0].as_uri()).drawn()
    context.close()


@pytest.fixture
def page(shared):
    """The page of `single` as it was opened; tests share it, as a browser takes a second to open one."""
    yield shared
    assert shared.complaints == []
    assert shared.requests == [shared.url]
    if shared.page.is_visible("#clear"):
        shared.doing(lambda: shared.page.click("#clear"))
    for selector, value in {"#time": "60", "#axis": "ms", "#rows": "front"}.items():
        if shared.page.input_value(selector) != value:
            fill = shared.page.fill if selector == "#time" else shared.page.select_option
            shared.doing(lambda fill=fill, selector=selector, value=value: fill(selector, value))
    if shared.page.get_attribute("[data-drag=select]", "aria-pressed") == "false":
        shared.doing(lambda: shared.page.click("[data-drag=select]"))
    while not shared.page.is_visible("th[aria-sort=descending] [data-key=sort-accuracy]"):
        shared.doing(lambda: shared.page.click("[data-key=sort-accuracy]"))
    shared.page.mouse.move(2, 2)
    shared.page.evaluate("scrollTo(0, 0); document.activeElement.blur()")


@pytest.fixture(scope="module")
def compared(searched, tmp_path_factory):
    """The report of three searches: two of one teacher, one by hard labels."""
    runs = read_reported_runs([searched(), searched("second", seed=1), searched("hard", teacher="none")])
    return write_report(tmp_path_factory.mktemp("page") / "report.html", runs, separations(runs)), runs


def test_pointing_at_a_candidate_shows_its_network_its_accuracy_and_its_device(page, single):
    search = single[1]
    outcome = pareto_outcomes(search.outcomes)[0]
    page.page.mouse.move(*page.place(outcome))
    card = page.page.locator("#card")
    card.wait_for(state="visible")
    text = card.inner_text()
    assert f"Candidate {outcome.number}" in text
    assert f"{100 * outcome.accuracy:.2f} %" in text
    assert f"{outcome.cost:.5f} ms on AKDBench (predicted)" in text
    spec = NetworkSpec.parse(outcome.architecture)
    assert card.locator(".slab").count() == sum(block.layers for block in spec.blocks) + 2
    assert page.text("#inspector-heading") == f"Candidate {outcome.number}"
    page.page.mouse.move(2, 2)
    card.wait_for(state="hidden")


def test_the_drawing_shows_what_the_string_says(page, single):
    search = single[1]
    page.page.select_option("#rows", "all")
    page.page.wait_for_selector("#students tbody:nth-of-type(60)")
    for number in (0, 7, 23, 41):
        page.page.focus(f"[data-key='look-0-{number}']")
        spec = NetworkSpec.parse(search.outcomes[number].architecture)
        layers = list(spec.layers())
        drawing = page.page.locator("#drawing svg")
        assert page.text("#inspector-heading") == f"Candidate {number}"
        assert drawing.locator(".slab").count() == len(layers) + 2
        assert drawing.locator(".skip").count() == sum(layer.skip != "none" for layer in layers)
        assert drawing.locator(".skip.pool").count() == sum(layer.skip == "pool" for layer in layers)
        assert drawing.locator(".squeeze").count() == sum(block.se > 0 for block in spec.blocks)
        words = drawing.get_attribute("aria-label")
        assert words.count("block ") == len(spec.blocks)
        assert f"head of {spec.head_channels} channels" in words
        strides = np.cumprod([spec.stem_stride, *(block.stride for block in spec.blocks), 1])
        channels = [spec.stem_channels, *(block.channels for block in spec.blocks), spec.head_channels]
        sides = [-(-28 // stride) for stride in strides.tolist()]
        shapes = [f"{count}×{side}×{side}" for count, side in zip(channels, sides, strict=True)]
        assert [text for text in drawing.locator("text").all_text_contents() if text.count("×") == 2] == shapes


@pytest.mark.parametrize("tool", ["Box", "Lasso"])
def test_brushing_selects_in_all_plots_and_filters_the_table(page, single, tool):
    search = single[1]
    if tool == "Lasso":
        page.doing(lambda: page.page.click("text=Lasso"))
    front = pareto_outcomes(search.outcomes)
    best = front[-1]
    x, y = page.place(best)
    left, top, right, bottom = x - 40, y - 12, x + 30, y + 90
    corners = [(left, top), (right, bottom)]
    if tool == "Lasso":
        corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]

    def brush() -> None:
        page.page.mouse.move(*corners[0])
        page.page.mouse.down()
        for corner in corners[1:]:
            page.page.mouse.move(*corner, steps=6)
        page.page.mouse.up()

    page.doing(brush)
    inside = [o for o in search.outcomes if left <= page.place(o)[0] <= right and top <= page.place(o)[1] <= bottom]
    assert 1 < len(inside) < 60
    assert page.text("#selection") == f"{len(inside)} selected"
    kept = {o.number for o in front} & {o.number for o in inside}
    assert set(page.rows()) == kept
    assert best.number in kept
    page.doing(lambda: page.page.click("#clear"))
    assert page.text("#selection") == ""
    assert set(page.rows()) == {o.number for o in front}


def test_brushing_the_course_selects_in_the_plane(page, single):
    search = single[1]
    box = page.page.locator("#course").bounding_box()

    def brush() -> None:  # the right half of the uppermost panel, all of its height
        page.page.mouse.move(box["x"] + (62 + box["width"] - 14) / 2, box["y"] + 14)
        page.page.mouse.down()
        page.page.mouse.move(box["x"] + box["width"] - 15, box["y"] + 145, steps=8)
        page.page.mouse.up()

    page.doing(brush)
    assert page.text("#selection") == "30 selected"
    front = {o.number for o in pareto_outcomes(search.outcomes)}
    assert set(page.rows()) == {number for number in front if number >= 30}


def test_numbers_select_without_a_pointer(page, single):
    search = single[1]
    page.page.click("text=Select by numbers")
    page.page.fill("[name=highCost]", f"{search.target}")
    page.page.fill("[name=lowAccuracy]", "74")
    page.doing(lambda: page.page.press("[name=lowAccuracy]", "Enter"))
    inside = [o for o in search.outcomes if o.cost <= search.target and o.accuracy >= 0.74]
    assert page.text("#selection") == f"{len(inside)} selected"
    page.page.focus("#plane")
    page.doing(lambda: page.page.keyboard.press("Escape"))
    assert page.text("#selection") == ""


def test_the_slider_goes_through_time_in_plots_and_table(page, single):
    search = single[1]
    for count in (1, 20, 45):
        page.slide(count)
        expected = pareto_outcomes(search.outcomes[:count])
        assert page.text("#time-value") == f"{count} of 60"
        assert sorted(page.rows()) == sorted(o.number for o in expected)
        lines = page.page.evaluate("document.querySelector('#plane .axes').data[0].x")
        assert lines == pytest.approx([o.cost for o in expected])
        numbers = page.page.evaluate("document.querySelector('#course .axes').data[0].x")
        assert numbers == list(range(count))
        means = page.page.evaluate("document.querySelector('#course .axes').data[0].y")
        last = [o.reward for o in search.outcomes[max(0, count - 6) : count]]
        assert means[-1] == pytest.approx(sum(last) / len(last))  # a tenth of 60


def test_playing_goes_through_time_by_itself_to_the_end(page):
    page.page.click("#play")
    page.page.wait_for_selector("#play[aria-label=Pause]")
    page.page.locator("#time-value", has_text=re.compile(r"^[1-5]\d? of 60$")).wait_for()
    page.until("#time-value", "60 of 60")
    assert page.page.get_attribute("#play", "aria-label") == "Play the search"


def test_the_table_sorts_by_every_column(page, single):
    search = single[1]
    front = pareto_outcomes(search.outcomes)
    assert page.rows() == [o.number for o in reversed(front)]
    keys = {"latency": lambda o: o.cost, "multiply-adds": lambda o: o.madds, "parameters": lambda o: o.params}
    for title, key in {**keys, "candidate": lambda o: o.number}.items():
        heading = page.page.locator("#students th", has_text=title)
        page.doing(lambda heading=heading: heading.locator("button").click())
        assert page.rows() == [o.number for o in sorted(front, key=key)]
        assert page.page.locator("#students th[aria-sort=ascending]").inner_text().startswith(title)
        page.doing(lambda heading=heading: heading.locator("button").press("Enter"))
        assert page.rows() == [o.number for o in sorted(front, key=key, reverse=True)]
        assert page.page.locator("#students th[aria-sort=descending]").count() == 1


def test_architecture_and_training_command_are_copied(page, single):
    search = single[1]
    best = pareto_outcomes(search.outcomes)[-1]
    for kind in ("architecture", "command"):
        page.page.click(f"[data-key='{kind}-0-{best.number}']")
        page.until(f"[data-key='{kind}-0-{best.number}']", "Copied")
        copied = page.page.evaluate("navigator.clipboard.readText()")
        if kind == "architecture":
            assert copied == best.architecture
        else:
            words = shlex.split(copied)
            assert words[:3] == ["akd", "train", best.architecture]
            assert words[words.index("--out") + 1].endswith(f"/run/student-{best.number}")
            assert words[words.index("--teacher") + 1] == "shipped:resnet"


def test_arrow_keys_step_through_candidates(page, single):
    search = single[1]
    page.page.focus("#plane")
    front = [o.number for o in pareto_outcomes(search.outcomes)]
    best = max(search.outcomes, key=lambda o: o.reward).number
    assert page.text("#inspector-heading") == f"Candidate {best}"
    if best in front:
        page.page.keyboard.press("ArrowDown")
        expected = front[max(0, front.index(best) - 1)]
        assert page.text("#inspector-heading") == f"Candidate {expected}"
        best = expected
    page.page.keyboard.press("ArrowRight")
    assert page.text("#inspector-heading") == f"Candidate {min(best + 1, 59)}"
    page.page.keyboard.press("ArrowLeft")
    page.page.keyboard.press("ArrowLeft")
    assert page.text("#inspector-heading") == f"Candidate {min(best + 1, 59) - 2}"


def test_everything_is_reached_by_the_tab_key(page):
    reached = set()
    page.page.focus(".skip-link")
    for _ in range(120):
        page.page.keyboard.press("Tab")
        active = page.page.evaluate(
            "(a => a.id || a.dataset.drag || (a.dataset.key || '').replace(/-.*/, '') || a.tagName)"
            "(document.activeElement)"
        )
        reached.add(active)
        if active == "environment":
            break
    assert {
        "theme",
        "play",
        "time",
        "select",
        "lasso",
        "zoom",
        "pan",
        "reset-view",
        "axis",
        "plane",
        "course",
    } <= reached
    assert {"rows", "sort", "look", "architecture", "command", "SUMMARY", "settings", "environment"} <= reached


def test_multiply_adds_can_be_the_cost(page, single):
    search = single[1]
    page.doing(lambda: page.page.select_option("#axis", "madds"))
    front = pareto_front([o.madds for o in search.outcomes], [o.accuracy for o in search.outcomes])
    lines = page.page.evaluate("document.querySelector('#plane .axes').data[0].x")
    assert lines == pytest.approx([search.outcomes[i].madds / 1e6 for i in front])
    assert page.page.evaluate("document.querySelector('#plane .axes').layout.shapes.length") == 0  # no such target


def test_zooming_and_coming_back(page):
    page.doing(lambda: page.page.click("[data-drag=zoom]"))
    ranges = "JSON.stringify([document.querySelector('#plane .axes').layout.xaxis.range].flat().map(Number))"
    whole = page.page.evaluate(ranges)
    box = page.page.locator("#plane").bounding_box()
    page.page.mouse.move(box["x"] + 200, box["y"] + 100)
    page.page.mouse.down()
    page.page.mouse.move(box["x"] + 400, box["y"] + 300, steps=5)
    page.page.mouse.up()
    zoomed = page.page.evaluate(ranges)
    assert zoomed != whole
    page.doing(lambda: page.page.click("#reset-view"))
    assert page.page.evaluate(ranges) == whole


def test_searches_side_by_side(show, compared):
    path, runs = compared
    page = show(path).drawn()
    assert page.text("h1") == "3 searches: run, second, hard"
    head = page.page.locator("#summary thead th").all_inner_texts()
    assert [name.strip() for name in head] == ["run", "second", "hard"]
    best = page.page.locator("#summary tr", has_text="best reward").locator("td").all_inner_texts()
    assert best == [f"{run.search.rewards.max():.4f}" for run in runs]
    differing = page.page.locator("#settings tr.differs th").all_inner_texts()
    assert [label.split("\n")[0] for label in differing] == ["teacher", "seed", "recipe"]
    assert page.page.locator("#separations tbody tr").count() == 3
    fronts = sum(len(pareto_outcomes(run.search.outcomes)) for run in runs)
    assert len(page.rows()) == fronts
    page.doing(lambda: page.page.click("[data-key=run-1]"))
    assert len(page.rows()) == fronts - len(pareto_outcomes(runs[1].search.outcomes))
    assert page.page.get_attribute("[data-key=run-1]", "aria-pressed") == "false"
    colours = page.page.evaluate("document.querySelector('#plane .axes').data.map(one => one.line.color)")
    assert len(set(colours)) == 2


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_theme_follows_the_system_and_can_be_changed(show, single, theme):
    path, _ = single
    page = show(path, color_scheme=theme).drawn()
    ground = "getComputedStyle(document.body).backgroundColor"

    def is_dark() -> bool:
        return sum(map(int, re.findall(r"\d+", page.page.evaluate(ground))[:3])) < 200

    assert is_dark() == (theme == "dark")
    page.doing(lambda: page.page.click("#theme"))
    assert is_dark() == (theme != "dark")
    assert page.page.get_attribute("#theme", "aria-pressed") == ("false" if theme == "dark" else "true")
    page.doing(lambda: page.page.click("#theme"))
    assert is_dark() == (theme == "dark")


@pytest.mark.parametrize(("width", "theme"), [(390, "dark"), (1280, "light")])
def test_no_serious_accessibility_fault_and_nothing_wider_than_the_screen(show, compared, width, theme):
    from axe_playwright_python.sync_playwright import Axe

    path, _ = compared
    page = show(path, viewport={"width": width, "height": 844}, color_scheme=theme, has_touch=width < 500).drawn()
    assert page.page.evaluate("document.documentElement.scrollWidth") <= width
    page.page.focus("#plane")
    page.page.keyboard.press("ArrowUp")
    found = Axe().run(page.page).response["violations"]
    assert [
        (v["id"], [n["html"][:120] for n in v["nodes"]]) for v in found if v["impact"] in ("serious", "critical")
    ] == []


def test_a_finger_on_a_plot_scrolls_and_a_tap_inspects(show, single):
    path, search = single
    options = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    page = show(path, **options).drawn()
    assert page.page.evaluate("document.querySelector('#plane .axes').layout.dragmode") is False
    outcome = pareto_outcomes(search.outcomes)[0]
    page.page.locator("#plane").scroll_into_view_if_needed()
    page.page.touchscreen.tap(*page.place(outcome))
    page.until("#inspector-heading", f"Candidate {outcome.number}")


def test_printing_is_light_and_in_the_width_of_the_paper(show, compared, tmp_path):
    path, _ = compared
    page = show(path, color_scheme="dark").drawn()
    ink = "document.querySelector('#plane .axes').layout.font.color"
    dark = page.page.evaluate(ink)
    page.page.emulate_media(media="print")
    page.doing(lambda: page.page.evaluate("dispatchEvent(new Event('beforeprint'))"))
    assert page.page.locator(".controls").first.is_hidden()
    assert page.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.page.evaluate(ink) == "#262a30"
    for plot in ("#plane", "#course"):
        assert page.page.locator(plot).bounding_box()["width"] == pytest.approx(186 / 25.4 * 96, abs=1)
        assert page.page.locator(f"{plot} .main-svg").first.bounding_box()["width"] == pytest.approx(703, abs=1)
    assert page.page.locator("#drawing svg").bounding_box()["width"] <= 704
    page.page.emulate_media(media="screen")
    page.doing(lambda: page.page.evaluate("dispatchEvent(new Event('afterprint'))"))
    assert page.page.evaluate(ink) == dark
    assert page.page.pdf(path=tmp_path / "report.pdf", format="A4").startswith(b"%PDF")


def test_markup_in_names_is_text(show, tmp_path, begun):
    markup = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>\u2028<!--"
    [run] = read_reported_runs([begun(6)])
    evaluations = []
    for e in run.search.evaluations:
        latency = e.latency | {"device": markup, "os": markup}
        evaluations.append(replace(e, candidate=replace(e.candidate, architecture=markup), latency=latency))
    evaluations[1] = replace(evaluations[1], training=TrainingRecord("infeasible", markup))
    search = SearchRun(markup, run.search.space, evaluations, budget=6)
    settings = SearchSettings(teacher=markup, data=f"imagefolder:{markup}")
    hostile = replace(run, folder=Path(markup), settings=settings, search=search)
    page = show(write_report(tmp_path / "report.html", [hostile, run])).drawn()
    page.page.focus("#plane")
    page.page.keyboard.press("ArrowUp")
    page.doing(lambda: page.page.select_option("#rows", "all"))
    assert page.page.evaluate("window.hacked") is None
    assert page.page.locator("img").count() == 0
    shown = " ".join(markup.split())
    for selector in ("h1", "#lead", "#summary", "#settings", "#environment", "#students", "#legend", "#strings"):
        assert shown in " ".join(page.page.text_content(selector).split()), selector
    assert "not written in the grammar" in page.text("#drawing")


def test_nothing_feasible_is_shown_as_such(show, tmp_path, begun):
    [run] = read_reported_runs([begun(6)])
    failed = TrainingRecord("infeasible", "diverged")
    evaluations = [replace(e, training=failed) for e in run.search.evaluations]
    search = SearchRun("failed", run.search.space, evaluations, budget=6)
    page = show(write_report(tmp_path / "report.html", [replace(run, search=search)])).drawn()
    assert "6 (6 diverged)" in page.text("#summary")
    assert page.page.locator("#inspector").is_hidden()
    assert page.text("#students caption").startswith("0 Pareto-best students")
    page.page.select_option("#axis", "params")


def test_a_live_page_fills_while_the_search_runs(show, begun):
    run = begun(0)
    with LiveReport([run]) as report:
        threading.Thread(target=report.serve, daemon=True).start()
        page = show(report.url)
        page.page.wait_for_selector("#waiting")
        assert "Nothing evaluated yet" in page.text("main")
        begun(10)
        page.drawn()
        page.until("#time-value", "10 of 10")
        assert "10 of 60 candidates: it is still running" in page.text("#notes")
        page.slide(4)
        begun(25)
        page.until("#time-value", "4 of 25")
        page.slide(25)
        begun(60)
        page.until("#time-value", "60 of 60")
        page.until("#live-status", "finished")
        assert {url.removeprefix(report.url) for url in page.requests} <= {"", "data.json"}
        report.close()
        page.until("#live-status", "the server has ended: this is what came last")
        page.complaints[:] = [text for text in page.complaints if "ERR_CONNECTION_REFUSED" not in text]
