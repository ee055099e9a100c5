from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from akd_gym.device_lab.adb.adb_server import AdbServer, find_adb
from akd_gym.device_lab.adb.keys import DeviceKey, load_keys
from akd_gym.device_lab.loopback.phone import LoopbackPhone


@pytest.fixture(scope="session")
def keys(tmp_path_factory) -> list[DeviceKey]:
    return load_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def phone() -> Iterator[LoopbackPhone]:
    with LoopbackPhone() as phone:
        yield phone


class OwnAdbServer:
    """An adb server of the test's own: its port, home, keys and log; no USB, no mDNS, no search for emulators."""

    def __init__(self, adb: str, home: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.server = AdbServer(port=probe.getsockname()[1])
        self._adb, self._home = adb, home
        self.environment = {
            "HOME": str(home),
            "TMPDIR": str(home),
            "ANDROID_ADB_SERVER_PORT": str(self.server.port),
            "ADB_MDNS": "0",
            "ADB_USB": "0",
            "ADB_EMU": "0",
            "ADB_LOCAL_TRANSPORT_MAX_PORT": "5554",
        }

    def adb(self, *arguments: str) -> str:
        return subprocess.run(
            [self._adb, "-P", str(self.server.port), *arguments],
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=60,
        ).stdout

    def start(self) -> None:
        # A server that dies as it starts (adb 29 does, once in hundreds of starts) is started again.
        for left in reversed(range(3)):
            with tempfile.TemporaryFile() as messages:  # a pipe would be held open by the server that stays behind
                code = subprocess.run(
                    [self._adb, "-P", str(self.server.port), "start-server"],
                    env={**os.environ, **self.environment},
                    stdin=subprocess.DEVNULL,
                    stdout=messages,
                    stderr=messages,
                    timeout=60,
                ).returncode
                messages.seek(0)
                said = messages.read().decode(errors="replace")
            if code == 0:
                return
            assert left, said

    def connect(self, address: str) -> None:
        """Connects the server to a phone that is there, or comes back soon."""
        self.adb("disconnect", address)  # where the server still holds a link that broke
        latest = time.monotonic() + 30
        while (state := self.server.devices().get(address)) != "device":
            assert time.monotonic() < latest, state
            if state is None:
                self.adb("connect", address)  # says "failed to authenticate" while the key is being confirmed
            time.sleep(0.02)

    def stop(self) -> None:
        self.adb("kill-server")


@pytest.fixture
def make_adb_server(tmp_path) -> Iterator[Callable[[str], OwnAdbServer]]:
    """Prepares a server of the test's own, not started yet."""
    made: list[OwnAdbServer] = []

    def make(adb: str) -> OwnAdbServer:
        made.append(OwnAdbServer(adb, tmp_path))
        return made[-1]

    yield make
    for own in made:
        if own.server.is_running():
            own.stop()


@pytest.fixture
def adb_server(make_adb_server, monkeypatch) -> OwnAdbServer:
    """A running server of the test's own, which is also the one of the environment."""
    own = make_adb_server(find_adb())
    for name, value in own.environment.items():
        monkeypatch.setenv(name, value)
    own.start()
    return own


def _versions_of_adb() -> dict[str, str]:
    bundled = Path(str(importlib.util.find_spec("adbutils").origin)).parent / "binaries" / "adb"
    return {"on the path": shutil.which("adb"), "of adbutils": str(bundled)}


@pytest.fixture(params=[name for name, path in _versions_of_adb().items() if path])
def each_adb(request) -> str:
    """Google's `adb`, in each version that is here."""
    return _versions_of_adb()[request.param]
