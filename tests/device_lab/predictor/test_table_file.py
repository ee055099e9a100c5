"""The file of a latency table: it comes back as it was, and damage is found and named."""

from __future__ import annotations

import contextlib
import hashlib
import json

import numpy as np
import pytest

from akd_gym.device_lab.predictor import read_table, write_table
from akd_gym.errors import AKDGymError, CorruptFileError, InvalidSettingError, SchemaVersionError, StorageError


@pytest.fixture
def path(table, tmp_path):
    return write_table(tmp_path / "host.latency.json", table)


def test_it_comes_back_as_it_was(table, path) -> None:
    again = read_table(path)
    assert again == table
    assert again.sha256 == table.sha256
    assert json.loads(path.read_text())["sha256"] == table.sha256


def test_a_missing_file_says_what_makes_one(tmp_path) -> None:
    with pytest.raises(StorageError, match=r"none\.json cannot be read.*akd latency fit"):
        read_table(tmp_path / "none.json")


def test_another_json_file_is_no_table(tmp_path) -> None:
    (tmp_path / "settings.json").write_text("{}")
    with pytest.raises(InvalidSettingError, match="must be a latency table"):
        read_table(tmp_path / "settings.json")


def test_a_cut_file_is_damaged(path) -> None:
    content = path.read_bytes()
    for share in (0.0, 0.3, 0.99):
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(CorruptFileError, match=r"must be JSON, but it is damaged.*Fit it again"):
            read_table(path)


def test_a_changed_number_is_damage(path) -> None:
    document = json.loads(path.read_text())
    name = max(document["model"]["coefficients"], key=document["model"]["coefficients"].get)
    document["model"]["coefficients"][name] *= 1.01
    path.write_text(json.dumps(document))
    with pytest.raises(CorruptFileError, match="does not fit its checksum"):
        read_table(path)


def test_no_changed_byte_is_read_as_another_table(table, path) -> None:
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(content), 200):
        changed = bytearray(content)
        changed[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        with contextlib.suppress(AKDGymError):
            assert read_table(path) == table  # only blanks between the numbers may be others


@pytest.mark.parametrize("name", ["schema_version", "features_version"])
@pytest.mark.parametrize("version", [2, None])
def test_another_version_is_refused(path, name, version) -> None:
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {name: version}))
    with pytest.raises(SchemaVersionError, match=rf"`{name}` of the latency table .* must be 1, but got {version}"):
        read_table(path)


@pytest.mark.parametrize("change", ["model", "held_out", "surplus"])
def test_wrong_fields_under_a_right_checksum_are_damage(path, change) -> None:
    document = json.loads(path.read_text())
    del document["sha256"]
    if change == "surplus":
        document["surplus"] = 1
    else:
        document[change] = {}
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    path.write_text(json.dumps(document | {"sha256": hashlib.sha256(text.encode()).hexdigest()}))
    with pytest.raises(CorruptFileError, match="lacks or holds what it must not"):
        read_table(path)


def test_it_is_written_whole_or_not_at_all(table, tmp_path) -> None:
    with pytest.raises(StorageError, match="cannot be written"):
        write_table(tmp_path / "no folder" / "table.json", table)
