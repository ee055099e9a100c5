"""Every fault at every stage, seen by a client that looks at single packets."""

from __future__ import annotations

import contextlib
import os
import time

import pytest

from akd_gym.device_lab.adb.session import guarded, unguarded
from akd_gym.device_lab.loopback import FAULT_NAMES, STAGES, Fault, benchmark_program, parse_fault
from akd_gym.errors import DeviceTimeoutError, InvalidSettingError, UnknownNameError

PROGRAM, MODEL = "/data/local/tmp/benchmark_model", "/data/local/tmp/model.tflite"
BENCHMARK = f"taskset 1 {PROGRAM} --graph={MODEL} --num_threads=1 --warmup_min_secs=0 --num_runs=9 --min_secs=0"
FILE = bytes(range(256)) * 400
TEXT = b"one two three four five six seven\n"
TROUBLES = ("throttle", "core_offline", "clock_change")
SHORT_S = 0.6  # a client's patience where silence is expected
LONG_S = 3.0  # the same where the benchmark runs first


@pytest.mark.parametrize("name", FAULT_NAMES)
@pytest.mark.parametrize("stage", STAGES)
def test_a_fault_is_written_as_name_at_stage(name, stage):
    assert parse_fault(f"{name}@{stage}") == Fault(name, stage)
    assert parse_fault(f" {name}@{stage}:3 ") == Fault(name, stage, times=3)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("cutt@push", UnknownNameError, "Unknown fault 'cutt'. Did you mean 'cut'"),
        ("cut@pusch", UnknownNameError, "Unknown stage of a fault 'pusch'. Did you mean 'push'"),
        ("cut", InvalidSettingError, r"must be written NAME@STAGE\[:TIMES\]"),
        ("cut@push:", InvalidSettingError, "must be written"),
        ("cut@push:x", InvalidSettingError, "must be written"),
        ("cut@push:0", InvalidSettingError, "at least once"),
    ],
)
def test_what_is_no_fault_is_refused(text, error, message):
    with pytest.raises(error, match=message):
        parse_fault(text)


def test_faults_fire_in_order_as_often_as_asked_and_where_they_match(phone, client):
    phone.inject(Fault("nonzero", "check", times=2, match="true"), Fault("no_permission", "check", after=1))
    codes = [client.shell(command)[1] for command in ("true", "echo", "true", "true", "true")]
    # "echo" is the one that no_permission spares; the fourth "true" is the next that nonzero leaves to it
    assert codes == [1, 0, 1, 126, 0]
    assert phone.pending() == ()
    assert [fault.name for fault in phone.fired()] == ["nonzero", "nonzero", "no_permission"]


def test_faults_can_be_forgotten(phone, client):
    phone.inject(Fault("nonzero", "check", times=9))
    assert client.shell("true")[1] == 1
    phone.forget_faults()
    assert client.shell("true")[1] == 0


def test_a_command_that_hangs_does_so_within_its_guard(phone, client):
    phone.inject(Fault("hang", "check"))
    line, nonce = guarded("echo started", 0.5)
    with pytest.raises(DeviceTimeoutError):
        unguarded(client.exec(line), nonce, "x", 0.5)
    assert phone.children() == []


@pytest.mark.parametrize(("name", "code"), [("nonzero", 1), ("disk_full", 1), ("no_permission", 126)])
def test_a_command_that_fails_does_so_within_its_guard(phone, client, name, code):
    phone.inject(Fault(name, "check"))
    line, nonce = guarded("echo said", 5)
    result = unguarded(client.exec(line), nonce, "x", 5)
    assert result.exit_code == code
    assert result.output == {
        "nonzero": "said",
        "disk_full": "sh: write error: No space left on device",
        "no_permission": "sh: Permission denied",
    }[name]  # fmt: skip


# Each stage's request, made by a client; it returns what came, or raises what the link did.


