"""Tables 4, 6 to 10 from searches and trainings as short as they go: real ones, whose accuracies mean nothing."""

import numpy as np
import pytest

from akd_gym.reproduce.ablation import FlopsAblation
from akd_gym.reproduce.baselines import Baselines
from akd_gym.reproduce.ensembles import Ensembles
from akd_gym.reproduce.faces import Faces
from akd_gym.reproduce.methods import Methods
from akd_gym.reproduce.relative_gains import RelativeGains
from akd_gym.reproduce.scale import Scale
from akd_gym.reproduce.study import Workshop
from akd_gym.reproduce.trainings import FullTrainings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("reproduce")


@pytest.fixture
def workshop(folder):
    scale = Scale(seeds=2, epochs=1, train_size=128, search_budget=160)
    return Workshop(scale, folder / "results", folder / "work", workers=1)


def cells(finding):
    return {(one["student"], one["method"], one["teacher"]): one for one in finding.numbers["cells"]}


def assert_gains_are_of_pairs(found):
    """The mean gain of each cell is that of the accuracies it was made from."""
    for (student, method, _), cell in found.items():
        if method == "hard":
            assert "gain" not in cell
            continue
        hard = found[student, "hard", "none"]["by_seed"]
        assert cell["gain"]["mean"] == pytest.approx(np.mean([cell["by_seed"][s] - hard[s] for s in hard]))
        assert cell["gain"]["size"] == 2


def test_table_6_has_every_method_for_both_students(workshop):
    study = Methods(methods=("kd", "rco", "cc"))
    assert study.budget(workshop).trainings == 16
    found = cells(study.run(workshop))
    assert {method for _, method, _ in found} == {"hard", "kd", "rco", "cc"}
    assert {student for student, _, _ in found} == {"akd reference", "MobileNetV2"}
    assert_gains_are_of_pairs(found)


def test_table_7_has_the_baselines_at_the_students_cost(workshop):
    finding = Baselines(names=("mobilenet_v2",), methods=("kd",)).run(workshop)
    found = cells(finding)
    assert {student for student, _, _ in found} == {"AKDNet", "mobilenet_v2"}
    assert_gains_are_of_pairs(found)
    rows = [line.split("|") for line in finding.text.splitlines() if line.startswith(("| AKDNet", "| mobilenet"))]
    madds = {row[1].strip(): float(row[2]) for row in rows}
    assert madds["mobilenet_v2"] == pytest.approx(madds["AKDNet"], rel=0.1)


def test_table_8_searches_by_multiply_adds(workshop):
    finding = FlopsAblation(methods=("kd",), tolerance=0.3).run(workshop)
    for finalist in finding.numbers["finalists"]:
        assert finalist["cost"] == finalist["madds"]
    assert {(one["searched_by"], one["method"]) for one in finding.numbers["accuracies"]} == {
        (signal, method) for signal in ("none", "shipped:resnet") for method in ("hard", "kd")
    }


def test_table_10_names_who_teaches(workshop):
    finding = Ensembles(members=("shipped:resnet", "shipped:mixer")).run(workshop)
    assert "| KD from resnet+mixer |" in finding.text
    found = cells(finding)
    assert {teacher for _, _, teacher in found} == {
        "none", "shipped:resnet", "shipped:mixer", "shipped:resnet+shipped:mixer"
    }  # fmt: skip
    assert_gains_are_of_pairs(found)


def test_table_4_draws_from_quarters_of_both_searches(workshop, tiny_recipe, folder):
    workshop.proxy = FullTrainings("fashion", tiny_recipe, folder / "results" / "proxy.csv", folder / "work", 1)
    finding = RelativeGains(sample=3).run(workshop)
    stages = finding.numbers["stages"]
    assert {stage: (len(one["akd"]), len(one["nas"])) for stage, one in stages.items()} == {1: (3, 3), 4: (3, 3)}
    relative = [np.mean(one["akd"]) - np.mean(one["nas"]) for one in stages.values()]
    assert finding.numbers["rise"]["value"] == pytest.approx(relative[1] - relative[0])


def test_table_9_finds_faces_among_distractors(workshop):
    finding = Faces(methods=("hard", "features"), distractors=(50, 300)).run(workshop)
    rates = {(one["embedder"], one["method"]): one["by_seed"] for one in finding.numbers["rates"]}
    assert set(rates) == {
        ("raw pixels", ""), ("dlib's network", ""),
        *((name, method) for name in ("AKDNet", "MobileNetV2") for method in ("hard", "features")),
    }  # fmt: skip
    assert np.mean(rates["dlib's network", ""]) > 95  # per cent: aligned faces, a real face network
    for by_seed in rates.values():
        assert all(few >= many for few, many in by_seed)  # more distractors make it no easier
