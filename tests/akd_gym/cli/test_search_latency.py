"""`akd search` on latencies of a loopback phone, and on predicted ones with an audit."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest

from akd_gym.agents.search import read_outcomes
from akd_gym.device_lab.loopback import Fault, LoopbackPhone
from akd_gym.ledger import Ledger

SEARCH = ["search", "--teacher=none", "--budget=4", "--round-size=2", "--workers=1"]


@pytest.fixture
def loopback(own_machine, monkeypatch):
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", "1")
    with LoopbackPhone() as phone:
        yield phone


def latencies(run):
    """The records of a run's candidates."""
    with Ledger.open(run / "ledger.sqlite", read_only=True) as ledger:
        name = json.loads((run / "settings.json").read_text())["search"]
        return [evaluation.latency for evaluation in ledger.evaluations(name)]


def test_a_search_on_a_loopback_phone_goes_the_whole_way(akd, tiny, tmp_path, own_machine):
    run = tmp_path / "run"
    result = akd(*SEARCH, *tiny, "--latency=loopback", "--run", run)
    assert result.status == 0, result
    assert "(loopback)" in result.out
    records = latencies(run)
    assert len(records) == 4
    assert {(record["kind"], record["verdict"]) for record in records} == {("loopback", "ok")}
    assert [o.latency_ms for o in read_outcomes(run).outcomes] == [record["median_ms"] for record in records]


def test_a_search_survives_a_phone_that_misbehaves(akd, tiny, tmp_path, loopback):
    before = loopback.state()
    loopback.inject(Fault("reboot", "run", after=4), Fault("garble", "pull", after=6), Fault("nonzero", "run", after=9))
    run = tmp_path / "run"
    result = akd(*SEARCH, *tiny, f"--latency=loopback:{loopback.address}", "--run", run)
    assert result.status == 0, result
    assert len(loopback.fired()) == 3
    assert {record["verdict"] for record in latencies(run)} == {"ok"}
    assert loopback.state() == before
    assert loopback.children() == []


def test_a_search_whose_phone_stays_away_keeps_what_it_paid_for_and_goes_on(akd, tiny, tmp_path, loopback):
    run, address = tmp_path / "run", f"--latency=loopback:{loopback.address}"
    loopback.inject(Fault("disk_full", "push", after=4, times=1000))
    error = akd(*SEARCH, *tiny, address, "--run", run).error
    assert "At least one phone must work" in error
    assert "No space left" in error
    with Ledger.open(run / "ledger.sqlite", read_only=True) as ledger:
        paid = ledger.counts()["latencies"]
    assert paid > 0
    loopback.forget_faults()
    result = akd("search", "--resume", run)
    assert result.status == 0, result
    assert len(latencies(run)) == 4


def test_ctrl_c_puts_the_phone_back(tiny, tmp_path, loopback):
    before = loopback.state()
    loopback.inject(Fault("hang", "run", after=5, times=1000))
    words = [*SEARCH, *tiny, f"--latency=loopback:{loopback.address}", "--run", str(tmp_path / "run")]
    code = "import sys; from akd_gym.cli import main; sys.exit(main())"
    with subprocess.Popen(
        [sys.executable, "-c", code, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        deadline = time.monotonic() + 120
        while Fault("hang", "run", after=5, times=1000) not in loopback.fired() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert loopback.state() != before
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 130, out.decode()
    deadline = time.monotonic() + 5
    while loopback.children() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert loopback.state() == before
    assert loopback.children() == []


def test_a_search_on_predictions_is_audited_on_the_device(akd, tiny, tmp_path, own_machine):
    table, run = tmp_path / "host.latency.json", tmp_path / "run"
    assert akd("latency", "fit", "--count=10", "--out", table).status == 0
    result = akd(*SEARCH, *tiny, f"--latency=predicted:{table}", "--audit=0.5", "--run", run)
    assert result.status == 0, result
    assert {record["kind"] for record in latencies(run)} == {"predicted"}
    audit = json.loads((run / "audit.json").read_text())
    assert len(audit["rows"]) >= 2
    assert all(row["measured_ms"] > 0 for row in audit["rows"])
    assert (run / "audit.png").exists()
    again = akd("search", "--resume", run, "--audit=1")
    assert again.status == 0, again
    assert len(json.loads((run / "audit.json").read_text())["rows"]) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--latency=loopback", "--audit=0.1"], "`audit` must go with predicted latency"),
        (["--latency=predicted:none.json", "--audit=2"], "`audit` must be from 0 to 1, but got 2"),
        (["--latency=predicted:none.json"], "none.json"),
        (["--latency=phone"], "akd phones setup"),
        (["--latency=loopback:nowhere:x"], "The address of a phone must be"),
    ],
)
def test_bad_latency_settings_cost_nothing(akd, tiny, tmp_path, own_machine, options, message):
    run = tmp_path / "run"
    result = akd(*SEARCH, *tiny, *options, "--run", run)
    assert result.status in (1, 2)
    assert message in " ".join((result.err + result.out).split())
    assert not run.exists()
