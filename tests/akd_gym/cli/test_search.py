from __future__ import annotations

import csv
import json
import re
import shlex
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file

from akd_gym.agents.search import read_outcomes
from akd_gym.agents.settings import SearchSettings, read_settings, write_settings
from akd_gym.analysis.pareto import pareto_outcomes
from akd_gym.ledger import Ledger
from akd_gym.recipes import RECIPES
from akd_gym.teachers.networks import build_teacher_network

PNG = b"\x89PNG\r\n\x1a\n"


def trainings(run):
    with Ledger.open(run / "ledger.sqlite", read_only=True) as ledger:
        return [architecture for _, architecture, _, _ in ledger.trainings()]


def pasted(out):
    """The words of the command that the last line shows."""
    return shlex.split(out.strip().splitlines()[-1])


# What a search leaves


def test_a_search_writes_what_it_found(finished):
    front = pareto_outcomes(read_outcomes(finished.run).outcomes)
    with (finished.run / "pareto.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["architecture"] for row in rows] == [outcome.architecture for outcome in front]
    assert [float(row["accuracy"]) for row in rows] == [outcome.accuracy for outcome in front]
    for name in ("accuracy-cost.png", "progress.png"):
        assert (finished.run / name).read_bytes().startswith(PNG)


def test_a_search_shows_its_settings_its_rounds_and_its_findings(finished):
    out = finished.out
    assert "Searching akd for students of fashion: 16 candidates, soft labels of shipped:resnet" in out
    assert f"Run directory: {finished.run}" in out
    assert len(re.findall(r"^ +[1-4] +-?0\.\d{4} +\d+\.\d\d % ", out, re.MULTILINE)) == 4
    assert "16/16 candidates" in out
    assert "Pareto-best students" in out
    for outcome in pareto_outcomes(read_outcomes(finished.run).outcomes):
        assert f"{100 * outcome.accuracy:.2f} %" in out
        assert outcome.architecture.split()[1] in out
    assert "16 distinct architectures; mean reward of the later half" in out


def test_the_student_with_the_best_reward_is_starred_and_to_be_trained(finished):
    winner = max(read_outcomes(finished.run).outcomes, key=lambda outcome: outcome.reward)
    starred = next(line for line in finished.out.splitlines() if line.startswith("★"))
    assert f" {winner.reward:.4f} " in starred
    words = pasted(finished.out)
    assert words[:3] == ["akd", "train", winner.architecture]
    assert words[words.index("--teacher") + 1] == "shipped:resnet"
    assert words[words.index("--out") + 1] == str(finished.run / "winner")


@pytest.mark.slow
def test_the_printed_command_works(akd, finished):
    program, *words = pasted(finished.out)
    assert program == "akd"
    result = akd(*words, "--epochs", "1")
    assert result.status == 0, result
    record = json.loads((finished.run / "winner" / "record.json").read_text())
    assert record["recipe"]["epochs"] == 1
    assert record["test_accuracy"] > 0.5
    assert f"{100 * record['test_accuracy']:.2f} %" in result.out


def test_hard_labels_are_trained_by_hard_labels(akd, tmp_path, tiny_search):
    options = ["--teacher=none", "--budget=4", "--device=cpu", "--data=fashion", "--recipe.resolution=14"]
    result = akd(*tiny_search, *options, "--run", tmp_path / "run")
    assert result.status == 0
    assert "hard labels" in result.out
    words = pasted(result.out)
    assert words[words.index("--method") + 1] == "hard"
    assert "--teacher" not in words
    assert words[words.index("--resolution") + 1] == "14"


def test_nothing_feasible_is_said(akd, tmp_path, tiny_search):
    result = akd(*tiny_search, "--teacher=none", "--budget=4", "--recipe.learning-rate=1e30", "--run", tmp_path / "run")
    assert result.status == 0
    assert "infeasible (diverged" in result.out
    assert "No candidate was feasible: 4 diverged." in result.out


def test_without_a_run_directory_one_is_made_by_date(akd, tmp_path, monkeypatch, tiny_search):
    monkeypatch.chdir(tmp_path)
    assert akd(*tiny_search, "--teacher=none", "--budget=4").status == 0
    [run] = (tmp_path / "runs").iterdir()
    assert re.fullmatch(r"search-\d{8}-\d{6}", run.name)
    assert read_settings(run).teacher == "none"


# Resume


def test_resuming_a_finished_search_shows_it_again(akd, finished):
    before = trainings(finished.run)
    result = akd("search", "--resume", finished.run)
    assert result.status == 0
    assert result.out.strip() == finished.out[finished.out.index("Pareto-best") :].strip()
    assert trainings(finished.run) == before


def test_resume_takes_the_settings_of_the_run(akd, finished):
    assert akd("search", "--resume", finished.run, "--workers", 2).status == 0
    result = akd("search", "--resume", finished.run, "--seed=3", "--recipe.epochs=4", "--teacher=shipped:mixer")
    assert "differs in recipe.epochs, seed, teacher." in result.error
    assert "--workers" in result.error
    assert "leave `--run` out" in akd("search", "--resume", finished.run, "--run", "other").error
    assert "no settings.json" in akd("search", "--resume", finished.run.parent).error


def test_beginning_a_run_again_says_how_to_resume(akd, finished, tiny_search):
    assert "akd search --resume" in akd(*tiny_search, "--run", finished.run).error


# Other agents, and the benchmark


@pytest.fixture(scope="module")
def benched(akd, tmp_path_factory):
    """A finished search of random architectures on AKDBench, and what it showed."""
    run = tmp_path_factory.mktemp("benched") / "run"
    result = akd("search", "--evaluator", "bench", "--agent", "random", "--budget", 250, "--run", run)
    assert result.status == 0, result
    return run, result.out


def test_a_search_on_the_benchmark_is_an_ordinary_run(akd, benched):
    run, out = benched
    assert "soft labels of shipped:resnet" in out
    assert "(predicted), agent random, answers by AKDBench" in " ".join(out.split())
    for name in ("accuracy-cost.png", "progress.png"):
        assert (run / name).read_bytes().startswith(PNG)
    assert akd("search", "--resume", run).out.strip() == out[out.index("Pareto-best") :].strip()
    costs = sorted(outcome.cost for outcome in read_outcomes(run).outcomes)
    result = akd("finalists", run, "--within", f"{costs[125]!r}+-50%")
    assert result.status == 0
    assert pasted(result.out)[:2] == ["akd", "train"]


def test_a_line_stands_for_several_rounds_where_there_are_many(benched):
    """250 candidates: a line for every 8 of them, as 100 lines are the most."""
    lines = re.findall(r"^ +(\d+) +-?0\.\d{4} +\d+\.\d\d % ", benched[1], re.MULTILINE)
    assert [int(line) for line in lines] == [*range(8, 250, 8), 250]
    assert "mean since the line before" in benched[1]


def test_a_search_begins_where_another_has_been(akd, benched, tmp_path):
    options = ["--evaluator=bench", "--agent=random", "--budget=250", f"--warm-start={benched[0]}"]
    result = akd("search", *options, "--target-ms=0.02", "--run", tmp_path / "run")
    assert result.status == 0
    assert f"Taken over from {benched[0]}: " in result.out
    assert trainings(tmp_path / "run") == trainings(benched[0])


def test_ledgers_are_merged(akd, benched, tmp_path):
    into = tmp_path / "all.sqlite"
    result = akd("merge", benched[0], benched[0] / "ledger.sqlite", "--into", into)
    assert result.status == 0
    assert re.search(r"all\.sqlite: 2\d\d trainings, 2\d\d latencies, 250 candidates added; 0 were there", result.out)
    assert "0 trainings, 0 latencies, 0 candidates added" in akd("merge", benched[0], "--into", into).out
    assert "must be the directory of a search" in akd("merge", tmp_path, "--into", into).error
    assert "there is no such file" in akd("merge", tmp_path / "nothing", "--into", into).error
    assert "must name at least one ledger" in akd("merge", "--into", into).error
    (tmp_path / "damaged.sqlite").write_bytes(into.read_bytes()[:-4096])
    assert "akd repair" in akd("merge", tmp_path / "damaged.sqlite", "--into", into).error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--agent=evolutoin"], "Unknown agent 'evolutoin'. Did you mean 'evolution'?"),
        (["--evaluator=bench", "--teacher=shipped:inception"], "`teacher` must be 'none' or 'shipped:resnet'"),
        (["--evaluator=bench", "--data=cifar10:x"], "`data` must be 'fashion'"),
        (["--warm-start=nothing"], "there is no such file"),
        (["--policy=nothing"], "must be the directory of a search"),
    ],
)
def test_bad_agents_and_beginnings_cost_nothing(akd, tmp_path, options, message):
    result = akd("search", *OWN, *options, "--run", tmp_path / "run")
    assert result.status in (1, 2)
    assert message in " ".join(result.err.replace("│", " ").split())
    assert not (tmp_path / "run").exists()


