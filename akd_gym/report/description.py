"""A search in words: what was searched with what, and where it ran. Only what its records say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from akd_gym.agents.settings import LEARNERS
from akd_gym.analysis.formats import cost_in_words
from akd_gym.recipes import Recipe
from akd_gym.report.reading import ReportedRun

Rows = list[tuple[str, str]]

_OF_RECORDS = (
    ("runtime", "runtime"),
    ("runtime_version", "runtime version"),
    ("os", "system"),
    ("soc", "system on chip"),
    ("build", "system image"),
    ("core", "core"),
    ("governor", "frequency governor"),
    ("threads", "threads"),
    ("clock", "clock"),
    ("exporter", "model file by"),
    ("exporter_version", "version of that"),
    ("tool_version", "akd_gym"),
)


def settings_rows(run: ReportedRun) -> Rows:
    """What was searched, and with what."""
    s, search = run.settings, run.search
    answers = "AKDBench (a model of real trainings)" if s.evaluator == "bench" else "proxy trainings"
    cost = "multiply-adds" if s.cost == "madds" else f"latency, {'predicted' if s.evaluator == 'bench' else s.latency}"
    rows = [
        ("agent", s.agent),
        ("teacher", "none: hard labels" if s.teacher == "none" else s.teacher),
        ("data", s.data),
        ("space", f"{search.space.name}, {len(search.space.decisions)} decisions"),
        ("skeleton", s.skeleton or "chosen by the images' size"),
        ("answers", answers),
        ("cost", cost),
        ("target", cost_in_words(search.target, search.unit)),
        ("reward", f"{s.reward}, weight {search.reward.weight:g}"),
        ("budget", f"{s.budget:,} candidates" + (f", rounds of {s.round_size}" if s.agent in LEARNERS else "")),
        ("seed", str(s.seed)),
        ("recipe", recipe_in_words(s.recipe, distilled=s.teacher != "none")),
    ]
    if s.warm_start is not None:
        rows.append(("evaluations taken over from", str(s.warm_start)))
    if s.policy is not None:
        rows.append(("begun with what was learned in", str(s.policy)))
    return rows


def recipe_in_words(recipe: Recipe, *, distilled: bool) -> str:
    """How each candidate was trained, in a line."""
    train = "all other images" if recipe.train_size is None else f"{recipe.train_size:,} images"
    val = "the data's own held-out images" if recipe.val_size is None else f"{recipe.val_size:,} others"
    teaching = f", temperature {recipe.temperature:g}, distillation {recipe.alpha:g}" if distilled else ""
    return (
        f"{recipe.epochs} epochs on {train}, batches of {recipe.batch_size}, learning rate "
        f"{recipe.learning_rate:g}{teaching}; accuracy on {val}"
    )


def all_settings(run: ReportedRun) -> Rows:
    """Every field of the settings, those of the recipe as `recipe.epochs`."""
    plain = run.settings.to_json()
    recipe = plain.pop("recipe")
    plain |= {f"recipe.{name}": value for name, value in recipe.items()}
    return [(name, "-" if value is None else str(value)) for name, value in plain.items()]


def environment_rows(run: ReportedRun) -> Rows:
    """Where it ran and when, as trainings and latencies have it in their records."""
    evaluations = run.search.evaluations
    records = [e.latency for e in evaluations if e.latency is not None]
    rows = [
        ("first candidate", evaluations[0].candidate.created),
        ("last candidate", max(e.candidate.created for e in evaluations)),
        ("latency of", _listed(device_of(record) for record in records)),
    ]
    rows += [(label, _listed(record.get(field) for record in records)) for field, label in _OF_RECORDS]
    if warned := sum(bool(record.get("warnings")) for record in records):
        rows.append(("latencies with a warning", f"{warned:,} of {len(records):,}"))
    trainings = run.identities_of("training")
    rows += [
        ("students trained on", _listed(one.get("device") for one in trainings)),
        ("teacher's weights", _listed(_teacher(one).get("weights") for one in trainings)),
        ("images' fingerprint", _listed(one.get("fingerprint") for one in trainings)),
        ("AKDBench", _listed(one.get("bench") for one in trainings)),
        ("seconds of training", _seconds(run)),
    ]
    return [(label, text) for label, text in rows if text]


def device_of(record: Mapping[str, Any] | None) -> str | None:
    """The device of a latency record with the kind of its number, so that a prediction is not taken for more."""
    return None if record is None else f"{record.get('device', 'unknown device')} ({record.get('kind', 'unknown')})"


def input_resolution(run: ReportedRun) -> int | None:
    """Side of the images in pixels; None if the records do not say."""
    for one in run.identities:
        if isinstance(one.get("resolution"), int):
            return int(one["resolution"])
        if len(one.get("input_shape") or ()) == 3:  # channels, height, width
            return int(one["input_shape"][1])
    return run.settings.recipe.resolution


def side_by_side(parts: Sequence[Rows]) -> list[tuple[str, list[str]]]:
    """Rows of several searches as one: a label and a text each, a dash where a search has no such row."""
    labels = dict.fromkeys(label for rows in parts for label, _ in rows)
    by_label = [dict(rows) for rows in parts]
    return [(label, [rows.get(label, "-") for rows in by_label]) for label in labels]


def _teacher(identity: Mapping[str, Any]) -> Mapping[str, Any]:
    return identity.get("teacher") or {}


def _seconds(run: ReportedRun) -> str:
    total = sum(e.training.seconds for e in run.search.evaluations if e.training and not e.candidate.from_ledger)
    words = " (predicted: nothing was trained)" if run.settings.evaluator == "bench" else ""
    return f"{total:,.0f}{words}"


def _listed(values: Iterable[Any]) -> str:
    """Distinct values in order, the first few of many; nothing if there are none."""
    found = list(dict.fromkeys(str(value) for value in values if value not in (None, "-", "none", "")))
    return ", ".join(found[:4]) + (f" and {len(found) - 4} more" if len(found) > 4 else "")
