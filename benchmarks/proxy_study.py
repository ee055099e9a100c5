"""What the proxy task can be trusted with: seed noise, what KD brings, whether accuracy decides, and full training.

    python -m benchmarks.proxy_study                  # collects what is missing, then writes and prints the results
    python -m benchmarks.proxy_study --report-only    # from what was collected so far

Architectures are random ones of the space `akd`, stratified by multiply-adds. Each is trained by the default recipe of
the embedded data, by hard labels and by KD from each shipped teacher, with the same seeds for all (paired: equal
initial weights, order and views), and once fully, by KD from the default teacher. Every training is kept in a ledger:
a study that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from scipy import stats

from akd_gym.agents.settings import SearchSettings
from akd_gym.cost import count_cost
from akd_gym.evaluation import ProxyEvaluator, make_evaluator
from akd_gym.ledger import Ledger
from akd_gym.ledger_records import latency_ms
from akd_gym.recipes import FULL_RECIPES, RECIPES, Recipe
from akd_gym.reward import Reward
from akd_gym.space import SearchSpace, make_space
from akd_gym.teachers.settings import TEACHER_NETWORKS

RESULTS = Path(__file__).with_name("proxy_study.json")
HARD, FULL = "hard", "full"
KD_SIGNALS = tuple(f"shipped:{name}" for name in TEACHER_NETWORKS)
DEFAULT_TEACHER = SearchSettings().teacher
RECIPE = RECIPES["fashion"]
FULL_RECIPE = replace(FULL_RECIPES["fashion"], train_size=RECIPE.train_size, val_size=RECIPE.val_size)
"""60 epochs of the proxy's own split: on all 10,000 images it would take two and a half times as long."""
STRATA_DRAWS = 50
RESAMPLES = 5_000


class Series(NamedTuple):
    """One training of every architecture.

    Attributes:
        signal: `"hard"`, a teacher, or `"full"`.
        seed: Of initial weights and order.
    """

    signal: str
    seed: int

    @property
    def teacher(self) -> str | None:
        """Who is distilled."""
        return {HARD: None, FULL: DEFAULT_TEACHER}.get(self.signal, self.signal)

    @property
    def recipe(self) -> Recipe:
        """How it is trained."""
        return FULL_RECIPE if self.signal == FULL else RECIPE


def stratified_architectures(space: SearchSpace, count: int, seed: int = 0, resolution: int = 28) -> list[str]:
    """`count` distinct random architectures, one of each quantile of multiply-adds, in a random order.

    Any first n of them are a random sample too.
    """
    rng = np.random.default_rng(seed)
    drawn = {
        str(network): network for network in (space.network(space.sample(rng)) for _ in range(STRATA_DRAWS * count))
    }
    ordered = sorted(drawn, key=lambda name: count_cost(drawn[name], resolution, 1, 10).madds)
    edges = np.linspace(0, len(ordered), count + 1).astype(int).tolist()
    chosen = [ordered[int(rng.integers(*bounds))] for bounds in itertools.pairwise(edges)]
    return [chosen[i] for i in rng.permutation(count)]


def open_evaluator(ledger: Ledger, series: Series, workers: int | None, cost: str = "madds") -> ProxyEvaluator:
    """The evaluator of a series, as a search makes it."""
    return make_evaluator(
        teacher=series.teacher, recipe=series.recipe, seed=series.seed, cost=cost, ledger=ledger, workers=workers
    )


