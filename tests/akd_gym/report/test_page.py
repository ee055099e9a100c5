"""The page as a file: whole, closed to the network, and its data nothing but data."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import json
import re

import pytest

from akd_gym.errors import StorageError
from akd_gym.report.page import json_for_script, render_page, report_data, write_report
from akd_gym.report.reading import read_reported_runs


class Scripts(html.parser.HTMLParser):
    """The scripts of a page as a browser would cut them out, and what else the page could fetch."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=False)
        self.scripts: list[tuple[dict, str]] = []
        self.addresses: list[str] = []
        self._inside = False
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self._inside = tag == "script"
        if self._inside:
            self.scripts.append((dict(attributes), ""))
        self.addresses += [value for name, value in attributes if name in ("src", "href", "action", "data", "srcset")]

    def handle_endtag(self, tag):
        self._inside = False

    def handle_data(self, data):
        if self._inside:
            attributes, text = self.scripts[-1]
            self.scripts[-1] = (attributes, text + data)


@pytest.fixture(scope="module")
def page(searched, tmp_path_factory):
    path = write_report(tmp_path_factory.mktemp("page") / "report.html", read_reported_runs([searched()]))
    return path.read_text(encoding="utf-8")


def test_the_page_holds_its_data_plotly_and_one_script(page):
    scripts = Scripts(page).scripts
    assert [attributes for attributes, _ in scripts] == [{"type": "application/json", "id": "report-data"}, {}, {}]
    data = json.loads(scripts[0][1])
    assert [run["name"] for run in data["runs"]] == ["run"]
    assert "plotly.js v" in scripts[1][1][:200]


def test_the_page_names_no_address_but_its_own_parts(page):
    assert Scripts(page).addresses == ["data:,", "#main"]


def test_no_script_runs_but_the_two_whose_hashes_the_policy_names(page):
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)[1]
    assert "default-src 'none'" in policy
    assert "connect-src 'none'" in policy
    allowed = re.search(r"script-src ([^;]+)", policy)[1].split()
    texts = [text for attributes, text in Scripts(page).scripts if not attributes]
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts]
    assert allowed == [f"'sha256-{one}'" for one in hashes]


def test_only_the_live_page_may_ask_and_only_its_own_server():
    page = render_page(report_data([]), live=True)
    assert "connect-src 'self'" in page
    assert 'data-live="true"' in page


@pytest.mark.parametrize("text", ["</script><script>", "<!--<script>", "\u2028\u2029", "]]>", "&lt;", "\x00", "é"])
def test_data_end_no_script_and_come_back_as_they_were(text):
    written = json_for_script({"name": [text]})
    assert "<" not in written
    assert written.isascii()
    assert json.loads(written) == {"name": [text]}


def test_markup_in_a_name_is_escaped_in_the_title():
    data = report_data([]) | {"runs": [{"name": "</title><script>x</script>"}]}
    page = render_page(data)
    assert "<title>&lt;/title&gt;&lt;script&gt;x&lt;/script&gt;: akd_gym report</title>" in page
    assert len(Scripts(page).scripts) == 3


def test_equal_searches_give_equal_pages_but_for_the_time(searched):
    runs = read_reported_runs([searched()])
    first, second = (report_data(runs) | {"made": ""} for _ in range(2))
    assert render_page(first) == render_page(second)


def test_a_page_that_cannot_be_written_is_said(tmp_path, searched):
    with pytest.raises(StorageError, match="cannot be written"):
        write_report(tmp_path / "no" / "report.html", read_reported_runs([searched()]))
