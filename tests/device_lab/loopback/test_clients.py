"""The clients that people use: adb-shell, and Google's own adb in two versions."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import adbutils
import pytest
from adb_shell.adb_device import AdbDeviceTcp
from adb_shell.auth.keygen import keygen
from adb_shell.auth.sign_pythonrsa import PythonRSASigner
from adb_shell.exceptions import PushFailedError, TcpTimeoutException

from akd_gym.device_lab.loopback import LoopbackPhone

LARGE = random.Random(0).randbytes(20_000_000)
ADBS = {
    "debian": shutil.which("adb", path="/usr/bin:/usr/local/bin"),
    "adbutils": next((str(path) for path in Path(adbutils.__file__).parent.glob("binaries/adb")), None),
}
PATIENCE_S = 60


class GoogleAdb:
    """An adb with a server, a home and keys of its own, told of one phone."""

    def __init__(self, program: str, home: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._program, self._home = program, home
        self._environment = {
            **os.environ,
            "HOME": str(home),
            "TMPDIR": str(home),
            "ANDROID_ADB_SERVER_PORT": str(self._port),
            # No search for phones, on the network, on cables, or on the ports of emulators.
            "ADB_MDNS": "0",
            "ADB_USB": "0",
            "ADB_EMU": "0",
            "ADB_LOCAL_TRANSPORT_MAX_PORT": "5554",
        }
        for name in ("ANDROID_SERIAL", "ANDROID_ADB_SERVER_ADDRESS", "ADB_SERVER_SOCKET", "ADB_VENDOR_KEYS"):
            self._environment.pop(name, None)
        # A server started by another command would hold that one's output open.
        self._server = subprocess.Popen(
            [program, "-P", str(self._port), "nodaemon", "server"],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.phone: LoopbackPhone | None = None

    def __call__(self, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        chosen = ["-s", self.phone.address] if self.phone else []
        return subprocess.run(
            [self._program, "-P", str(self._port), *chosen, *arguments],
            env=self._environment,
            input=text,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )

    def connect(self, phone: LoopbackPhone) -> None:
        latest = time.monotonic() + PATIENCE_S
        while self.state(phone) != "device":
            assert time.monotonic() < latest, self("devices").stdout
            self.phone = None
            self("disconnect", phone.address)
            self("connect", phone.address)
            time.sleep(0.1)
        self.phone = phone

    def state(self, phone: LoopbackPhone) -> str:
        self.phone = None
        listed = [line.split() for line in self("devices").stdout.splitlines()]
        return next((words[1] for words in listed if words and words[0] == phone.address), "")

    def close(self) -> None:
        self.phone = None
        self("kill-server")
        try:
            self._server.wait(10)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()


@pytest.fixture(params=ADBS)
def google(request, tmp_path) -> Iterator[GoogleAdb]:
    program = ADBS[request.param]
    if program is None:
        assert request.param == "debian", "adbutils of the dev extra must bring an adb"
        pytest.skip("needs Debian's adb: apt-get install adb")
    adb = GoogleAdb(program, tmp_path)
    yield adb
    adb.close()


def test_google_adb_shells_pushes_and_pulls(phone, google, tmp_path):
    google.connect(phone)
    done = google("shell", "echo out; echo err >&2; exit 7")
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 7)
    assert google("shell", "-x", "echo out; echo err >&2").stdout == "out\nerr\n"
    assert google("exec-out", "printf 'a\\nb'").stdout == "a\nb"
    assert google("shell", text="echo typed\nexit 3\n").returncode == 3
    assert "/dev/pts/" in google("shell", "-t", "-t", "tty").stdout
    assert google("shell", "cat", text="through").stdout == "through"

    here, back = tmp_path / "large file", tmp_path / "back"
    here.write_bytes(LARGE)
    assert google("push", str(here), "/data/local/tmp/large 'file'").returncode == 0
    assert phone.path("/data/local/tmp/large 'file'").read_bytes() == LARGE
    assert google("pull", "/data/local/tmp/large 'file'", str(back)).returncode == 0
    assert back.read_bytes() == LARGE
    refused = google("push", str(here), "/sdcard/x")
    assert refused.returncode != 0
    assert "Permission denied" in refused.stdout + refused.stderr

    (tmp_path / "folder" / "inner").mkdir(parents=True)
    (tmp_path / "folder" / "inner" / "file").write_text("x", encoding="utf-8")
    assert google("push", str(tmp_path / "folder"), "/data/local/tmp/").returncode == 0
    assert google("pull", "/data/local/tmp/folder", str(tmp_path / "again")).returncode == 0
    assert (tmp_path / "again" / "inner" / "file").read_text(encoding="utf-8") == "x"


def test_google_adb_reboots_the_phone(google):
    with LoopbackPhone(reboot_s=0.3) as phone:
        google.connect(phone)
        google("shell", "cmd power set-fixed-performance-mode-enabled true")
        assert phone.state().fixed_performance
        assert google("reboot").returncode == 0
        google.connect(phone)
        assert google("shell", "echo back").stdout == "back\n"
        assert not phone.state().fixed_performance


def test_google_adb_is_unauthorized_where_its_key_is_unknown(google):
    with LoopbackPhone(accept_new_keys=False) as phone:
        google("connect", phone.address)
        latest = time.monotonic() + PATIENCE_S
        while google.state(phone) != "unauthorized" and time.monotonic() < latest:
            time.sleep(0.1)
        assert google.state(phone) == "unauthorized"


def connected(phone: LoopbackPhone, key: PythonRSASigner) -> AdbDeviceTcp:
    device = AdbDeviceTcp("127.0.0.1", phone.port, default_transport_timeout_s=PATIENCE_S)
    device.connect(rsa_keys=[key], auth_timeout_s=PATIENCE_S, read_timeout_s=PATIENCE_S)
    return device


def test_adb_shell_shells_pushes_and_pulls(phone, key, tmp_path):
    device = connected(phone, key)
    try:
        assert device.shell("echo out; echo err >&2; exit 7") == "out\nerr\n"
        assert device.exec_out("printf '\\377'", decode=False) == b"\xff"
        here, back = tmp_path / "large", tmp_path / "back"
        here.write_bytes(LARGE)
        device.push(str(here), "/data/local/tmp/large", read_timeout_s=PATIENCE_S)
        assert phone.path("/data/local/tmp/large").read_bytes() == LARGE
        device.pull("/data/local/tmp/large", str(back), read_timeout_s=PATIENCE_S)
        assert back.read_bytes() == LARGE
        assert device.stat("/data/local/tmp/large")[1] == len(LARGE)
        assert [entry.filename for entry in device.list("/data/local/tmp")] == [b"large"]
        with pytest.raises(PushFailedError, match="Permission denied"):
            device.push(str(here), "/sdcard/x")
    finally:
        device.close()


def test_adb_shell_reboots_the_phone(key):
    with LoopbackPhone(reboot_s=0.1) as phone:
        device = connected(phone, key)
        device.shell("input keyevent KEYCODE_SLEEP")
        device.reboot()
        device.close()
        latest = time.monotonic() + PATIENCE_S
        while not phone.state().awake and time.monotonic() < latest:
            time.sleep(0.02)
        while True:
            try:
                device = connected(phone, key)
                break
            except OSError:
                assert time.monotonic() < latest
                time.sleep(0.05)
        assert device.shell("echo back") == "back\n"
        device.close()


def test_adb_shell_is_refused_where_its_key_is_unknown(key, tmp_path):
    keygen(str(tmp_path / "other"))
    other = PythonRSASigner.FromRSAKeyPath(str(tmp_path / "other"))
    with LoopbackPhone(accept_new_keys=False, known_keys=[key.GetPublicKey()]) as phone:
        connected(phone, key).close()
        device = AdbDeviceTcp("127.0.0.1", phone.port, default_transport_timeout_s=PATIENCE_S)
        with pytest.raises(TcpTimeoutException):
            device.connect(rsa_keys=[other], transport_timeout_s=0.5, auth_timeout_s=0.5)
        device.close()
