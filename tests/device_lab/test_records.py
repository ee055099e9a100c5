from __future__ import annotations

import json

import pytest

from akd_gym.device_lab import LatencyRecord
from akd_gym.errors import CorruptFileError, DeviceError, DeviceTimeoutError, SchemaVersionError
from akd_gym.ledger_records import latency_ms as ledger_latency_ms


def make_record(**changes) -> LatencyRecord:
    fields = {
        "architecture": "stem_k3_s2_c8 head_c64",
        "model_sha256": "ab" * 32,
        "exporter": "akd_gym.device_lab.tflite",
        "exporter_version": "1",
        "kind": "host",
        "runtime": "litert-xnnpack",
        "runtime_version": "2.3.0",
        "device": "AMD EPYC",
        "device_id": "0123",
        "os": "Linux",
        "core": 1,
        "affinity": (1,),
        "governor": None,
        "threads": 1,
        "clock": "wall",
        "created": "2026-11-22T12:00:00+00:00",
        "tool_version": "0.1.0",
        "verdict": "ok",
        "input_shape": (1, 28, 28, 1),
        "dtype": "float32",
        "samples_ms": (1.1, 1.0),
        "min_ms": 1.0,
        "pass_min_ms": (1.0, 1.2, 1.21, 9.0),
        "pass_canary_before_ms": (0.20, 0.24, 0.24, 0.20),
        "pass_canary_after_ms": (0.20, 0.24, 0.24, 0.90),
        "canary_ms": 0.2,
        "canary_reference_ms": 0.2,
        "steady_tolerance": 0.03,
    }
    return LatencyRecord(**{**fields, **changes})


def test_the_latency_is_the_median_of_steady_passes_at_the_reference_speed() -> None:
    # 1.0 at full speed; 1.2 and 1.21 at 0.2 / 0.24 of it are 1.0 and 1.00833; the last pass is not steady
    record = make_record()
    assert record.steady_passes == 3
    assert record.latency_ms == pytest.approx(1.0)
    assert record.spread == pytest.approx((0.5 * (1.0 + 1.21 / 1.2) - 1.0) / 1.0)


def test_where_no_pass_is_steady_all_count() -> None:
    record = make_record(
        pass_min_ms=(1.0, 3.0), pass_canary_before_ms=(0.1, 0.2), pass_canary_after_ms=(0.3, 0.4), verdict="ok"
    )
    assert record.steady_passes == 0
    assert record.latency_ms == pytest.approx((1.0 + 2.0) / 2)


def test_it_survives_json() -> None:
    record = make_record(warnings=("busy",), frequencies_khz=(1, 2))
    assert LatencyRecord.from_dict(json.loads(json.dumps(record.to_dict()))) == record


def test_a_ledger_takes_the_same_latency() -> None:
    record = make_record(min_ms=0.9)
    assert ledger_latency_ms(record.to_dict()) == record.latency_ms != record.min_ms


def test_a_record_of_version_1_stands_for_its_minimum_in_a_ledger_and_can_be_read() -> None:
    plain = make_record().to_dict() | {"schema_version": 1}
    del plain["latency_ms"]
    assert ledger_latency_ms(plain) == 1.0
    assert LatencyRecord.from_dict(plain).schema_version == 1


@pytest.mark.parametrize("kind", ["phone", "loopback", "predicted"])
def test_elsewhere_than_on_a_host_the_latency_is_the_median(kind) -> None:
    record = make_record(kind=kind, **NO_PASSES, median_ms=1.5)
    assert record.latency_ms == ledger_latency_ms(record.to_dict()) == 1.5
    assert LatencyRecord.from_dict(json.loads(json.dumps(record.to_dict()))) == record


@pytest.mark.parametrize("median_ms", [None, 0.0])
def test_a_phone_without_a_median_is_damaged(median_ms) -> None:
    plain = make_record(kind="phone", **NO_PASSES, median_ms=1.5).to_dict() | {"median_ms": median_ms}
    with pytest.raises(CorruptFileError, match="positive median"):
        LatencyRecord.from_dict(plain)


NO_PASSES = {"pass_min_ms": (), "pass_canary_before_ms": (), "pass_canary_after_ms": ()}
FAILED = {
    "verdict": "failed",
    "min_ms": None,
    **NO_PASSES,
    "samples_ms": (),
}


@pytest.mark.parametrize(
    ("reason", "error"), [("signal SIGSEGV", DeviceError), ("timeout: nothing for 60 s", DeviceTimeoutError)]
)
def test_a_failure_is_never_a_number(reason, error) -> None:
    record = make_record(**FAILED, reason=reason)
    with pytest.raises(DeviceError, match=reason) as caught:
        _ = record.latency_ms
    assert type(caught.value) is error
    assert LatencyRecord.from_dict(record.to_dict()) == record


def test_a_newer_schema_is_refused() -> None:
    with pytest.raises(SchemaVersionError, match="at most 2, but got 3"):
        LatencyRecord.from_dict({**make_record().to_dict(), "schema_version": 3, "new_field": 1})


@pytest.mark.parametrize("change", [{"unknown": 1}, {"pass_min_ms": []}, {"verdict": "failed"}])
def test_a_damaged_record_is_refused(change) -> None:
    with pytest.raises(CorruptFileError, match="latency record must have"):
        LatencyRecord.from_dict({**make_record().to_dict(), **change})


def test_a_record_without_a_field_is_refused() -> None:
    plain = make_record().to_dict()
    del plain["device_id"]
    with pytest.raises(CorruptFileError, match="device_id"):
        LatencyRecord.from_dict(plain)
