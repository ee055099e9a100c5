"""`guarded` in shells of this machine. The phone's own are mksh and toybox; what differs there is tested for itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from akd_gym.device_lab.adb.session import guarded, unguarded
from akd_gym.errors import BadOutputError, DeviceTimeoutError, InvalidSettingError

SHELLS = [["sh"], ["bash"], ["mksh"], ["busybox", "sh"]]


@pytest.fixture(params=[shell for shell in SHELLS if shutil.which(shell[0])], ids=" ".join)
def shell(request) -> list[str]:
    return request.param


def run(shell, command, timeout_s=20.0, **options):
    line, nonce = guarded(command, timeout_s)
    raw = subprocess.run([*shell, "-c", line], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, **options)
    return unguarded(raw.stdout, nonce, command, timeout_s)


def test_output_and_exit_code(shell):
    result = run(shell, "echo out; echo err >&2; printf '%s' 'a\\n%s'; exit 3")
    assert (result.exit_code, result.output) == (3, "out\nerr\na\\n%s")


def test_output_longer_than_an_argument_may_be(shell):
    assert len(run(shell, "seq 100000").output) == 588_894


def test_a_command_is_killed_when_its_time_is_up(shell):
    with pytest.raises(DeviceTimeoutError):
        run(shell, "sleep 60; true", 0.2)


def test_what_a_command_leaves_in_the_background_is_killed(shell, tmp_path):
    run(shell, f"sleep 61 & echo $! > '{tmp_path}/pid'")
    pid, latest = int((tmp_path / "pid").read_text()), time.monotonic() + 10
    while Path(f"/proc/{pid}/stat").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text():
        assert time.monotonic() < latest
        time.sleep(0.02)


def test_a_timeout_that_kills_only_its_child_still_kills_all(shell, tmp_path):
    """As in toybox of older phones: what the command started would hold the output open."""
    script = tmp_path / "timeout"
    script.write_text('#!/bin/sh\nshift 2\nshift\n"$@" &\np=$!\nsleep 0.2\nkill -s KILL $p\nwait $p\nexit 137\n')
    script.chmod(0o755)
    with pytest.raises(DeviceTimeoutError):
        run(shell, "sleep 62; true", 0.2, env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"})


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf")])
def test_a_timeout_that_is_none_is_refused(timeout_s):
    with pytest.raises(InvalidSettingError, match="timeout_s"):
        guarded("true", timeout_s)


def test_a_nul_is_refused():
    with pytest.raises(InvalidSettingError, match="NUL"):
        guarded("a\0b", 1)


def test_nothing_but_the_whole_output_is_taken():
    command = "seq 100"
    line, nonce = guarded(command, 5)
    raw = subprocess.run(["sh", "-c", line], stdout=subprocess.PIPE).stdout
    assert unguarded(raw, nonce, command, 5).output.split()[-1] == "100"
    end = len(raw) - len("  -\n")  # what sha256sum adds is not looked at
    for cut in range(end):
        with pytest.raises(BadOutputError):
            unguarded(raw[:cut], nonce, command, 5)
    for place in range(end):
        with pytest.raises(BadOutputError):
            unguarded(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :], nonce, command, 5)


def test_the_output_of_another_command_is_not_taken():
    line, _ = guarded("echo a", 5)
    raw = subprocess.run(["sh", "-c", line], stdout=subprocess.PIPE).stdout
    with pytest.raises(BadOutputError, match="must end with its nonce"):
        unguarded(raw, guarded("echo a", 5)[1], "echo a", 5)
