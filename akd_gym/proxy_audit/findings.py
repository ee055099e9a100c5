"""What an audit found: how far proxy accuracies order students as full training does, and what stands in the way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from akd_gym.errors import InvalidSettingError
from akd_gym.proxy_audit.plan import LEAST, LONGER
from akd_gym.proxy_audit.statistics import (
    Array,
    Estimate,
    Repeatability,
    agreement,
    best_at_random,
    concordances,
    correlations,
    estimate,
    estimate_of_two,
    kendall_taus,
    noise_ceiling,
    of_two,
    permutation_p,
    repeatability,
    resampled_rows,
)
from akd_gym.proxy_audit.table import AuditTable

_TOPS = (1, 3, 5)


@dataclass(frozen=True)
class Regret:
    """What is lost by training only the proxy's best fully.

    Attributes:
        picked: How many of the sample are trained fully, the best by the proxy.
        lost: Full accuracy of the sample's fully best minus that of the best picked, a fraction.
        at_random: What as many picked at random lose in the mean.
    """

    picked: int
    lost: float
    at_random: float


@dataclass(frozen=True)
class Smoothness:
    """How alike the proxy accuracies of students are that differ in one decision; differences are fractions.

    Attributes:
        pairs: Neighbours.
        correlation: Pearson's, of a student and its neighbour.
        p: How often pairs made at random correlate as much; None where it is undefined.
        shared: Share of the variance that neighbours have in common, see `concordance`.
        apart: Root mean square difference of neighbours.
        apart_at_random: Of pairs made at random.
        apart_by_seed: Of two trainings of one student; None where seeds were not compared.
    """

    pairs: int
    correlation: Estimate
    p: float | None
    shared: Estimate
    apart: float
    apart_at_random: float
    apart_by_seed: float | None


@dataclass(frozen=True)
class ProxyChoice:
    """One way to spend seconds on a candidate.

    Attributes:
        name: What is done.
        seconds: On one candidate.
        tau: Kendall's, with full training.
        gain: Over one proxy training, in tau; None for that one itself.
        gain_a_second: Per second beyond it; None likewise or where it costs no more.
    """

    name: str
    seconds: float
    tau: Estimate
    gain: Estimate | None = None
    gain_a_second: float | None = None


@dataclass(frozen=True)
class AuditFindings:
    """The numbers of an audit.

    Attributes:
        students: That were trained fully, and are what `tau` and `regrets` are of.
        tau: Kendall's tau-b of what the search saw with full training.
        p: How often accuracies in random order would agree as well; None where it is undefined.
        agreement: Share of pairs of students that both order alike; None likewise.
        ceiling: The tau that seed noise alone would leave a perfect proxy; None where it is undefined.
        regrets: For the best one, three and five.
        noise: Of proxy trainings; None where seeds were not compared.
        full_noise: Of full trainings, likewise.
        luck: How much further the search's best stood above the others than it does by other seeds, a fraction; None
            where there are none.
        smoothness: None without neighbours.
        choices: The proxy as it is, longer, and with more seeds.
        answers_to_proxy: Kendall's tau-b of AKDBench's answers with real proxy trainings; None where it was not asked.
    """

    students: int
    tau: Estimate
    p: float | None
    agreement: float | None
    ceiling: float | None
    regrets: tuple[Regret, ...]
    noise: Repeatability | None
    full_noise: Repeatability | None
    luck: float | None
    smoothness: Smoothness | None
    choices: tuple[ProxyChoice, ...]
    answers_to_proxy: Estimate | None


def judge(table: AuditTable) -> AuditFindings:
    """Compute all numbers.

    Raises:
        InvalidSettingError: If too few students could be trained fully to say anything.
    """
    whole = np.isfinite(table.full)
    answers, full = table.answers[whole], table.full[whole]
    if len(full) < LEAST:
        raise InvalidSettingError(
            f"At least {LEAST} students must be trained fully to audit a proxy, but of {len(whole)} only {len(full)} "
            "could be; the others were infeasible. Audit more of them."
        )
    proxies = _finite(table.proxies)
    noise, full_noise = repeatability(proxies), repeatability(_finite(table.fulls))
    return AuditFindings(
        students=len(full),
        tau=estimate_of_two(kendall_taus, answers, full),
        p=permutation_p(kendall_taus, answers, full),
        agreement=agreement(answers, full),
        ceiling=noise_ceiling(proxies, _finite(table.fulls)),
        regrets=tuple(_regret(answers, full, picked) for picked in _TOPS if picked < len(full)),
        noise=noise,
        full_noise=full_noise,
        luck=_luck(table),
        smoothness=_smoothness(table.pairs, noise),
        choices=_choices(table),
        answers_to_proxy=_answers_to_proxy(table) if table.is_bench else None,
    )


def _finite(runs: Array) -> Array:
    """The columns of (seeds, students) without a gap."""
    return runs[:, _whole(runs)]


def _whole(runs: Array) -> NDArray[np.bool_]:
    """Which columns these are."""
    return np.asarray(np.isfinite(runs).all(axis=0), dtype=np.bool_)


def _regret(answers: Array, full: Array, picked: int) -> Regret:
    order = np.argsort(-answers, kind="stable")
    best = float(full.max())
    return Regret(picked, best - float(full[order[:picked]].max()), best - best_at_random(full, picked))


def _luck(table: AuditTable) -> float | None:
    """Shifts that seeds, or AKDBench, give to all alike are no luck."""
    others = table.proxies if table.is_bench else table.proxies[1:]
    rows = _whole(others)
    if not len(others) or not rows[0] or rows.sum() < 2:
        return None
    shifts = table.answers[rows] - others[:, rows].mean(0)
    return float(shifts[0] - shifts[1:].mean())


def _smoothness(pairs: Array, noise: Repeatability | None) -> Smoothness | None:
    one, other = pairs[np.isfinite(pairs).all(1)].T
    if len(one) < LEAST:
        return None
    return Smoothness(
        pairs=len(one),
        correlation=estimate_of_two(correlations, one, other),
        p=permutation_p(correlations, one, other),
        shared=estimate_of_two(concordances, one, other),
        apart=float(np.sqrt(((one - other) ** 2).mean())),
        apart_at_random=float(np.sqrt(one.var() + other.var() + (one.mean() - other.mean()) ** 2)),
        apart_by_seed=None if noise is None else 2**0.5 * noise.seed_std,
    )


def _choices(table: AuditTable) -> tuple[ProxyChoice, ...]:
    """Over the same students and the same resamples, so that gains have intervals of their own."""
    once, twice = table.seconds["proxy"], table.seconds["longer"]
    dearer = [(f"{LONGER} x the epochs", twice, table.longer)]
    for seeds in range(2, len(table.proxies) + 1):
        dearer.append((f"mean of {seeds} seeds", seeds * once, table.proxies[:seeds].mean(0)))
    whole = _whole(np.stack([table.full, *table.proxies, table.longer]))
    full = table.full[whole]
    if len(full) < LEAST:
        return ()
    rows = resampled_rows(len(full))

    def taus(values: Array) -> tuple[float, Array]:
        own = values[whole]
        return of_two(kendall_taus, own, full), kendall_taus(own[rows], full[rows])

    base, base_draws = taus(table.proxies[0])
    found = [ProxyChoice("one training", once, estimate(base, base_draws))]
    for name, seconds, values in dearer:
        tau, draws = taus(values)
        gain = estimate(tau - base, draws - base_draws)
        per_second = gain.value / (seconds - once) if gain.value is not None and seconds > once else None
        found.append(ProxyChoice(name, seconds, estimate(tau, draws), gain, per_second))
    return tuple(found)


def _answers_to_proxy(table: AuditTable) -> Estimate:
    rows = _whole(table.proxies)
    return estimate_of_two(kendall_taus, table.answers[rows], table.proxies[:, rows].mean(0))
