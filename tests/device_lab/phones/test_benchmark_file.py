from __future__ import annotations

import hashlib
import http.server
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from akd_gym.device_lab.phones.benchmark_file import (
    ARM64_PROGRAM,
    DEFAULT_URL,
    VERSION,
    cache_folder,
    describe_program,
    fetch_benchmark,
    keep_benchmark,
    kept_benchmark,
    read_pin,
)
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


def test_fetched_once_and_pinned(place, tmp_path):
    said: list[str] = []
    told: list[tuple[int, int | None]] = []
    settings = {"url": place.url, "cache": tmp_path / "new" / "folder", "announce": said.append}
    path = fetch_benchmark(**settings, progress=lambda done, total: told.append((done, total)))
    assert path.read_bytes() == PROGRAM
    assert path.stat().st_mode & 0o777 == 0o755
    assert said == [f"Fetching benchmark_model from {place.url}"]
    assert told[0] == (0, len(PROGRAM))
    assert told[-1] == (len(PROGRAM), len(PROGRAM))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    pin = read_pin(path.parent)
    assert (pin.url, pin.sha256, pin.size) == (place.url, SHA256, len(PROGRAM))
    assert fetch_benchmark(**settings, sha256=SHA256.upper()) == path
    assert (place.asked, said[1:]) == (1, [f"benchmark_model of {place.url} is there already, fetched {pin.fetched}"])
    assert {file.name for file in path.parent.iterdir()} == {"benchmark_model", "benchmark_model.json"}


def test_what_was_fetched_is_used_offline(place, tmp_path):
    path = fetch_benchmark(url=place.url, cache=tmp_path)
    place.close()
    assert kept_benchmark(cache=tmp_path) == path


@pytest.mark.parametrize(
    "lost", [("benchmark_model",), ("benchmark_model.json",), ("benchmark_model.json", "benchmark_model")]
)
def test_none_is_never_fetched_without_being_asked_for(place, tmp_path, lost):
    fetch_benchmark(url=place.url, cache=tmp_path)
    for name in lost:
        (tmp_path / name).unlink()
    with pytest.raises(
        StorageError, match=r"there is none\. `akd phones setup` fetches it, `akd phones setup --benchmark FILE` keeps"
    ):
        kept_benchmark(cache=tmp_path)
    assert place.asked == 1


def test_none_in_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(StorageError, match="akd phones setup"):
        kept_benchmark(cache=tmp_path / "missing")
    assert nothing_in(tmp_path)


def test_a_program_of_the_users_own_is_copied_and_pinned(place, tmp_path):
    own = tmp_path / "mine"
    own.write_bytes(b"for another instruction set")
    path = keep_benchmark(own, cache=tmp_path / "cache")
    own.unlink()
    assert kept_benchmark(cache=tmp_path / "cache") == path
    assert path.read_bytes() == b"for another instruction set"
    assert path.stat().st_mode & 0o777 == 0o755
    pin = read_pin(tmp_path / "cache")
    assert (pin.url, pin.sha256, pin.size) == ("file:mine", hashlib.sha256(path.read_bytes()).hexdigest(), 27)
    path.write_bytes(b"changed")
    with pytest.raises(CorruptFileError, match=r"was changed or damaged since\. `akd phones setup --benchmark FILE`"):
        kept_benchmark(cache=tmp_path / "cache")


def test_the_users_own_and_the_public_one_replace_each_other(place, tmp_path):
    own = tmp_path / "mine"
    own.write_bytes(elf(machine=62))
    for _ in range(2):
        assert keep_benchmark(own, cache=tmp_path / "cache").read_bytes() == elf(machine=62)
        assert fetch_benchmark(url=place.url, cache=tmp_path / "cache").read_bytes() == PROGRAM
        assert read_pin(tmp_path / "cache").sha256 == SHA256
    assert place.asked == 2


def test_a_damaged_pin_does_not_hinder_the_users_own(tmp_path):
    own = tmp_path / "mine"
    own.write_bytes(PROGRAM)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "benchmark_model.json").write_text("{", encoding="utf-8")
    keep_benchmark(own, cache=tmp_path / "cache")
    assert kept_benchmark(cache=tmp_path / "cache").read_bytes() == PROGRAM


