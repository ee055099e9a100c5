from __future__ import annotations

from dataclasses import replace

import pytest
from PIL import Image

from akd_gym.analysis.runs import SearchRun
from akd_gym.errors import InvalidSettingError, StorageError
from akd_gym.ledger_records import TrainingRecord
from akd_gym.report.figures import drawings, write_figures
from akd_gym.report.reading import read_reported_runs

STARTS = {".png": b"\x89PNG\r\n\x1a\n", ".svg": b"<?xml", ".pdf": b"%PDF"}


def stems(written):
    for path in written.paths:
        assert path.read_bytes().startswith(STARTS[path.suffix])
    assert len(written.paths) == 3 * len({path.stem for path in written.paths})
    return {path.stem for path in written.paths}


def test_one_search_has_figure_4_in_three_formats(tmp_path, searched):
    written = write_figures(tmp_path / "new" / "figures", read_reported_runs([searched()]))
    assert stems(written) == {"figure-4-run"}
    assert written.left_out == {}
    assert Image.open(tmp_path / "new" / "figures" / "figure-4-run.png").size[0] > 2000


def test_several_searches_have_the_figures_that_compare_them(searched):
    names = [name for name, _ in drawings(read_reported_runs([searched(), searched("hard", teacher="none")]))]
    assert names == ["figure-4-run", "figure-4-hard", "figure-5", "figures-6-7", "figure-8-hard", "hypervolume"]
    by_unit = dict(drawings(read_reported_runs([searched(), searched("madds", cost="madds")])))
    for name in ("figure-8-madds", "hypervolume"):
        with pytest.raises(InvalidSettingError, match="cost"):
            by_unit[name]()


def test_two_settings_of_two_seeds_have_one_figure_8(searched):
    folders = [searched(), searched("second", seed=1), searched("h0", teacher="none")]
    by_name = dict(drawings(read_reported_runs([*folders, searched("h1", teacher="none", seed=1)])))
    assert [name for name in by_name if name.startswith("figure-8")] == ["figure-8"]
    assert "run, second minus h0, h1" in by_name["figure-8"]().get_suptitle()


def test_figures_that_cannot_be_drawn_are_named_with_the_reason(tmp_path, searched):
    [run] = read_reported_runs([searched()])
    failed = [replace(e, training=TrainingRecord("infeasible", "diverged")) for e in run.search.evaluations]
    search = SearchRun("failed", run.search.space, failed)
    written = write_figures(tmp_path, [replace(run, search=search)])
    assert written.paths == []
    assert set(written.left_out) == {"figure-4-failed"}


def test_names_that_are_no_file_names_are_told_apart(searched):
    [run] = read_reported_runs([searched()])
    runs = [replace(run, search=replace(run.search, name=name)) for name in ("a/b", "a b")]
    assert [name for name, _ in drawings(runs)][:2] == ["figure-4-a-b-0", "figure-4-a-b-1"]


def test_a_folder_that_cannot_be_made_is_said(tmp_path, searched):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be made"):
        write_figures(tmp_path / "file" / "figures", read_reported_runs([searched()]))
