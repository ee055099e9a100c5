import json

import pytest

from akd_gym.bench.identity import check_identity, read_identity
from akd_gym.bench.latencies import DEVICE_FILE, LATENCIES_FILE, latency_line, measure_architectures, read_latencies
from akd_gym.bench.plan import bench_space, covering_architectures
from akd_gym.device_lab import HostLatency, HostProtocol
from akd_gym.errors import CorruptFileError, RunMismatchError

QUICK = HostProtocol(passes=2, pass_ms=0.5, min_runs=2, round_s=0, patience_s=0.1)


@pytest.fixture
def meter(own_machine):
    return HostLatency(QUICK)


def test_latencies_are_measured_once_and_kept(tmp_path, meter):
    names = covering_architectures(bench_space(), 3)
    folder = tmp_path / "bench"
    seen = []
    measure_architectures(names[:2], folder, meter, seen.append)
    assert [row.architecture for row in seen] == names[:2]
    measure_architectures(names, folder, meter, seen.append)
    rows = read_latencies(folder / LATENCIES_FILE)
    assert rows == seen
    assert [row.architecture for row in rows] == names
    assert all(0 < row.latency_ms < 100 for row in rows)
    assert read_identity(folder / DEVICE_FILE)["input_shape"] == [1, 28, 28]
    with pytest.raises(RunMismatchError, match="device and this protocol, but protocol differs"):
        measure_architectures(names, folder, HostLatency(), seen.append)


def test_a_failure_is_no_latency(tmp_path, meter):
    [record] = meter.measure([("a", b"no model")])
    line = latency_line(record)
    path = tmp_path / LATENCIES_FILE
    header = "architecture,verdict,latency_ms,min_ms,median_ms,canary_ms,canary_reference_ms,runs"
    path.write_text(f"{header},core,created,warnings,reason\n" + ",".join(line[:-1]) + ',"x"\n')
    [row] = read_latencies(path)
    assert row.latency_ms is None


@pytest.mark.parametrize("latency", ["", "-1", "nan", "0", "fast"])
def test_a_damaged_latency_is_named(tmp_path, latency):
    path = tmp_path / LATENCIES_FILE
    header = "architecture,verdict,latency_ms,min_ms,median_ms,canary_ms,canary_reference_ms,runs"
    path.write_text(f"{header},core,created,warnings,reason\na,ok,{latency},,,,,3,1,now,,\n")
    with pytest.raises(CorruptFileError, match="Line 2 of"):
        read_latencies(path)


def test_an_identity_is_kept_compared_and_checked(tmp_path):
    path = tmp_path / "sub" / "identity.json"
    check_identity(path, {"a": 1, "b": {"c": [1]}}, "rows", "kind")
    check_identity(path, {"b": {"c": [1]}, "a": 1}, "rows", "kind")
    with pytest.raises(RunMismatchError, match=r"The rows in .* must be of this kind, but a, d differ"):
        check_identity(path, {"a": 2, "b": {"c": [1]}, "d": 0}, "rows", "kind")
    for damaged in ("{", json.dumps([1])):
        path.write_text(damaged)
        with pytest.raises(CorruptFileError, match="must hold what the table beside it depends on"):
            check_identity(path, {"a": 1}, "rows", "kind")
