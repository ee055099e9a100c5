from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from akd_gym.device_lab.adb.addresses import open_session
from akd_gym.device_lab.adb.session import CommandResult, guarded, unguarded
from akd_gym.device_lab.loopback.phone import LoopbackPhone
from akd_gym.device_lab.phones.facts import (
    Core,
    PhoneFacts,
    parse_core_list,
    parse_facts,
    parse_values,
    read_facts,
    read_values,
)
from akd_gym.errors import BadOutputError

PIXEL = {
    "ro.product.manufacturer": "Google",
    "ro.product.model": "Pixel 8",
    "ro.soc.manufacturer": "Google",
    "ro.soc.model": "Tensor G3",
    "ro.board.platform": "zuma",
    "ro.hardware": "shiba",
    "ro.build.version.release": "14",
    "ro.build.version.sdk": "34",
    "ro.build.fingerprint": "google/shiba/shiba:14/AP2A.240805.005/12025142:user/release-keys",
    "ro.product.cpu.abi": "arm64-v8a",
    "ro.serialno": "38161FDJH00ABC",
}
PIXEL_CPUS = {
    "online": "0-8",
    "present": "0-8",
    **{f"cpu{n}/cpufreq/cpuinfo_max_freq": "1704000" for n in range(4)},
    **{f"cpu{n}/cpufreq/cpuinfo_max_freq": "2367000" for n in range(4, 8)},
    "cpu8/cpufreq/cpuinfo_max_freq": "2914000",
    **{f"cpu{n}/cpu_capacity": "154" for n in range(4)},
    **{f"cpu{n}/cpu_capacity": "613" for n in range(4, 8)},
    "cpu8/cpu_capacity": "1024",
}


