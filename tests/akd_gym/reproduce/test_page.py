"""The page of results."""

import json

import numpy as np
from matplotlib.figure import Figure

from akd_gym.analysis.aggregates import Interval
from akd_gym.reproduce.ablation import Ablation
from akd_gym.reproduce.methods import Methods
from akd_gym.reproduce.page import plain, write_section
from akd_gym.reproduce.scale import Budget, Scale
from akd_gym.reproduce.study import Finding

ORDER = ["table5", "table6"]


def write(page, study, text, **figures):
    finding = Finding(text, {"x": 1.5}, figures)
    scale, budget = Scale(seeds=3, epochs=7), Budget(searches=2, trainings=4)
    return write_section(page, study, finding, command="akd it", scale=scale, budget=budget, order=ORDER)


def test_sections_stand_in_the_papers_order_and_are_replaced_in_place(tmp_path):
    page = tmp_path / "docs" / "results.md"
    page.parent.mkdir()
    write(page, Methods(), "six")
    write(page, Ablation(), "five")
    write(page, Methods(), "six again")
    text = page.read_text()
    assert text.index("five") < text.index("six again")
    assert text.count("## Table 5") == text.count("## Table 6") == 1
    assert text.startswith("# Results")
    assert "2 searches of 10,000 candidates on AKDBench and 4 trainings of 7 epochs, 3 seeds" in text
    assert "six\n" not in text


def test_what_somebody_wrote_above_the_sections_stays(tmp_path):
    page = tmp_path / "results.md"
    page.write_text("# Ours\n\nA word.\n")
    write(page, Ablation(), "five")
    assert page.read_text().startswith("# Ours\n\nA word.\n\n<!-- table5 -->")


def test_figures_and_raw_numbers_lie_beside_it(tmp_path):
    page = tmp_path / "results.md"
    figure = Figure()
    figure.add_subplot().plot([1, 2])
    written = write(page, Ablation(), "five", gains=figure)
    assert [path.name for path in written] == ["table5-gains.png", "table5.json", "results.md"]
    assert json.loads((tmp_path / "results" / "table5.json").read_text()) == {"command": "akd it", "x": 1.5}
    assert "![Table 5: searched by distillation or by hard labels: gains](results/table5-gains.png)" in page.read_text()


def test_numbers_are_plain_json():
    raw = {1: float("nan"), "i": Interval(1.0, float("-inf"), 2.0), "n": np.float64(2.5), "l": (True, None, "x")}
    assert plain(raw) == {"1": None, "i": {"value": 1.0, "low": None, "high": 2.0}, "n": 2.5, "l": [True, None, "x"]}