def test_a_dry_run_of_the_benchmark(akd):
    result = akd("search", "--dry-run", "--evaluator", "bench", "--budget", "10000")
    assert "10,000 candidates that AKDBench answers for: nothing is trained or measured." in result.out


# Dry run


@pytest.mark.slow
def test_the_papers_setting_in_full_with_what_it_would_cost(akd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = akd("search", "--dry-run", "--preset", "paper")
    assert result.status == 0
    settings, _, estimate = result.out.partition("\n}\n")
    plain = json.loads(settings + "\n}")
    assert (plain["budget"], plain["data"], plain["target_ms"]) == (10_000, "imagenet:/data/imagenet", 15.0)
    assert (plain["latency"], plain["reward"], plain["teacher"]) == ("phone", "soft", "timm:inception_resnet_v2")
    assert plain["recipe"]["epochs"] == 5
    assert "10,000 in 500 rounds" in estimate
    assert "5 epochs x 1,231,167 images at 224 px" in estimate
    assert re.search(r"multiply-adds of a student +│ +\d+\.\d M \(mean\), \d+\.\d M to \d+\.\d M", estimate)
    assert re.search(r"[\d.]+ \w+ a candidate, [\d.,]+ years in all", estimate)
    assert "5 views, 375.7 MiB on disk" in estimate  # 5 x 1,231,167 x (10 x 6 + 4) bytes
    assert list(tmp_path.iterdir()) == []  # a dry run leaves nothing


def test_a_dry_run_of_the_default(akd):
    result, recipe = akd("search", "--dry-run"), RECIPES["fashion"]
    assert "48 in 6 rounds" in result.out
    assert f"{recipe.epochs} epochs x {recipe.train_size:,} images at 28 px" in result.out
    mib = recipe.epochs * recipe.train_size * 10 * 2 / 2**20  # float16 logits of 10 classes
    assert f"{recipe.epochs} views, {mib:.1f} MiB on disk" in result.out


def test_a_dry_run_looks_at_the_users_images(akd, folder):
    result = akd("search", "--dry-run", "--data", f"imagefolder:{folder}", "--teacher=none")
    assert "5 epochs x 50 images at 16 px" in result.out  # a sixth of 60 is mini-val
    assert "soft labels" not in result.out.partition("Estimate")[2].partition("└")[0]
    assert "No folder at /nothing" in akd("search", "--dry-run", "--data", "imagefolder:/nothing").error


# Finalists


def test_finalists_are_the_most_accurate_inside_the_band(akd, finished):
    outcomes = read_outcomes(finished.run).outcomes
    costs = sorted(outcome.cost for outcome in outcomes)
    centre, tolerance = (costs[3] + costs[12]) / 2, (costs[12] - costs[3]) / 2
    inside = [outcome for outcome in outcomes if costs[3] <= outcome.cost <= costs[12]]
    best = max(inside, key=lambda outcome: (outcome.accuracy, -outcome.cost))
    result = akd("finalists", finished.run, "--within", f"{centre!r}+-{tolerance * 1.0001!r}", "--top", 2)
    assert result.status == 0
    assert f"Most accurate of {len(inside)} students" in result.out
    assert len(re.findall(r"\d\.\d\d %", result.out)) == 2
    assert pasted(result.out)[2] == best.architecture


def test_no_finalist_in_the_band(akd, finished):
    costs = sorted(outcome.cost for outcome in read_outcomes(finished.run).outcomes)
    error = akd("finalists", finished.run, "--within", "15+-1").error
    assert "lies within 15 ± 1: they cost from" in error
    assert f"{costs[-1] / 1e6:.2f} M" in error
    assert "must read like '15+-1'" in akd("finalists", finished.run, "--within", "fifteen").error
    assert "`top` must be at least 1" in akd("finalists", finished.run, "--within", "1M+-1M", "--top", 0).error
    assert "must be the directory of a search" in akd("finalists", finished.run.parent, "--within", "1+-1").error


def test_finalists_of_a_search_that_has_found_nothing_yet(akd, tmp_path):
    write_settings(tmp_path, SearchSettings())
    assert "must be an existing ledger" in akd("finalists", tmp_path, "--within", "1+-1").error


# Bad input


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set of the user's: 2 classes of 30 pictures, 16 px."""
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for index in range(30):
            pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{index}.png")
    return tmp_path / "pictures"


OWN = ["--cost=madds", "--budget=4", "--round-size=4", "--workers=1", "--teacher=none"]
SMALL = ["--recipe.epochs=2", "--recipe.train-size=40", "--recipe.val-size=20", "--recipe.batch-size=20"]


def test_a_search_on_the_users_own_images(akd, folder, tmp_path):
    result = akd("search", *OWN, *SMALL, "--data", f"imagefolder:{folder}", "--run", tmp_path / "run")
    assert result.status == 0, result
    assert len(read_outcomes(tmp_path / "run").outcomes) == 4
    _, *words = pasted(result.out)
    result = akd(*words, "--epochs=1")
    assert result.status == 0, result


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--space=akdd"], "Unknown space 'akdd'. Did you mean 'akd'? Known: akd, mnas, module:attribute."),
        (["--space=nothing_here:space"], "nothing_here"),
        (["--skeleton=tiny"], "Unknown skeleton 'tiny'"),
        (["--teacher=shipped:resnext"], "Unknown teacher 'shipped:resnext'. Did you mean 'shipped:resnet'?"),
        (["--teacher=file:/nothing.pt@resnet"], "No checkpoint file at /nothing.pt."),
        (["--data=cifar"], "Unknown data set 'cifar'. "),
        (["--data=imagefolder:/nothing"], "No folder at /nothing for 'imagefolder:/nothing'."),
        (["--target-madds=0"], "`target_madds` must be positive and finite, but got 0.0."),
        (["--target-madds=-5"], "`target_madds` must be positive"),
        (["--target-ms=1"], "`target_ms` needs `cost=latency`"),
        (["--cost=latency", "--latency=clock"], "Unknown latency source 'clock'"),
        (["--device=tpu"], "`device` must be one that torch can use here"),
        (["--seed=-1"], "`seed` must be from 0 to 4294967295, but got -1."),
        (["--budget=9"], "`budget` must be a multiple of `round_size` (4), but got 9."),
        (["--recipe.train-size=12000"], "at most the 12000 images of 'fashion', but got 12000 + 100."),
    ],
)
def test_bad_settings_cost_nothing(akd, tiny_search, tmp_path, options, message):
    run = tmp_path / "run"
    error = akd(*tiny_search, *options, "--run", run).error
    assert message in error
    assert not run.exists()


