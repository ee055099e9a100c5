import dataclasses
import io
import json
import zipfile

import numpy as np
import pytest

from akd_gym.bench import surrogate as module
from akd_gym.bench.surrogate import MIXING, SHIPPED, SURROGATE_FILE, load_surrogate, read_surrogate, write_surrogate
from akd_gym.errors import CorruptFileError, SchemaVersionError, StorageError


def test_signals_are_made_of_mean_gain_and_preference():
    hard, residual, mixer = MIXING @ [0.7, 0.03, 0.02]
    assert (hard + residual + mixer) / 3 == pytest.approx(0.7)
    assert (residual + mixer) / 2 - hard == pytest.approx(0.03)
    assert residual - mixer == pytest.approx(0.02)


def test_a_surrogate_is_read_as_written_and_its_bytes_repeat(tmp_path, bent):
    path = write_surrogate(tmp_path / "one.npz", bent)
    again = read_surrogate(path)
    assert again.hash == bent.hash
    assert again.about == bent.about
    for name, array in bent.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], array)
    assert write_surrogate(tmp_path / "two.npz", again).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", ["linear", "of_mean", "support", "support_weights", "latency_ms", "residuals"])
def test_the_hash_is_of_everything(bent, name):
    array = bent.arrays()[name].copy()
    array.flat[0] += 1
    assert dataclasses.replace(bent, **{name: array}).hash != bent.hash
    assert dataclasses.replace(bent, about={"version": 1, "data": "other"}).hash != bent.hash


def test_a_damaged_file_is_refused(tmp_path, bent):
    whole = write_surrogate(tmp_path / "whole.npz", bent).read_bytes()
    path = tmp_path / "damaged.npz"
    damaged = [b"", b"not a zip", whole[:-100], whole[: len(whole) // 2]]
    for place in range(50, len(whole), len(whole) // 12):
        damaged.append(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
    refused = 0
    for content in damaged:
        path.write_bytes(content)
        try:
            found = read_surrogate(path)
        except CorruptFileError:
            refused += 1
        else:
            assert found.hash == bent.hash  # a byte that nothing depends on, as a date in the archive
    assert refused > len(damaged) * 0.7


def rewrite(path, **changes):
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    np.savez(path, **{name: array for name, array in (arrays | changes).items() if array is not None})


def test_a_changed_number_is_refused(tmp_path, bent):
    path = write_surrogate(tmp_path / "s.npz", bent)
    rewrite(path, linear=bent.linear * 1.001)
    with pytest.raises(CorruptFileError, match="its hash is"):
        read_surrogate(path)


def test_a_missing_array_and_a_pickle_are_refused(tmp_path, bent):
    path = write_surrogate(tmp_path / "s.npz", bent)
    rewrite(path, seconds=None)
    with pytest.raises(CorruptFileError, match="seconds"):
        read_surrogate(path)
    rewrite(path, seconds=np.array([{"a": 1}], dtype=object))
    with pytest.raises(CorruptFileError, match="allow_pickle"):
        read_surrogate(path)


def test_a_newer_version_is_said_to_be_one(tmp_path, bent):
    newer = json.dumps({"version": module.VERSION + 1}).encode()
    path = write_surrogate(tmp_path / "s.npz", bent)
    rewrite(path, about=np.frombuffer(newer, dtype=np.uint8))
    with pytest.raises(SchemaVersionError, match="Use a newer akd-gym"):
        read_surrogate(path)


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(StorageError, match="cannot be read"):
        read_surrogate(tmp_path / "none.npz")


def test_the_shipped_one_is_whole_holds_no_objects_and_fits_the_tables():
    shipped = load_surrogate()
    assert len(shipped.latency_ms) == len(module.bench_tables().blocks)
    assert shipped.linear.shape == (3, len(shipped.about["features"]) + 1)
    assert np.isfinite(shipped.linear).all()
    with zipfile.ZipFile(io.BytesIO((SHIPPED / SURROGATE_FILE).read_bytes())) as file:
        for name in file.namelist():
            assert np.lib.format.read_array(io.BytesIO(file.read(name)), allow_pickle=False).dtype.kind in "iuf"
