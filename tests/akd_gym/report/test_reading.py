from __future__ import annotations

import json

import pytest

from akd_gym.errors import CorruptFileError, InvalidSettingError, RunMismatchError, SchemaVersionError, StorageError
from akd_gym.report.reading import distinct_names, has_begun, read_reported_runs


def test_a_run_is_read_with_what_its_ledger_depended_on(searched):
    run = searched()
    [read] = read_reported_runs([run])
    assert (read.search.name, read.folder) == ("run", run)
    assert len(read.search.evaluations) == 60
    [training] = read.identities_of("training")
    [latency] = read.identities_of("latency")
    assert training["teacher"] == {"name": "shipped:resnet"}
    assert latency["device"] == "AKDBench"


def test_without_latencies_there_is_no_identity_of_any(searched):
    [read] = read_reported_runs([searched("madds", cost="madds")])
    assert read.identities_of("latency") == []
    assert read.search.unit == "madds"


def test_runs_of_the_same_name_are_told_apart(tmp_path):
    paths = [tmp_path / name for name in ("a/kd/run", "a/hard/run", "b/hard/run", "a/other")]
    assert distinct_names(paths) == ["a/kd/run", "a/hard/run", "b/hard/run", "other"]
    assert distinct_names(paths[:2]) == ["kd/run", "hard/run"]
    assert distinct_names(paths[3:]) == ["other"]


def test_one_run_twice_and_no_run_are_refused(tmp_path, searched):
    run = searched()
    with pytest.raises(InvalidSettingError, match="given once"):
        read_reported_runs([run, run.parent / "." / "run"])
    with pytest.raises(InvalidSettingError, match="At least one run"):
        read_reported_runs([])


def test_a_search_has_begun_when_its_first_candidate_is_there(begun):
    run = begun(0)
    assert not has_begun(run)
    with pytest.raises(StorageError, match="no such file"):
        read_reported_runs([run])
    begun(3)
    assert has_begun(run)
    [read] = read_reported_runs([run])
    assert [e.candidate.number for e in read.search.evaluations] == [0, 1, 2]
    begun(8)
    assert len(read_reported_runs([run])[0].search.evaluations) == 8


def test_bad_runs_are_refused_with_what_is_wrong(tmp_path, begun):
    for read in (has_begun, lambda folder: read_reported_runs([folder])):
        with pytest.raises(RunMismatchError, match=r"no settings\.json"):
            read(tmp_path)
    run = begun(5)
    ledger, settings = run / "ledger.sqlite", run / "settings.json"
    whole, plain = ledger.read_bytes(), json.loads(settings.read_text())

    settings.write_text(json.dumps(plain | {"schema_version": 99}))
    with pytest.raises(SchemaVersionError, match="update it"):
        read_reported_runs([run])
    settings.write_text("{")
    with pytest.raises(CorruptFileError, match="settings of a search"):
        read_reported_runs([run])
    settings.write_text(json.dumps(plain))

    ledger.write_bytes(whole[:60] + (99).to_bytes(4, "big") + whole[64:])  # SQLite's user_version
    with pytest.raises(SchemaVersionError, match="newer akd_gym"):
        read_reported_runs([run])
    ledger.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptFileError, match="akd repair"):
        read_reported_runs([run])
