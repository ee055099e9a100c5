"""An audit in numbers and in words."""

from __future__ import annotations

from akd_gym.proxy_audit.findings import AuditFindings, ProxyChoice, Regret
from akd_gym.proxy_audit.statistics import Estimate
from akd_gym.proxy_audit.table import AuditTable

_SIGNIFICANT = 0.05


def sentences(findings: AuditFindings) -> list[str]:
    """What the numbers mean, in the order in which one wants to know."""
    return [
        _order(findings),
        *_ceiling(findings),
        *([_regret(findings.regrets[0])] if findings.regrets else []),
        *_noise(findings),
        *_smoothness(findings),
        *([_choice(findings.choices)] if len(findings.choices) > 1 else []),
    ]


def numbers(findings: AuditFindings, table: AuditTable) -> list[tuple[str, str]]:
    """Names and values for a table."""
    noise, smooth = findings.noise, findings.smoothness
    rows = [
        ("Kendall tau of search and full training", with_interval(findings.tau)),
        ("p, against no relation", _p(findings.p)),
        ("tau at best, by noise", "-" if findings.ceiling is None else f"{findings.ceiling:.2f}"),
    ]
    if findings.answers_to_proxy is not None:
        rows.append(("Kendall tau of AKDBench and real proxy", with_interval(findings.answers_to_proxy)))
    for regret in findings.regrets:
        best = "the best" if regret.picked == 1 else f"the best {regret.picked}"
        rows.append((f"lost by training {best} only", f"{_points(regret.lost)} (random: {_points(regret.at_random)})"))
    if noise is not None:
        rows += [
            ("proxy accuracy, std over seeds", _points(noise.seed_std)),
            ("proxy accuracy, std over students", _points(noise.student_std)),
            ("repeatability", f"{noise.share:.2f}"),
        ]
    if findings.full_noise is not None:
        rows.append(("full accuracy, std over seeds", _points(findings.full_noise.seed_std)))
    if smooth is not None:
        rows += [
            (f"correlation of {smooth.pairs} neighbours", with_interval(smooth.correlation)),
            ("variance that neighbours share", with_interval(smooth.shared)),
        ]
    seconds = table.seconds
    rows.append(
        ("seconds: proxy, longer, full", f"{seconds['proxy']:.1f}, {seconds['longer']:.1f}, {seconds['full']:.1f}")
    )
    return rows


def with_interval(estimate: Estimate, spec: str = ".2f") -> str:
    """As `0.42 [0.10, 0.66]`; the specification is that of each number."""
    if estimate.value is None:
        return "-"
    return f"{estimate.value:{spec}} [{estimate.low:{spec}}, {estimate.high:{spec}}]"


def _order(findings: AuditFindings) -> str:
    tau = findings.tau
    if tau.value is None or tau.low is None or findings.p is None or findings.agreement is None:
        return "The order says nothing: all students of the sample are equally good."
    text = (
        f"Of two students, full training agrees with the search on which is better in {_share(findings.agreement)} of "
        f"cases (half would be chance): Kendall tau {with_interval(tau)}, p = {_p(findings.p)}."
    )
    if tau.low <= 0 or findings.p > _SIGNIFICANT:
        text += f" With {findings.students} students that cannot be told from chance: audit more."
    return text


def _ceiling(findings: AuditFindings) -> list[str]:
    if findings.noise is not None and findings.ceiling is None:
        return ["Seeds move accuracies so much that the students cannot be told apart at all."]
    if findings.ceiling is None or findings.tau.high is None:
        return []
    both = findings.full_noise is not None
    text = (
        f"With the noise of {'all seeds' if both else 'the proxy seed alone'}, a proxy that orders students as full "
        f"training does would reach a tau of {findings.ceiling:.2f}"
    )
    if findings.tau.high >= findings.ceiling:
        return [f"{text}: noise may explain all that is missing."]
    if both:
        return [f"{text}: beyond noise, the proxy prefers other students than full training does."]
    return [f"{text}: what is missing is the noise of full training (--full-seeds 2 tells), or a real difference."]


def _regret(regret: Regret) -> str:
    return (
        f"Training only the proxy's best fully loses {_points(regret.lost)} of full accuracy against the best of the "
        f"sample; picking at random would lose {_points(regret.at_random)}."
    )


def _noise(findings: AuditFindings) -> list[str]:
    noise, said = findings.noise, []
    if noise is not None:
        said.append(
            f"Another seed moves a student's proxy accuracy by {_points(noise.seed_std)}, students differ by "
            f"{_points(noise.student_std)} (standard deviations): {_share(noise.share)} of what one training shows is "
            "the student."
        )
    if findings.luck is not None and findings.luck > 0:
        lower = f"stands {_points(findings.luck)} lower among the sample"
        if findings.answers_to_proxy is not None:
            said.append(f"By real proxy trainings, the best of AKDBench's answers {lower}.")
        else:
            said.append(f"By other seeds the search's best {lower}: it had luck.")
    return said


def _smoothness(findings: AuditFindings) -> list[str]:
    smooth = findings.smoothness
    if smooth is None:
        return []
    text = (
        f"Students one decision apart differ by {_points(smooth.apart)}, those of random pairs by "
        f"{_points(smooth.apart_at_random)}"
    )
    if smooth.apart_by_seed is not None:
        text += f", and two trainings of the same student by {_points(smooth.apart_by_seed)}"
    if smooth.p is not None and smooth.p <= _SIGNIFICANT:
        return [f"{text}: the space is smooth (p = {_p(smooth.p)}), so that what was seen tells of what is near it."]
    return [f"{text}: that neighbours are alike is not shown (p = {_p(smooth.p)})."]


def _choice(choices: tuple[ProxyChoice, ...]) -> str:
    once, dearer = choices[0], [choice for choice in choices[1:] if choice.gain is not None]
    sure = [choice for choice in dearer if choice.gain is not None and (choice.gain.low or 0.0) > 0]
    if not sure:
        return (
            "That any dearer proxy orders students better than one training of "
            f"{once.seconds:.1f} s a candidate is not shown."
        )
    best = max(sure, key=lambda choice: choice.gain_a_second or 0.0)
    assert best.gain is not None
    return (
        f"What surely helps, most for its seconds: {best.name}, tau {best.gain.value:+.2f} for "
        f"{best.seconds - once.seconds:+.1f} s a candidate."
    )


def _points(fraction: float) -> str:
    return f"{100 * fraction:.2f} points"


def _share(fraction: float) -> str:
    return f"{100 * fraction:.0f} %"


def _p(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if value >= 0.001 else "less than 0.001"
