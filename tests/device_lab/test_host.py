"""Host latency: numbers under a pin, and every way a measurement can go wrong ends in a named failure."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import textwrap

import filelock
import pytest

from akd_gym.device_lab import HostLatency, HostProtocol, LatencyRecord, host_process, machine
from akd_gym.device_lab.canary import CanaryReference
from akd_gym.device_lab.lock import lock_path
from akd_gym.errors import DeviceError, DeviceTimeoutError, InvalidSettingError, StorageError

QUICK = HostProtocol(passes=3, pass_ms=0.5, round_s=0, patience_s=0.05, samples_kept=20)
pytestmark = pytest.mark.usefixtures("own_machine")


def test_a_round_gives_a_full_record_a_model(tiny_model) -> None:
    meter = HostLatency(QUICK)
    first, second = meter.measure([("a", tiny_model), ("b", tiny_model)])
    assert (first.architecture, second.architecture) == ("a", "b")
    for record in (first, second):
        assert record.verdict == "ok"
        assert record.reason is None
        assert record.latency_ms > 0
        assert record.input_shape == (1, 16384)
        assert record.dtype == "float32"
        assert record.exporter == "akd_gym.device_lab.tflite"
        assert record.fully_delegated is True
        assert len(record.pass_min_ms) >= QUICK.passes
        assert record.min_ms == min(record.pass_min_ms)
        assert record.min_ms <= record.p5_ms <= record.median_ms <= record.p95_ms
        assert record.canary_reference_ms == 0.2
        assert LatencyRecord.from_dict(json.loads(json.dumps(record.to_dict()))) == record


def test_raw_samples_are_kept_up_to_the_limit(tiny_model) -> None:
    (record,) = HostLatency(QUICK).measure([("a", tiny_model)])
    assert record.runs > len(record.samples_ms) == 20
    assert record.samples_ms[0] == record.min_ms
    assert list(record.samples_ms) == sorted(record.samples_ms)
    (record,) = HostLatency(dataclasses.replace(QUICK, samples_kept=10**6)).measure([("a", tiny_model)])
    assert record.runs == len(record.samples_ms)
    assert min(record.samples_ms) == record.min_ms


def test_nothing_to_measure_needs_no_process(monkeypatch) -> None:
    monkeypatch.setattr(host_process, "WORKER", "no such file")
    assert HostLatency().measure([]) == []


@pytest.mark.skipif(not machine.can_pin(), reason="this system cannot pin")
def test_it_is_pinned_to_the_core_it_says(tiny_model) -> None:
    core = min(os.sched_getaffinity(0))
    (record,) = HostLatency(QUICK, core=core).measure([("a", tiny_model)])
    assert record.core == core
    assert record.affinity == (core,)


def test_without_pinning_the_record_says_so(tiny_model, monkeypatch) -> None:
    monkeypatch.setattr(machine, "can_pin", lambda: False)
    meter = HostLatency(QUICK)
    (record,) = meter.measure([("a", tiny_model)])
    assert record.core is None
    assert any("cannot pin" in warning for warning in record.warnings)
    assert meter.identity()["pinned"] is False


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_model_fails_and_the_others_keep_their_numbers(tiny_model, share) -> None:
    broken = tiny_model[: int(len(tiny_model) * share)]
    before, bad, after = HostLatency(QUICK).measure([("a", tiny_model), ("bad", broken), ("b", tiny_model)])
    assert before.verdict == after.verdict == "ok"
    assert bad.verdict == "failed"
    assert bad.min_ms is None
    with pytest.raises(DeviceError, match="'bad' has no latency: ValueError"):
        _ = bad.latency_ms


@pytest.fixture
def rigged_worker(monkeypatch, tmp_path):
    """The real worker behind a gate that does to the process what the bytes of a model name."""
    gate = tmp_path / "rigged_worker.py"
    script = f"""
        import io, json, os, pathlib, signal, subprocess, sys, time
        text = sys.stdin.read()
        for index, path in enumerate(json.loads(text)["models"]):
            print(json.dumps({{"event": "on", "model": index, "doing": "loading"}}), flush=True)
            content = pathlib.Path(path).read_bytes()
            if content == b"segfault":
                os.kill(os.getpid(), signal.SIGSEGV)
            if content == b"hang":
                time.sleep(600)
            if content == b"exit 3":
                print("out of luck", file=sys.stderr)
                sys.exit(3)
            if content == b"noise":
                print("not an event", flush=True)
            marker = pathlib.Path({str(tmp_path / "killed_once")!r})
            if index == 1 and marker.with_suffix(".armed").exists() and not marker.exists():
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        sys.exit(subprocess.run([sys.executable, {str(host_process.WORKER)!r}], input=text, text=True).returncode)
    """
    gate.write_text(textwrap.dedent(script), encoding="utf-8")
    monkeypatch.setattr(host_process, "WORKER", gate)
    return tmp_path


@pytest.mark.usefixtures("rigged_worker")
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"segfault", "signal SIGSEGV"),
        (b"exit 3", "exit code 3.*out of luck"),
        (b"noise", "something else than events"),
    ],
)
def test_a_model_that_ends_the_process_fails_and_the_others_keep_their_numbers(tiny_model, content, reason) -> None:
    before, bad, after = HostLatency(QUICK).measure([("a", tiny_model), ("bad", content), ("b", tiny_model)])
    assert before.latency_ms > 0
    assert after.latency_ms > 0
    with pytest.raises(DeviceError, match=reason):
        _ = bad.latency_ms


@pytest.mark.usefixtures("rigged_worker")
def test_a_model_that_hangs_is_given_up(tiny_model) -> None:
    bad, good = HostLatency(QUICK, timeout_s=3).measure([("bad", b"hang"), ("good", tiny_model)])
    assert good.latency_ms > 0
    with pytest.raises(DeviceTimeoutError, match="said nothing for 3 s while loading"):
        _ = bad.latency_ms


def test_a_process_killed_once_costs_nothing(tiny_model, rigged_worker) -> None:
    (rigged_worker / "killed_once.armed").touch()
    (record,) = HostLatency(QUICK).measure([("a", tiny_model)])
    assert (rigged_worker / "killed_once").exists()
    assert record.latency_ms > 0


def test_a_process_that_dies_before_any_model_is_the_devices_fault(tiny_model, monkeypatch, tmp_path) -> None:
    worker = tmp_path / "dies.py"
    worker.write_text("raise SystemExit('no LiteRT here')", encoding="utf-8")
    monkeypatch.setattr(host_process, "WORKER", worker)
    with pytest.raises(DeviceError, match="exit code 1 while starting: no LiteRT here"):
        HostLatency(QUICK).measure([("a", tiny_model)])


def test_a_process_that_never_speaks_is_a_timeout(tiny_model, monkeypatch, tmp_path) -> None:
    worker = tmp_path / "mute.py"
    worker.write_text("import time; time.sleep(600)", encoding="utf-8")
    monkeypatch.setattr(host_process, "WORKER", worker)
    with pytest.raises(DeviceTimeoutError, match=r"said nothing for 0\.3 s while starting"):
        HostLatency(QUICK, timeout_s=0.3).measure([("a", tiny_model)])


def test_a_canary_that_fails_is_the_devices_fault(tiny_model, monkeypatch) -> None:
    monkeypatch.setattr("akd_gym.device_lab.host.canary_model", lambda: b"not a model")
    with pytest.raises(DeviceError, match="must run the canary"):
        HostLatency(QUICK).measure([("a", tiny_model)])


def test_one_measurement_at_a_time(tiny_model) -> None:
    path = str(lock_path("host-latency"))
    code = f"""