def test_a_recipe_that_cannot_work(akd, tiny_search, tmp_path):
    """Refused while the command line is read, so a usage error."""
    result = akd(*tiny_search, "--recipe.epochs=0", "--run", tmp_path / "run")
    assert result.status == 2
    assert "`epochs` must be at least 1, but got 0." in result.err
    assert "Traceback" not in result.err
    assert not (tmp_path / "run").exists()


def test_data_with_one_class(akd, folder, tmp_path):
    for picture in (folder / "dog").iterdir():
        picture.unlink()
    (folder / "dog").rmdir()
    error = akd("search", *OWN, *SMALL, "--data", f"imagefolder:{folder}", "--run", tmp_path / "run").error
    assert "must have 2 classes or more, but has 1: cat." in error


def test_an_unreadable_picture_is_named(akd, folder, tmp_path):
    broken = folder / "dog" / "17.png"
    broken.write_bytes(broken.read_bytes()[:60])
    error = akd("search", *OWN, *SMALL, "--data", f"imagefolder:{folder}", "--run", tmp_path / "run").error
    assert f"1 unreadable picture: {broken}" in error


def test_labels_out_of_range(akd, tmp_path):
    data = tmp_path / "idx"
    data.mkdir()
    images = np.zeros((60, 28, 28), np.uint8)
    labels = np.arange(60, dtype=np.uint8) % 11  # Fashion-MNIST has 10 classes
    for name, array in (("train-images-idx3-ubyte", images), ("train-labels-idx1-ubyte", labels)):
        header = bytes([0, 0, 8, array.ndim]) + b"".join(int(n).to_bytes(4, "big") for n in array.shape)
        (data / name).write_bytes(header + array.tobytes())
    (data / "t10k-images-idx3-ubyte").write_bytes((data / "train-images-idx3-ubyte").read_bytes())
    (data / "t10k-labels-idx1-ubyte").write_bytes((data / "train-labels-idx1-ubyte").read_bytes())
    error = akd("search", *OWN, *SMALL, "--data", f"fashion-mnist:{data}", "--run", tmp_path / "run").error
    assert "must be between 0 and 9, but 5 are not: the first is 10, of image 10" in error


