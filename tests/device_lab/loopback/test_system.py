from __future__ import annotations

import os
import shlex

import pytest

from akd_gym.device_lab.adb.session import guarded, unguarded
from akd_gym.device_lab.loopback import Fault, LoopbackPhone
from akd_gym.device_lab.loopback.system import core_list
from akd_gym.errors import InvalidSettingError

ODD_NAMES = [
    "a b",
    "quo'te",
    'dou"ble',
    "semi;colon",
    "new\nline",
    "$(touch pwned)",
    "`touch pwned`",
    "-rf",
    "a,b",
    "ünï",
    "*",
]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("getprop ro.akd_gym.loopback", b"1\n"),
        ("getprop ro.build.version.sdk", b"34\n"),
        ("getprop no.such.property", b"\n"),
        ("settings get global airplane_mode_on", b"0\n"),
        ("settings get system no_such_setting", b"null\n"),
        ("settings put system brightness 'a b'; settings get system brightness", b"a b\n"),
        ("settings put global x 1; settings delete global x; settings get global x", b"Deleted 1 rows\nnull\n"),
        ("settings get ../../x y || echo refused", b"Invalid namespace '../../x'\nrefused\n"),
        ("settings get global ../x || echo refused", b"Bad arguments\nrefused\n"),
        ("cmd connectivity airplane-mode enable; settings get global airplane_mode_on", b"1\n"),
        ("cmd connectivity airplane-mode enable; cmd connectivity airplane-mode", b"enabled\n"),
        ("input keyevent KEYCODE_SLEEP; dumpsys power | grep -c 'mWakefulness=Asleep'", b"1\n"),
        (
            "input keyevent KEYCODE_SLEEP; input keyevent KEYCODE_WAKEUP; dumpsys power | grep Wakefulness=",
            b"  mWakefulness=Awake\n",
        ),
        ("input keyevent KEYCODE_POWER; dumpsys power | grep 'Display Power'", b"Display Power: state=OFF\n"),
        ("dumpsys thermalservice | grep 'Thermal Status'", b"Thermal Status: 0\n"),
        ("dumpsys battery | grep temperature", b"  temperature: 271\n"),
        ("svc power stayon usb; settings get global stay_on_while_plugged_in", b"2\n"),
        ("cmd nonsense || echo $?", b"cmd: Can't find service: nonsense\n20\n"),
        ("cat /sys/devices/system/cpu/cpu0/nothing 2>/dev/null || echo none", b"none\n"),
    ],
)
def test_commands_answer_as_android_does(client, command, expected):
    assert client.exec(command) == expected


def test_state_shows_what_commands_changed(phone, client):
    before = phone.state()
    client.exec(
        "cmd power set-fixed-performance-mode-enabled true; settings put system a b; input keyevent KEYCODE_SLEEP"
    )
    after = phone.state()
    assert (before.fixed_performance, before.awake, before.settings.get("system/a")) == (False, True, None)
    assert (after.fixed_performance, after.awake, after.settings["system/a"]) == (True, False, "b")


def test_cores_are_those_that_this_process_may_use(phone, client):
    cores = sorted(os.sched_getaffinity(0))
    folder = "/sys/devices/system/cpu"
    assert client.exec(f"cat {folder}/online").decode().strip() == core_list(cores)
    frequencies = [int(client.exec(f"cat {folder}/cpu{core}/cpufreq/cpuinfo_max_freq")) for core in cores]
    assert max(frequencies) == frequencies[-1]
    assert len(set(frequencies)) == min(2, len(cores))


def test_a_pinned_process_is_pinned_and_the_kernel_says_so(phone, client):
    for core in sorted(os.sched_getaffinity(0)):
        said = client.exec(f"taskset {1 << core:x} grep Cpus_allowed_list /proc/self/status")
        assert said.split() == [b"Cpus_allowed_list:", str(core).encode()]


def test_taskset_refuses_a_core_that_is_offline(phone, client):
    big = max(os.sched_getaffinity(0))
    if len(os.sched_getaffinity(0)) == 1:
        pytest.skip("one core only: a kernel does not give up its last")
    phone.inject(Fault("core_offline", "check", lasts_s=60))
    client.exec("true")
    assert big not in phone.state().online
    assert client.shell(f"taskset {1 << big:x} true")[1] == 1
    both = client.exec(f"taskset {(1 << big) | 1:x} grep Cpus_allowed_list /proc/self/status")
    assert both.split()[1] == b"0"


@pytest.mark.parametrize("lists", [((0,), "0"), ((0, 1, 2, 3), "0-3"), ((0, 2, 3, 7), "0,2-3,7"), ((), "")])
def test_core_lists_are_written_as_the_kernel_does(lists):
    assert core_list(lists[0]) == lists[1]