def test_what_cannot_be_a_program_of_the_users_own_is_refused(tmp_path):
    cache, empty, whole = tmp_path / "cache", tmp_path / "empty", tmp_path / "whole"
    empty.touch()
    whole.write_bytes(PROGRAM)
    with pytest.raises(StorageError, match=r"missing must be readable, but: No such file"):
        keep_benchmark(tmp_path / "missing", cache=cache)
    with pytest.raises(StorageError, match="must be readable, but: Is a directory"):
        keep_benchmark(tmp_path, cache=cache)
    with pytest.raises(CorruptFileError, match="empty must hold a program, but it is empty"):
        keep_benchmark(empty, cache=cache)
    with pytest.raises(
        CorruptFileError, match=f"must have the SHA-256 {'0' * 64} that was asked for, but has {SHA256}"
    ):
        keep_benchmark(whole, cache=cache, sha256="0" * 64)
    assert nothing_in(cache)
    keep_benchmark(whole, cache=cache, sha256=SHA256.upper())
    with pytest.raises(CorruptFileError, match="it is empty"):
        keep_benchmark(empty, cache=cache)
    assert kept_benchmark(cache=cache).read_bytes() == PROGRAM


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (PROGRAM, ARM64_PROGRAM),
        (PROGRAM[:-1], f"{ARM64_PROGRAM} that breaks off: {len(PROGRAM) - 1} of {len(PROGRAM)} bytes or more"),
        (PROGRAM[:40], f"{ARM64_PROGRAM} that breaks off: 40 of 64 bytes or more"),
        (elf(machine=62), "a program for another processor (64-bit x86)"),
        (elf(machine=40, bits=1), "a program for another processor (32-bit ARM)"),
        (elf(machine=8), "a program for another processor (ELF machine 8)"),
        (b"#!/bin/sh\n", "a script"),
        (b"<html>", "no program: it begins with b'<html>'"),
        (b"", "no program: it begins with b''"),
    ],
    ids=["whole", "cut", "header cut", "x86", "32 bits", "unknown", "script", "html", "empty"],
)
def test_a_file_is_described(content, words):
    assert describe_program(content) == words


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
    with pytest.raises(StorageError, match=rf"{place.url}.*{status}.*--benchmark FILE"):
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
    with pytest.raises(
        CorruptFileError, match=f"whole program, but gave .* breaks off: 100000 of {len(PROGRAM)} bytes"
    ):
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
    with pytest.raises(StorageError, match="--benchmark FILE"):
        fetch_benchmark(url=place.url, cache=tmp_path)
    assert nothing_in(tmp_path)


@pytest.mark.parametrize("begun", [False, True])
def test_a_server_that_falls_silent_is_given_up(place, tmp_path, begun):
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        if begun:
            whole(PROGRAM[:1000], announced=len(PROGRAM))(handler)
        place.go_on.wait(30)

    place.answer = answer
    with pytest.raises(StorageError, match=r"no answer within 0\.3 s.*--benchmark FILE"):
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
    with pytest.raises(StorageError, match=r"must be reachable, but got: .*refused.*online.*--benchmark FILE"):
        fetch_benchmark(url=url, cache=tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"<!DOCTYPE html><html>Please log in to this network</html>" * 100,
        b"",
        elf(machine=62),
        elf(bits=1),
        b"#!/bin/sh",
    ],
    ids=["html", "empty", "x86", "32 bits", "script"],
)
def test_what_is_no_program_for_phones_is_not_kept(place, tmp_path, content):
    place.answer = whole(content)
    with pytest.raises(CorruptFileError, match=rf"must give {ARM64_PROGRAM}, but gave \d+ bytes of .*--benchmark FILE"):
        fetch_benchmark(url=place.url, cache=tmp_path)
    assert nothing_in(tmp_path)


def test_another_hash_than_asked_for_is_not_kept(place, tmp_path):
    asked = "0" * 64
    with pytest.raises(CorruptFileError, match=f"must have the SHA-256 {asked} that was asked for, but has {SHA256}"):
        fetch_benchmark(url=place.url, cache=tmp_path, sha256=asked)
    assert nothing_in(tmp_path)
    path = fetch_benchmark(url=place.url, cache=tmp_path, sha256=SHA256)
    with pytest.raises(CorruptFileError, match=f"{path} must have the SHA-256 {asked}"):
        fetch_benchmark(url=place.url, cache=tmp_path, sha256=asked)
    assert kept_benchmark(cache=tmp_path) == path


