"""`akd phones` and `akd measure`, against loopback phones and a web server on this machine."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from akd_gym.device_lab.adb.addresses import open_session
from akd_gym.device_lab.canary import canary_model
from akd_gym.device_lab.loopback import FAULT_NAMES, LoopbackPhone
from akd_gym.device_lab.phones.conditions import JOURNAL, MeasuringConditions
from akd_gym.device_lab.phones.meter import open_phones

pytestmark = pytest.mark.timeout(120)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def is_open(port: int) -> bool:
    with socket.socket() as link:
        return link.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module", autouse=True)
def machine(tmp_path_factory) -> Iterator[Path]:
    """Locks, cache, keys and adb server (none) of the module's own, and a wide terminal."""
    folder = tmp_path_factory.mktemp("machine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(folder))
        patch.setenv("AKD_GYM_CACHE", str(folder / "cache"))
        patch.setenv("HOME", str(folder))
        patch.setenv("ANDROID_ADB_SERVER_PORT", str(free_port()))
        patch.delenv("ANDROID_ADB_SERVER_ADDRESS", raising=False)
        patch.setenv("COLUMNS", "200")
        yield folder


@pytest.fixture(scope="module")
def phone(machine) -> Iterator[LoopbackPhone]:
    with LoopbackPhone(model="Test [bold]phone:x:") as phone:
        yield phone


@pytest.fixture
def cache(monkeypatch, tmp_path) -> Path:
    """Where a benchmark is kept; there is none yet."""
    monkeypatch.setenv("AKD_GYM_CACHE", str(tmp_path / "my cache"))
    return tmp_path / "my cache" / "benchmark_model"


# --- akd phones setup

SETUP = ("phones", "setup")
SIZE = 300_000
PROGRAM = struct.pack(  # a 64-bit ARM program by its header, without sections
    f"<4sBB10xHHIQQQIHHHHHH{SIZE}x", b"\x7fELF", 2, 1, 3, 183, 1, 0, 64, 64, 0, 64, 56, 0, 64, 0, 0
)
SHA256 = hashlib.sha256(PROGRAM).hexdigest()


class Place(NamedTuple):
    """A web server with a program, and the paths that it was asked for."""

    url: str
    asked: list[str]


@pytest.fixture
def place() -> Iterator[Place]:
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200 if self.path == "/benchmark_model" else 404)
            self.send_header("Content-Length", str(len(PROGRAM)))
            self.end_headers()
            self.wfile.write(PROGRAM)

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        yield Place(f"http://127.0.0.1:{server.server_address[1]}/benchmark_model", asked)
        server.shutdown()
        serving.join()


def test_setup_fetches_once_and_shows_what_is_pinned(akd, cache, place):
    result = akd(*SETUP, "--url", place.url)
    assert (result.status, result.err) == (0, "")
    shown, bar, *rest = result.out.splitlines()
    assert shown == f"Fetching benchmark_model from {place.url}"
    assert re.search(r"300\.1/300\.1 kB", bar)
    assert [line for line in rest if line] == [f"Kept as {cache / 'benchmark_model'}", f"SHA-256 {SHA256} (pinned)"]
    assert (cache / "benchmark_model").read_bytes() == PROGRAM

    again = akd(*SETUP, "--url", place.url, "--sha256", SHA256.upper())
    assert again.status == 0
    assert "is there already" in again.out
    assert again.out.splitlines()[-2:] == rest[-2:]
    assert len(again.out.splitlines()) == 3
    assert place.asked == ["/benchmark_model"]


def test_setup_says_what_it_could_not_fetch(akd, cache, place):
    assert re.search("404 Not Found.*akd phones setup --benchmark FILE", akd(*SETUP, "--url", f"{place.url}s").error)
    wrong = akd(*SETUP, "--url", place.url, "--sha256", "0" * 64)
    assert f"must have the SHA-256 {'0' * 64} that was asked for, but has {SHA256}" in wrong.error
    assert "64 hexadecimal digits" in akd(*SETUP, "--url", place.url, "--sha256", "abc").error
    assert "an `https:` address, but got 'http://example.com/'" in akd(*SETUP, "--url", "http://example.com/").error
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (PROGRAM, ""),
        (PROGRAM[:18] + b"\x3e\0" + PROGRAM[20:], "this is a program for another processor (64-bit x86)."),
        (b"<html>[/bold]", "this is no program: it begins with b'<html>[/bold]'."),
    ],
    ids=["ARM", "x86", "page"],
)
def test_setup_keeps_a_program_of_the_users_own(akd, cache, tmp_path, content, note):
    own = tmp_path / "my [i]program:x:"
    own.write_bytes(content)
    result = akd(*SETUP, "--benchmark", own)
    assert (result.status, result.err) == (0, "")
    kept, pinned, *rest = result.out.splitlines()
    assert kept == f"Kept as {cache / 'benchmark_model'}"
    assert pinned == f"SHA-256 {hashlib.sha256(content).hexdigest()} (pinned)"
    assert rest == ([f"Phones run a 64-bit ARM program, but {note}"] if note else [])
    assert (cache / "benchmark_model").read_bytes() == content
    assert json.loads((cache / "benchmark_model.json").read_text(encoding="utf-8"))["url"] == "file:my [i]program:x:"