def test_a_teacher_that_does_not_fit_the_data(akd, folder, tmp_path, tiny_search):
    own = ["search", *OWN, *SMALL, "--data", f"imagefolder:{folder}", "--run", tmp_path / "run"]
    error = akd(*own, "--teacher=shipped:resnet").error
    assert "knows 1-channel images of 10 classes" in error
    assert "has 3 channels and 2 classes (cat, dog)" in error
    for classes, channels in ((7, 1), (10, 3)):
        weights = tmp_path / f"{classes}-{channels}.safetensors"
        save_file(build_teacher_network("resnet", classes, channels, 28).state_dict(), weights)
        error = akd(*tiny_search, f"--teacher=file:{weights}@resnet", "--run", tmp_path / "run").error
        assert "does not fit a network for 'fashion' (10 classes, 1 channels). Weights of another shape" in error
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_on_a_full_disk_nothing_paid_for_is_lost(akd, akd_process, finished, tiny_search, tmp_path):
    """No file may grow beyond 80,000 bytes, which the ledger's log reaches after a few students."""
    run = tmp_path / "run"
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (80_000, 80_000))"
    result = akd_process(*tiny_search, "--run", run, before=limit)
    assert "The disk may be full or failing; what was stored before is whole." in result.error
    assert f"akd search --resume {run}" in result.out
    paid = trainings(run)
    assert 0 < len(paid) < 16
    assert akd("search", "--resume", run).status == 0  # with room again
    assert trainings(run)[: len(paid)] == paid
    assert len(set(trainings(run))) == len(trainings(run)) == 16
    unbroken, resumed = (read_outcomes(path).outcomes for path in (finished.run, run))
    assert [(o.architecture, o.accuracy) for o in resumed] == [(o.architecture, o.accuracy) for o in unbroken]


def test_a_directory_that_cannot_be_made(akd, tiny_search, tmp_path):
    (tmp_path / "file").touch()
    error = akd(*tiny_search, "--run", tmp_path / "file" / "run").error
    assert f"The run directory {tmp_path}/file/run cannot be written: Not a directory." in error


def test_another_programs_database_as_ledger(akd, tiny_search, tmp_path):
    connection = sqlite3.connect(tmp_path / "other.sqlite")
    connection.execute("CREATE TABLE things (x)")
    connection.commit()
    connection.close()
    error = akd(*tiny_search, "--ledger", tmp_path / "other.sqlite", "--run", tmp_path / "run").error
    assert "must be a ledger, but is a database of another program" in error