@pytest.mark.parametrize("change", [lambda c: c[:-1], lambda c: c[:5000] + b"x" + c[5001:], lambda c: b""])
def test_a_file_changed_after_it_was_fetched_is_refused_with_the_cure(place, tmp_path, change):
    path = fetch_benchmark(url=place.url, cache=tmp_path)
    path.write_bytes(change(PROGRAM))
    with pytest.raises(CorruptFileError, match=rf"{path} must have the SHA-256 {SHA256}.*`akd phones setup` replaces"):
        kept_benchmark(cache=tmp_path)
    fetch_benchmark(url=place.url, cache=tmp_path)  # the cure
    assert kept_benchmark(cache=tmp_path).read_bytes() == PROGRAM


def test_a_place_that_gives_something_else_later_is_refused(place, tmp_path):
    path = fetch_benchmark(url=place.url, cache=tmp_path)
    newer = elf(body=b"\x01" * 1000)
    place.answer = whole(newer)
    path.unlink()
    with pytest.raises(CorruptFileError, match=rf"must still have the SHA-256 {SHA256}.*remove .*benchmark_model.json"):
        fetch_benchmark(url=place.url, cache=tmp_path)
    assert not path.exists()
    path.with_name("benchmark_model.json").unlink()  # the cure
    assert fetch_benchmark(url=place.url, cache=tmp_path).read_bytes() == newer


def test_another_release_replaces_the_old_one(place, tmp_path):
    fetch_benchmark(url=place.url, cache=tmp_path)
    newer = elf(body=b"\x02" * 1000)
    place.answer = whole(newer)
    assert fetch_benchmark(url=f"{place.url}?2.3.0", cache=tmp_path).read_bytes() == newer
    assert kept_benchmark(cache=tmp_path).read_bytes() == newer


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"url": "x"}', '{"url": "x", "sha256": 1, "size": 2, "fetched": ""}', "\xff"],
    ids=["empty", "cut", "list", "parts", "types", "text"],
)
def test_a_damaged_pin_is_named(place, tmp_path, text):
    path = fetch_benchmark(url=place.url, cache=tmp_path)
    path.with_name("benchmark_model.json").write_text(text, encoding="latin-1")
    for use in (kept_benchmark, read_pin, lambda cache: fetch_benchmark(url=place.url, cache=cache)):
        with pytest.raises(CorruptFileError, match=r"benchmark_model.json must say what was kept.*Remove it"):
            use(cache=tmp_path)


def test_a_program_without_a_pin_is_fetched_again(place, tmp_path):
    path = fetch_benchmark(url=place.url, cache=tmp_path)
    path.with_name("benchmark_model.json").unlink()
    path.write_bytes(b"anything")
    assert fetch_benchmark(url=place.url, cache=tmp_path).read_bytes() == PROGRAM


def test_a_fetch_that_fails_leaves_the_old_one_as_it_was(place, tmp_path):
    path = fetch_benchmark(url=place.url, cache=tmp_path)
    place.answer = whole(b"sorry", 404)
    with pytest.raises(StorageError, match="404"):
        fetch_benchmark(url=f"{place.url}?2.3.0", cache=tmp_path)
    assert kept_benchmark(cache=tmp_path) == path


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
    with pytest.raises(InvalidSettingError, match="64 hexadecimal digits"):
        fetch_benchmark(url=place.url, cache=tmp_path, sha256=sha256)
    with pytest.raises(InvalidSettingError, match="64 hexadecimal digits"):
        keep_benchmark(Path(__file__), cache=tmp_path, sha256=sha256)
    assert place.asked == 0


def test_a_folder_that_cannot_be_made_is_named(place, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"must be writable.*AKD_GYM_CACHE.*--benchmark FILE"):
        fetch_benchmark(url=place.url, cache=tmp_path / "file" / "folder")
    assert place.asked == 0


def test_a_full_disk_leaves_nothing_behind(place, tmp_path):
    script = (
        "import resource, sys; from pathlib import Path\n"
        "from akd_gym.device_lab.phones.benchmark_file import fetch_benchmark\n"
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
