"""How good a fitted latency table is, by how many networks it is fitted on, on this machine.

    python -m benchmarks.latency_predictor                                                    # 28 px
    python -m benchmarks.latency_predictor --skeleton mnasnet --resolution 224 --channels 3 --classes 1000

Measures networks of the search space once, through a ledger, so that a stopped study goes on. Then draws, again and
again, some networks to fit on and 100 others to predict. Two kinds are predicted: networks drawn as `akd latency fit`
draws them (their multiply-adds cover the space), and networks drawn uniformly, with which a search begins. Prints a
table; writes `benchmarks/latency_predictor.json`, an entry a skeleton and resolution.

Measure in a quiet phase: large networks share their memory bandwidth with whatever runs beside them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.stats import spearmanr

from akd_gym.device_lab import HostLatency
from akd_gym.device_lab.predictor import Operator, fit_latency, fit_madds
from akd_gym.device_lab.predictor.accuracy import CLOSE
from akd_gym.files import write_atomically
from akd_gym.latencies import LatencyBook
from akd_gym.latency_fit import measure_networks, sample_architectures
from akd_gym.ledger import Ledger
from akd_gym.ledger_records import latency_ms
from akd_gym.space import SearchSpace, make_space
from benchmarks.results import load_now, machine

RESULTS = Path(__file__).with_name("latency_predictor.json")
SIZES = (20, 50, 100, 200)

Networks = list[tuple[Operator, ...]]
Array = NDArray[np.float64]
Fit = Callable[[Sequence[Sequence[Operator]], Sequence[float]], Callable[[Sequence[Operator]], float]]

FITS: dict[str, Fit] = {
    "table": lambda models, latencies: fit_latency(models, latencies).predict_known,
    "madds_alone": lambda models, latencies: fit_madds(models, latencies).predict,
}


def latency_predictor(
    book: LatencyBook,
    space: SearchSpace,
    console: Console,
    *,
    sizes: Sequence[int] = SIZES,
    tested: int = 100,
    resamples: int = 50,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure, fit and predict; see the module.

    Args:
        book: Where networks are measured and kept.
        space: That they are drawn from.
        console: Told how far it is.
        sizes: Networks to fit on.
        tested: Networks to predict, of each kind.
        resamples: Draws of networks to fit on and to predict.
        seed: Of all draws.
    """
    load = load_now()
    shape, classes = book.input_shape, book.num_classes
    covering = sample_architectures(space, max(sizes) + tested, input_shape=shape, num_classes=classes, seed=seed)
    rng = np.random.default_rng(seed)
    uniform: dict[str, None] = {}
    while len(uniform) < tested:
        uniform.setdefault(str(space.network(space.sample(rng))))
    fresh = [name for name in uniform if name not in covering]
    models, latencies, warned = _measure([*covering, *fresh], book, console)
    first = sum(name in models for name in covering)
    networks = list(models.values())
    rows: dict[str, Any] = {}
    for size in sizes:
        draws: dict[str, list[dict[str, float]]] = {}
        for _ in track(range(resamples), f"fitting on {size}", console=console, transient=True):
            order = rng.permutation(first).tolist()
            seen = order[:size]
            populations = {"covering": order[-tested:], "uniform": list(range(first, len(networks)))}
            for name, fit in FITS.items():
                predict = fit([networks[i] for i in seen], latencies[seen].tolist())
                for population, unseen in populations.items():
                    predicted = np.array([predict(networks[i]) for i in unseen])
                    draws.setdefault(f"{name}/{population}", []).append(_score(predicted, latencies[unseen]))
        rows[str(size)] = {
            name: {key: _summary([score[key] for score in scores]) for key in scores[0]}
            for name, scores in draws.items()
        }
    return {
        "networks": len(networks),
        "failed": len(covering) + len(fresh) - len(networks),
        "with_warnings": warned,
        "tested": tested,
        "resamples": resamples,
        "latency_ms_min_median_max": [float(f(latencies)) for f in (np.min, np.median, np.max)],
        "by_networks_fitted_on": rows,
        "form_of_last_fit": vars(fit_latency(networks[:first], latencies[:first].tolist()).form),
        "machine": machine() | {"load_before": round(load, 2)},
        "identity": book.meter.identity(),
    }


def _measure(
    names: Sequence[str], book: LatencyBook, console: Console
) -> tuple[dict[str, tuple[Operator, ...]], Array, int]:
    """Operators of each network, the latencies in the same order, and how many were measured with a warning."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = ("measuring", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, speed_estimate_period=120) as progress:
        task = progress.add_task("", total=len(names))
        measured = measure_networks(names, book, lambda name, record: progress.advance(task))
    ok = {name: (model, record) for name, (model, record) in measured.items() if latency_ms(record) is not None}
    latencies = np.array([latency_ms(record) for _, record in ok.values()], dtype=np.float64)
    warned = sum(bool(record.get("warnings")) for _, record in ok.values())
    return {name: model for name, (model, _) in ok.items()}, latencies, warned


def _score(predicted: Array, measured: Array) -> dict[str, float]:
    errors = np.abs(predicted / measured - 1)
    return {
        "within_10": float((errors <= CLOSE).mean()),
        "mean_error": float(errors.mean()),
        "largest_error": float(errors.max()),
        "spearman": float(spearmanr(predicted, measured).statistic),
    }


def _summary(values: Sequence[float]) -> dict[str, Any]:
    """Mean over the draws, and the range of 95 % of them."""
    low, high = np.quantile(values, [0.025, 0.975]).tolist()
    return {"mean": float(np.mean(values)), "interval": [low, high]}


def _table(entry: dict[str, Any], title: str) -> Table:
    table = Table(title=title, box=SIMPLE_HEAD)
    for column in ("fitted on", "tested on", "within 10 %", "error", "largest", "Spearman", "MAdds"):
        table.add_column(column, justify="left" if column == "tested on" else "right", no_wrap=True)
    for size, row in entry["by_networks_fitted_on"].items():
        for population in ("covering", "uniform"):
            found, alone = row[f"table/{population}"], row[f"madds_alone/{population}"]
            low, high = found["within_10"]["interval"]
            table.add_row(
                size,
                population,
                f"{100 * found['within_10']['mean']:.1f} [{100 * low:.0f}, {100 * high:.0f}]",
                f"{100 * found['mean_error']['mean']:.1f} %",
                f"{100 * found['largest_error']['mean']:.0f} %",
                f"{found['spearman']['mean']:.3f}",
                f"{100 * alone['within_10']['mean']:.1f}",
            )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="akd")
    parser.add_argument("--skeleton", default="small")
    parser.add_argument("--resolution", type=int, default=28)
    parser.add_argument("--channels", type=int, default=1)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--tested", type=int, default=100)
    parser.add_argument("--resamples", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ledger", type=Path, default=Path("runs", "latency-predictor.sqlite"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    console = Console()
    args.ledger.parent.mkdir(parents=True, exist_ok=True)
    with Ledger.open(args.ledger) as ledger:
        shape = (args.channels, args.resolution, args.resolution)
        entry = latency_predictor(
            LatencyBook(HostLatency(), ledger, shape, args.classes),
            make_space(args.space, args.skeleton),
            console,
            sizes=args.sizes,
            tested=args.tested,
            resamples=args.resamples,
            seed=args.seed,
        )
    name = f"{args.space}, {args.skeleton}, {args.resolution} px"
    entries = json.loads(args.out.read_text()) if args.out.exists() else {}
    write_atomically(args.out, (json.dumps(entries | {name: entry}, indent=1) + "\n").encode())
    console.print(_table(entry, name))


if __name__ == "__main__":
    main()