class ShellSession:
    """Runs commands with this machine's `sh`, and in it a phone's properties and cores."""

    address = "192.168.1.7:5555"

    def __init__(self, folder: Path, properties: dict[str, str], cpus: dict[str, str]) -> None:
        self.calls, self._path = 0, f"{folder / 'bin'}:{os.environ['PATH']}"
        for name, content in properties.items():
            (folder / name).write_text(content, encoding="utf-8")
        for name, content in cpus.items():
            path = folder / "cpu" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{content}\n", encoding="utf-8")
        (folder / "bin").mkdir()
        quoted = shlex.quote(str(folder))
        programs = {
            "getprop": f'/bin/cat {quoted}/"$1" 2>/dev/null; echo',
            "cat": f'exec /bin/cat {quoted}/cpu/"${{1#/sys/devices/system/cpu/}}"',
        }
        for name, script in programs.items():
            (folder / "bin" / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
            (folder / "bin" / name).chmod(0o755)

    def run(self, command: str, *, timeout_s: float = 30.0) -> CommandResult:
        self.calls += 1
        line, nonce = guarded(command, timeout_s)
        env = {**os.environ, "PATH": self._path}
        raw = subprocess.run(["sh", "-c", line], env=env, capture_output=True, check=True, timeout=60).stdout
        return unguarded(raw, nonce, command, timeout_s)


def test_a_phone_in_one_command(tmp_path):
    session = ShellSession(tmp_path, PIXEL, PIXEL_CPUS)
    facts = read_facts(session)
    assert session.calls == 1
    assert facts == PhoneFacts(
        kind="phone",
        manufacturer="Google",
        model="Pixel 8",
        soc="Google Tensor G3",
        os="Android 14 (API 34)",
        build=PIXEL["ro.build.fingerprint"],
        abi="arm64-v8a",
        serial_hash=hashlib.sha256(b"akd_gym:38161FDJH00ABC").hexdigest()[:16],
        cores=(
            *(Core(n, True, 1704000, 154) for n in range(4)),
            *(Core(n, True, 2367000, 613) for n in range(4, 8)),
            Core(8, True, 2914000, 1024),
        ),
    )
    assert (facts.big_core, facts.mask) == (8, "100")
    written = json.dumps(dataclasses.asdict(facts))
    assert "38161FDJH00ABC" not in written
    assert json.loads(written)["cores"][8] == {"number": 8, "online": True, "max_khz": 2914000, "capacity": 1024}


@pytest.mark.parametrize(
    "name",
    [
        "SM-G 99 'quoted' \"twice\"",
        "a; touch broken; b",
        "line one\nline two\n\nline four",
        "$(touch broken) `touch broken` ${HOME} \\n %s *",
        "-n",
        "小米 14 Ultra",
    ],
)
def test_names_come_through_unharmed_and_do_nothing(tmp_path, name):
    facts = read_facts(ShellSession(tmp_path, PIXEL | {"ro.product.model": name, "ro.serialno": name}, PIXEL_CPUS))
    assert (facts.model, facts.abi) == (name, "arm64-v8a")
    assert facts.serial_hash == hashlib.sha256(f"akd_gym:{name}".encode()).hexdigest()[:16]
    assert not list(tmp_path.rglob("broken"))
    assert not Path("broken").exists()


def test_a_phone_that_tells_little(tmp_path):
    facts = read_facts(ShellSession(tmp_path, {"ro.product.model": "x"}, {"online": "0-1", "present": "0-1"}))
    assert (facts.manufacturer, facts.soc, facts.os) == ("unknown", "unknown", "Android ? (API ?)")
    assert facts.cores == (Core(0, True, None, None), Core(1, True, None, None))
    assert facts.serial_hash == hashlib.sha256(b"akd_gym:192.168.1.7:5555").hexdigest()[:16]
    assert (facts.big_core, facts.mask) == (1, "2")


@pytest.mark.parametrize(
    ("properties", "cpus", "missing"),
    [
        ({}, {"online": "0", "present": "0"}, "did not tell ro.product.model"),
        ({"ro.product.model": "x"}, {}, "did not tell present, online"),
        ({}, {}, "did not tell ro.product.model, present, online"),
        ({"ro.product.model": "x"}, {"online": "9", "present": "0-7"}, "did not tell any online core"),
        ({"ro.product.model": "x"}, {"online": "all", "present": "some"}, "did not tell any online core"),
        ({"ro.product.model": "x"}, {"online": "0-99999", "present": "0-99999"}, "did not tell any online core"),
    ],
)
def test_missing_essentials_are_named(tmp_path, properties, cpus, missing):
    with pytest.raises(BadOutputError, match=missing):
        read_facts(ShellSession(tmp_path, properties, cpus))


def test_cores_that_are_absent_or_asleep(tmp_path):
    facts = read_facts(ShellSession(tmp_path, PIXEL, PIXEL_CPUS | {"present": "0-3,6-8", "online": "0-3,6"}))
    assert [(core.number, core.online) for core in facts.cores] == [
        *((n, True) for n in (0, 1, 2, 3, 6)),
        (7, False),
        (8, False),
    ]
    assert (facts.big_core, facts.mask) == (6, "40")


@pytest.mark.parametrize(
    ("cores", "big"),
    [
        ([Core(0, True, 1800000, 1024), Core(1, True, 2800000, 300)], 1),
        ([Core(0, True, 2800000, 1024), Core(1, False, 3200000, 1024)], 0),
        ([Core(0, True, None, 1024), Core(1, True, None, 300)], 0),
        ([Core(0, True, 2000000, None), Core(1, True, 2000000, None)], 1),
        ([Core(0, True, 2000000, 900), Core(1, True, 2000000, 500)], 0),
        ([Core(0, True, None, None), Core(5, True, None, None)], 5),
    ],
)
def test_the_big_core(cores, big):
    values = {"ro.product.model": "x"}
    facts = dataclasses.replace(parse_facts(values | CPU_VALUES, "here"), cores=tuple(cores))
    assert facts.big_core == big


CPU_VALUES = {"present": "0", "online": "0", "cores": "0 1000 -"}


@pytest.mark.parametrize(
    ("said", "soc"),
    [
        ({"ro.soc.manufacturer": "QTI", "ro.soc.model": "SM8550", "ro.board.platform": "kalama"}, "QTI SM8550"),
        ({"ro.soc.manufacturer": "unknown", "ro.soc.model": "unknown", "ro.board.platform": "msm8998"}, "msm8998"),
        ({"ro.soc.model": "SM8550"}, "SM8550"),
        ({"ro.hardware": "qcom"}, "qcom"),
        ({}, "unknown"),
    ],
)
def test_chip(said, soc):
    assert parse_facts({"ro.product.model": "x", **CPU_VALUES, **said}, "here").soc == soc


def test_the_loopback_phone_says_so():
    values = {"ro.product.model": "x", **CPU_VALUES}
    assert parse_facts(values | {"ro.akd_gym.loopback": "1"}, "here").kind == "loopback"
    assert parse_facts(values | {"ro.akd_gym.loopback": ""}, "here").kind == "phone"


def test_core_lists():
    assert parse_core_list("0-3,6\n") == (0, 1, 2, 3, 6)
    assert parse_core_list("5") == (5,)
    for bad in ("", "a", "0-", "0,,1", "-1", "0-12345"):
        assert parse_core_list(bad) == ()


def test_each_command_stands_alone(tmp_path):
    session = ShellSession(tmp_path, {}, {})
    commands = {
        "a": "echo one; echo two",
        "b": "exit 3",
        "c": "echo three; no_such_program",
        "d": "cd /; pwd",
        "e": ":",
    }
    assert read_values(session, commands) == {"a": "one\ntwo", "b": None, "c": None, "d": "/", "e": ""}


def test_a_missing_answer_is_named():
    with pytest.raises(BadOutputError, match="but not b"):
        parse_values("one\nabc a 0\n", "abc", {"a": "", "b": ""})


def test_the_loopback_phone_over_adb():
    name = 'it\'s "one"; two $(exit) \\n %s'
    with LoopbackPhone(model=name, serial="A; B") as phone:
        session = open_session(phone.address)
        facts = read_facts(session)
        session.close()
    assert (facts.kind, facts.model, facts.os) == ("loopback", name, "Android 14 (API 34)")
    assert facts.serial_hash == hashlib.sha256(b"akd_gym:A; B").hexdigest()[:16]
    big = next(core for core in facts.cores if core.number == facts.big_core)
    assert (big.online, big.max_khz, big.capacity) == (True, 2841600, 1024)
    assert {core.number for core in facts.cores} == os.sched_getaffinity(0)
