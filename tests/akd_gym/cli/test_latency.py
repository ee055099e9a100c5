"""`akd latency`: a table fitted to this machine, in a file, with a picture; and stopped, and gone on with."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from akd_gym.cli.latency import FitLatency, ShowLatency, show_audit
from akd_gym.device_lab.predictor import read_table
from akd_gym.errors import InvalidSettingError
from akd_gym.ledger import Ledger


def run(command) -> str:
    console = Console(file=io.StringIO(), width=80)
    command(console)
    return console.file.getvalue()


def test_a_fit_writes_a_table_and_a_picture_and_is_not_paid_for_twice(own_machine, monkeypatch) -> None:
    monkeypatch.chdir(own_machine)
    text = run(FitLatency(count=10))
    path = Path("host.latency.json")
    table = read_table(path)
    assert len(table.networks) == 10
    assert (table.input_shape, table.classes, table.data, table.spec) == ((1, 28, 28), 10, "fashion", "host")
    assert path.with_suffix(".png").stat().st_size > 10_000
    assert "akd search --latency predicted:host.latency.json --audit 0.02" in text
    assert "MAdds alone" in text
    assert max(map(len, text.splitlines())) <= 80

    text = run(FitLatency(count=12))
    assert "10 of 12 networks are in the ledger already" in text
    again = read_table(path)
    assert again.networks[:10] != table.networks  # predictions are by other fits
    assert [n.latency_ms for n in again.networks[:10]] == [n.latency_ms for n in table.networks]
    with Ledger.open("host.latency.json.sqlite", read_only=True) as ledger:
        assert ledger.counts()["latencies"] == 12
    shown = run(ShowLatency(path))
    assert "1 x 28 x 28, 10 classes" in shown
    assert "within 10 %" in shown

    with pytest.raises(InvalidSettingError, match="must be fitted to a device, but predictions"):
        run(FitLatency(device=f"predicted:{path}", count=10))
    assert not Path("predicted.latency.json").exists()


def test_numbers_stand_for_a_data_set(own_machine) -> None:
    out = own_machine / "t.json"
    run(FitLatency(count=10, out=out, resolution=16, channels=3, classes=5, ledger=own_machine / "l.sqlite"))
    table = read_table(out)
    assert (table.input_shape, table.classes, table.data) == ((3, 16, 16), 5, None)
    assert (own_machine / "l.sqlite").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"count": 9}, "`count` must be at least 10, but got 9"),
        ({"held_out": 0.7}, "`held_out` must be above 0"),
        ({"resolution": 0}, "`resolution` must be at least 1"),
        ({"classes": -1}, "`classes` must be at least 1"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_measured(settings, message, tmp_path) -> None:
    with pytest.raises(InvalidSettingError, match=message):
        run(FitLatency(out=tmp_path / "t.json", **settings))
    assert list(tmp_path.iterdir()) == []


def test_an_audit_is_shown_and_drawn(tmp_path) -> None:
    import numpy as np

    from akd_gym.device_lab.predictor import judge
    from akd_gym.latency_audit import Audit, AuditRow

    promised = judge(np.array([[1.0, 2.1, 3.0]]), [1.0, 2.0, 3.0])
    rows = (AuditRow(3, "a", 1.0, 0.7, None, True, False), AuditRow(5, "b", 2.0, None, "timeout", False, True))
    audit = Audit("t.json", "0", "a device", "0", 0.02, 0, rows, promised, "2026-01-31T12:00:00+00:00")
    console = Console(file=io.StringIO(), width=80)
    show_audit(audit, tmp_path, console)
    text = console.file.getvalue()
    assert "+42.9 %" in text
    assert "finalist" in text
    assert "warning: one prediction is off by +42.9%" in text.replace("\n", " ")
    assert (tmp_path / "audit.png").stat().st_size > 10_000
