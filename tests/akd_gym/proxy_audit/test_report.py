"""An audit as a file and as a picture."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from akd_gym.proxy_audit.findings import judge
from akd_gym.proxy_audit.report import draw, write_audit
from akd_gym.proxy_audit.table import tabulate

from .conftest import Audited


def test_the_file_holds_every_accuracy(audited: Audited) -> None:
    plan, records, identity = audited
    table = tabulate(plan, records)
    table.fulls[0, 4] = np.nan
    path = write_audit(plan, table, judge(replace(table, fulls=table.fulls[:, [0, 1, 2, 3, 0]])), identity)
    document = json.loads(path.read_text())
    assert path == plan.run / "audit" / "audit.json"
    assert [row["architecture"] for row in document["students"]] == list(table.names)
    assert document["students"][1]["proxy"] == table.proxies[:, 1].tolist()
    assert document["students"][4]["full"] == [None]  # and never zero
    assert document["findings"]["students"] == 5
    assert document["judged"] == {"on": "test set", "images": 100}
    assert len(document["neighbours"]) == 5
    folders = [plan.folder / folder for row in document["students"] for folder in row["folders"]]
    assert all((folder / "student.safetensors").exists() for folder in folders)
    path.unlink()


def test_the_figure_shows_what_is_known_and_no_more(audited: Audited) -> None:
    plan, records, identity = audited
    table = tabulate(plan, records)
    whole = judge(table)
    figure = draw(plan, table, whole, identity)
    assert [axes.get_ylabel().split(" ")[0] for axes in figure.axes] == ["accuracy", "of", "Kendall"]
    panel = figure.axes[0]
    points = panel.containers[0].lines[0].get_xydata()
    assert points == pytest.approx(100 * np.stack([table.answers, table.full], axis=1))
    marked = {line.get_label(): line.get_xydata()[0] for line in panel.get_lines() if "best" in line.get_label()}
    assert marked["best by the proxy"] == pytest.approx(points[0])
    assert marked["best by full training"] == pytest.approx(points[np.argmax(table.full)])
    content = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(content, dpi=60)
    assert np.asarray(Image.open(content).convert("L")).std() > 5
    alone = replace(whole, smoothness=None, choices=(), noise=None)
    assert len(draw(plan, table, alone, identity).axes) == 1


def test_a_run_with_a_dollar_in_its_name_is_drawn(audited: Audited) -> None:
    plan, records, identity = audited
    table = tabulate(plan, records)
    priced = replace(plan, search=replace(plan.search, name="$5^{ {bad$"))
    figure = draw(priced, table, judge(table), identity)
    FigureCanvasAgg(figure).print_figure(io.BytesIO(), format="png", dpi=40)
    assert figure.get_suptitle().startswith(r"\$5")
