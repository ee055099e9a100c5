from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest

from akd_gym.device_lab import LatencyRecord
from akd_gym.device_lab.adb.addresses import open_session
from akd_gym.device_lab.canary import canary_model
from akd_gym.device_lab.loopback import Fault, LoopbackPhone, benchmark_program
from akd_gym.device_lab.phones.conditions import JOURNAL
from akd_gym.device_lab.phones.runner import WORK_FOLDER, BenchmarkRunner
from akd_gym.device_lab.tflite_writer import TFLiteWriter
from akd_gym.errors import BadOutputError, CommandFailedError, DeviceLostError, DeviceTimeoutError, UnsteadyDeviceError


def adder(constant: float) -> bytes:
    """x + constant on (1, 16384); models of equal size that differ in one number."""
    writer = TFLiteWriter()
    x = writer.tensor("input", (1, 16384))
    y = writer.operator("ADD", [x, writer.constant("c", np.full(1, constant, "f4"))], "y", (1, 16384), "AddOptions")
    return writer.finish({"input": x}, {"output": y}, description="adder")


@pytest.fixture
def phone(loopback, make_phone, quick):
    phone = make_phone(loopback, protocol=replace(quick, repeats=2))
    yield phone
    phone.close()


def measure(phone, name: str = "model", model: bytes | None = None) -> LatencyRecord:
    phone.wait_until_ready()
    return phone.attempt(name, model or canary_model())


def test_a_record_says_everything_that_makes_it_repeatable(loopback, phone, quick) -> None:
    record = measure(phone)
    assert record.verdict == "ok"
    assert (record.kind, record.device, record.architecture) == ("loopback", "akd-gym Loopback", "model")
    assert record.latency_ms == record.median_ms == np.median(record.repeat_median_ms)
    assert 0 < record.min_ms <= record.p5_ms <= record.median_ms <= record.p95_ms
    assert record.model_sha256 == hashlib.sha256(canary_model()).hexdigest()
    assert record.runtime_sha256 == hashlib.sha256(benchmark_program()).hexdigest()
    assert (record.input_shape, record.dtype) == ((1, 14, 14, 16), "float32")
    assert record.affinity == (record.core,) == (phone.facts.big_core,)
    assert f"taskset {record.mask} " in record.command
    assert record.model_sha256[:32] in record.command
    assert record.runs >= 2 * quick.runs
    assert record.warmups >= 2 * quick.warmups
    assert record.state_before["online"] == record.state_after["online"]
    assert record.canary_ms > 0
    assert record.canary_reference_ms > 0
    assert record.device_id != ""
    assert LatencyRecord.from_dict(json.loads(json.dumps(record.to_dict()))).latency_ms == record.latency_ms


def test_no_serial_number_leaves_the_phone(make_phone, quick) -> None:
    with LoopbackPhone(serial="SECRET4711") as loopback:
        phone = make_phone(loopback)
        record = measure(phone)
        phone.close()
    assert "SECRET4711" not in json.dumps(record.to_dict())


def test_everything_is_put_back_and_only_the_program_stays(loopback, make_phone) -> None:
    before = loopback.state()
    phone = make_phone(loopback)
    measure(phone)
    assert loopback.state() != before
    assert loopback.path(JOURNAL).exists()
    phone.close()
    assert loopback.state() == before
    left = [path.name for path in loopback.path(WORK_FOLDER).iterdir()]
    assert left == [f"benchmark_model-{hashlib.sha256(benchmark_program()).hexdigest()[:16]}"]
    phone.close()


def test_what_a_lost_session_left_is_put_back_by_the_next(loopback, make_phone) -> None:
    before = loopback.state()
    lost = make_phone(loopback)
    lost.connect()
    lost._lock.close()  # as the death of the process does; nothing else is undone
    lost.drop()
    assert loopback.state() != before
    phone = make_phone(loopback)
    phone.connect()
    phone.close()
    assert loopback.state() == before


def test_models_of_equal_size_are_told_apart_by_their_content(loopback, phone) -> None:
    one, other = adder(1.0), adder(2.0)
    assert len(one) == len(other)
    assert BenchmarkRunner.model_path(one) != BenchmarkRunner.model_path(other)
    assert measure(phone, "one", one).model_sha256 != measure(phone, "other", other).model_sha256