def test_a_guarded_command_comes_back_whole(client):
    line, nonce = guarded("printf 'a\\nb'; exit 3", 5)
    result = unguarded(client.exec(line), nonce, "x", 5)
    assert (result.output, result.exit_code) == ("a\nb", 3)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_in_sync_and_commands_are_names_only(phone, client, name):
    path = f"/data/local/tmp/work {name}/{name}"
    assert client.push(path, b"content") == b"OKAY"
    assert client.pull(path) == b"content"
    assert client.stat(path)[1] == 7
    assert client.exec(f"cat {shlex.quote(path)}") == b"content"
    client.exec(f"mv {shlex.quote(path)} {shlex.quote(path + '2')}")
    assert client.pull(path + "2") == b"content"
    assert not list(phone.root.rglob("pwned"))


@pytest.mark.parametrize(
    "path",
    [
        "/sdcard/x",
        "/etc/akd",
        "/tmp/x",
        "x",
        "",
        "/",
        "../../../../tmp/x",
        "/data/local/tmp/../x",
        "/data/local/tmp/../../../../../../tmp/x",
        "/data/local/tmpx/x",
        "/data/local/tmp/link/x",
        "/sys/devices/system/cpu/online",
        "/data/local/tmp/\0x",
        "//data/local",
    ],
)
def test_sync_writes_nowhere_but_in_the_phones_folder(phone, client, tmp_path, path):
    client.exec(f"ln -s {tmp_path} /data/local/tmp/link")
    before = {file: file.stat().st_mtime_ns for file in phone.root.rglob("*")}
    answer = client.push(path, b"content")
    assert answer.startswith(b"FAIL")
    assert answer in (b"FAILPermission denied", b"FAILInvalid argument")
    assert {file: file.stat().st_mtime_ns for file in phone.root.rglob("*")} == before
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../../../../etc/passwd", "/data/local/tmp/link", "/proc/self/environ"]
)
def test_sync_reads_nowhere_but_in_the_phones_folders(phone, client, path):
    client.exec("ln -s /etc/passwd /data/local/tmp/link")
    assert client.pull(path) == b"FAILPermission denied"


def test_a_link_of_a_push_is_refused_and_an_old_one_replaced(phone, client, tmp_path):
    client.exec(f"ln -s {tmp_path / 'outside'} /data/local/tmp/link")
    assert client.push("/data/local/tmp/link", b"content") == b"OKAY"
    assert client.pull("/data/local/tmp/link") == b"content"
    assert not (tmp_path / "outside").exists()
    assert client.push("/data/local/tmp/new", b"/etc/passwd", mode=0o120777).startswith(b"FAIL")


def test_mode_time_and_missing_folders_of_a_push(phone, client):
    assert client.push("/data/local/tmp/a/b/c", b"#!/bin/sh\necho ran\n", mode=0o100755) == b"OKAY"
    assert client.stat("/data/local/tmp/a/b/c") == (0o100755, 19, 1_700_000_000)
    assert client.exec("/data/local/tmp/a/b/c") == b"ran\n"
    assert client.push("/data/local/tmp/a", b"") == b"FAILIs a directory"
    assert client.pull("/data/local/tmp/none") == b"FAILNo such file or directory"


def test_a_program_can_be_pushed_over_while_it_runs(phone, client):
    client.push("/data/local/tmp/p", b"#!/bin/sh\necho; sleep 1000\n", mode=0o100755)
    ids = client.open(b"exec:/data/local/tmp/p")
    next(client.parts(ids))
    assert client.push("/data/local/tmp/p", b"#!/bin/sh\necho new\n", mode=0o100755) == b"OKAY"


def test_a_command_is_mapped_only_where_a_path_begins(phone):
    mapped = phone._system.mapped
    root = str(phone.root).encode()
    assert mapped(b"cat /data/local/tmp/x --graph=/data/local/tmp '/data/local/tmp/y'") == (
        b"cat %b/data/local/tmp/x --graph=%b/data/local/tmp '%b/data/local/tmp/y'" % (root, root, root)
    )
    assert mapped(b"/sdcard/data/local/tmp /data/local/tmpfs /sys/devices/system/cpufreq") == (
        b"/sdcard/data/local/tmp /data/local/tmpfs /sys/devices/system/cpufreq"
    )
    assert mapped(mapped(b"/data/local/tmp/x")) == mapped(b"/data/local/tmp/x")


def test_a_folder_that_a_command_cannot_hold_is_refused(monkeypatch, tmp_path):
    (tmp_path / "with blank").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "with blank"))
    with pytest.raises(InvalidSettingError, match="set TMPDIR"):
        LoopbackPhone()
    assert not list((tmp_path / "with blank").iterdir())


@pytest.mark.parametrize("odd", ["a\nb", "\0"])
def test_a_model_name_that_is_no_line_is_refused(odd):
    with pytest.raises(InvalidSettingError, match="line of text"):
        LoopbackPhone(model=odd)


def test_an_odd_model_name_is_a_name_only(raw):
    name = "My \"phone\"; $(touch pwned) 'x' = y"
    with LoopbackPhone(model=name, serial="a b;c") as phone:
        client = raw(phone).connect()
        assert client.exec("getprop ro.product.model; getprop ro.serialno") == f"{name}\na b;c\n".encode()
        assert f"[ro.product.model]: [{name}]".encode() in client.exec("getprop")
        assert not list(phone.root.rglob("pwned"))
