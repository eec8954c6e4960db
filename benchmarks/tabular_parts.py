"""The parts of benchmarks/tabular.py but for poison and scale: each returns what it measured, as JSON."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.property_parts import RATIOS, estimated
from benchmarks.tables import FEWEST, LABEL, PROPERTY, SENSITIVE, Bench, Made, drawn, encoded, holds, told, trained
from diffaudit_jax import data
from diffaudit_jax.attacks import gradient_norms, loss_trajectory, mixed_distance, nearest
from diffaudit_jax.attacks.statistics import LOSSES, PARTS, score
from diffaudit_jax.auditing import audit
from diffaudit_jax.metrics import auc, tpr_at_fpr
from diffaudit_jax.metrics.copies import copies
from diffaudit_jax.metrics.efficacy import Efficacy, efficacy
from diffaudit_jax.metrics.intervals import clopper_pearson
from diffaudit_jax.metrics.tables import marginals, pairs
from diffaudit_jax.training import Discriminator
from diffaudit_jax.types import InputError, Query

FPR = 0.01
EARLY = 0.5
"""Time until which x0 is compared: estimates of numbers are divided by alpha, and at the last times noise is all."""


def by_quality(bench: Bench) -> dict[str, Any]:
    """One generator of most records: what its samples teach, how far they are, and whether they are copies."""
    made = trained(bench, "quality", bench.members, bench.tier.recipe)
    samples = drawn(bench, made, bench.tier.samples)
    learned = efficacy(bench.members, samples, bench.test, LABEL, num_resamples=500)
    columns = marginals(bench.members, samples, bench.holdout)
    together = pairs(bench.members, samples, bench.holdout)
    upper = np.triu_indices(len(together.names), 1)
    assert together.floor is not None
    return {
        "members": len(bench.members),
        "holdout": len(bench.holdout),
        "test": len(bench.test),
        "samples": len(samples),
        "steps": bench.tier.recipe.num_steps,
        "batch": bench.tier.recipe.batch_size,
        "learned": [_learned(each) for each in learned],
        "columns": [each._asdict() for each in columns],
        "pairs": {
            "distance": float(together.difference[upper].mean()),
            "floor": float(together.floor[upper].mean()),
        },
        **_near(bench.members, samples, bench.holdout),
    }


def by_length(bench: Bench) -> dict[str, Any]:
    """Few records, trained ever longer: who is found out, and what samples are good for."""
    order, rows = np.random.default_rng(bench.seed + 1).permutation(len(bench.members)), []
    for num in bench.tier.few:
        if len(order) < num + FEWEST:
            raise InputError(f"the table has {len(order)} members to deal {num} and others of: give a larger one.")
        members, others = (bench.members.take(np.sort(part)) for part in (order[:num], order[num : 2 * num]))
        for steps in bench.tier.fits:
            made = trained(bench, f"lengths-{num}", members, replace(bench.tier.small, num_steps=steps))
            x, labels = encoded(bench, made, bench.tier.drawn)
            samples = made.encoder.decode(x, labels)
            (learned,) = efficacy(members, samples, bench.test, LABEL, classifiers=("boosting",), num_resamples=200)
            attacks = found_out(bench, made, x, others)
            near = _near(members, samples, others)
            rows.append({"members": num, "steps": steps, "attacks": attacks, "learned": _learned(learned), **near})
    return {"batch": bench.tier.small.batch_size, "rows": rows}


def found_out(bench: Bench, made: Made, bank: np.ndarray, others: data.Table) -> dict[str, Any]:
    """Asks a generator about members and others of the same source; returns what every attack tells them by.

    Args:
      bench: What all parts share.
      made: The generator.
      bank: What it drew, as it sees records.
      others: Records that did not train it.
    """
    rng, tier = np.random.default_rng(bench.seed), bench.tier
    others_pool = made.encoder.encode(others, unseen="drop")
    sides = [pool.take(rng.permutation(len(pool))[: tier.asked]) for pool in (made.pool, others_pool)]
    joined = data.concatenate(*sides)
    asked, member = Query(joined.x, joined.labels, np.arange(len(joined))), np.arange(len(joined)) < len(sides[0])
    assert made.target.noising is not None
    times = made.target.noising.schedule.times(tier.num_times)
    key, block = bench.key(4), min(tier.block, len(joined))
    seen = audit(loss_trajectory(times, num_noises=tier.num_noises), made.target, asked, key=key, block=block)
    until = {"x0": EARLY}
    scores = {name: score(times, loss=name, truncate=until.get(name))(seen.features) for name in (*LOSSES, *PARTS)}
    scores["gsa1"] = audit(gradient_norms(), made.target, asked, key=key, block=block).scores
    black = nearest(bank, features=mixed_distance(made.encoder.layout.num_numeric))
    scores["nearest"] = audit(black, made.target, asked, key=key, block=block).scores
    return {"members": len(sides[0]), "others": len(sides[1])} | {
        name: {"auc": auc(found, member)._asdict(), "tpr": _tpr(found, member)} for name, found in scores.items()
    }


def by_ratio(bench: Bench) -> dict[str, Any]:
    """Generators of five shares of women: the share of their samples, counted, and told without the column."""
    table, has = bench.members, bench.members.columns[SENSITIVE] == PROPERTY
    rng = np.random.default_rng(bench.seed + 2)
    order, rarer = rng.permutation(len(table)), int(min(has.sum(), (~has).sum()))
    kinds = [order[has[order] == value] for value in (False, True)]
    own = min(bench.tier.aux // 2, rarer // 5)
    if own < FEWEST:
        raise InputError(f"{table.name} has {rarer} records of a sex: give a larger table.")
    aux = table.take(np.concatenate([rows[:own] for rows in kinds]))
    num, rows = min(bench.tier.members, int((rarer - own) / max(RATIOS))), []
    sides = aux.take(np.arange(0, len(aux), 2)), aux.take(np.arange(1, len(aux), 2))
    for ratio in RATIOS:
        counts = num - round(ratio * num), round(ratio * num)
        members = table.take(np.sort(np.concatenate([r[own : own + n] for r, n in zip(kinds, counts, strict=True)])))
        made = trained(bench, f"property-{ratio}", members, bench.tier.small)
        samples, truth = drawn(bench, made, bench.tier.drawn), counts[1] / num
        answers = told("boosting", sides[0], [samples, sides[1]], SENSITIVE, PROPERTY)
        row: dict[str, Any] = {"ratio": ratio, "members": num}
        row["counted"] = _shares(holds(samples), [holds(samples), holds(aux)], holds(aux), truth, bench.seed)
        row["told"] = _shares(answers[0], answers, holds(sides[1]), truth, bench.seed)
        rows.append(row)
    return {"aux": len(sides[0]), "steps": bench.tier.small.num_steps, "rows": rows}


def _shares(called: np.ndarray, answers: Sequence[np.ndarray], truth: np.ndarray, ratio: float, seed: int) -> dict:
    """Returns the estimate from calls on samples, with the errors that calls on labelled records show."""
    confusion = np.zeros((2, 2), int)
    np.add.at(confusion, (truth, answers[1]), 1)
    made = data.Pool(called[:, None].astype(np.float32), np.arange(len(called)), "calls")
    # The calls stand for the records: they were made before.
    found = estimated(Discriminator(lambda x: x[:, 0].astype(int), confusion, {}), made, ratio, seed)
    return {"confusion": confusion.tolist(), **found}


def by_privacy(bench: Bench, epsilons: Sequence[float]) -> dict[str, Any]:
    """Differential privacy: what samples are still good for, who is found out, and what still shows."""
    rows, truth = [], float(holds(bench.members).mean())
    for epsilon in (*epsilons, math.inf):
        name = "private" if math.isinf(epsilon) else f"private-{epsilon:g}"
        made = trained(bench, name, bench.members, bench.tier.private, epsilon=epsilon)
        x, labels = encoded(bench, made, bench.tier.drawn)
        samples = made.encoder.decode(x, labels)
        (learned,) = efficacy(bench.members, samples, bench.test, LABEL, classifiers=("boosting",), num_resamples=200)
        columns = marginals(bench.members, samples)
        rows.append(
            {
                "epsilon": str(epsilon),
                "learned": _learned(learned),
                "attacks": found_out(bench, made, x, bench.holdout),
                "columns": float(np.mean([each.distance for each in columns])),
                "share": clopper_pearson(int(holds(samples).sum()), len(samples))._asdict(),
            }
        )
    recipe = bench.tier.private
    return {
        "members": len(bench.members),
        "steps": recipe.num_steps,
        "batch": recipe.batch_size,
        "delta": bench.tier.delta,
        "truth": truth,
        "rows": rows,
    }


def _near(members: data.Table, samples: data.Table, holdout: data.Table) -> dict[str, Any]:
    found = copies(members, samples, holdout)
    assert found.holdout is not None
    assert found.share is not None
    return {
        "dcr": found.synthetic.dcr,
        "dcr_holdout": found.holdout.dcr,
        "exact": found.synthetic.exact,
        "share": found.share._asdict(),
        "share_p_value": found.p_value,
    }


def _learned(found: Efficacy) -> dict[str, Any]:
    def numbers(quality: Any) -> dict[str, Mapping[str, float]]:
        return {name: each._asdict() for name, each in quality._asdict().items()}

    parts = {side: numbers(getattr(found, side)) for side in ("synthetic", "members", "lost")}
    return {"classifier": found.classifier, **parts}


def _tpr(scores: np.ndarray, member: np.ndarray) -> dict[str, float] | None:
    point = tpr_at_fpr(scores, member, FPR).tpr
    return None if point is None else point._asdict()