def test_setup_refuses_a_program_that_is_not_the_one_meant(akd, cache, tmp_path):
    own = tmp_path / "mine"
    own.write_bytes(PROGRAM)
    assert "that was asked for" in akd(*SETUP, "--benchmark", own, "--sha256", "0" * 64).error
    assert "must be readable, but: No such file" in akd(*SETUP, "--benchmark", tmp_path / "missing").error
    assert not cache.exists()


# --- akd phones, akd phones restore


def test_nothing_connected_is_said_with_what_to_do(akd, cache):
    result = akd("phones")
    assert (result.status, result.err) == (0, "")
    assert result.out.startswith("No phone to measure on.\n")
    port = int(os.environ["ANDROID_ADB_SERVER_PORT"])
    assert f"The adb server: none runs on port {port}." in result.out
    assert "`akd phones setup` fetches it" in result.out
    assert "--latency loopback does without a phone" in result.out
    assert not is_open(port)
    assert not cache.exists()


def test_a_phone_is_listed_with_its_state(akd, phone):
    before = phone.state()
    result = akd("phones", "list", "--at", phone.address, phone.address)
    assert (result.status, result.err) == (0, "")
    [row] = [line for line in result.out.splitlines() if line.strip().startswith(phone.address)]
    for text in ("akd-gym Test [bold]phone:x: (loopback)", "status 0", " %", "plugged in"):
        assert text in row
    assert "No phone" not in result.out
    assert phone.state() == before


def test_a_phone_that_does_not_answer_does_not_hide_the_others(akd, phone):
    port = free_port()
    result = akd("phones", "list", "--at", f"127.0.0.1:{port}", "usb:[X]:x:", phone.address)
    assert (result.status, result.err) == (0, "")
    assert f"127.0.0.1:{port}: " in result.out
    assert "usb:[X]:x:: " in result.out
    assert "Test [bold]phone:x:" in result.out
    assert not is_open(int(os.environ["ANDROID_ADB_SERVER_PORT"]))


def test_an_address_that_is_none_is_an_error(akd):
    for action in ("list", "restore"):
        assert "The address of a phone must be" in akd("phones", action, "--at", "127.0.0.1:0").error


def lose_a_session(phone: LoopbackPhone) -> None:
    """Leaves what a search leaves that is killed."""
    session = open_session(phone.address)
    MeasuringConditions().apply(session)
    session.run(f"mkdir -p {Path(JOURNAL).parent}/models").checked()
    session.close()


def test_what_a_lost_session_left_is_put_back(akd, phone):
    before = phone.state()
    lose_a_session(phone)
    assert phone.state() != before
    assert "`akd phones restore` puts them back" in akd("phones", "list", "--at", phone.address).out
    gone = f"127.0.0.1:{free_port()}"
    result = akd("phones", "restore", "--at", gone, phone.address)
    assert f"error: {gone}: " in result.err
    assert re.search(rf"{phone.address}: its models were removed; .*screen_brightness back to ", result.out)
    assert phone.state() == before
    again = akd("phones", "restore", "--at", phone.address)
    assert (again.status, again.out) == (0, f"{phone.address}: nothing was left\n")


def test_nothing_is_put_back_while_somebody_measures(akd, phone):
    before = phone.state()
    meter = open_phones("loopback", [phone.address])
    try:
        measuring = phone.state()
        assert "another measurement holds it" in akd("phones", "restore", "--at", phone.address).error
        assert phone.state() == measuring != before
    finally:
        meter.close()
    assert phone.state() == before


def test_no_phone_to_put_back_is_said(akd):
    result = akd("phones", "restore")
    assert (result.status, result.err) == (0, "")
    assert "No phone was found. `akd phones` says where was looked." in result.out


# --- akd phones loopback


