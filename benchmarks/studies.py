"""What benchmarks/membership.py measures of a model: every attack, and what changes their answers."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.cases import Asked, Bench, Case, ask, asked_all, dealt, setting_of, surrogate_of, target_of, trained
from diffaudit_jax import data, metrics
from diffaudit_jax.attacks.statistics import average
from diffaudit_jax.auditing import Observations
from diffaudit_jax.calibration import Kind, calibrated, check_disjoint, fit_scorer
from diffaudit_jax.cli.catalogue import ENTRIES
from diffaudit_jax.cli.passes import passes
from diffaudit_jax.cli.setting import grid
from diffaudit_jax.metrics import Estimate
from diffaudit_jax.report import trajectory_study

FPR = 0.01
LEARNED: Mapping[str, tuple[str, Kind]] = {
    "gsa1, logistic": ("gsa1", "logistic"),
    "gsa1, boosting": ("gsa1", "boosting"),
    "gsa2, logistic": ("gsa2", "logistic"),
    "gsa2, boosting": ("gsa2", "boosting"),
    "secmi, mlp": ("secmi", "mlp"),
    "losses, logistic": ("trajectory", "logistic"),
    "losses, boosting": ("trajectory", "boosting"),
}
"""Name -> what is observed, and what learns from it; SecMI-NNs and the published GSA among them."""
CALIBRATED = ("eps-loss", "x0-api", "secmi", "pia", "sima")
ARCHITECTURES = ("ddpm", "improved-diffusion", "guided-diffusion")
API: Mapping[str, dict[str, Any]] = {
    "none": {},
    "256 levels": {"api_levels": 256},
    "16 levels": {"api_levels": 16},
    "noise .03": {"api_noise": 0.03},
    "noise .1": {"api_noise": 0.1},
    "noise .3": {"api_noise": 0.3},
    "shared noise .1": {"api_shared_noise": 0.1},
    "shared noise .3": {"api_shared_noise": 0.3},
}
"""Protections, by what the command line calls them."""
BUDGETS = (1, 2, 4, 8)
"""Calls a query that a budget leaves to the attack on the x0 estimates."""


def attacked(bench: Bench, case: Case) -> dict[str, Any]:
    """Every attack on one model, and the seconds of each pass."""
    split, asked = asked_all(bench, case)
    made = asked.made.items()
    calls = {name: attack.spec.calls for _, each in made for name, (_, attack) in each.scored.items()}
    return {
        "case": case._asdict(),
        "attacks": {name: {"calls": calls[name], **judged(asked.scores[name], split.member)} for name in calls},
        "passes": {where: {"attacks": list(each.scored), "seconds": asked.seconds[where]} for where, each in made},
    }


def judged(scores: np.ndarray, member: np.ndarray) -> dict[str, Any]:
    """AUC, and the true positive rate at 1 % false positives, with their intervals."""
    point = metrics.tpr_at_fpr(scores, member, FPR)
    return {"auc": _numbers(metrics.auc(scores, member)), "tpr": None if point.tpr is None else _numbers(point.tpr)}


def variants(bench: Bench, case: Case) -> dict[str, Any]:
    """Loss x statistic x truncation x threat model, from the passes that were made; the best, flattering and honest."""
    split, asked = asked_all(bench, case)
    times = grid(setting_of(bench, target_of(bench, case)))
    found: dict[str, Any] = {}
    for access, observed in (("white", "trajectory"), ("gray", "x0-api"), ("black", "surrogate")):
        study = trajectory_study(asked.seen[observed].features, times)
        # Named by number: the columns of a matrix.
        choice = metrics.choose(np.stack(list(study.values()), axis=1), split.member)
        rows: dict[str, list[float]] = {}
        for (loss, statistic, by, _), area in zip(study, choice.areas.values(), strict=True):
            rows.setdefault(f"{loss}, {statistic}, by {by}", []).append(round(area, 4))
        found[access] = {
            "best": list(study)[int(str(choice.name))],
            "optimistic": _numbers(choice.optimistic),
            "honest": _numbers(choice.honest),
            "shares": sorted({share for *_, share in study}),
            "auc": rows,
        }
    return {"case": case._asdict(), "access": found}


def taught(bench: Bench, case: Case) -> dict[str, Any]:
    """Scores that a shadow teaches, and scores less what it, as a reference, gives to the same queries.

    The shadow is trained as long on as many other images, and asked about them and about others still.
    """
    split, asked = asked_all(bench, case)
    reference = split.reference
    assert reference is not None
    theirs = np.arange(case.members), np.arange(case.members, len(reference))
    shadow = data.Split(*(reference.take(rows) for rows in theirs), by="record")
    model = trained(bench, case.family, shadow.members, case.steps, bench.work / case.name / "shadow")
    names = ("eps-loss", "gsa1", "gsa2", "secmi", "x0-api", "pia", "sima")
    made = passes(names, setting_of(bench, model))
    out = bench.work / case.name
    lessons = ask(bench, model, shadow.queries, made, out / "shadow-asked")
    difficulty = ask(bench, model, split.queries, made, out / "reference-asked")
    return {
        "case": case._asdict(),
        "learned": {
            name: judged(_learned(lessons.seen[what], shadow.member, asked.seen[what], kind), split.member)
            for name, (what, kind) in LEARNED.items()
        },
        "calibrated": {
            name: {
                "alone": judged(asked.scores[name], split.member),
                "calibrated": judged(calibrated(_scored(asked, name), _scored(difficulty, name)), split.member),
            }
            for name in CALIBRATED
        },
    }


def protections(bench: Bench, case: Case) -> dict[str, Any]:
    """What each protection leaves to attacks on an API, and what a budget of calls does."""
    split, target = dealt(bench, case), target_of(bench, case)
    names = tuple(name for name, entry in ENTRIES.items() if entry.access in ("gray", "variation"))
    rows = {}
    for protection, flags in API.items():
        made = passes(names, setting_of(bench, target, **flags))
        out = bench.work / case.name / "protected" / protection.replace(" ", "-")
        asked = ask(bench, target, split.queries, made, out)
        rows[protection] = {name: judged(scores, split.member) for name, scores in asked.scores.items()}
        if protection == "none":
            budgets = _budgets(bench, asked.seen["x0-api"], split.member)
    return {"case": case._asdict(), "rows": rows, "budgets": budgets}


def surrogates(bench: Bench, case: Case) -> dict[str, Any]:
    """The surrogate's architecture against the target's."""
    split, target = dealt(bench, case), target_of(bench, case)
    setting, rows = setting_of(bench, target), {}
    for family in ARCHITECTURES:
        made = passes(("surrogate",), setting._replace(surrogate=surrogate_of(bench, case, family)))
        asked = ask(bench, target, split.queries, made, bench.work / case.name / f"by-{family}")
        rows[family] = judged(asked.scores["surrogate"], split.member)
    return {"case": case._asdict(), "rows": rows}


def _learned(lesson: Observations, truth: np.ndarray, seen: Observations, kind: Kind) -> np.ndarray:
    check_disjoint(lesson, seen)
    return fit_scorer(_logarithms(lesson), truth, kind=kind)(_logarithms(seen).features)


def _logarithms(seen: Observations) -> Observations:
    """Losses and norms range over powers of ten; SecMI's difference image is learned from as published, as it is."""
    features = seen.features
    if hasattr(features, "difference"):
        return seen._replace(features=features.difference)
    leaves = features._asdict() if hasattr(features, "_asdict") else {"values": features}
    return seen._replace(features={name: np.log(np.maximum(leaf, 1e-12)) for name, leaf in leaves.items()})


def _scored(asked: Asked, name: str) -> Observations:
    return asked.seen[ENTRIES[name].observed]._replace(scores=asked.scores[name])


def _budgets(bench: Bench, seen: Observations, member: np.ndarray) -> dict[str, Any]:
    """The x0 trajectory at fewer times: answers at one time do not depend on the others that are asked."""
    errors = average(seen.features, "x0")
    kept = errors[:, : int(0.3 * bench.tier.times)]
    places = [np.linspace(-0.5, kept.shape[1] - 0.5, calls + 2)[1:-1].round().astype(int) for calls in BUDGETS]
    return {str(len(columns)): judged(-kept[:, columns].mean(axis=1), member) for columns in map(np.unique, places)}


def _numbers(estimate: Estimate) -> list[float]:
    return [round(float(value), 4) for value in estimate]