def test_a_damaged_file_on_the_phone_is_pushed_again(loopback, phone) -> None:
    phone.connect()
    [program] = [path for path in loopback.path(WORK_FOLDER).iterdir() if path.name.startswith("benchmark_model-")]
    program.write_bytes(b"#!/bin/sh\necho hello\n")
    phone.drop()
    assert measure(phone).verdict == "ok"
    assert program.read_bytes() == benchmark_program()


def test_a_benchmark_that_does_not_start_is_named_before_anything_is_measured(loopback, phone) -> None:
    loopback.inject(Fault("no_permission", "check", match="--help"))
    with pytest.raises(BadOutputError, match=r"must list its flags, but says: .*Permission denied"):
        phone.connect()
    assert "--use_cpu=true" in measure(phone).command


def test_a_process_left_by_a_lost_session_is_ended(loopback, phone) -> None:
    phone.connect()
    session = open_session(loopback.address)
    script = f"{WORK_FOLDER}/benchmark_model-left"
    session.push(b"#!/bin/sh\nsleep 60\n", script, mode=0o755)
    session.run(f"setsid {script} > /dev/null 2>&1 & echo $! > {WORK_FOLDER}/running.pid; sleep 0.3").checked()
    pid = session.run(f"cat {WORK_FOLDER}/running.pid").checked()
    assert session.run(f"grep -q left /proc/{pid}/cmdline").exit_code == 0
    phone.drop()
    phone.connect()
    assert session.run(f"grep -q left /proc/{pid}/cmdline").exit_code != 0  # gone, or a zombie
    session.close()


def test_a_number_of_a_reused_process_is_not_ended(loopback, phone) -> None:
    phone.connect()
    session = open_session(loopback.address)
    session.run(f"setsid sleep 60 > /dev/null 2>&1 & echo $! > {WORK_FOLDER}/running.pid; sleep 0.3").checked()
    pid = session.run(f"cat {WORK_FOLDER}/running.pid").checked()
    phone.drop()
    phone.connect()
    assert session.run(f"kill -0 {pid}").exit_code == 0
    session.run(f"kill -9 {pid}").checked()
    session.close()


def test_another_phone_at_the_same_address_is_refused(make_phone) -> None:
    with LoopbackPhone(serial="A") as first:
        port = first.port
        phone = make_phone(first)
        phone.connect()
        phone.drop()
        phone._conditions = None  # its settings go with the phone
    with LoopbackPhone(serial="B", port=port), pytest.raises(DeviceLostError, match="another phone does, a Loopback"):
        phone.connect()
    phone.close()


def test_a_phone_serves_one_process_at_a_time(loopback, make_phone, phone) -> None:
    phone.connect()
    second = make_phone(loopback)
    second._lock_timeout_s = 0.2
    with pytest.raises(DeviceTimeoutError, match="another measurement holds it"):
        second.connect()
    second.close()
    assert measure(phone).verdict == "ok"


def test_a_phone_that_stays_hot_is_not_waited_for_for_ever(loopback, make_phone, said, quick) -> None:
    phone = make_phone(loopback, protocol=replace(quick, cool_down_s=1.0))
    loopback.inject(Fault("throttle", "check", lasts_s=30.0))
    with pytest.raises(UnsteadyDeviceError, match=r"ready within 1 s, but its thermal status is 2, at most 0 is"):
        phone.wait_until_ready()
    assert any("rests: its thermal status is 2" in text for text in said)
    phone.close()


def test_a_slow_canary_is_no_time_to_measure(loopback, make_phone, quick) -> None:
    phone = make_phone(loopback, protocol=replace(quick, cool_down_s=0.3))
    phone.wait_until_ready()
    phone._reference._value_ms = 1e-4
    with pytest.raises(UnsteadyDeviceError, match="the canary took"):
        phone.wait_until_ready()
    phone.close()


def test_a_model_that_the_runtime_refuses_is_named_with_what_the_benchmark_said(phone) -> None:
    with pytest.raises(CommandFailedError, match=r"exit code 0, but got 1: .*[Mm]odel"):
        measure(phone, "bad", b"TFL3 nothing")
    assert phone.in_benchmark


def test_a_benchmark_that_escapes_its_core_is_no_measurement(loopback, phone, monkeypatch) -> None:
    phone.connect()
    if len(phone.facts.cores) < 2:
        pytest.skip("one core only: it cannot be left")
    monkeypatch.setattr(phone._runner, "_mask", "3")
    with pytest.raises(BadOutputError, match="must be pinned to core 1, but the kernel allows it"):
        phone.wait_until_ready()