@pytest.mark.parametrize(
    ("fault", "known"),
    [("bogus@push", FAULT_NAMES), ("cut@lunch", ("connect", "report")), ("cut", ("NAME@STAGE",)), ("cut@push:0", ())],
)
def test_a_fault_that_is_none_is_answered_with_those_known(akd, fault, known):
    error = akd("phones", "loopback", "--port", 0, "--fault", fault).error
    for name in known:
        assert name in error


def test_a_port_that_is_taken_is_said(akd, phone):
    assert f"Port {phone.port} of 127.0.0.1 must be free" in akd("phones", "loopback", "--port", phone.port).error


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_loopback_phone_serves_until_it_is_told_to_stop(number, tmp_path):
    code = "import sys; from akd_gym.cli import main; sys.exit(main())"
    words = ["phones", "loopback", "--port", "0", "--model", "My phone", "--fault", "nonzero@check:1", "garble@pull"]
    serving = subprocess.Popen(
        [sys.executable, "-c", code, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    try:
        lines = [serving.stdout.readline() for _ in range(4)]
        address = re.search(r"Loopback phone on (127\.0\.0\.1:\d+) ", lines[0])[1]
        assert "WARNING: commands sent to it run on this machine as this user, and whoever has one of this" in lines[1]
        assert lines[2:] == [
            "Will go wrong: nonzero at check, 1 time(s).\n",
            "Will go wrong: garble at pull, 1 time(s).\n",
        ]
        session = open_session(address)
        assert session.run("getprop ro.product.model").exit_code == 1
        assert session.run("getprop ro.product.model").checked() == "My phone"
        session.close()
        serving.send_signal(number)
        out, err = serving.communicate(timeout=60)
    finally:
        serving.kill()
        serving.wait()
    assert (serving.returncode, out, err) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


# --- akd measure

ARCHITECTURE = "stem_k3_s2_c8 ds_r1_k3_s1_c8_id head_c16"


@pytest.fixture(scope="module")
def measure(akd, phone) -> Callable[..., Any]:
    """Measures on the loopback phone."""
    return lambda *words: akd("measure", *words, "--latency", f"loopback:{phone.address}")


def test_an_architecture_is_measured(measure, phone):
    result = measure(ARCHITECTURE, "--resolution", 16)
    assert result.status == 0, result
    rows = {line[:22].strip(): line[22:].strip() for line in result.out.splitlines()}
    assert " ".join(rows["model"].split()) == ARCHITECTURE
    assert re.fullmatch(r"[\d.]+ ms \(loopback\)", rows["latency"])
    assert "akd-gym Test [bold]phone:x:" in rows["device"]
    assert rows["core"].endswith(", pinned: yes, 1 thread")
    assert phone.children() == []


def test_a_file_is_measured_and_its_record_printed(measure, tmp_path):
    path = tmp_path / "my [b]model:x:; $(exit 1).tflite"
    path.write_bytes(canary_model())
    result = measure(path, "--json")
    assert result.status == 0, result
    record = json.loads(result.out)
    assert (record["architecture"], record["kind"], record["verdict"]) == (str(path), "loopback", "ok")
    assert record["latency_ms"] == record["median_ms"] > 0
    assert record["model_sha256"] == hashlib.sha256(canary_model()).hexdigest()


def test_a_corrupt_file_has_a_reason_and_no_number(measure, tmp_path, phone):
    path = tmp_path / "corrupt.tflite"
    path.write_bytes(canary_model()[:-2000])
    before = phone.state()
    result = measure(path)
    assert re.search(rf"{path} has no latency: given up after 3 attempts: .*not a valid Flatbuffer", result.error)
    assert "ms (" not in result.out
    assert "pinned" not in result.out
    assert phone.state() == before
    assert phone.children() == []


def test_what_cannot_be_measured_is_said_before_a_phone_is_asked(akd, tmp_path):
    def refused(*words: object) -> str:
        return akd("measure", *words, "--latency", f"loopback:127.0.0.1:{free_port()}").error

    missing = tmp_path / "missing.tflite"
    assert refused(missing) == f"The model {missing} cannot be read: No such file or directory."
    assert "resolution` must be at least 1" in refused(ARCHITECTURE, "--resolution", 0)
    assert "stem" in refused("nonsense")
    assert "x" * 50 in refused("x" * 300)  # longer than a file's name may be


def test_a_phone_that_is_not_there_is_an_error(akd):
    port = free_port()
    assert f"127.0.0.1:{port}" in akd("measure", ARCHITECTURE, "--latency", f"loopback:127.0.0.1:{port}").error


def test_an_unknown_place_to_measure_is_answered_with_those_known(akd):
    assert "Did you mean 'phone'?" in akd("measure", ARCHITECTURE, "--latency", "phon").error
