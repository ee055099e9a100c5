"""The report served on this machine while its searches run: a page, and the numbers that it keeps asking for."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from akd_gym.agents.settings import read_settings, run_ledger
from akd_gym.errors import AKDGymError, InvalidSettingError, StorageError
from akd_gym.report.page import json_for_script, render_page, report_data
from akd_gym.report.reading import distinct_names, has_begun, read_reported_run

_HOST = "127.0.0.1"
_LARGEST_PORT = 65535
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}


class _News(NamedTuple):
    """What the page shows at a moment."""

    stamp: object
    data: dict[str, Any]
    json: bytes
    tag: str


class LiveReport:
    """A page about searches, at `url` until the report is closed; read anew when their ledgers have grown.

    It answers this machine alone, and only requests that name it as their host: a page of the internet whose name
    was bound to 127.0.0.1 learns nothing.

    Args:
        folders: Run directories, whose searches may not have evaluated anything yet.
        port: Where to listen; None for a free port.

    Raises:
        InvalidSettingError: A port that is none, or directories that are given twice.
        RunMismatchError: One is no run directory.
        SchemaVersionError, CorruptFileError: See `read_reported_runs`.
        StorageError: The port cannot be listened on.
    """

    def __init__(self, folders: Sequence[Path], port: int | None = None) -> None:
        if port is not None and not 0 < port <= _LARGEST_PORT:
            raise InvalidSettingError(f"`port` must be from 1 to {_LARGEST_PORT}, but got {port}.")
        self._folders, self._names = list(folders), distinct_names(folders)
        for folder in folders:
            has_begun(folder)  # says what is wrong with it before anything is served
        self._lock = threading.Lock()
        self._news: _News | None = None
        try:
            self._server = ThreadingHTTPServer((_HOST, port or 0), _handler(self))
        except OSError as error:
            raise StorageError(
                f"Port {port} of {_HOST} cannot be listened on: {error.strerror or error}. Leave `--port` out for a "
                "free one."
            ) from error
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{_HOST}:{self._server.server_port}/"

    @property
    def hosts(self) -> tuple[str, ...]:
        """What requests may call this server."""
        port = self._server.server_port
        ends = ("", ":80") if port == 80 else (f":{port}",)  # browsers leave out the usual one
        return tuple(name + end for name in (_HOST, "localhost") for end in ends)

    def serve(self) -> None:
        """Answers until `close`, or until this thread is interrupted."""
        self._server.serve_forever(poll_interval=0.1)

    def close(self) -> None:
        """Ends `serve` and gives the port back."""
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> LiveReport:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.server_close()

    def page(self) -> bytes:
        """The page as it is now."""
        return render_page(self._read().data, live=True).encode()

    def news(self) -> tuple[bytes, str]:
        """The data as JSON, and a tag that changes with it."""
        news = self._read()
        return news.json, news.tag

    def _read(self) -> _News:
        """What the searches have found, read only where a ledger has changed."""
        with self._lock:
            stamp = [_stamp(folder) for folder in self._folders]
            if self._news is None or self._news.stamp != stamp:
                try:
                    named = zip(self._folders, self._names, strict=True)
                    data = report_data([read_reported_run(folder, name) for folder, name in named if has_begun(folder)])
                except AKDGymError as error:
                    data = report_data([]) | {"error": str(error)}
                text = json_for_script(data).encode()
                self._news = _News(stamp, data, text, f'"{hashlib.sha256(text).hexdigest()[:32]}"')
            return self._news


def _stamp(folder: Path) -> object:
    """What changes when something is added to a search."""
    try:
        ledger = run_ledger(read_settings(folder), folder)
    except AKDGymError as error:
        return str(error)
    return [_size_and_time(path) for path in (ledger, ledger.with_name(f"{ledger.name}-wal"))]


def _size_and_time(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _handler(report: LiveReport) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        server_version = "akd_gym"
        sys_version = ""
        timeout = 30  # of a connection that says nothing

        def do_GET(self) -> None:
            if self.headers.get("Host") not in report.hosts:
                self._answer(421, b"This server answers only requests to its own address.\n", "text/plain")
            elif self.path == "/":
                self._answer(200, report.page(), "text/html; charset=utf-8")
            elif self.path == "/data.json":
                content, tag = report.news()
                if self.headers.get("If-None-Match") == tag:
                    self._answer(304, b"", "application/json", tag)
                else:
                    self._answer(200, content, "application/json", tag)
            else:
                self._answer(404, b"There is / and /data.json here.\n", "text/plain")

        def _answer(self, status: int, content: bytes, kind: str, tag: str | None = None) -> None:
            self.send_response(status)
            for name, value in _HEADERS.items():
                self.send_header(name, value)
            if tag is not None:
                self.send_header("ETag", tag)
            if status != 304:
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """The terminal is for what went wrong, which the page says itself."""

    return Handler