def collect(
    ledger: Ledger, names: Sequence[str], plan: Mapping[Series, int], workers: int | None, console: Console
) -> None:
    """Train what the ledger does not know yet, one series after the other; of each the first `plan[series]`."""
    columns = (TextColumn("{task.description:>22}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        for series, count in plan.items():
            task = progress.add_task(f"{series.signal}, seed {series.seed}", total=count)
            evaluator = open_evaluator(ledger, series, workers)
            evaluator.on_training = lambda name, record, task=task: progress.advance(task)
            try:
                evaluator.train(names[:count])
            finally:
                evaluator.close()
            progress.update(task, completed=count)


def read(ledger: Ledger, names: Sequence[str], plan: Mapping[Series, int]) -> dict[Series, NDArray[np.float64]]:
    """Accuracies of each series, shape (names,), a fraction; NaN where it was not collected or was infeasible."""
    table = {}
    for series in plan:
        evaluator = open_evaluator(ledger, series, workers=1)
        found = [ledger.find_training(evaluator.training_context, name, series.seed) for name in names]
        evaluator.close()
        table[series] = np.array([np.nan if r is None or r.accuracy is None else r.accuracy for r in found])
    return table


def read_latencies(ledger: Ledger, names: Sequence[str]) -> NDArray[np.float64]:
    """Latency of each on this machine, ms, measured where the ledger does not know it; the reference's comes last."""
    evaluator = open_evaluator(ledger, Series(HARD, 0), workers=1, cost="latency")
    try:
        assert evaluator.latencies is not None
        reference = str(evaluator.space.network(evaluator.space.reference))
        records: dict[str, Any] = {}
        every = [*names, reference]
        for start in range(0, len(every), 8):
            records |= evaluator.latencies.measure(every[start : start + 8])
        return np.array([latency_ms(records[name]) or np.nan for name in every])
    finally:
        evaluator.close()


def summarise(table: Mapping[Series, NDArray[np.float64]], latencies: NDArray[np.float64]) -> dict[str, Any]:
    """Everything the study says, each with its number of architectures and a 95 % interval."""
    seeds = sorted({series.seed for series in table if series.signal == HARD})
    search = Series(DEFAULT_TEACHER, seeds[0])
    results: dict[str, Any] = {"noise": {}, "kd_gain_points": {}}
    for signal in (HARD, *KD_SIGNALS):
        runs = np.array([table[Series(signal, seed)] for seed in seeds])
        results["noise"][signal] = _noise(runs)
        if signal != HARD:
            hard = np.array([table[Series(HARD, seed)] for seed in seeds])
            results["kd_gain_points"][signal] = _mean_with_interval(100 * (runs - hard).mean(0))
    results["teacher_specific"] = _interaction(table, seeds)
    accuracy, cost, target = table[search], latencies[:-1], latencies[-1]
    whole = np.isfinite(accuracy) & np.isfinite(cost)
    results["reward_variance_from_accuracy"] = _resampled(
        lambda rows: Reward().variance_share(accuracy[rows].tolist(), cost[rows].tolist(), target),
        np.flatnonzero(whole),
    )
    results["accuracy_latency_spearman"] = _resampled(
        lambda rows: stats.spearmanr(accuracy[rows], cost[rows]).statistic, np.flatnonzero(whole)
    )
    full = table[Series(FULL, seeds[0])]
    both = np.flatnonzero(np.isfinite(accuracy) & np.isfinite(full))
    if len(both) > 2:
        results["proxy_against_full"] = {
            "epochs": FULL_RECIPE.epochs,
            "kendall_tau": _resampled(lambda rows: stats.kendalltau(accuracy[rows], full[rows]).statistic, both),
            "spearman": _resampled(lambda rows: stats.spearmanr(accuracy[rows], full[rows]).statistic, both),
            "full_mean": float(full[both].mean()),
            "full_std_points": 100 * float(full[both].std(ddof=1)),
        }
    return results


def _noise(runs: NDArray[np.float64]) -> dict[str, float]:
    """Spread over seeds and over architectures of accuracies (seeds, architectures), points."""
    runs = 100 * runs[:, np.isfinite(runs).all(0)]
    over_seeds = float(np.sqrt(runs.var(0, ddof=1).mean()))
    over_architectures = float(runs[0].std(ddof=1))
    return {
        "architectures": runs.shape[1],
        "seeds": len(runs),
        "mean": float(runs.mean()),
        "std_over_seeds": over_seeds,
        "std_over_architectures": over_architectures,
        "ratio": over_architectures / over_seeds,
    }


def _mean_with_interval(values: NDArray[np.float64]) -> dict[str, float]:
    values = values[np.isfinite(values)]
    error = float(values.std(ddof=1) / np.sqrt(len(values)))
    reach = error * float(stats.t.ppf(0.975, len(values) - 1))
    mean = float(values.mean())
    return {
        "architectures": len(values),
        "mean": mean,
        "standard_error": error,
        "low": mean - reach,
        "high": mean + reach,
        "positive": float((values > 0).mean()),
    }


def _interaction(table: Mapping[Series, NDArray[np.float64]], seeds: Sequence[int]) -> dict[str, float]:
    """How much of KD's accuracy belongs to the pair of architecture and teacher, and to neither alone.

    Two-way analysis of variance with replication; seeds are paired over architectures and teachers alike, so the
    effect of a seed on an architecture, common to all teachers, is taken out of the error.
    """
    cube = 100 * np.array([[table[Series(signal, seed)] for seed in seeds] for signal in KD_SIGNALS])
    cube = cube[:, :, np.isfinite(cube).all((0, 1))]
    teachers, replicates, architectures = cube.shape
    cube = cube - cube.mean(0)  # over teachers: what is left is specific to a teacher
    cube = cube - cube.mean((1, 2), keepdims=True)
    cell = cube.mean(1)
    freedom = (teachers - 1) * (architectures - 1)
    mean_square = replicates * float((cell**2).sum()) / freedom
    rest = cube - cell[:, None]
    error = float((rest**2).sum()) / ((teachers - 1) * architectures * (replicates - 1))
    return {
        "architectures": architectures,
        "f": mean_square / error,
        "p": float(stats.f.sf(mean_square / error, freedom, (teachers - 1) * architectures * (replicates - 1))),
        "std_points": float(np.sqrt(max(0.0, (mean_square - error) / replicates))),
        "error_points": float(np.sqrt(error)),
    }


def _resampled(statistic: Any, rows: NDArray[np.int64]) -> dict[str, float]:
    """A statistic of architectures with its percentile bootstrap interval."""
    rng = np.random.default_rng(0)
    draws = [statistic(rng.choice(rows, len(rows))) for _ in range(RESAMPLES)]
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return {"architectures": len(rows), "value": float(statistic(rows)), "low": float(low), "high": float(high)}


def show(results: Mapping[str, Any], console: Console) -> None:
    """Tables of the summary."""
    noise = Table("signal", "mean %", "std over seeds", "std over architectures", "ratio", title="Accuracy, points")
    for signal, row in results["noise"].items():
        values = (row[key] for key in ("mean", "std_over_seeds", "std_over_architectures", "ratio"))
        noise.add_row(signal, *(f"{value:.2f}" for value in values))
    gains = Table("teacher", "gain", "95 % interval", "positive", title="KD minus hard labels, points, paired seeds")
    for signal, row in results["kd_gain_points"].items():
        gains.add_row(
            signal, f"{row['mean']:+.2f}", f"{row['low']:+.2f} to {row['high']:+.2f}", f"{row['positive']:.0%}"
        )
    console.print(noise, gains)
    for key, row in results.items():
        if key not in ("noise", "kd_gain_points"):
            console.print(f"{key}: {json.dumps(row)}", highlight=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architectures", type=int, default=40, help="by the default teacher, and fully")
    parser.add_argument("--paired", type=int, default=24, help="of those, by hard labels and the other teachers")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--workers", type=int, help="one a core by default")
    parser.add_argument("--ledger", type=Path, default=Path("runs/proxy-study/ledger.sqlite"))
    parser.add_argument("--report-only", action="store_true")
    arguments = parser.parse_args()
    console = Console()
    names = stratified_architectures(make_space("akd", "small"), arguments.architectures)
    seeds, some = range(arguments.seeds), min(arguments.paired, arguments.architectures)
    plan = {Series(DEFAULT_TEACHER, seed): arguments.architectures for seed in seeds}
    plan |= {Series(HARD, seed): some for seed in seeds}
    plan |= {Series(signal, seed): some for signal in KD_SIGNALS if signal != DEFAULT_TEACHER for seed in seeds}
    plan |= {Series(FULL, 0): arguments.architectures}
    arguments.ledger.parent.mkdir(parents=True, exist_ok=True)
    with Ledger.open(arguments.ledger) as ledger:
        latencies = read_latencies(ledger, names)
        if not arguments.report_only:
            collect(ledger, names, plan, arguments.workers, console)
        table = read(ledger, names, plan)
    results = summarise(table, latencies)
    rows = [
        {"architecture": name, "latency_ms": _plain(latencies[index])}
        | {f"{series.signal}/{series.seed}": _plain(values[index]) for series, values in table.items()}
        for index, name in enumerate(names)
    ]
    RESULTS.write_text(json.dumps({"results": results, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    show(results, console)


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


if __name__ == "__main__":
    main()
