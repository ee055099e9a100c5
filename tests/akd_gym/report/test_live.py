"""The live report as its clients see it, over real connections."""

from __future__ import annotations

import http.client
import json
import socket
import threading

import pytest

from akd_gym.errors import InvalidSettingError, RunMismatchError, StorageError
from akd_gym.report.live import LiveReport


@pytest.fixture
def serve():
    """Serves a report in a thread; answers its port, and what fetches from it."""
    opened = []

    def start(*folders, port=None):
        report = LiveReport(folders, port)
        thread = threading.Thread(target=report.serve, daemon=True)
        thread.start()
        opened.append((report, thread))
        number = int(report.url.rsplit(":", 1)[1].strip("/"))

        def fetch(path="/data.json", method="GET", **headers):
            connection = http.client.HTTPConnection("127.0.0.1", number, timeout=30)
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, headers=names)
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            return answer, content

        return number, fetch

    yield start
    for report, thread in opened:
        report.close()
        thread.join()


def test_data_follow_the_search_and_are_sent_once(serve, begun):
    run = begun(0)
    _, fetch = serve(run)
    answer, content = fetch()
    assert answer.status == 200
    assert json.loads(content)["runs"] == []
    empty = answer.headers["ETag"]
    begun(9)
    answer, content = fetch(If_None_Match=empty)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    assert json.loads(content)["runs"][0]["number"] == list(range(9))
    again, nothing = fetch(If_None_Match=answer.headers["ETag"])
    assert (again.status, nothing) == (304, b"")
    begun(12)
    answer, content = fetch(If_None_Match=answer.headers["ETag"])
    assert len(json.loads(content)["runs"][0]["number"]) == 12


def test_the_page_holds_what_there_is_and_may_ask_its_server(serve, begun):
    _, fetch = serve(begun(4))
    answer, content = fetch("/")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert b"connect-src 'self'" in content
    assert b'"number":[0,1,2,3]' in content
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_only_requests_to_its_own_address_are_answered(serve, begun):
    port, fetch = serve(begun(4))
    for host in (f"127.0.0.1:{port}", f"localhost:{port}"):
        assert fetch(Host=host)[0].status == 200
    for host in (
        "evil.example",
        f"evil.example:{port}",
        "127.0.0.1",
        f"127.0.0.1:{port + 1}",
        f"127.0.0.1:{port}.evil",
    ):
        for path in ("/", "/data.json"):
            answer, content = fetch(path, Host=host)
            assert answer.status == 421
            assert b"number" not in content


@pytest.mark.parametrize("path", ["/../settings.json", "/ledger.sqlite", "/data.json/", "/favicon.ico"])
def test_there_is_nothing_else(serve, begun, path):
    _, fetch = serve(begun(4))
    assert fetch(path)[0].status == 404


def test_nothing_can_be_changed(serve, begun):
    _, fetch = serve(begun(4))
    for method in ("POST", "PUT", "DELETE"):
        assert fetch("/data.json", method)[0].status == 501


def test_it_listens_on_this_machine_alone(serve, begun):
    port, _ = serve(begun(4))
    with socket.socket() as other, pytest.raises(OSError, match="refused"):
        other.connect(("127.0.0.2", port))


def test_several_searches_are_shown_as_they_begin(serve, begun, searched):
    _, fetch = serve(begun(0), searched())
    assert [run["name"] for run in json.loads(fetch()[1])["runs"]] == ["run"]
    begun(3)
    assert [run["name"] for run in json.loads(fetch()[1])["runs"]] == ["begun", "run"]


def test_a_ledger_that_breaks_is_said_and_mended_is_read_again(serve, begun):
    run = begun(8)
    ledger = run / "ledger.sqlite"
    whole = ledger.read_bytes()
    _, fetch = serve(run)
    ledger.write_bytes(whole[: len(whole) // 2])
    data = json.loads(fetch()[1])
    assert "akd repair" in data["error"]
    assert data["runs"] == []
    ledger.write_bytes(whole)
    data = json.loads(fetch()[1])
    assert "error" not in data
    assert len(data["runs"][0]["number"]) == 8


def test_what_cannot_be_served_is_refused_at_once(serve, begun, tmp_path):
    run = begun(4)
    with pytest.raises(RunMismatchError, match="must be the directory of a search"):
        LiveReport([tmp_path])
    with pytest.raises(InvalidSettingError, match="given once"):
        LiveReport([run, run])
    for port in (0, -1, 65536):
        with pytest.raises(InvalidSettingError, match="from 1 to 65535"):
            LiveReport([run], port)
    port, _ = serve(run)
    with pytest.raises(StorageError, match="Leave `--port` out"):
        LiveReport([run], port)
