"""The part of benchmarks/tabular.py on poison: what a sharer chooses, and what classifiers of samples make of it."""

from typing import Any

import numpy as np

from benchmarks.tables import FEWEST, LABEL, POSITIVE, Bench, drawn, holds, told, trained
from diffaudit_jax import data
from diffaudit_jax.metrics.classifiers import CLASSIFIERS
from diffaudit_jax.metrics.fairness import fairness_of
from diffaudit_jax.metrics.intervals import clopper_pearson
from diffaudit_jax.poisoning import select
from diffaudit_jax.poisoning.cells import gap
from diffaudit_jax.types import InputError

ALPHAS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)


def by_alpha(bench: Bench) -> dict[str, Any]:
    """Six poisoning ratios: whether the income tells the sex, and what classifiers of the samples make of it."""
    pool, test = (_balanced(table, bench.seed) for table in (bench.members, bench.test))
    s, y = _cells(pool)
    num = 10 * int(0.24 * len(pool) / 4)
    clean: dict[str, np.ndarray] = {}
    clean_set: dict[str, np.ndarray] = {}
    rows = []
    for alpha in ALPHAS:
        found = select(bench.seed, s, y, num, alpha)
        members = pool.take(found.index)
        made = trained(bench, f"poison-{alpha}", members, bench.tier.small)
        samples = drawn(bench, made, bench.tier.drawn)
        called, of_set = ({name: _income(name, side, test) for name in CLASSIFIERS} for side in (samples, members))
        clean, clean_set = clean or called, clean_set or of_set
        rows.append(
            {
                "alpha": alpha,
                "counts": found.counts.tolist(),
                "set_gap": float(gap(found.counts)),
                **_sampled(samples),
                "shared": {name: _judged(called[name], test, clean[name]) for name in called},
                "set": {name: _judged(of_set[name], test, clean_set[name]) for name in of_set},
            }
        )
    return {"num": num, "pool": len(pool), "test": len(test), "steps": bench.tier.small.num_steps, "rows": rows}


def _balanced(table: data.Table, seed: int) -> data.Table:
    """Returns as many records of every sex and income as there are of the rarest."""
    s, y = _cells(table)
    cell, order = 2 * s + y, np.random.default_rng(seed + 3).permutation(len(table))
    least = int(np.bincount(cell, minlength=4).min())
    if least < FEWEST:
        raise InputError(f"{table.name} has {least} records of a sex and income: give a larger table.")
    return table.take(np.sort(np.concatenate([order[cell[order] == each][:least] for each in range(4)])))


def _cells(table: data.Table) -> tuple[np.ndarray, np.ndarray]:
    return holds(table), (table.columns[LABEL] == POSITIVE).astype(int)


def _sampled(samples: data.Table) -> dict[str, Any]:
    """Returns P(Y = 1 | S) of samples with intervals, and their gap."""
    s, y = _cells(samples)
    rates = [clopper_pearson(int(y[s == group].sum()), int((s == group).sum())) for group in (0, 1)]
    return {"rates": [rate._asdict() for rate in rates], "sample_gap": abs(rates[0].value - rates[1].value)}


def _income(name: str, train: data.Table, test: data.Table) -> np.ndarray:
    return told(name, train, [test], LABEL, POSITIVE)[0]


def _judged(called: np.ndarray, test: data.Table, clean: np.ndarray) -> dict[str, Any]:
    s, y = _cells(test)
    found = fairness_of(called, y, s, clean)
    assert found.loss is not None
    lost = {name: each._asdict() for name, each in found.loss._asdict().items()}
    return {name: getattr(found, name)._asdict() for name in ("parity", "odds", "accuracy")} | {"loss": lost}
