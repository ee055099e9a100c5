from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import urllib.request

import pytest

from akd_gym.ledger import Ledger


@pytest.fixture(scope="module")
def seeds(akd, tmp_path_factory):
    """Two searches on AKDBench, in directories of one name."""
    folder = tmp_path_factory.mktemp("seeds")
    runs = [folder / str(seed) / "run" for seed in (0, 1)]
    for seed, run in enumerate(runs):
        options = ["--evaluator", "bench", "--agent", "random", "--budget", 60, "--seed", seed]
        result = akd("search", *options, "--run", run)
        assert result.status == 0, result
    return runs


def page_data(path):
    text = path.read_text(encoding="utf-8")
    return json.loads(re.search(r'id="report-data">(.*?)</script>', text)[1])


def test_a_search_ends_with_its_report(finished):
    assert f"Report: {finished.run / 'report.html'}" in finished.out
    [run] = page_data(finished.run / "report.html")["runs"]
    assert (run["name"], run["folder"]) == ("my run", str(finished.run))
    with Ledger.open(finished.run / "ledger.sqlite", read_only=True) as ledger:
        assert len(run["number"]) == ledger.counts()["candidates"] == 16
    assert run["unit"] == "madds"


def test_a_search_without_a_feasible_student_has_a_report_too(akd, tmp_path, tiny_search):
    run = tmp_path / "run"
    result = akd(*tiny_search, "--teacher=none", "--budget=4", "--recipe.learning-rate=1e30", "--run", run)
    assert f"Report: {run / 'report.html'}" in result.out
    assert page_data(run / "report.html")["runs"][0]["reasons"] == ["diverged"]
    result = akd("report", run, "--figures", tmp_path / "figures")
    assert "No figure-4-run: " in result.out
    assert "Figures in" not in result.out


def test_a_report_goes_into_the_run_or_where_one_says(akd, seeds, tmp_path, monkeypatch):
    (seeds[0] / "report.html").unlink()
    assert f"Report: {seeds[0] / 'report.html'}" in akd("report", seeds[0]).out
    assert page_data(seeds[0] / "report.html")["separations"] == []
    assert akd("report", seeds[0], "--out", tmp_path / "sent.html").status == 0
    assert len(page_data(tmp_path / "sent.html")["runs"]) == 1
    monkeypatch.chdir(tmp_path)
    assert "Report: report.html" in akd("report", *seeds).out
    assert [run["name"] for run in page_data(tmp_path / "report.html")["runs"]] == ["0/run", "1/run"]


def test_several_searches_are_compared_in_words_and_figures(akd, seeds, tmp_path):
    result = akd("report", *seeds, "--out", tmp_path / "r.html", "--figures", tmp_path / "figures")
    assert re.search(r"0/run against 1/run: \d+\.\d% of held-out candidates told apart .*p = \d", result.out)
    assert "figure-4-0-run, figure-4-1-run, figure-5, figures-6-7, figure-8-1-run, hypervolume" in result.out
    assert len(list((tmp_path / "figures").iterdir())) == 18
    [[label, [text]]] = page_data(tmp_path / "r.html")["separations"]
    assert f"{label}: {text}" in result.out


def test_bad_runs_are_refused(akd, seeds, tmp_path):
    assert "no settings.json" in akd("report", tmp_path).error
    assert "given once" in akd("report", seeds[0], seeds[0]).error
    empty = tmp_path / "empty"
    empty.mkdir()
    shutil.copy(seeds[0] / "settings.json", empty)
    assert "no such file" in akd("report", empty).error
    Ledger.open(empty / "ledger.sqlite").close()
    assert "has not yet" in akd("report", empty).error
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    shutil.copy(seeds[0] / "settings.json", damaged)
    whole = (seeds[0] / "ledger.sqlite").read_bytes()
    (damaged / "ledger.sqlite").write_bytes(whole[:5000])
    assert "akd repair" in akd("report", damaged).error
    assert not list(tmp_path.rglob("report.html"))


def test_options_that_do_not_go_together_are_refused(akd, seeds, tmp_path):
    assert "must go with `--live`" in akd("report", seeds[0], "--port", 8000).error
    assert "without `--live`" in akd("report", seeds[0], "--live", "--out", tmp_path / "r.html").error
    assert "without `--live`" in akd("report", seeds[0], "--live", "--figures", tmp_path).error
    assert "from 1 to 65535" in akd("report", seeds[0], "--live", "--port", 0).error
    assert "cannot be written" in akd("report", seeds[0], "--out", tmp_path / "no" / "r.html").error


def test_a_live_report_is_served_until_ctrl_c(seeds):
    command = [sys.executable, "-m", "akd_gym", "report", "--live", str(seeds[0])]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        url = re.search(r"Report: (http://127\.0\.0\.1:\d+/) \(Ctrl-C ends it\)", line)[1]
        with urllib.request.urlopen(f"{url}data.json", timeout=30) as answer:
            assert len(json.load(answer)["runs"][0]["number"]) == 60
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in err
