"""Generators of tables: what all parts of the benchmark on tables put together."""

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from benchmarks.tabular_tiers import TIERS, Tier
from diffaudit_jax import data, models, training
from diffaudit_jax.bank import draw_bank
from diffaudit_jax.cli.progress import stage
from diffaudit_jax.cli.tables import labels_like
from diffaudit_jax.metrics.classifiers import CLASSIFIERS
from diffaudit_jax.models.tabular import SIZES
from diffaudit_jax.target import Target
from diffaudit_jax.types import InputError, Key

LABEL, SENSITIVE = "income", "sex"
POSITIVE, PROPERTY = ">50K", "Female"
FEWEST = 20
"""Records of a kind, or beside members, below which nothing is measured."""


class Bench(NamedTuple):
    """What all parts share.

    Attributes:
      tier: How much is done.
      seed: Seed of all but the noise of private training.
      members: Records that may train a generator.
      holdout: Others of the same source.
      test: Others yet, that classifiers are tested on.
      work: Where generators are kept.
    """

    tier: Tier
    seed: int
    members: data.Table
    holdout: data.Table
    test: data.Table
    work: Path

    def key(self, use: int) -> Key:
        """Returns the key of one use: 1 training, 2 samples, 3 a discriminator, 4 asking, 5 MINE."""
        return jax.random.fold_in(jax.random.key(self.seed), use)


class Made(NamedTuple):
    """A generator: what it was trained on, as a table and as it saw it, what reads it, and what draws."""

    name: str
    members: data.Table
    encoder: data.Encoder
    pool: data.Pool
    target: Target


def bench_of(tier: str, seed: int, adult: str, test: str | None, work: Path) -> Bench:
    """Deals Adult: four fifths of the training file are members, and the rest is held out.

    Without a test file it is a fifth of the other.

    Raises:
      InputError: if a source is no table with the columns of Adult.
    """
    table = table_of(adult)
    order = np.random.default_rng(seed).permutation(len(table))
    fifth = len(table) // 5
    if test is None:
        parts = [table.take(np.sort(rows)) for rows in np.split(order, [fifth, 2 * fifth])]
        return Bench(TIERS[tier], seed, parts[2], parts[1], parts[0], work / f"{tier}-{seed}")
    other = _adult(test)
    other = other.take(data.kept({"adult": table, "test": other}, "drop")[1])
    holdout, members = (table.take(np.sort(rows)) for rows in np.split(order, [fifth]))
    return Bench(TIERS[tier], seed, members, holdout, other, work / f"{tier}-{seed}")


def table_of(source: str) -> data.Table:
    """Returns the distinct records of Adult.

    Raises:
      InputError: if the source is no table with its columns.
    """
    table = _adult(source)
    return table.take(data.kept({"adult": table}, "drop")[0])


def _adult(source: str) -> data.Table:
    table = data.load(source)
    if not isinstance(table, data.Table) or not {LABEL, SENSITIVE} <= table.columns.keys():
        raise InputError(f"{source} lacks columns {LABEL} and {SENSITIVE}: give Adult, with the names of adult-3k.")
    return table


def trained(
    bench: Bench, name: str, members: data.Table, recipe: training.Recipe, *, epsilon: float = math.inf
) -> Made:
    """Trains a generator that is told of the label, or goes on with it.

    Args:
      bench: What all parts share.
      name: Its directory.
      members: What it is trained on.
      recipe: How.
      epsilon: What training is to promise; infinite for plain training.
    """
    encoder = data.fit_encoder(members, label=LABEL)
    pool, private = encoder.encode(members), not math.isinf(epsilon)
    model = models.tabddpm(*encoder.layout, num_classes=pool.num_classes, **SIZES[bench.tier.size])
    with stage(f"training {name}") as show:
        run = training.fit_table(
            None if private else bench.key(1),
            model,
            pool,
            recipe,
            privacy=_privacy(bench.tier, recipe, len(pool), epsilon) if private else None,
            out=bench.work / name / f"run-{recipe.num_steps}",
            record={"encoder": encoder.config},
            progress=lambda step, total, info: show(step, total, f"loss {float(info.loss):.4f}"),
        )
    return Made(f"{name}/{recipe.num_steps}", members, encoder, pool, run.target)


def _privacy(tier: Tier, recipe: training.Recipe, num: int, epsilon: float) -> training.Privacy:
    sizes = {"batch_size": recipe.batch_size, "num_examples": num, "num_steps": recipe.num_steps}
    noise = training.noise_multiplier(epsilon, tier.delta, l2_clip_norm=1.0, **sizes)
    # The encoder has looked at the members, which epsilon does not cover.
    return training.Privacy(noise, microbatch=tier.microbatch, delta=tier.delta, preprocessing="declared")


def drawn(bench: Bench, made: Made, num: int) -> data.Table:
    """Draws records, the label in the members' proportions."""
    x, labels = encoded(bench, made, num)
    return made.encoder.decode(x, labels)


def encoded(bench: Bench, made: Made, num: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws the same records as the model sees them, with their labels."""
    assert made.pool.labels is not None
    labels = labels_like({"label_counts": np.bincount(made.pool.labels).tolist()}, num, bench.seed)
    assert labels is not None
    with stage(f"drawing {made.name}") as show:
        x = draw_bank(bench.key(2), made.target, num, labels=labels, block=min(bench.tier.block, num), progress=show)
    return x, labels


def coded(tables: Sequence[data.Table], leave_out: str) -> tuple[list[np.ndarray], np.ndarray]:
    """Returns all columns but one as float64 [n, c], categories by number; and which of them are numbers."""
    columns, numeric = [], []
    for name in (name for name in tables[0].columns if name != leave_out):
        joined = np.concatenate([table.columns[name] for table in tables])
        numeric.append(joined.dtype.kind == "f")
        columns.append(joined if numeric[-1] else np.unique(joined, return_inverse=True)[1].astype(np.float64))
    ends = np.cumsum([len(table) for table in tables])[:-1]
    return np.split(np.column_stack(columns), ends), np.array(numeric)


def told(name: str, train: data.Table, asked: Sequence[data.Table], column: str, positive: str) -> list[np.ndarray]:
    """Trains a classifier of one column by all others; returns what it calls records, int [n] each.

    Args:
      name: One of `metrics.classifiers.CLASSIFIERS`.
      train: Records that teach it.
      asked: Records that it is asked about.
      column: The column that is told.
      positive: The value that is 1.
    """
    (x, *others), numeric = coded([train, *asked], column)
    y = (train.columns[column] == positive).astype(int)
    with warnings.catch_warnings(), threadpool_limits(1, "openmp"):
        warnings.simplefilter("ignore", ConvergenceWarning)  # as many steps as were asked for
        warnings.filterwarnings("ignore", "Found unknown categories", UserWarning)
        model = CLASSIFIERS[name](numeric, 0).fit(x, y)
        return [np.asarray(model.predict(other)) for other in others]


def holds(table: data.Table) -> np.ndarray:
    """Returns whether each record is a woman's, 0 or 1 [n]."""
    return (table.columns[SENSITIVE] == PROPERTY).astype(int)
