"""`latency="predicted:FILE"`: records of predictions, that never pass for measurements."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import pytest

from akd_gym.device_lab import LatencyRecord, make_latency_meter
from akd_gym.device_lab.predictor import PredictedLatency, read_operators, write_table
from akd_gym.errors import DeviceError, StorageError


@pytest.fixture
def meter(table, tmp_path) -> PredictedLatency:
    write_table(tmp_path / "host.latency.json", table)
    return make_latency_meter(f"predicted:{tmp_path / 'host.latency.json'}")


def test_a_record_is_of_a_prediction_and_says_of_what(meter, table, tiny_network) -> None:
    (record,) = meter.measure([("a", tiny_network)])
    assert record.kind == "predicted"
    assert record.device == "predicted: a device"
    assert record.verdict == "ok"
    assert record.latency_ms == record.median_ms == table.model.predict(read_operators(tiny_network))
    assert record.model_sha256 == hashlib.sha256(tiny_network).hexdigest()
    assert record.input_shape == (1, 8, 8, 3)
    assert record.exporter == "akd_gym.device_lab.tflite"
    assert record.clock is None
    assert record.warnings == ()
    assert LatencyRecord.from_dict(json.loads(json.dumps(record.to_dict()))) == record


def test_an_unknown_operator_fails_by_name_and_the_others_keep_their_numbers(meter, write_network) -> None:
    models = [("a", write_network()), ("tanh", write_network(last="TANH")), ("relu", write_network(last="RELU"))]
    ok, tanh, relu = meter.measure([*models])
    assert ok.verdict == "ok"
    assert (tanh.verdict, relu.verdict) == ("failed", "failed")
    assert "'TANH'" in tanh.reason  # no table can know it
    assert "operator of this latency table 'relu'" in relu.reason  # this one does not
    with pytest.raises(DeviceError, match="'relu' has no latency"):
        relu.latency_ms  # noqa: B018


@pytest.mark.parametrize("share", [0.0, 0.5, 0.98])
def test_a_damaged_model_fails(meter, tiny_network, share) -> None:
    (record,) = meter.measure([("cut", tiny_network[: int(len(tiny_network) * share)])])
    assert record.verdict == "failed"
    assert "must be a whole TFLite file" in record.reason


def test_far_outside_of_what_was_measured_it_warns(meter, write_network) -> None:
    (record,) = meter.measure([("large", write_network(pixels=128, channels=64))])
    assert record.verdict == "ok"
    assert any("far outside the networks that were measured" in warning for warning in record.warnings)


def test_no_time_at_all_is_no_latency(table, tmp_path, tiny_network) -> None:
    free = dataclasses.replace(table.model, coefficients=dict.fromkeys(table.model.coefficients, 0.0))
    path = write_table(tmp_path / "free.json", dataclasses.replace(table, model=free))
    (record,) = PredictedLatency(path).measure([("a", tiny_network)])
    assert record.verdict == "failed"
    assert "must be positive" in record.reason


def test_another_table_is_another_identity(meter, table, tmp_path) -> None:
    assert meter.identity()["of"] == table.identity
    assert meter.kind == meter.identity()["kind"] == "predicted"
    assert json.loads(json.dumps(meter.identity())) == meter.identity()
    largest = max(table.model.coefficients, key=table.model.coefficients.get)
    slower = dataclasses.replace(table.model, coefficients=table.model.coefficients | {largest: 1.0})
    other = write_table(tmp_path / "other.json", dataclasses.replace(table, model=slower))
    assert PredictedLatency(other).identity() != meter.identity()
    same = write_table(tmp_path / "same.json", table)
    assert PredictedLatency(same).identity() == meter.identity()


def test_a_missing_table_says_so_at_once(tmp_path) -> None:
    with pytest.raises(StorageError, match="cannot be read"):
        make_latency_meter(f"predicted:{tmp_path / 'none.json'}")


def test_it_may_be_closed_twice_and_comes_before_the_trainings(meter) -> None:
    meter.close()
    meter.close()
    assert meter.needs_quiet