def do_connect(phone, raw, client):
    newcomer = raw(phone)
    newcomer.deadline = client.deadline
    newcomer.connect()
    return b"", newcomer.asked


def do_check(phone, raw, client):
    return client.shell(f"printf '{TEXT.decode()[:-1]}\\n'")


def do_run(phone, raw, client):
    return client.shell(f"{BENCHMARK} > /data/local/tmp/out 2>&1; r=$?; printf '{TEXT.decode()[:-1]}\\n'; exit $r")


def do_push(phone, raw, client):
    return client.push("/data/local/tmp/file", FILE), None


def do_pull(phone, raw, client):
    return client.pull("/data/local/tmp/file"), None


REQUESTS = {
    "connect": do_connect,
    "check": do_check,
    "push": do_push,
    "run": do_run,
    "report": do_run,
    "pull": do_pull,
}
GOOD = {
    "connect": (b"", 1),
    "check": (TEXT, 0),
    "push": (b"OKAY", None),
    "run": (TEXT, 0),
    "report": (TEXT, 0),
    "pull": (FILE, None),
}


def expected(name: str, stage: str) -> object:
    """What the client must see: a result, or the kind of silence, end or damage."""
    kind = "file" if stage in ("push", "pull") else stage
    if (name, kind) == ("garble", "connect"):
        return (b"", 2)  # the signature of the wrong token is refused, the next is right
    refusals = {
        "nonzero": b"operation failed",
        "disk_full": b"No space left on device",
        "no_permission": b"Permission denied",
    }
    if name in refusals and kind == "file":
        return (b"FAIL" + refusals[name], None)
    table = {
        "cut": "closed",
        "reboot": "closed",
        "mute": "silent",
        "hang": "silent",
        "drip": "silent",  # it takes longer than the client waits
        "bad_packet": "bad packet",
        ("truncate", "connect"): "closed",
        ("truncate", "file"): (b"OKAY" if stage == "push" else FILE[: (1 << 16) // 2], None),
        ("truncate", "check"): (TEXT[: len(TEXT) // 2], 0),
        ("truncate", "run"): (TEXT[: len(TEXT) // 2], 0),
        ("nonzero", "connect"): "closed",
        ("nonzero", "check"): (TEXT, 1),
        ("nonzero", "run"): (TEXT, 1),
        ("nonzero", "report"): (TEXT, 1),
        ("disk_full", "connect"): "silent",
        ("disk_full", "check"): (b"sh: write error: No space left on device\n", 1),
        ("disk_full", "run"): (TEXT, 1),
        ("disk_full", "report"): (TEXT, 1),
        ("no_permission", "connect"): "silent",
        ("no_permission", "check"): (b"sh: Permission denied\n", 126),
        ("no_permission", "run"): (TEXT, 126),
        ("no_permission", "report"): (TEXT, 126),
    }
    if name == "garble" and stage in ("check", "run", "pull"):
        return "damaged"
    return table.get((name, kind), table.get(name, GOOD[stage]))


def outcome(phone, raw, client, stage: str) -> object:
    try:
        found = REQUESTS[stage](phone, raw, client)
    except (EOFError, ConnectionError):
        return "closed"
    except TimeoutError:
        return "silent"
    except Exception as error:
        if type(error).__name__ == "BadPacketError":
            return "bad packet"
        raise
    damaged = found[0] != GOOD[stage][0] and len(found[0]) == len(GOOD[stage][0])
    return "damaged" if damaged and stage in ("check", "run", "pull") else found


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("name", FAULT_NAMES)
def test_a_fault_does_what_the_table_says_and_then_the_phone_is_well(phone, raw, tiny_model, name, stage):
    if name == "core_offline" and len(os.sched_getaffinity(0)) == 1:
        pytest.skip("one core only: a kernel does not give up its last")
    client = raw(phone).connect()
    if stage in ("run", "report"):
        client.push(PROGRAM, benchmark_program(), mode=0o100755)
        client.push(MODEL, tiny_model)
    if stage == "pull":
        client.push("/data/local/tmp/file", FILE)
    phone.inject(Fault(name, stage, lasts_s=60 if name in TROUBLES else 2, reboot_s=0.1))
    want = expected(name, stage)
    if want == "silent":
        client.deadline = time.monotonic() + (LONG_S if stage == "report" else SHORT_S)
    assert outcome(phone, raw, client, stage) == want

    assert phone.pending() == ()
    assert [fault.name for fault in phone.fired()] == [name]
    state = phone.state()
    assert (state.thermal_status == 2) == (name == "throttle")
    assert (state.online != phone._system.cores) == (name == "core_offline")
    stored = phone.path("/data/local/tmp/file")
    if stage == "push" and name in ("garble", "truncate", "cut", "reboot"):
        assert stored.read_bytes() != FILE
        assert (len(stored.read_bytes()) == len(FILE)) == (name == "garble")
    if stage == "push" and name in ("disk_full", "no_permission", "nonzero"):
        assert not stored.exists()
    check_well(phone, raw, stage)


def check_well(phone, raw, stage):
    """A new client finds a phone that does what it is asked."""
    latest = time.monotonic() + 60
    while True:
        with contextlib.suppress(EOFError, ConnectionError):
            client = raw(phone).connect()
            break
        assert time.monotonic() < latest
        time.sleep(0.05)
    client.push("/data/local/tmp/file", FILE)
    client.asked = 1
    assert outcome(phone, raw, client, "pull") == GOOD["pull"]
    assert outcome(phone, raw, client, "check") == GOOD["check"]


def test_trouble_ends_by_itself(phone, client):
    before = phone.state(), client.exec("cat /sys/devices/system/cpu/cpu*/cpufreq/scaling_max_freq")
    phone.inject(*(Fault(name, "check", lasts_s=0.3) for name in TROUBLES))
    for _ in TROUBLES:
        client.exec("true")
    assert phone.state() != before[0]
    slowed = client.exec("cat /sys/devices/system/cpu/cpu*/cpufreq/scaling_max_freq")
    assert [int(now) / int(then) for now, then in zip(slowed.split(), before[1].split(), strict=True)] == [
        pytest.approx(0.6, abs=1e-5)
    ] * len(before[1].split())
    latest = time.monotonic() + 60
    while True:
        after = phone.state(), client.exec("cat /sys/devices/system/cpu/cpu*/cpufreq/scaling_max_freq")
        if after == before or time.monotonic() > latest:
            break
        time.sleep(0.05)
    assert after == before


def test_trouble_lasts_as_long_as_the_benchmark_that_it_befell(phone, client, tiny_model):
    client.push(PROGRAM, benchmark_program(), mode=0o100755)
    client.push(MODEL, tiny_model)
    phone.inject(Fault("throttle", "run", lasts_s=2.0))
    client.exec(f"{BENCHMARK} --warmup_runs=1 --min_secs=2.5 >/dev/null 2>&1")
    assert client.exec("dumpsys thermalservice | grep 'Thermal Status'") == b"Thermal Status: 2\n"


def test_a_running_process_is_moved_off_a_core_that_goes_offline(phone, client):
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1:
        pytest.skip("one core only: a kernel does not give up its last")
    next(client.parts(client.open(f"exec:taskset {1 << cores[-1]:x} sh -c 'echo; exec sleep 1000'".encode())))
    (pid,) = (pid for pid in phone.children() if os.sched_getaffinity(pid) == {cores[-1]})
    other = client.last_id = 10
    phone.inject(Fault("core_offline", "check", lasts_s=60))
    client.send(b"OPEN", other, 0, b"exec:true\0")
    while client.read()[:1] != (b"CLSE",):
        pass
    assert os.sched_getaffinity(pid) == set(cores[:-1])