import filelock, sys
with filelock.FileLock({path!r}):
    print("held", flush=True)
    sys.stdin.read()
"""
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(DeviceTimeoutError, match="another measurement holds it"):
            HostLatency(QUICK, lock_timeout_s=0.1).measure([("a", tiny_model)])
        holder.kill()
        holder.wait()
        assert HostLatency(QUICK).measure([("a", tiny_model)])[0].verdict == "ok"  # freed with its holder


def test_the_lock_is_free_after_a_failure(tiny_model, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(host_process, "WORKER", tmp_path / "missing.py")
    with pytest.raises(DeviceError):
        HostLatency(QUICK).measure([("a", tiny_model)])
    with filelock.FileLock(lock_path("host-latency"), timeout=0):
        pass


def test_a_temporary_directory_that_is_none_is_a_storage_error(tiny_model, monkeypatch, tmp_path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="must be writable"):
        HostLatency(QUICK).measure([("a", tiny_model)])


def test_the_identity_tells_machines_runtimes_and_protocols_apart(monkeypatch) -> None:
    identity = HostLatency(QUICK).identity()
    assert json.loads(json.dumps(identity)) == identity
    assert identity == HostLatency(dataclasses.replace(QUICK)).identity()
    for name in ("device", "device_id", "cores", "runtime_version", "exporter_version", "canary_version"):
        assert identity[name]
    for field in dataclasses.fields(QUICK):
        changed = dataclasses.replace(QUICK, **{field.name: getattr(QUICK, field.name) + 1})
        assert HostLatency(changed).identity() != identity
    monkeypatch.setattr(machine, "machine_id", lambda: "another")
    assert HostLatency(QUICK).identity() != identity


def test_the_reference_is_taken_once_and_outlives_the_session(own_machine) -> None:
    CanaryReference().path.unlink()
    assert CanaryReference().read() is None
    assert CanaryReference().settle(0.15) == 0.15
    assert CanaryReference().settle(0.12) == 0.15
    CanaryReference().path.write_text("{", encoding="utf-8")
    assert CanaryReference().read() is None


def test_the_first_measurement_takes_the_reference(tiny_model, monkeypatch) -> None:
    CanaryReference().path.unlink()
    monkeypatch.setattr("akd_gym.device_lab.host.CALIBRATION_S", 0.01)
    (record,) = HostLatency(QUICK).measure([("a", tiny_model)])
    assert record.canary_reference_ms == record.canary_ms == CanaryReference().read()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"passes": 1}, "`passes` must be at least 2"),
        ({"pass_ms": 0}, "`pass_ms` must be positive"),
        ({"round_s": -1}, "`round_s` must not be negative"),
        ({"patience_s": float("nan")}, "`patience_s` must be positive"),
    ],
)
def test_a_protocol_that_cannot_work_is_refused(change, message) -> None:
    with pytest.raises(InvalidSettingError, match=message):
        HostProtocol(**change)


@pytest.mark.parametrize(("change", "message"), [({"timeout_s": 0}, "`timeout_s`"), ({"core": 10**6}, "`core`")])
def test_settings_that_cannot_work_are_refused(change, message) -> None:
    with pytest.raises(InvalidSettingError, match=message):
        HostLatency(**change)
