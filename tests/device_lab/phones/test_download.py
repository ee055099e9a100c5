from __future__ import annotations

import hashlib
import http.server
import json
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from akd_gym.device_lab.phones.download import DEFAULT_URL, VERSION, cache_folder, ensure_benchmark, fetch_benchmark
from akd_gym.errors import CorruptFileError, InvalidSettingError, StorageError

pytestmark = pytest.mark.timeout(60)


def elf(machine: int = 183, bits: int = 2, body: bytes = b"\x00" * 300_000) -> bytes:
    """A 64-bit file with a table of one section at its end."""
    header = struct.pack(
        "<4sBB10xHHIQQQIHHHHHH", b"\x7fELF", bits, 1, 3, machine, 1, 0, 64, 64 + len(body), 0, 64, 56, 0, 64, 1, 0
    )
    return header + body + bytes(64)


PROGRAM = elf()
SHA256 = hashlib.sha256(PROGRAM).hexdigest()
Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


class Place:
    """A web server on this machine whose answer can be chosen, and which counts what it was asked."""

    def __init__(self) -> None:
        self.answer: Answer = whole(PROGRAM)
        self.asked = 0
        self.go_on = threading.Event()
        place = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                place.asked += 1
                place.answer(self)

            def log_message(self, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/benchmark_model"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.go_on.set()
        self.server.shutdown()
        self.server.server_close()


def whole(content: bytes, status: int = 200, announced: int | None = None) -> Answer:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(announced or len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def redirect(to: str) -> Answer:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", to)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


@pytest.fixture
def place() -> Iterator[Place]:
    place = Place()
    yield place
    place.close()


def nothing_in(folder: Path) -> bool:
    return not folder.exists() or not list(folder.iterdir())


def test_the_public_place_is_pinned_to_a_release():
    assert f"/{VERSION}/android_arm64/" in DEFAULT_URL
    assert "latest" not in DEFAULT_URL


def test_fetched_once_shown_and_pinned(place, tmp_path):
    said: list[str] = []
    told: list[tuple[int, int | None]] = []
    settings = {"url": place.url, "cache": tmp_path / "new" / "folder", "announce": said.append}
    path = ensure_benchmark(None, **settings, progress=lambda done, total: told.append((done, total)))
    assert path.read_bytes() == PROGRAM
    assert any(SHA256 in line for line in said)
    assert place.url in said[0]
    assert told[0] == (0, len(PROGRAM))
    assert told[-1] == (len(PROGRAM), len(PROGRAM))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    pin = json.loads((path.parent / "benchmark_model.json").read_text(encoding="utf-8"))
    assert (pin["url"], pin["sha256"], pin["size"]) == (place.url, SHA256, len(PROGRAM))
    assert ensure_benchmark(None, **settings, sha256=SHA256.upper()) == path
    assert (place.asked, len(said)) == (1, 2)
    assert {file.name for file in path.parent.iterdir()} == {"benchmark_model", "benchmark_model.json"}


def test_the_cache_is_used_offline(place, tmp_path):
    path = fetch_benchmark(url=place.url, cache=tmp_path)
    place.close()
    assert ensure_benchmark(None, url=place.url, cache=tmp_path) == path


def test_a_program_of_the_users_own_is_taken_as_it_is(place, tmp_path):
    own = tmp_path / "mine"
    own.write_bytes(b"for another instruction set")
    assert ensure_benchmark(own, url=place.url, cache=tmp_path) == own
    assert place.asked == 0
    with pytest.raises(StorageError, match=r"must be a file.*akd phones setup"):
        ensure_benchmark(tmp_path / "missing")


def test_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("AKD_GYM_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path / "benchmark_model"
    monkeypatch.delenv("AKD_GYM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "akd_gym" / "benchmark_model"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "akd_gym" / "benchmark_model"


@pytest.mark.parametrize("status", [404, 403, 500, 503])
def test_an_error_of_the_server_is_named(place, tmp_path, status):
    place.answer = whole(b"sorry", status)
    with pytest.raises(StorageError, match=rf"{place.url}.*{status}.*--benchmark PATH"):
        fetch_benchmark(url=place.url, cache=tmp_path)
    assert nothing_in(tmp_path)


@pytest.mark.parametrize("length", [0, 20, 100_000, len(PROGRAM) - 1])
def test_a_link_that_breaks_is_named(place, tmp_path, length):
    place.answer = whole(PROGRAM[:length], announced=len(PROGRAM))
    with pytest.raises(StorageError, match=rf"must give {len(PROGRAM)} bytes, but the link broke after {length}\."):
        fetch_benchmark(url=place.url, cache=tmp_path)
    assert nothing_in(tmp_path)


def test_a_link_that_breaks_where_the_server_gave_no_length_is_seen_by_the_content(place, tmp_path):
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(PROGRAM[:100_000])

    place.answer = answer
    with pytest.raises(CorruptFileError, match=f"whole program of {len(PROGRAM)} bytes or more, but gave 100000"):
        fetch_benchmark(url=place.url, cache=tmp_path)
    assert nothing_in(tmp_path)


def test_a_chunk_that_breaks_off_is_named(place, tmp_path):
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.protocol_version = "HTTP/1.1"
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"1000\r\n" + PROGRAM[:100])
        handler.close_connection = True

    place.answer = answer
    with pytest.raises(StorageError, match="--benchmark PATH"):
        fetch_benchmark(url=place.url, cache=tmp_path)
    assert nothing_in(tmp_path)


@pytest.mark.parametrize("begun", [False, True])
def test_a_server_that_falls_silent_is_given_up(place, tmp_path, begun):
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        if begun:
            whole(PROGRAM[:1000], announced=len(PROGRAM))(handler)
        place.go_on.wait(30)

    place.answer = answer
    with pytest.raises(StorageError, match=r"no answer within 0\.3 s.*--benchmark PATH"):
        fetch_benchmark(url=place.url, cache=tmp_path, timeout_s=0.3)
    assert nothing_in(tmp_path)


def test_a_server_that_drips_is_given_up(place, tmp_path):
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not place.go_on.wait(0.05):
            handler.wfile.write(b"x")

    place.answer = answer
    with pytest.raises(StorageError, match=r"within 0\.3 s, but it went on"):
        fetch_benchmark(url=place.url, cache=tmp_path, limit_s=0.3)
    assert nothing_in(tmp_path)


def test_no_server_and_no_name_are_named(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/benchmark_model"
    with pytest.raises(StorageError, match=r"must be reachable, but got: .*refused.*online.*--benchmark PATH"):
        fetch_benchmark(url=url, cache=tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"<!DOCTYPE html><html>Please log in to this network</html>" * 100,
        b"",
        elf(machine=62),
        elf(bits=1),
        PROGRAM[:40],
        b"#!/bin/sh\n",
    ],
    ids=["html", "empty", "x86", "32 bits", "short", "script"],
)
def test_what_is_no_program_for_phones_is_not_kept(place, tmp_path, content):
    place.answer = whole(content)
    with pytest.raises(
        CorruptFileError, match=r"must give a 64-bit ARM executable, but gave \d+ bytes.*--benchmark PATH"
    ):
        fetch_benchmark(url=place.url, cache=tmp_path)
    assert nothing_in(tmp_path)


def test_another_hash_than_asked_for_is_not_kept(place, tmp_path):
    asked = "0" * 64
    with pytest.raises(CorruptFileError, match=f"must have the SHA-256 {asked} that was asked for, but has {SHA256}"):
        fetch_benchmark(url=place.url, cache=tmp_path, sha256=asked)
    assert nothing_in(tmp_path)
    path = fetch_benchmark(url=place.url, cache=tmp_path, sha256=SHA256)
    with pytest.raises(CorruptFileError, match=f"{path} must have the SHA-256 {asked}"):
        ensure_benchmark(None, url=place.url, cache=tmp_path, sha256=asked)


@pytest.mark.parametrize("change", [lambda c: c[:-1], lambda c: c[:5000] + b"x" + c[5001:], lambda c: b""])
def test_a_file_changed_after_it_was_fetched_is_refused_with_the_cure(place, tmp_path, change):
    path = fetch_benchmark(url=place.url, cache=tmp_path)
    path.write_bytes(change(PROGRAM))
    with pytest.raises(
        CorruptFileError, match=rf"{path} must have the SHA-256 {SHA256}.*Remove it and run `akd phones"
    ):
        ensure_benchmark(None, url=place.url, cache=tmp_path)
    path.unlink()  # the cure
    assert ensure_benchmark(None, url=place.url, cache=tmp_path).read_bytes() == PROGRAM


def test_a_place_that_gives_something_else_later_is_refused(place, tmp_path):
    path = fetch_benchmark(url=place.url, cache=tmp_path)
    place.answer = whole(elf(body=b"\x01" * 1000))
    path.unlink()
    with pytest.raises(CorruptFileError, match=rf"must still have the SHA-256 {SHA256}.*remove .*benchmark_model.json"):
        ensure_benchmark(None, url=place.url, cache=tmp_path)
    assert not path.exists()
    path.with_name("benchmark_model.json").unlink()  # the cure
    assert ensure_benchmark(None, url=place.url, cache=tmp_path).stat().st_size == len(elf(body=b"\x01" * 1000))


def test_another_release_replaces_the_old_one(place, tmp_path):
    fetch_benchmark(url=place.url, cache=tmp_path)
    newer = elf(body=b"\x02" * 1000)
    place.answer = whole(newer)
    assert ensure_benchmark(None, url=f"{place.url}?2.3.0", cache=tmp_path).read_bytes() == newer


@pytest.mark.parametrize("text", ["", "{", "[]", '{"url": "x"}'])
def test_a_damaged_pin_is_named(place, tmp_path, text):
    path = fetch_benchmark(url=place.url, cache=tmp_path)
    path.with_name("benchmark_model.json").write_text(text, encoding="utf-8")
    with pytest.raises(CorruptFileError, match=r"benchmark_model.json must say what was fetched.*Remove it"):
        ensure_benchmark(None, url=place.url, cache=tmp_path)


def test_a_program_without_a_pin_is_fetched_again(place, tmp_path):
    path = fetch_benchmark(url=place.url, cache=tmp_path)
    path.with_name("benchmark_model.json").unlink()
    path.write_bytes(b"anything")
    assert ensure_benchmark(None, url=place.url, cache=tmp_path).read_bytes() == PROGRAM


def test_redirects_are_followed_on_this_machine_only(place, tmp_path):
    def once(handler: http.server.BaseHTTPRequestHandler) -> None:
        place.answer = whole(PROGRAM)
        redirect(f"{place.url}-moved")(handler)

    place.answer = once
    assert fetch_benchmark(url=place.url, cache=tmp_path / "a").read_bytes() == PROGRAM
    for to in ("http://192.0.2.1/benchmark_model", "ftp://127.0.0.1/x", "file:///etc/passwd"):
        place.answer = redirect(to)
        with pytest.raises(StorageError, match=f"must lead to an `https:` address, but leads to '{to}'|302"):
            fetch_benchmark(url=place.url, cache=tmp_path / "b")
    assert nothing_in(tmp_path / "b")


def test_endless_redirects_end(place, tmp_path):
    place.answer = redirect(place.url)
    with pytest.raises(StorageError, match="302"):
        fetch_benchmark(url=place.url, cache=tmp_path)


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(place, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    assert fetch_benchmark(url=place.url, cache=tmp_path).read_bytes() == PROGRAM


@pytest.mark.parametrize(
    "url", ["http://example.com/x", "ftp://127.0.0.1/x", "file:///x", "benchmark_model", "", "https://", "http://[x"]
)
def test_addresses_that_anybody_could_change_are_refused(tmp_path, url):
    with pytest.raises(InvalidSettingError, match="must be fetched from an `https:` address"):
        fetch_benchmark(url=url, cache=tmp_path)


@pytest.mark.parametrize("sha256", ["", "abc", "g" * 64, SHA256 + "\n"])
def test_a_hash_that_is_none_is_refused(place, tmp_path, sha256):
    for use in (lambda **settings: ensure_benchmark(None, **settings), fetch_benchmark):
        with pytest.raises(InvalidSettingError, match="64 hexadecimal digits"):
            use(url=place.url, cache=tmp_path, sha256=sha256)
    assert place.asked == 0


def test_a_folder_that_cannot_be_made_is_named(place, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"must be writable.*AKD_GYM_CACHE.*--benchmark PATH"):
        fetch_benchmark(url=place.url, cache=tmp_path / "file" / "folder")
    assert place.asked == 0


def test_a_full_disk_leaves_nothing_behind(place, tmp_path):
    script = (
        "import resource, sys; from pathlib import Path\n"
        "from akd_gym.device_lab.phones.download import fetch_benchmark\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"  # the nearest to a full disk
        "fetch_benchmark(url=sys.argv[1], cache=Path(sys.argv[2]))"
    )
    ended = subprocess.run([sys.executable, "-c", script, place.url, str(tmp_path)], capture_output=True, text=True)
    assert ended.returncode == 1
    last = ended.stderr.strip().splitlines()[-1]
    assert "StorageError" in last
    assert "cannot be written" in last
    assert "Make room" in last
    assert nothing_in(tmp_path)


def test_ctrl_c_leaves_nothing_behind(place, tmp_path):
    def interrupt(done: int, total: int | None) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_benchmark(url=place.url, cache=tmp_path, progress=interrupt)
    assert nothing_in(tmp_path)
